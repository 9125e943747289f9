package uplink

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cairnstorage/cairn/proto/pb"
)

func TestBuckets(t *testing.T) {
	p, _ := newTestProject(t, 1)
	ctx := t.Context()
	var want []string
	for i := range 8 { // more than two pages
		name := fmt.Sprintf("bucket-%d", i)
		makeBucket(t, p, name)
		want = append(want, name)
	}
	var got []string
	for b, err := range p.Buckets(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for range p.Buckets(ctx) {
		break // a list that is left early
	}
	if _, err := p.CreateBucket(ctx, "bucket-1"); !errors.Is(err, ErrBucketExists) {
		t.Errorf("made twice: %v", err)
	}
	if _, err := p.CreateBucket(ctx, "Bucket"); !errors.Is(err, ErrName) {
		t.Errorf("bad name: %v", err)
	}
	if err := p.DeleteBucket(ctx, "bucket-9", false); !errors.Is(err, ErrBucketNotFound) {
		t.Errorf("unknown: %v", err)
	}
	if err := p.DeleteBucket(ctx, "B", false); !errors.Is(err, ErrName) {
		t.Errorf("bad name: %v", err)
	}
}

func TestDeleteBucketForce(t *testing.T) {
	p, s := newTestProject(t, 1)
	makeBucket(t, p, "full")
	for i := range 10 {
		putTest(t, p, "full", fmt.Sprint("key", i), Object{})
	}
	if err := p.DeleteBucket(t.Context(), "full", false); !errors.Is(err, ErrBucketNotEmpty) {
		t.Errorf("without force: %v", err)
	}
	if err := p.DeleteBucket(t.Context(), "full", true); err != nil {
		t.Fatal(err)
	}
	if len(s.buckets) != 0 {
		t.Error("the bucket is still there")
	}
}

func TestStat(t *testing.T) {
	p, s := newTestProject(t, 1)
	makeBucket(t, p, "bucket")
	put := Object{Size: 1 << 40, Modified: someTime, Metadata: map[string]string{"a": "b"}}
	putTest(t, p, "bucket", "x/y", put)
	o, err := p.Stat(t.Context(), "bucket", "x/y")
	if err != nil {
		t.Fatal(err)
	}
	if o.Key != "x/y" || o.Size != put.Size || !o.Modified.Equal(someTime) || !maps.Equal(o.Metadata, put.Metadata) || o.Created.IsZero() {
		t.Errorf("got %+v", o)
	}
	for _, c := range []struct {
		bucket, key string
		want        error
	}{
		{"bucket", "x", ErrObjectNotFound}, {"nobucket", "x", ErrBucketNotFound},
		{"bucket", "", ErrName}, {"B", "x", ErrName}, {"bucket", "\x00", ErrName},
	} {
		if _, err := p.Stat(t.Context(), c.bucket, c.key); !errors.Is(err, c.want) {
			t.Errorf("%s/%s: got %v, want %v", c.bucket, c.key, err, c.want)
		}
	}
	for _, objects := range s.buckets {
		for _, o := range objects {
			o.Size++ // a satellite that lies about the size
		}
	}
	if _, err := p.Stat(t.Context(), "bucket", "x/y"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another size: %v", err)
	}
}

// Objects cannot be swapped for each other by the satellite, nor opened under
// another root key.
func TestSwappedMetadata(t *testing.T) {
	p, s := newTestProject(t, 1)
	makeBucket(t, p, "bucket")
	putTest(t, p, "bucket", "a", Object{Size: 1})
	putTest(t, p, "bucket", "b", Object{Size: 1})
	objects := s.buckets["bucket"]
	sealed := sortedKeys(objects)
	a, b := objects[sealed[0]], objects[sealed[1]]
	a.SealedMetadata, b.SealedMetadata = b.SealedMetadata, a.SealedMetadata
	for _, key := range []string{"a", "b"} {
		if _, err := p.Stat(t.Context(), "bucket", key); !errors.Is(err, ErrWrongKey) {
			t.Errorf("%s: %v", key, err)
		}
	}
	s.buckets["bucket"][sealed[0]] = &pb.Object{}
	if _, err := p.Copy(t.Context(), "bucket", "a", "bucket", "c", CopyOptions{}); err == nil {
		t.Error("an object without metadata was copied")
	}
}

func TestDelete(t *testing.T) {
	p, s := newTestProject(t, 1)
	makeBucket(t, p, "bucket")
	putTest(t, p, "bucket", "a", Object{})
	if err := p.Delete(t.Context(), "bucket", "a"); err != nil {
		t.Fatal(err)
	}
	if err := p.Delete(t.Context(), "bucket", "a"); !errors.Is(err, ErrObjectNotFound) || !strings.Contains(err.Error(), "cairn://bucket/a") {
		t.Errorf("twice: %v", err)
	}
	var keys []string
	var want []bool
	for i := range 2*maxDelete + 5 {
		keys, want = append(keys, fmt.Sprint("k", i)), append(want, i%7 == 0)
		if i%7 == 0 {
			putTest(t, p, "bucket", keys[i], Object{})
		}
	}
	calls := s.calls["DeleteObjects"]
	found, err := p.DeleteMany(t.Context(), "bucket", keys)
	if err != nil || !slices.Equal(found, want) {
		t.Errorf("got %v, %v", found, err)
	}
	if got := s.calls["DeleteObjects"] - calls; got != 3 {
		t.Errorf("%d calls", got)
	}
	if n := len(s.buckets["bucket"]); n != 0 {
		t.Errorf("%d objects are left", n)
	}
	if found, err := p.DeleteMany(t.Context(), "bucket", nil); err != nil || len(found) != 0 {
		t.Errorf("nothing: %v, %v", found, err)
	}
	if _, err := p.DeleteMany(t.Context(), "bucket", []string{"ok", ""}); !errors.Is(err, ErrName) {
		t.Errorf("bad key: %v", err)
	}
	if _, err := p.DeleteMany(t.Context(), "other", []string{"ok"}); !errors.Is(err, ErrBucketNotFound) {
		t.Errorf("no bucket: %v", err)
	}
}

func TestDeleteBatches(t *testing.T) {
	for _, c := range []struct{ keys, size, want int }{
		{0, 1, 0}, {1, 4096, 1}, {1000, 20, 1}, {1001, 20, 2}, {256, 4096, 1}, {257, 4096, 2}, {1, maxDeleteBytes + 1, 1}, {3, maxDeleteBytes, 3},
	} {
		sealed := make([][]byte, c.keys)
		for i := range sealed {
			sealed[i] = make([]byte, c.size)
		}
		batches, keys := 0, 0
		for batch := range deleteBatches(sealed) {
			batches++
			keys += len(batch)
		}
		if batches != c.want || keys != c.keys {
			t.Errorf("%+v: %d keys in %d batches", c, keys, batches)
		}
	}
}

func TestCopyAndMove(t *testing.T) {
	p, _ := newTestProject(t, 1)
	ctx := t.Context()
	makeBucket(t, p, "one")
	makeBucket(t, p, "two")
	put := Object{Size: 7, Modified: someTime, Metadata: map[string]string{"a": "b"}}
	putTest(t, p, "one", "x", put)

	check := func(bucket, key string, metadata map[string]string) {
		t.Helper()
		o, err := p.Stat(ctx, bucket, key)
		if err != nil || o.Size != 7 || !o.Modified.Equal(someTime) || !maps.Equal(o.Metadata, metadata) {
			t.Errorf("%s/%s: %+v, %v", bucket, key, o, err)
		}
	}
	if _, err := p.Copy(ctx, "one", "x", "two", "deep/y", CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	check("one", "x", put.Metadata)
	check("two", "deep/y", put.Metadata)
	other := map[string]string{"c": "d"}
	if o, err := p.Move(ctx, "two", "deep/y", "one", "z", CopyOptions{Metadata: other}); err != nil || o.Key != "z" {
		t.Fatalf("%+v, %v", o, err)
	}
	check("one", "z", other)
	if _, err := p.Stat(ctx, "two", "deep/y"); !errors.Is(err, ErrObjectNotFound) {
		t.Errorf("moved object: %v", err)
	}
	if _, err := p.Copy(ctx, "one", "x", "one", "z", CopyOptions{IfAbsent: true}); !errors.Is(err, ErrObjectExists) {
		t.Errorf("over another: %v", err)
	}
	if _, err := p.Move(ctx, "one", "x", "one", "x", CopyOptions{Metadata: map[string]string{}}); err != nil {
		t.Errorf("to itself: %v", err)
	}
	check("one", "x", nil)
	for _, c := range []struct {
		bucket, key, toBucket, toKey string
		want                         error
	}{
		{"one", "nothing", "one", "n", ErrObjectNotFound}, {"none", "x", "one", "n", ErrBucketNotFound},
		{"one", "x", "none", "n", ErrBucketNotFound}, {"one", "x", "one", "", ErrName}, {"one", "", "one", "n", ErrName},
	} {
		if _, err := p.Copy(ctx, c.bucket, c.key, c.toBucket, c.toKey, CopyOptions{}); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestDeleteVersion(t *testing.T) {
	p, s := newTestProject(t, 1)
	ctx := t.Context()
	makeBucket(t, p, "bucket")
	putTest(t, p, "bucket", "a", Object{Size: 1})
	old, err := p.Stat(ctx, "bucket", "a")
	if err != nil || old.Version == "" {
		t.Fatalf("%+v, %v", old, err)
	}
	putTest(t, p, "bucket", "a", Object{Size: 2})
	if err := p.DeleteVersion(ctx, "bucket", old); !errors.Is(err, ErrObjectChanged) {
		t.Errorf("a version replaced: %v", err)
	}
	present, err := p.Stat(ctx, "bucket", "a")
	if err != nil || present.Size != 2 || present.Version == old.Version {
		t.Fatalf("%+v, %v", present, err)
	}
	if err := p.DeleteVersion(ctx, "bucket", Object{Key: "a"}); err == nil {
		t.Error("deleted without a version")
	}
	for range 2 { // the second time it is gone
		if err := p.DeleteVersion(ctx, "bucket", present); err != nil {
			t.Error(err)
		}
	}
	if n := len(s.buckets["bucket"]); n != 0 {
		t.Errorf("%d objects are left", n)
	}
	if err := p.DeleteVersion(ctx, "other", present); !errors.Is(err, ErrBucketNotFound) {
		t.Errorf("no bucket: %v", err)
	}
}

// A source that is replaced between the two steps of a copy is read again.
func TestCopyOfChanging(t *testing.T) {
	p, s := newTestProject(t, 1)
	makeBucket(t, p, "bucket")
	putTest(t, p, "bucket", "a", Object{Size: 1})
	changes := 2
	s.meddle = func(method string) error {
		if method == "CopyObject" && changes > 0 {
			changes--
			putTest(t, p, "bucket", "a", Object{Size: int64(10 - changes)})
		}
		return nil
	}
	o, err := p.Copy(t.Context(), "bucket", "a", "bucket", "b", CopyOptions{})
	if err != nil || o.Size != 10 {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := p.Stat(t.Context(), "bucket", "b"); err != nil || o.Size != 10 {
		t.Errorf("%+v, %v", o, err)
	}
	changes = 1000
	if _, err := p.Copy(t.Context(), "bucket", "a", "bucket", "b", CopyOptions{}); err == nil {
		t.Error("a source that never rests was copied")
	}
}

// An error of the satellite comes out as what it is, with what it is about.
func TestErrorsPass(t *testing.T) {
	p, s := newTestProject(t, 1)
	makeBucket(t, p, "bucket")
	for _, want := range []error{ErrDenied, ErrSatelliteUnreachable, ErrRefusing, ErrTooFewNodes} {
		s.meddle = func(string) error { return want }
		_, err := p.Stat(t.Context(), "bucket", "a")
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "cairn://bucket/a") {
			t.Errorf("stat: got %v, want %v", err, want)
		}
		for _, err := range p.List(t.Context(), "bucket", ListOptions{}) {
			if !errors.Is(err, want) {
				t.Errorf("list: got %v, want %v", err, want)
			}
		}
	}
}
