package satellite

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// pack is a commit of objects of 100 bytes each that lie in one segment.
func (b *bench) pack(keys ...string) *pb.CommitObjectsRequest {
	b.t.Helper()
	g, err := b.nodes.get(1)
	must(b.t, err)
	s := b.segment(g, testScheme.Success)
	req := &pb.CommitObjectsRequest{Nonce: make([]byte, 16), Segments: []*pb.Segment{s}}
	rand.Read(req.Nonce)
	for i, key := range keys {
		req.Objects = append(req.Objects, &pb.NewObject{
			Bucket: "bucket", Key: component(key), Size: 100, SealedMetadata: []byte("sealed " + key),
			Extents: []*pb.Extent{{Segment: s.Id, Offset: uint64(200 * i), Length: 100}},
		})
	}
	return req
}

func (b *bench) delete(keys ...string) {
	b.t.Helper()
	req := &pb.DeleteObjectsRequest{Bucket: "bucket"}
	for _, key := range keys {
		req.Keys = append(req.Keys, component(key))
	}
	res, err := b.client.DeleteObjects(context.Background(), req)
	must(b.t, err)
	for i, found := range res.Found {
		if !found {
			b.t.Errorf("%s was not there", keys[i])
		}
	}
}

// live is how many segments of group 1 count.
func (b *bench) live() int {
	b.t.Helper()
	must(b.t, b.meta.Check(context.Background()))
	journals, err := b.meta.Journals(context.Background(), []uint32{1})
	must(b.t, err)
	return int(journals[1].Segments)
}

// TestSharedSegment has objects share a segment, which goes with the last of
// them and of their copies, whichever that is.
func TestSharedSegment(t *testing.T) {
	ctx := context.Background()
	for _, order := range [][]string{{"a", "b", "copy"}, {"copy", "b", "a"}, {"b", "copy", "a"}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			b := newServedBench(t)
			b.createBucket()
			req := b.pack("a", "b")
			made, err := b.client.CommitObjects(ctx, req)
			must(t, err)
			again, err := b.client.CommitObjects(ctx, req)
			if err != nil || !proto.Equal(again, made) {
				t.Errorf("the same commit again = %v, %v, want %v", again, err, made)
			}
			other := proto.CloneOf(req)
			other.Objects[1].SealedMetadata = []byte("other")
			_, err = b.client.CommitObjects(ctx, other)
			wantError(t, "another commit of the same nonce", err, satclient.ErrBadRequest)

			got, err := b.client.GetObject(ctx, &pb.GetObjectRequest{Bucket: "bucket", Key: component("b")})
			must(t, err)
			if !bytes.Equal(got.Object.Version, made.Objects[1].Version) || got.Object.Created != made.Objects[1].Created ||
				len(got.Extents) != 1 || !proto.Equal(got.Extents[0], req.Objects[1].Extents[0]) {
				t.Errorf("GetObject = %v", got)
			}
			_, err = b.client.CopyObject(ctx, &pb.CopyObjectRequest{
				Bucket: "bucket", Key: component("a"), ToBucket: "bucket", ToKey: component("copy"), SealedMetadata: []byte("new"),
			})
			must(t, err)
			for i, key := range order {
				if got := b.live(); got != 1 {
					t.Errorf("%d segments count with %d objects left, want 1", got, len(order)-i)
				}
				b.delete(key)
			}
			if got := b.live(); got != 0 {
				t.Errorf("%d segments count after the last object is gone", got)
			}
		})
	}
}

// TestOutcomes commits objects of which some cannot be made.
func TestOutcomes(t *testing.T) {
	b := newServedBench(t)
	b.createBucket()
	ctx := context.Background()
	first, err := b.client.CommitObjects(ctx, b.pack("there"))
	must(t, err)
	stale := bytes.Clone(first.Objects[0].Version)
	stale[7] ^= 1

	req := b.pack("a", "b", "there", "there", "there", "c", "a")
	req.Objects[1].Bucket = "nowhere"
	req.Objects[2].IfAbsent = true
	req.Objects[3].IfVersion = stale
	req.Objects[4].IfVersion = first.Objects[0].Version
	req.Objects[5].IfVersion = stale
	req.Objects[6].IfAbsent = true
	res, err := b.client.CommitObjects(ctx, req)
	must(t, err)
	again, err := b.client.CommitObjects(ctx, req)
	if err != nil || !proto.Equal(again, res) {
		t.Errorf("the same commit again = %v, %v, want %v", again, err, res)
	}
	for i, want := range []error{
		nil, satclient.ErrBucketNotFound, satclient.ErrObjectExists, satclient.ErrChanged, nil, satclient.ErrObjectNotFound, satclient.ErrObjectExists,
	} {
		if got := satclient.Outcome(res.Objects[i]); got != want {
			t.Errorf("object %d: %v, want %v", i, got, want)
		}
	}
	if got := b.live(); got != 1 { // what was replaced has no segment any more
		t.Errorf("%d segments count, want 1", got)
	}
	// A segment that no object needs is not entered.
	req = b.pack("a")
	req.Objects[0].IfAbsent = true
	if res, err = b.client.CommitObjects(ctx, req); err != nil || satclient.Outcome(res.Objects[0]) != satclient.ErrObjectExists {
		t.Errorf("CommitObjects = %v, %v", res, err)
	}
	if got := b.live(); got != 1 {
		t.Errorf("%d segments count, want 1", got)
	}
}

// TestHostilePacks spoils a good commit of several objects; none may leave
// anything.
func TestHostilePacks(t *testing.T) {
	b := newServedBench(t)
	b.createBucket()
	ctx := context.Background()
	for _, c := range []struct {
		name string
		want error
		do   func(*pb.CommitObjectsRequest)
	}{
		{"no nonce", satclient.ErrBadRequest, func(r *pb.CommitObjectsRequest) { r.Nonce = nil }},
		{"short nonce", satclient.ErrBadRequest, func(r *pb.CommitObjectsRequest) { r.Nonce = r.Nonce[1:] }},
		{"too few receipts", satclient.ErrReceipts, func(r *pb.CommitObjectsRequest) { r.Segments[0].Receipts = r.Segments[0].Receipts[1:] }},
		{"segment that nothing refers to", satclient.ErrBadRequest, func(r *pb.CommitObjectsRequest) {
			r.Objects = r.Objects[:1]
			r.Objects[0].Extents, r.Objects[0].Size = nil, 0
		}},
		{"segment that is not there", satclient.ErrBadRequest, func(r *pb.CommitObjectsRequest) { r.Segments = nil }},
		{"extent beyond the end", satclient.ErrBadRequest, func(r *pb.CommitObjectsRequest) { r.Objects[1].Extents[0].Offset = segmentSize - 99 }},
		{"other size", satclient.ErrBadRequest, func(r *pb.CommitObjectsRequest) { r.Objects[1].Size++ }},
		{"inline, too", satclient.ErrBadRequest, func(r *pb.CommitObjectsRequest) { r.Objects[1].Inline = []byte("x") }},
		{"metadata too long", satclient.ErrBadRequest, func(r *pb.CommitObjectsRequest) {
			r.Objects[1].SealedMetadata = make([]byte, meta.MaxSealedMetadata+1)
		}},
		{"odd key", satclient.ErrBadRequest, func(r *pb.CommitObjectsRequest) { r.Objects[1].Key = []byte{5} }},
		{"odd version", satclient.ErrBadRequest, func(r *pb.CommitObjectsRequest) { r.Objects[1].IfVersion = []byte{5} }},
		{"odd extent", satclient.ErrBadRequest, func(r *pb.CommitObjectsRequest) { r.Objects[1].Extents[0].Segment = nil }},
		{"too many objects", satclient.ErrBadRequest, func(r *pb.CommitObjectsRequest) {
			for len(r.Objects) <= meta.MaxCommit {
				r.Objects = append(r.Objects, r.Objects[0])
			}
		}},
		{"too many extents", satclient.ErrBadRequest, func(r *pb.CommitObjectsRequest) {
			many := proto.CloneOf(r.Objects[0])
			for len(many.Extents) < meta.MaxAdd {
				many.Extents, many.Size = append(many.Extents, many.Extents[0]), many.Size+100
			}
			for range 33 {
				r.Objects = append(r.Objects, many)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.t = t
			req := b.pack("a", "b")
			c.do(req)
			_, err := b.client.CommitObjects(ctx, req)
			wantError(t, c.name, err, c.want)
			if got := b.live(); got != 0 {
				t.Errorf("%d segments count", got)
			}
		})
	}
}
