package satellite

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"gopkg.in/macaroon.v2"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// TestAPIKeys shows the service keys that open nothing.
func TestAPIKeys(t *testing.T) {
	b := newServedBench(t)
	ctx := context.Background()
	list := func(key []byte) error {
		return second(b.newClient(key).ListBuckets(ctx, &pb.ListBucketsRequest{}))
	}
	wantError(t, "the right key", list(b.apiKey), nil)
	wrong := b.project
	wrong.Secret[0] ^= 1
	otherSecret, err := newAPIKey(&wrong, rand.Reader)
	must(t, err)
	wrong = b.project
	wrong.ID[0] ^= 1
	otherProject, err := newAPIKey(&wrong, rand.Reader)
	must(t, err)
	for name, key := range map[string][]byte{
		"none":            nil,
		"garbage":         []byte("garbage"),
		"zeros":           make([]byte, 100),
		"long":            make([]byte, maxAPIKey+1),
		"other secret":    otherSecret,
		"other project":   otherProject,
		"unknown caveat":  b.derivedKey(func(m *macaroon.Macaroon) error { return m.AddFirstPartyCaveat([]byte("only on Sundays")) }),
		"empty caveat":    b.derivedKey(func(m *macaroon.Macaroon) error { return m.AddFirstPartyCaveat(nil) }),
		"third party":     b.derivedKey(func(m *macaroon.Macaroon) error { return m.AddThirdPartyCaveat([]byte("key"), []byte("id"), "there") }),
		"short id":        newMacaroon(t, b.project.Secret[:], b.project.ID[:], macaroon.V2),
		"old format":      newMacaroon(t, b.project.Secret[:], bytes.Repeat([]byte("a"), 32), macaroon.V1),
		"two in one":      append(bytes.Clone(b.apiKey), b.apiKey...),
		"something after": append(bytes.Clone(b.apiKey), 0),
	} {
		err := list(key)
		wantError(t, name, err, satclient.ErrDenied)
		if err != nil && bytes.Contains([]byte(err.Error()), b.project.Secret[:4]) {
			t.Errorf("%s: the error shows the secret", name)
		}
	}
	for i := range b.apiKey {
		wantError(t, "a key cut off", list(b.apiKey[:i]), satclient.ErrDenied)
		flipped := bytes.Clone(b.apiKey)
		flipped[i] ^= 4
		wantError(t, "a key with a flipped bit", list(flipped), satclient.ErrDenied)
	}
	twice := metadata.AppendToOutgoingContext(ctx, satclient.APIKeyHeader, string(b.apiKey))
	_, err = b.client.ListBuckets(twice, &pb.ListBucketsRequest{})
	wantError(t, "two keys", err, satclient.ErrDenied)
}

func (b *bench) derivedKey(change func(*macaroon.Macaroon) error) []byte {
	b.t.Helper()
	var m macaroon.Macaroon
	must(b.t, m.UnmarshalBinary(b.apiKey))
	must(b.t, change(&m))
	key, err := m.MarshalBinary()
	must(b.t, err)
	return key
}

func newMacaroon(t testing.TB, secret, id []byte, v macaroon.Version) []byte {
	t.Helper()
	m, err := macaroon.New(secret, id, "", v)
	must(t, err)
	key, err := m.MarshalBinary()
	must(t, err)
	return key
}

// TestEveryCallNeedsAKey calls every method there is.
func TestEveryCallNeedsAKey(t *testing.T) {
	b := newBench(t)
	for _, method := range pb.Metadata_ServiceDesc.Methods {
		_, err := method.Handler(b.service, context.Background(), func(any) error { return nil }, nil)
		wantError(t, method.MethodName, err, satclient.ErrDenied)
	}
}

// change is one way to spoil a commit of one segment.
type change struct {
	name string
	do   func(b *bench, req *pb.CommitObjectRequest)
	want error
}

// hostileReceipt replaces the receipt of slot 0 by another that its node, or
// whoever the change names, has signed.
func hostileReceipt(do func(*order.Receipt)) func(*bench, *pb.CommitObjectRequest) {
	return func(b *bench, req *pb.CommitObjectRequest) {
		g, err := b.nodes.get(1)
		must(b.t, err)
		r := b.receipt(g, 0, req.Segments[0])
		do(&r)
		req.Segments[0].Receipts[0] = b.sign(r)
	}
}

func receiptChanges() []change {
	in := func(name string, do func(s *pb.Segment)) change {
		return change{name, func(_ *bench, req *pb.CommitObjectRequest) { do(req.Segments[0]) }, satclient.ErrReceipts}
	}
	say := func(name string, do func(*order.Receipt)) change {
		return change{name, hostileReceipt(do), satclient.ErrReceipts}
	}
	return []change{
		in("no receipts", func(s *pb.Segment) { s.Receipts = nil }),
		in("one too few", func(s *pb.Segment) { s.Receipts = s.Receipts[1:] }),
		in("one twice", func(s *pb.Segment) { s.Receipts[1] = s.Receipts[0] }),
		in("one twice beyond success", func(s *pb.Segment) { s.Receipts = append(s.Receipts, s.Receipts[0]) }),
		in("very many", func(s *pb.Segment) {
			for len(s.Receipts) < 5000 {
				s.Receipts = append(s.Receipts, s.Receipts[0])
			}
		}),
		in("an empty one", func(s *pb.Segment) { s.Receipts[3] = &pb.Signed{} }),
		in("no signature", func(s *pb.Segment) { s.Receipts[3].Signature = nil }),
		in("signature cut", func(s *pb.Segment) { s.Receipts[3].Signature = s.Receipts[3].Signature[:63] }),
		in("signature flipped", func(s *pb.Segment) { s.Receipts[3].Signature[9] ^= 1 }),
		in("signature of another", func(s *pb.Segment) { s.Receipts[3].Signature = s.Receipts[4].Signature }),
		in("body flipped", func(s *pb.Segment) { s.Receipts[3].Body[50] ^= 1 }),
		in("body of another", func(s *pb.Segment) { s.Receipts[3].Body = s.Receipts[4].Body }),
		in("body too long", func(s *pb.Segment) { s.Receipts[3].Body = make([]byte, order.MaxBody+1) }),
		in("other root", func(s *pb.Segment) { s.Root[0] ^= 1 }),
		in("other size", func(s *pb.Segment) { s.Size += 256 }),
		in("other segment", func(s *pb.Segment) { s.Id[0] ^= 1 }),
		{"of a stranger", hostileReceipt(func(r *order.Receipt) {}), nil}, // the honest one, to know that the rest fails for cause
		{"of a node outside", func(b *bench, req *pb.CommitObjectRequest) {
			g, err := b.nodes.get(1)
			must(b.t, err)
			r := b.receipt(g, 0, req.Segments[0])
			r.Node = b.newNode()
			req.Segments[0].Receipts[0] = b.sign(r)
		}, satclient.ErrReceipts},
		say("for another's slot", func(r *order.Receipt) { r.Slot = 9 }),
		say("for a slot there is not", func(r *order.Receipt) { r.Slot = 200 }),
		say("for another group", func(r *order.Receipt) { r.Group = 2 }),
		say("for another epoch", func(r *order.Receipt) { r.Epoch = 2 }),
		say("for another segment", func(r *order.Receipt) { r.Segment[0] ^= 1 }),
		say("for another root", func(r *order.Receipt) { r.Root = merkle.Hash{} }),
		say("for another size", func(r *order.Receipt) { r.Size += 256 }),
		say("too old", func(r *order.Receipt) { r.Stored = r.Stored.Add(-13 * time.Hour) }),
		say("from the future", func(r *order.Receipt) { r.Stored = r.Stored.Add(order.Skew + time.Second) }),
	}
}

func requestChanges() []change {
	bad := func(name string, do func(*pb.CommitObjectRequest)) change {
		return change{name, func(_ *bench, req *pb.CommitObjectRequest) { do(req) }, satclient.ErrBadRequest}
	}
	return []change{
		bad("no nonce", func(r *pb.CommitObjectRequest) { r.Nonce = nil }),
		bad("short nonce", func(r *pb.CommitObjectRequest) { r.Nonce = r.Nonce[1:] }),
		bad("no key", func(r *pb.CommitObjectRequest) { r.Key = nil }),
		bad("key badly framed", func(r *pb.CommitObjectRequest) { r.Key = []byte{9, 'a'} }),
		bad("key too long", func(r *pb.CommitObjectRequest) { r.Key = bytes.Repeat(component("abc"), 1100) }),
		bad("segment id short", func(r *pb.CommitObjectRequest) { r.Segments[0].Id = r.Segments[0].Id[1:] }),
		bad("segment id zero", func(r *pb.CommitObjectRequest) { r.Segments[0].Id = make([]byte, 16) }),
		bad("root short", func(r *pb.CommitObjectRequest) { r.Segments[0].Root = r.Segments[0].Root[1:] }),
		bad("size 0", func(r *pb.CommitObjectRequest) { r.Segments[0].Size = 0 }),
		bad("size of no layout", func(r *pb.CommitObjectRequest) { r.Segments[0].Size++ }),
		bad("size too large", func(r *pb.CommitObjectRequest) { r.Segments[0].Size = erasure.MaxSegment + 256 }),
		bad("size negative", func(r *pb.CommitObjectRequest) { r.Segments[0].Size = 1 << 63 }),
		bad("epoch to come", func(r *pb.CommitObjectRequest) { r.Segments[0].Epoch = 2 }),
		bad("no extents", func(r *pb.CommitObjectRequest) { r.Extents = nil }),
		bad("extent of nothing", func(r *pb.CommitObjectRequest) { r.Extents[0].Length = 0 }),
		bad("extent too long", func(r *pb.CommitObjectRequest) { r.Extents[0].Length, r.Size = segmentSize+1, segmentSize+1 }),
		bad("extent overflowing", func(r *pb.CommitObjectRequest) { r.Extents[0].Offset = 1<<64 - 10 }),
		bad("extent of an unknown segment", func(r *pb.CommitObjectRequest) {
			r.Extents = append(r.Extents, &pb.Extent{Segment: bytes.Repeat([]byte{1}, 16), Length: 1})
			r.Size++
		}),
		bad("extent of no segment", func(r *pb.CommitObjectRequest) { r.Extents[0].Segment = nil }),
		bad("very many extents", func(r *pb.CommitObjectRequest) {
			for len(r.Extents) <= meta.MaxAdd {
				r.Extents = append(r.Extents, r.Extents[0])
			}
		}),
		bad("very many segments", func(r *pb.CommitObjectRequest) {
			for len(r.Segments) <= meta.MaxAdd {
				r.Segments = append(r.Segments, r.Segments[0])
			}
		}),
		bad("other size", func(r *pb.CommitObjectRequest) { r.Size++ }),
		bad("inline, too", func(r *pb.CommitObjectRequest) { r.Inline = []byte("x") }),
		bad("inline too long", func(r *pb.CommitObjectRequest) {
			r.Segments, r.Extents, r.Inline = nil, nil, make([]byte, meta.MaxInline+1)
		}),
		bad("metadata too long", func(r *pb.CommitObjectRequest) { r.SealedMetadata = make([]byte, meta.MaxSealedMetadata+1) }),
		bad("odd upload", func(r *pb.CommitObjectRequest) { r.Upload = []byte{1} }),
		bad("larger than any message", func(r *pb.CommitObjectRequest) { r.Inline = make([]byte, satclient.MaxMessage) }),
		{"no such upload", func(_ *bench, r *pb.CommitObjectRequest) { r.Upload = bytes.Repeat([]byte{1}, 16) }, satclient.ErrUploadNotFound},
		{"no such bucket", func(_ *bench, r *pb.CommitObjectRequest) { r.Bucket = "other" }, satclient.ErrBucketNotFound},
		{"bucket of any name", func(_ *bench, r *pb.CommitObjectRequest) { r.Bucket = "\x00/../%s" }, satclient.ErrBucketNotFound},
		{"no such group", func(_ *bench, r *pb.CommitObjectRequest) { r.Segments[0].Group = 99 }, satclient.ErrGroupNotFound},
		bad("epoch 0", func(r *pb.CommitObjectRequest) { r.Segments[0].Epoch = 0 }),
	}
}

// TestHostileCommits spoils a good commit in every way it can be spoilt; none
// may leave anything.
func TestHostileCommits(t *testing.T) {
	b := newServedBench(t)
	b.createBucket()
	ctx := context.Background()
	for _, c := range append(receiptChanges(), requestChanges()...) {
		t.Run(c.name, func(t *testing.T) {
			b.t = t
			before := len(b.journal(1))
			req := b.commit("object", 1)
			c.do(b, req)
			_, err := b.client.CommitObject(ctx, req)
			wantError(t, c.name, err, c.want)
			if err == nil {
				return
			}
			if got := len(b.journal(1)); got != before {
				t.Errorf("the journal grew from %d to %d entries", before, got)
			}
			// The same through an upload.
			if len(req.Segments) == 0 || c.want != satclient.ErrReceipts {
				return
			}
			begun, err := b.client.BeginUpload(ctx, &pb.BeginUploadRequest{Bucket: "bucket", Key: req.Key})
			must(t, err)
			_, err = b.client.AddSegments(ctx, &pb.AddSegmentsRequest{Upload: begun.Upload, Segments: req.Segments, Extents: req.Extents})
			wantError(t, "AddSegments", err, c.want)
			if got := len(b.journal(1)); got != before {
				t.Errorf("AddSegments made the journal grow from %d to %d entries", before, got)
			}
		})
	}
	b.t = t
}

// TestSegmentOfAnother: an extent may not reach into another project's segment.
func TestSegmentOfAnother(t *testing.T) {
	b := newServedBench(t)
	b.createBucket()
	ctx := context.Background()
	req := b.commit("object", 1)
	_, err := b.client.CommitObject(ctx, req)
	must(t, err)
	_, otherKey := b.newProject("second")
	other := b.newClient(otherKey)
	_, err = other.CreateBucket(ctx, &pb.CreateBucketRequest{Name: "bucket"})
	must(t, err)
	theft := proto.CloneOf(req)
	theft.Segments = nil
	_, err = other.CommitObject(ctx, theft)
	wantError(t, "an extent of another project's segment", err, satclient.ErrBadRequest)
	theft.Segments = req.Segments
	_, err = other.CommitObject(ctx, theft)
	wantError(t, "another project's segment as one's own", err, satclient.ErrBadRequest)
}

func TestOtherHostileCalls(t *testing.T) {
	b := newServedBench(t)
	b.createBucket()
	ctx := context.Background()
	long := bytes.Repeat([]byte{1, 'a'}, 3000)
	keys := make([][]byte, meta.MaxDelete)
	for i := range keys {
		keys[i] = append(bytes.Repeat([]byte{1, 'a'}, meta.MaxKey/2-1), 1, byte(i))
	}
	_, err := b.client.DeleteObjects(ctx, &pb.DeleteObjectsRequest{Bucket: "bucket", Keys: keys})
	wantError(t, "1,000 of the longest keys", err, nil)
	for name, err := range map[string]error{
		"DeleteObjects of 1,001":        second(b.client.DeleteObjects(ctx, &pb.DeleteObjectsRequest{Bucket: "bucket", Keys: make([][]byte, 1001)})),
		"DeleteObjects, versions":       second(b.client.DeleteObjects(ctx, &pb.DeleteObjectsRequest{Bucket: "bucket", Keys: [][]byte{component("x")}, Versions: make([][]byte, 2)})),
		"DeleteObjects, a version":      second(b.client.DeleteObjects(ctx, &pb.DeleteObjectsRequest{Bucket: "bucket", Keys: [][]byte{component("x")}, Versions: [][]byte{{1}}})),
		"DeleteObjects, 1,001 versions": second(b.client.DeleteObjects(ctx, &pb.DeleteObjectsRequest{Bucket: "bucket", Keys: [][]byte{component("x")}, Versions: make([][]byte, 1001)})),
		"DeleteObjects of no key":       second(b.client.DeleteObjects(ctx, &pb.DeleteObjectsRequest{Bucket: "bucket", Keys: [][]byte{nil}})),
		"GetObject, long key":           second(b.client.GetObject(ctx, &pb.GetObjectRequest{Bucket: "bucket", Key: long})),
		"GetObject, odd version":        second(b.client.GetObject(ctx, &pb.GetObjectRequest{Bucket: "bucket", Key: component("x"), Version: []byte{1}})),
		"ListObjects, prefix":           second(b.client.ListObjects(ctx, &pb.ListObjectsRequest{Bucket: "bucket", Prefix: long})),
		"ListObjects, after":            second(b.client.ListObjects(ctx, &pb.ListObjectsRequest{Bucket: "bucket", After: long})),
		"ListObjects, odd prefix":       second(b.client.ListObjects(ctx, &pb.ListObjectsRequest{Bucket: "bucket", Prefix: []byte{5}})),
		"ListBuckets, after":            second(b.client.ListBuckets(ctx, &pb.ListBucketsRequest{After: string(long)})),
		"CopyObject, odd version":       second(b.client.CopyObject(ctx, &pb.CopyObjectRequest{Bucket: "bucket", Key: component("x"), ToBucket: "bucket", ToKey: component("y"), Version: []byte{1}})),
		"AbortUpload of none":           second(b.client.AbortUpload(ctx, &pb.AbortUploadRequest{})),
		"AddSegments to none":           second(b.client.AddSegments(ctx, &pb.AddSegmentsRequest{})),
		"BeginUpload without key":       second(b.client.BeginUpload(ctx, &pb.BeginUploadRequest{Bucket: "bucket"})),
		"a message too large":           second(b.client.ListBuckets(ctx, &pb.ListBucketsRequest{After: string(make([]byte, satclient.MaxMessage+1))})),
	} {
		wantError(t, name, err, satclient.ErrBadRequest)
	}
}

// TestAnswer: what is not the caller's business stays in the log.
func TestAnswer(t *testing.T) {
	var log bytes.Buffer
	intercept := answer(slog.New(slog.NewTextHandler(&log, nil)))
	call := func(handle grpc.UnaryHandler) error {
		_, err := intercept(context.Background(), nil, &grpc.UnaryServerInfo{FullMethod: "/m"}, handle)
		return satclient.FromStatus(err)
	}
	err := call(func(context.Context, any) (any, error) { return nil, errors.New("disk /dev/secret failed") })
	wantError(t, "an unknown error", err, satclient.ErrInternal)
	if strings.Contains(err.Error(), "secret") || !strings.Contains(log.String(), "secret") {
		t.Errorf("caller is told %q, log says %q", err, log.String())
	}
	log.Reset()
	err = call(func(context.Context, any) (any, error) { panic("secret") })
	wantError(t, "a panic", err, satclient.ErrInternal)
	if strings.Contains(err.Error(), "secret") || !strings.Contains(log.String(), "metadata_hostile_test.go") {
		t.Errorf("caller is told %q, log says %q", err, log.String())
	}
	for _, f := range faults {
		err := call(func(context.Context, any) (any, error) { return nil, f.from })
		wantError(t, f.from.Error(), err, f.to)
	}
	for _, want := range []error{context.Canceled, context.DeadlineExceeded} {
		wantError(t, want.Error(), call(func(context.Context, any) (any, error) { return nil, want }), want)
	}
}

// FuzzMetadata gives every method arbitrary messages.
func FuzzMetadata(f *testing.F) {
	b := newBench(f)
	ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs(satclient.APIKeyHeader, string(b.apiKey)))
	_, err := b.meta.CreateBucket(ctx, b.project.Number, "bucket")
	must(f, err)
	good, err := proto.Marshal(b.commit("object", 2))
	must(f, err)
	methods := pb.Metadata_ServiceDesc.Methods
	for i := range methods {
		f.Add(uint8(i), good)
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		method := methods[int(which)%len(methods)]
		_, err := method.Handler(b.service, ctx, func(req any) error {
			if proto.Unmarshal(body, req.(proto.Message)) != nil {
				t.Skip()
			}
			return nil
		}, nil)
		if err := fault(err); err != nil && !satclient.Known(err) {
			t.Errorf("%s: %v", method.MethodName, err)
		}
	})
}

func FuzzAPIKey(f *testing.F) {
	b := newBench(f)
	f.Add(b.apiKey)
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, key []byte) {
		m, _, err := parseAPIKey(key)
		if err == nil {
			err = checkAPIKey(m, &b.project)
		}
		if err == nil && !bytes.Equal(key, b.apiKey) {
			t.Errorf("%x is accepted", key)
		}
		if err != nil && !errors.Is(err, satclient.ErrDenied) {
			t.Error(err)
		}
	})
}
