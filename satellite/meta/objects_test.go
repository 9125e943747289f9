package meta

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/memkv"
)

// TestLongObject reads every range of an object whose extents are in pages.
func TestLongObject(t *testing.T) {
	r := memRig(t)
	o := r.upload(20, key("long"))
	whole, err := r.Get(r.ctx, GetRequest{Project: r.project, Bucket: "bucket", Key: o.Key})
	r.must(err)
	if len(whole.Extents) != 20 || whole.Segments != 20 || len(whole.Places) != 20 {
		t.Fatalf("got %d extents and %d places", len(whole.Extents), len(whole.Places))
	}
	for offset := uint64(0); offset < o.Size; offset += 7 {
		for _, limit := range []int{1, 4, 64} {
			got, err := r.Get(r.ctx, GetRequest{
				Project: r.project, Bucket: "bucket", Key: o.Key, Offset: offset, Length: 300, Limit: limit,
			})
			r.must(err)
			want, at := cover(whole.Extents, place{}, offset, min(offset+300, o.Size), limit)
			if !reflect.DeepEqual(got.Extents, want) || got.FirstOffset != at.offset || got.FirstIndex != at.index {
				t.Fatalf("range at %d, limit %d: got %+v, want %+v at %+v", offset, limit, got, want, at)
			}
		}
	}
	end, err := r.Get(r.ctx, GetRequest{Project: r.project, Bucket: "bucket", Key: o.Key, Offset: o.Size})
	r.must(err)
	if len(end.Extents) != 0 {
		t.Errorf("at the end there are %d extents", len(end.Extents))
	}
	r.wants(ignore(r.Get(r.ctx, GetRequest{Project: r.project, Bucket: "bucket", Key: o.Key, Offset: o.Size + 1})), ErrInvalid)
}

// TestCopiesShare makes copies of a long object and deletes them one by one:
// the segments go with the last.
func TestCopiesShare(t *testing.T) {
	r := memRig(t)
	o := r.upload(10, key("0"))
	for i := range 3 {
		_, err := r.Copy(r.ctx, CopyRequest{
			Project: r.project, Bucket: "bucket", Key: o.Key, ToBucket: "bucket", ToKey: key(fmt.Sprint(i + 1)),
			SealedMetadata: []byte{byte(i)},
		})
		r.must(err)
	}
	r.must(ignore(r.Copy(r.ctx, CopyRequest{ // onto itself, moved
		Project: r.project, Bucket: "bucket", Key: key("2"), ToBucket: "bucket", ToKey: key("2"),
		SealedMetadata: []byte("new"), Move: true,
	})))
	got, err := r.Get(r.ctx, GetRequest{Project: r.project, Bucket: "bucket", Key: key("2")})
	r.must(err)
	if string(got.SealedMetadata) != "new" || len(got.Extents) != 10 {
		t.Errorf("copy onto itself: %+v", got)
	}
	for i := range 4 {
		if len(r.live(1)) != 10 {
			t.Fatalf("%d segments live with %d objects left", len(r.live(1)), 4-i)
		}
		found, err := r.DeleteObjects(r.ctx, DeleteRequest{Project: r.project, Bucket: "bucket", Keys: [][]byte{key(fmt.Sprint(i)), key("none")}})
		r.must(err)
		if !found[0] || found[1] {
			t.Fatalf("found %v", found)
		}
		r.check()
	}
	if n := len(r.live(1)); n != 0 {
		t.Errorf("%d segments live with no object left", n)
	}
}

// TestDeleteVersion deletes an object only if it is the one that is meant.
func TestDeleteVersion(t *testing.T) {
	r := memRig(t)
	old, present := r.commit(1, "a"), r.commit(1, "a")
	other := r.commit(1, "b")
	request := func(versions ...Version) DeleteRequest {
		return DeleteRequest{Project: r.project, Bucket: "bucket", Keys: [][]byte{key("a"), key("b")}, Versions: versions}
	}
	r.wants(ignore(r.DeleteObjects(r.ctx, request(1))), ErrInvalid)
	r.wants(ignore(r.DeleteObjects(r.ctx, request(1, 2, 3))), ErrInvalid)
	for _, step := range []struct {
		versions []Version
		want     []bool
	}{
		{[]Version{old.Version, present.Version}, []bool{false, false}},
		{[]Version{present.Version + 1, 0}, []bool{false, true}},
		{[]Version{present.Version, other.Version}, []bool{true, false}},
	} {
		found, err := r.DeleteObjects(r.ctx, request(step.versions...))
		r.must(err)
		if !slices.Equal(found, step.want) {
			t.Errorf("versions %v: deleted %v, want %v", step.versions, found, step.want)
		}
		r.check()
	}
}

// TestLargeDeletions needs several transactions for each.
func TestLargeDeletions(t *testing.T) {
	r := memRig(t)
	const objects, each = 40, 120 // 4,800 extents
	fill := func() (keys [][]byte) {
		for i := range objects {
			keys = append(keys, r.commit(each, fmt.Sprintf("%03d", i)).Key)
		}
		return keys
	}
	found, err := r.DeleteObjects(r.ctx, DeleteRequest{Project: r.project, Bucket: "bucket", Keys: fill()})
	r.must(err)
	for i := range found {
		if !found[i] {
			t.Fatalf("object %d was not found", i)
		}
	}
	r.check()
	fill()
	calls, deleted := 0, 0
	for more := true; more; calls++ {
		var n int
		n, more, err = r.DeleteBucket(r.ctx, r.project, "bucket", true)
		r.must(err)
		deleted += n
		r.check()
	}
	if calls < 2 || deleted != objects {
		t.Errorf("%d objects deleted in %d calls", deleted, calls)
	}
	if len(r.live(1)) != 0 {
		t.Error("segments are left")
	}
}

// TestLongKeys deletes more bytes of keys than one transaction may have.
func TestLongKeys(t *testing.T) {
	r := memRig(t)
	const objects = kv.MaxTx/MaxKey + 100
	for i := range objects {
		r.put(key(string(bytes.Repeat([]byte{'x'}, MaxKey-20)), fmt.Sprintf("%08d", i)))
	}
	deleted := 0
	for more := true; more; {
		var n int
		var err error
		n, more, err = r.DeleteBucket(r.ctx, r.project, "bucket", true)
		r.must(err)
		deleted += n
	}
	if deleted != objects {
		t.Errorf("deleted %d of %d objects", deleted, objects)
	}
}

// TestLargeAbort takes a long upload apart in several transactions; from the
// first one on nobody can use it, and a restart goes on.
func TestLargeAbort(t *testing.T) {
	store := &flaky{Store: memkv.New(), left: -1}
	r := newRig(t, store)
	p, err := r.CreateProject(r.ctx, "demo", [16]byte{}, [16]byte{})
	r.must(err)
	r.project = p.Number
	r.must(ignore(r.CreateBucket(r.ctx, r.project, "bucket")))
	r.group(1)
	u, err := r.BeginUpload(r.ctx, r.project, "bucket", key("a"))
	r.must(err)
	for i := range 2 * batchWork / 100 {
		segments, extents := r.segments(1, 100)
		r.must(ignore(r.AddSegments(r.ctx, AddRequest{
			Project: r.project, Upload: u.ID, First: uint64(i) * 100, Segments: segments, Extents: extents,
		})))
	}
	store.left = 1
	r.wants(r.AbortUpload(r.ctx, r.project, u.ID), kv.ErrFull)
	store.left = -1
	r.wants(r.AbortUpload(r.ctx, r.project, u.ID), ErrUploadNotFound)
	r.wants(ignore(r.AddSegments(r.ctx, AddRequest{Project: r.project, Upload: u.ID})), ErrUploadNotFound)
	if n := len(r.live(1)); n == 0 || n >= 2*batchWork {
		t.Fatalf("%d segments live after the first step", n)
	}
	r.check()
	e, err := r.Expire(r.ctx)
	r.must(err)
	if e.Uploads != 1 || len(r.live(1)) != 0 {
		t.Errorf("expired %+v, %d segments live", e, len(r.live(1)))
	}
	r.check()
}

// flaky lets some more updates through and then none.
type flaky struct {
	kv.Store
	left int // negative: any number
}

func (f *flaky) Update(ctx context.Context, fn func(kv.Tx) error) error {
	if f.left == 0 {
		return kv.ErrFull
	}
	f.left--
	return f.Store.Update(ctx, fn)
}

// TestUploadsExpire moves the time of an upload on by adding to it.
func TestUploadsExpire(t *testing.T) {
	r := memRig(t)
	u, err := r.BeginUpload(r.ctx, r.project, "bucket", key("a"))
	r.must(err)
	if want := r.clock.Add(time.Hour); !u.Expires.Equal(want) {
		t.Fatalf("expires %v, want %v", u.Expires, want)
	}
	idle, err := r.BeginUpload(r.ctx, r.project, "bucket", key("a"))
	r.must(err)
	r.clock = r.clock.Add(50 * time.Minute)
	segments, extents := r.segments(1, 2)
	u, err = r.AddSegments(r.ctx, AddRequest{Project: r.project, Upload: u.ID, Segments: segments, Extents: extents})
	r.must(err)
	r.clock = r.clock.Add(11 * time.Minute)
	e, err := r.Expire(r.ctx)
	r.must(err)
	if e.Uploads != 1 {
		t.Fatalf("expired %+v, want the idle one", e)
	}
	r.wants(r.AbortUpload(r.ctx, r.project, idle.ID), ErrUploadNotFound)
	r.clock = r.clock.Add(50 * time.Minute)
	e, err = r.Expire(r.ctx)
	r.must(err)
	if e.Uploads != 1 || len(r.live(1)) != 0 {
		t.Fatalf("expired %+v, %d segments live", e, len(r.live(1)))
	}
	r.check()
	if n := r.count(kindExpiry) + r.count(kindUpload) + r.count(kindPage); n != 0 {
		t.Errorf("%d keys of uploads are left", n)
	}
}

func TestNoncesExpire(t *testing.T) {
	r := memRig(t)
	q := CommitRequest{
		Project: r.project, Bucket: "bucket", Key: key("a"), Inline: []byte("x"), Nonce: bytes.Repeat([]byte{1}, nonceLen),
	}
	first, err := r.Commit(r.ctx, q)
	r.must(err)
	r.clock = r.clock.Add(time.Minute)
	again, err := r.Commit(r.ctx, q)
	r.must(err)
	if !reflect.DeepEqual(first, again) {
		t.Errorf("repeat: %+v, want %+v", again, first)
	}
	other := q
	other.Key = key("b")
	r.wants(ignore(r.Commit(r.ctx, other)), ErrNonceReused)
	r.must(ignore(r.Expire(r.ctx)))
	if r.count(kindNonce) != 1 {
		t.Fatal("nonce was forgotten too early")
	}
	r.clock = r.clock.Add(2 * time.Minute)
	e, err := r.Expire(r.ctx)
	r.must(err)
	if e.Nonces != 1 || r.count(kindNonce) != 0 {
		t.Errorf("expired %+v, %d nonces left", e, r.count(kindNonce))
	}
	r.must(ignore(r.Commit(r.ctx, other)))
}

// TestRefusals walks the bounds of commits.
func TestRefusals(t *testing.T) {
	r := memRig(t)
	segments, extents := r.segments(1, 1)
	base := CommitRequest{
		Project: r.project, Bucket: "bucket", Key: key("a"),
		Segments: segments, Extents: extents, Size: extents[0].Length,
	}
	many, manyExtents := r.segments(1, MaxAdd+1)
	for name, change := range map[string]func(*CommitRequest){
		"no key":              func(q *CommitRequest) { q.Key = nil },
		"key not framed":      func(q *CommitRequest) { q.Key = []byte{5, 'a'} },
		"empty component":     func(q *CommitRequest) { q.Key = []byte{0} },
		"key too long":        func(q *CommitRequest) { q.Key = key(string(make([]byte, MaxKey))) },
		"size too small":      func(q *CommitRequest) { q.Size-- },
		"size too large":      func(q *CommitRequest) { q.Size++ },
		"inline and segments": func(q *CommitRequest) { q.Inline = []byte{1} },
		"inline too long":     func(q *CommitRequest) { q.Inline, q.Segments, q.Extents = make([]byte, MaxInline+1), nil, nil },
		"short nonce":         func(q *CommitRequest) { q.Nonce = []byte{1} },
		"metadata too long":   func(q *CommitRequest) { q.SealedMetadata = make([]byte, MaxSealedMetadata+1) },
		"zero extent":         func(q *CommitRequest) { q.Extents[0].Length, q.Size = 0, 0 },
		"extent too long":     func(q *CommitRequest) { q.Extents[0].Length += 100; q.Size += 100 },
		"extent overflows":    func(q *CommitRequest) { q.Extents[0].Offset = 1<<64 - 1 },
		"no segment id":       func(q *CommitRequest) { q.Segments[0].ID = [16]byte{} },
		"empty segment":       func(q *CommitRequest) { q.Segments[0].Size = 0 },
		"segment too large":   func(q *CommitRequest) { q.Segments[0].Size = 64<<20 + 1 },
		"too many slots":      func(q *CommitRequest) { q.Segments[0].Held = make([]byte, 33) },
		"unused segment":      func(q *CommitRequest) { q.Extents, q.Size = nil, 0 },
		"too many at once":    func(q *CommitRequest) { q.Segments, q.Extents, q.Size = many, manyExtents, totalLength(manyExtents) },
	} {
		q := base
		q.Segments, q.Extents = append([]NewSegment(nil), segments...), append([]Extent(nil), extents...)
		change(&q)
		if _, err := r.Commit(r.ctx, q); !isInvalid(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for want, change := range map[error]func(*CommitRequest){
		ErrBucketNotFound: func(q *CommitRequest) { q.Bucket = "other" },
		ErrUploadNotFound: func(q *CommitRequest) { q.Upload = UploadID{1} },
		ErrGroupNotFound:  func(q *CommitRequest) { q.Segments[0].Group = 77 },
		ErrStaleEpoch:     func(q *CommitRequest) { q.Segments[0].Epoch = 2 },
		ErrSegmentUnknown: func(q *CommitRequest) { q.Segments = nil },
	} {
		q := base
		q.Segments, q.Extents = append([]NewSegment(nil), segments...), append([]Extent(nil), extents...)
		change(&q)
		r.wants(ignore(r.Commit(r.ctx, q)), want)
	}
	if st, err := r.Stats(r.ctx); err != nil || st.Segments != 0 || st.Objects != 0 {
		t.Errorf("refused commits left something: %+v, %v", st, err)
	}
	r.must(ignore(r.Commit(r.ctx, base)))
	base.IfAbsent = true
	base.Segments, base.Extents = r.segments(1, 1)
	base.Size = base.Extents[0].Length
	r.wants(ignore(r.Commit(r.ctx, base)), ErrObjectExists)
	r.must(ignore(r.DeleteObjects(r.ctx, DeleteRequest{Project: r.project, Bucket: "bucket", Keys: [][]byte{base.Key}})))
	base.Segments, base.Extents = segments, extents
	base.Size = extents[0].Length
	r.wants(ignore(r.Commit(r.ctx, base)), ErrSegmentExists) // although it is deleted
	r.check()
}
