package satellite

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

func TestBuckets(t *testing.T) {
	b := newServedBench(t)
	ctx := context.Background()
	for _, name := range []string{"bbb", "aaa", "ccc"} {
		made, err := b.client.CreateBucket(ctx, &pb.CreateBucketRequest{Name: name})
		must(t, err)
		if made.Name != name || made.Created != b.now.UnixMilli() {
			t.Errorf("CreateBucket = %v", made)
		}
	}
	_, err := b.client.CreateBucket(ctx, &pb.CreateBucketRequest{Name: "aaa"})
	wantError(t, "a bucket twice", err, satclient.ErrBucketExists)
	if want := `bucket already exists: "aaa"`; err.Error() != want {
		t.Errorf("the error says %q, want %q", err, want)
	}
	for _, name := range []string{"", "a", "A_b", "x..y", string(make([]byte, 5000))} {
		_, err := b.client.CreateBucket(ctx, &pb.CreateBucketRequest{Name: name})
		wantError(t, fmt.Sprintf("bucket %.10q", name), err, satclient.ErrBadRequest)
	}
	var names []string
	page := &pb.ListBucketsResponse{More: true}
	for page.More {
		page, err = b.client.ListBuckets(ctx, &pb.ListBucketsRequest{After: last(names), Limit: 2})
		must(t, err)
		for _, bucket := range page.Buckets {
			names = append(names, bucket.Name)
		}
	}
	if !slices.Equal(names, []string{"aaa", "bbb", "ccc"}) {
		t.Errorf("buckets %q", names)
	}
	_, err = b.client.DeleteBucket(ctx, &pb.DeleteBucketRequest{Name: "bbb"})
	must(t, err)
	_, err = b.client.DeleteBucket(ctx, &pb.DeleteBucketRequest{Name: "bbb"})
	wantError(t, "deleting it again", err, satclient.ErrBucketNotFound)

	// Another project sees nothing of this.
	_, otherKey := b.newProject("second")
	other := b.newClient(otherKey)
	page, err = other.ListBuckets(ctx, &pb.ListBucketsRequest{})
	if err != nil || len(page.Buckets) != 0 {
		t.Errorf("another project lists %v, %v", page, err)
	}
	_, err = other.DeleteBucket(ctx, &pb.DeleteBucketRequest{Name: "aaa"})
	wantError(t, "another project's deletion", err, satclient.ErrBucketNotFound)
}

func last(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[len(names)-1]
}

// TestObject takes an object from its lease to its deletion.
func TestObject(t *testing.T) {
	b := newServedBench(t)
	b.createBucket()
	ctx := context.Background()
	leases, err := b.client.Lease(ctx, &pb.LeaseRequest{Action: pb.Action_ACTION_PUT})
	must(t, err)
	b.checkLease(leases.Leases[0], order.ActionPut)

	req := b.commit("object", 3)
	made, err := b.client.CommitObject(ctx, req)
	must(t, err)
	if made.Size != req.Size || made.Segments != 3 || made.Created != b.now.UnixMilli() {
		t.Errorf("CommitObject = %v", made)
	}
	// Said again, it is the same; said differently, it is refused.
	again, err := b.client.CommitObject(ctx, req)
	if err != nil || !proto.Equal(again, made) {
		t.Errorf("the same commit again = %v, %v, want %v", again, err, made)
	}
	entries := b.journal(1)
	if len(entries) != 3 {
		t.Fatalf("journal has %d entries, want 3", len(entries))
	}
	wantSame(t, "held", entries[0].Held, []byte{0xff, 0})
	other := proto.CloneOf(req)
	other.SealedMetadata = []byte("other")
	_, err = b.client.CommitObject(ctx, other)
	wantError(t, "another commit of the same nonce", err, satclient.ErrBadRequest)

	got, err := b.client.GetObject(ctx, &pb.GetObjectRequest{Bucket: "bucket", Key: req.Key, Offset: segmentSize, Length: 10})
	must(t, err)
	wantSame(t, "sealed metadata", got.Object.SealedMetadata, []byte("sealed"))
	if len(got.Extents) != 1 || got.FirstIndex != 1 || got.FirstOffset != segmentSize-100 || len(got.Leases) != 1 {
		t.Errorf("GetObject = %v", got)
	}
	wantSame(t, "root", got.Segments[0].Root, req.Segments[1].Root)
	b.checkLease(got.Leases[0], order.ActionGet)
	stat, err := b.client.GetObject(ctx, &pb.GetObjectRequest{Bucket: "bucket", Key: req.Key, StatOnly: true})
	if err != nil || len(stat.Extents)+len(stat.Leases) != 0 || stat.Object.Size != req.Size {
		t.Errorf("stat = %v, %v", stat, err)
	}

	to := component("copy")
	moved, err := b.client.CopyObject(ctx, &pb.CopyObjectRequest{
		Bucket: "bucket", Key: req.Key, Version: made.Version, ToBucket: "bucket", ToKey: to, SealedMetadata: []byte("new"), Move: true,
	})
	if err != nil || moved.Size != made.Size {
		t.Fatalf("CopyObject = %v, %v", moved, err)
	}
	_, err = b.client.CopyObject(ctx, &pb.CopyObjectRequest{
		Bucket: "bucket", Key: to, Version: made.Version, ToBucket: "bucket", ToKey: to,
	})
	wantError(t, "copying an old version", err, satclient.ErrChanged)
	list, err := b.client.ListObjects(ctx, &pb.ListObjectsRequest{Bucket: "bucket", WithMetadata: true})
	if err != nil || len(list.Items) != 1 || !bytes.Equal(list.Items[0].Object.GetKey(), to) ||
		string(list.Items[0].Object.SealedMetadata) != "new" {
		t.Errorf("ListObjects = %v, %v", list, err)
	}
	_, err = b.client.DeleteBucket(ctx, &pb.DeleteBucketRequest{Name: "bucket"})
	wantError(t, "deleting a full bucket", err, satclient.ErrBucketNotEmpty)
	kept, err := b.client.DeleteObjects(ctx, &pb.DeleteObjectsRequest{
		Bucket: "bucket", Keys: [][]byte{req.Key, to}, Versions: [][]byte{nil, made.Version},
	})
	if err != nil || slices.Contains(kept.Found, true) {
		t.Errorf("DeleteObjects of an old version = %v, %v", kept, err)
	}
	gone, err := b.client.DeleteObjects(ctx, &pb.DeleteObjectsRequest{
		Bucket: "bucket", Keys: [][]byte{req.Key, to}, Versions: [][]byte{nil, moved.Version},
	})
	if err != nil || !slices.Equal(gone.Found, []bool{false, true}) {
		t.Errorf("DeleteObjects = %v, %v", gone, err)
	}
	if n := len(b.journal(1)); n != 6 {
		t.Errorf("journal has %d entries after deletion, want 6", n)
	}
	_, err = b.client.GetObject(ctx, &pb.GetObjectRequest{Bucket: "bucket", Key: to})
	wantError(t, "reading it", err, satclient.ErrObjectNotFound)
}

// checkLease checks a lease as a node and an uplink will.
func (b *bench) checkLease(lease *pb.GroupLease, action order.Action) {
	b.t.Helper()
	g, err := order.OpenGroup(lease.Group, b.key.ID())
	must(b.t, err)
	limit, err := order.OpenLimit(lease.Limit, b.key.ID())
	must(b.t, err)
	must(b.t, limit.Check(order.Use{Peer: b.uplink.ID(), Action: action, Group: g.ID, Epoch: g.Epoch, Now: b.now}))
	if limit.Expires.Sub(b.now) != order.LimitLife || limit.MaxBytes != leaseBytes {
		b.t.Errorf("limit for %d bytes until %v", limit.MaxBytes, limit.Expires)
	}
	if len(lease.Nodes) != len(g.Nodes) || !bytes.Equal(lease.Nodes[3].Node, g.Nodes[3][:]) {
		b.t.Errorf("lease has nodes %v", lease.Nodes)
	}
}

func TestInlineObject(t *testing.T) {
	b := newServedBench(t)
	b.createBucket()
	ctx := context.Background()
	req := b.commit("inline", 0)
	req.Inline, req.Size = []byte("ciphertext and tag"), 2
	_, err := b.client.CommitObject(ctx, req)
	must(t, err)
	got, err := b.client.GetObject(ctx, &pb.GetObjectRequest{Bucket: "bucket", Key: req.Key})
	if err != nil || !bytes.Equal(got.Object.Inline, req.Inline) || len(got.Leases) != 0 {
		t.Errorf("GetObject = %v, %v", got, err)
	}
	req = b.commit("inline", 1)
	req.IfAbsent = true
	_, err = b.client.CommitObject(ctx, req)
	wantError(t, "if_absent", err, satclient.ErrObjectExists)
}

// TestUpload commits an object in several calls.
func TestUpload(t *testing.T) {
	b := newServedBench(t)
	b.createBucket()
	ctx := context.Background()
	key := component("large")
	begun, err := b.client.BeginUpload(ctx, &pb.BeginUploadRequest{Bucket: "bucket", Key: key})
	must(t, err)
	var size, segments uint64
	add := func() *pb.AddSegmentsRequest {
		c := b.commit("large", 8)
		req := &pb.AddSegmentsRequest{Upload: begun.Upload, First: segments, Segments: c.Segments, Extents: c.Extents}
		size, segments = size+c.Size, segments+8
		return req
	}
	b.now = b.now.Add(time.Hour)
	for range 9 {
		req := add()
		res, err := b.client.AddSegments(ctx, req)
		must(t, err)
		if res.Expires <= begun.Expires {
			t.Error("adding to an upload does not move its expiry")
		}
		_, err = b.client.AddSegments(ctx, req)
		must(t, err)
	}
	// Other projects, other places, gaps.
	_, otherKey := b.newProject("second")
	req := add()
	_, err = b.newClient(otherKey).AddSegments(ctx, req)
	wantError(t, "another project's AddSegments", err, satclient.ErrUploadNotFound)
	req.First++
	_, err = b.client.AddSegments(ctx, req)
	wantError(t, "AddSegments with a gap", err, satclient.ErrBadRequest)
	size, segments = size-8*(segmentSize-100), segments-8

	commit := b.commit("large", 1)
	commit.Upload = begun.Upload
	commit.Size += size
	made, err := b.client.CommitObject(ctx, commit)
	must(t, err)
	if made.Size != size+segmentSize-100 || made.Segments != uint32(segments)+1 {
		t.Errorf("CommitObject = %v", made)
	}
	_, err = b.client.AbortUpload(ctx, &pb.AbortUploadRequest{Upload: begun.Upload})
	wantError(t, "aborting what is committed", err, satclient.ErrUploadNotFound)

	// Reading it takes two answers.
	seen, offset := 0, uint64(0)
	for offset < made.Size {
		got, err := b.client.GetObject(ctx, &pb.GetObjectRequest{Bucket: "bucket", Key: key, Offset: offset})
		must(t, err)
		if got.FirstOffset != offset || int(got.FirstIndex) != seen || len(got.Extents) == 0 {
			t.Fatalf("GetObject at %d: index %d, offset %d, %d extents", offset, got.FirstIndex, got.FirstOffset, len(got.Extents))
		}
		seen += len(got.Extents)
		for _, e := range got.Extents {
			offset += e.Length
		}
	}
	if seen != int(segments)+1 {
		t.Errorf("%d extents seen", seen)
	}

	begun, err = b.client.BeginUpload(ctx, &pb.BeginUploadRequest{Bucket: "bucket", Key: component("aborted")})
	must(t, err)
	size, segments = 0, 0
	_, err = b.client.AddSegments(ctx, add())
	must(t, err)
	_, err = b.client.AbortUpload(ctx, &pb.AbortUploadRequest{Upload: begun.Upload})
	must(t, err)
	if entries := b.journal(1); entries[len(entries)-1].Kind != pb.EntryKind_ENTRY_KIND_TOMBSTONE {
		t.Error("an aborted upload leaves no tombstones")
	}
}

// TestEpochs commits what was put to a group before its holders changed.
func TestEpochs(t *testing.T) {
	b := newServedBench(t)
	b.createBucket()
	ctx := context.Background()
	first, err := b.nodes.get(1)
	must(t, err)
	kept := b.commit("kept", 1)
	lost := b.commit("lost", 1)
	second := b.replaceHolders(first, 2)
	_, err = b.client.CommitObject(ctx, kept)
	must(t, err)
	entries := b.journal(1)
	wantSame(t, "held", entries[len(entries)-1].Held, []byte{0xfc, 0})

	// A repeat is the same commit, whatever the epoch.
	b.replaceHolders(second, 2)
	_, err = b.client.CommitObject(ctx, kept)
	must(t, err)
	third, err := b.nodes.get(1)
	must(t, err)
	b.replaceHolders(third, 3) // 5 of the first 8 holders are left
	_, err = b.client.CommitObject(ctx, lost)
	wantError(t, "too few holders left", err, satclient.ErrReceipts)
	if n := len(b.journal(1)); n != 1 {
		t.Errorf("journal has %d entries, want 1", n)
	}
	future := b.commit("future", 1)
	future.Segments[0].Epoch += 1
	_, err = b.client.CommitObject(ctx, future)
	wantError(t, "an epoch to come", err, satclient.ErrBadRequest)
}

// TestEpochRace: an epoch that goes on between judging and writing is judged
// again.
func TestEpochRace(t *testing.T) {
	b := newBench(t)
	ctx := context.Background()
	_, err := b.meta.CreateBucket(ctx, b.project.Number, "bucket")
	must(t, err)
	g, err := b.nodes.get(1)
	must(t, err)
	segments := []*pb.Segment{b.segment(g, 8)}
	tries := 0
	err = b.service.verifier.commit(ctx, segments, func(judged []meta.NewSegment) error {
		if tries++; tries == 1 {
			b.replaceHolders(g, 1)
		}
		_, err := b.meta.Commit(ctx, meta.CommitRequest{
			Project: b.project.Number, Bucket: "bucket", Key: component("x"), Segments: judged, Size: 5,
			Extents: []meta.Extent{{Segment: judged[0].ID, Length: 5}},
		})
		return err
	})
	if err != nil || tries != 2 {
		t.Errorf("committed after %d tries, %v", tries, err)
	}
	wantSame(t, "held", b.journal(1)[0].Held, []byte{0xfe, 0})
}

func TestLeases(t *testing.T) {
	b := newServedBench(t)
	ctx := context.Background()
	for range 3 {
		b.newGroup()
	}
	res, err := b.client.Lease(ctx, &pb.LeaseRequest{Action: pb.Action_ACTION_GET, Groups: []uint32{3, 1, 3}})
	must(t, err)
	if len(res.Leases) != 2 {
		t.Errorf("%d leases for 2 groups", len(res.Leases))
	}
	for _, tt := range []struct {
		name string
		req  *pb.LeaseRequest
		want error
	}{
		{"no action", &pb.LeaseRequest{}, satclient.ErrBadRequest},
		{"unknown action", &pb.LeaseRequest{Action: 77}, satclient.ErrBadRequest},
		{"get without groups", &pb.LeaseRequest{Action: pb.Action_ACTION_GET}, satclient.ErrBadRequest},
		{"get of too many", &pb.LeaseRequest{Action: pb.Action_ACTION_GET, Groups: make([]uint32, maxLeases+1)}, satclient.ErrBadRequest},
		{"get of no group", &pb.LeaseRequest{Action: pb.Action_ACTION_GET, Groups: []uint32{1, 99}}, satclient.ErrGroupNotFound},
		{"put of a chosen group", &pb.LeaseRequest{Action: pb.Action_ACTION_PUT, Groups: []uint32{1}}, satclient.ErrBadRequest},
		{"put excluding too many", &pb.LeaseRequest{Action: pb.Action_ACTION_PUT, Exclude: make([]uint32, maxExclude+1)}, satclient.ErrBadRequest},
		{"put with no group left", &pb.LeaseRequest{Action: pb.Action_ACTION_PUT, Exclude: []uint32{1}}, satclient.ErrTooFewNodes},
	} {
		_, err := b.client.Lease(ctx, tt.req)
		wantError(t, tt.name, err, tt.want)
	}
}

// TestRefusing: in trouble, all that writes is refused and reading goes on.
func TestRefusing(t *testing.T) {
	b := newServedBench(t)
	b.createBucket()
	ctx := context.Background()
	req := b.commit("object", 1)
	_, err := b.client.CommitObject(ctx, req)
	must(t, err)
	b.refuse = fmt.Errorf("%w: for a test", satclient.ErrRefusing)
	upload := make([]byte, 16)
	for name, err := range map[string]error{
		"CreateBucket":  second(b.client.CreateBucket(ctx, &pb.CreateBucketRequest{Name: "other"})),
		"DeleteBucket":  second(b.client.DeleteBucket(ctx, &pb.DeleteBucketRequest{Name: "bucket"})),
		"Lease":         second(b.client.Lease(ctx, &pb.LeaseRequest{Action: pb.Action_ACTION_PUT})),
		"BeginUpload":   second(b.client.BeginUpload(ctx, &pb.BeginUploadRequest{Bucket: "bucket", Key: req.Key})),
		"AddSegments":   second(b.client.AddSegments(ctx, &pb.AddSegmentsRequest{Upload: upload})),
		"AbortUpload":   second(b.client.AbortUpload(ctx, &pb.AbortUploadRequest{Upload: upload})),
		"CommitObject":  second(b.client.CommitObject(ctx, b.commit("other", 1))),
		"CommitObjects": second(b.client.CommitObjects(ctx, b.pack("other"))),
		"DeleteObjects": second(b.client.DeleteObjects(ctx, &pb.DeleteObjectsRequest{Bucket: "bucket", Keys: [][]byte{req.Key}})),
		"CopyObject":    second(b.client.CopyObject(ctx, &pb.CopyObjectRequest{Bucket: "bucket", Key: req.Key, ToBucket: "bucket", ToKey: component("x")})),
	} {
		wantError(t, name, err, satclient.ErrRefusing)
		if err != nil && err.Error() != b.refuse.Error() {
			t.Errorf("%s says %q, want %q", name, err, b.refuse)
		}
	}
	for name, err := range map[string]error{
		"ListBuckets": second(b.client.ListBuckets(ctx, &pb.ListBucketsRequest{})),
		"Lease":       second(b.client.Lease(ctx, &pb.LeaseRequest{Action: pb.Action_ACTION_GET, Groups: []uint32{1}})),
		"GetObject":   second(b.client.GetObject(ctx, &pb.GetObjectRequest{Bucket: "bucket", Key: req.Key})),
		"ListObjects": second(b.client.ListObjects(ctx, &pb.ListObjectsRequest{Bucket: "bucket"})),
	} {
		wantError(t, name, err, nil)
	}
}

func second[T any](_ T, err error) error { return err }

// TestUnreachable: a satellite that is not there is told so, and soon.
func TestUnreachable(t *testing.T) {
	b := newServedBench(t)
	address, err := transport.JoinAddress(b.key.ID(), b.host.Addresses())
	must(t, err)
	must(t, b.host.Close())
	client, err := satclient.New(b.uplink, address, satclient.Options{APIKey: b.apiKey, Patience: -1})
	must(t, err)
	defer client.Close()
	_, err = client.ListBuckets(context.Background(), &pb.ListBucketsRequest{})
	wantError(t, "a call", err, satclient.ErrUnavailable)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = client.ListBuckets(ctx, &pb.ListBucketsRequest{})
	wantError(t, "a cancelled call", err, context.Canceled)
}
