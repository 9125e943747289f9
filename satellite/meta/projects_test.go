package meta

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/memkv"
)

func TestStoreBelongsToOneSatellite(t *testing.T) {
	store := memkv.New()
	newRig(t, store)
	newRig(t, store) // again, the same one
	_, err := Open(t.Context(), store, Config{Satellite: ident.ID{1: 8}})
	if !errors.Is(err, ErrOtherSatellite) {
		t.Errorf("another satellite: %v", err)
	}
	if _, err := Open(t.Context(), store, Config{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("no satellite: %v", err)
	}
	err = store.Update(t.Context(), func(tx kv.Tx) error { return tx.Set(formatKey(), []byte{2}) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), store, Config{Satellite: satelliteID}); !errors.Is(err, ErrFormat) {
		t.Errorf("another format: %v", err)
	}
}

func TestProjects(t *testing.T) {
	r := newRig(t, memkv.New())
	salt, check := [16]byte{1}, [16]byte{2}
	b, err := r.CreateProject(r.ctx, "b", salt, check)
	r.must(err)
	a, err := r.CreateProject(r.ctx, "a", check, salt)
	r.must(err)
	if a.ID == b.ID || a.Number == b.Number || a.Secret == b.Secret || a.Number == 0 {
		t.Fatalf("projects share something: %+v %+v", a, b)
	}
	r.wants(ignore(r.CreateProject(r.ctx, "a", salt, check)), ErrProjectExists)
	for _, name := range []string{"", " ", "a/b", "ü", "a b", strings.Repeat("x", MaxProjectName+1), "a\n"} {
		r.wants(ignore(r.CreateProject(r.ctx, name, salt, check)), ErrInvalid)
	}
	got, err := r.Project(r.ctx, a.ID)
	r.must(err)
	if got != a {
		t.Errorf("got %+v, want %+v", got, a)
	}
	r.wants(ignore(r.Project(r.ctx, ProjectID{})), ErrProjectNotFound)
	r.wants(ignore(r.ProjectByName(r.ctx, "c")), ErrProjectNotFound)

	r.project = a.Number
	r.must(ignore(r.CreateBucket(r.ctx, a.Number, "bucket")))
	r.must(ignore(r.CreateBucket(r.ctx, b.Number, "bucket")))
	for i := range 3 {
		r.must(ignore(r.Commit(r.ctx, CommitRequest{
			Project: a.Number, Bucket: "bucket", Key: key(fmt.Sprint(i)), Inline: make([]byte, 30), Size: 14,
		})))
	}
	all, err := r.Projects(r.ctx)
	r.must(err)
	want := []ProjectUsage{{Project: a, Usage: Usage{3, 42}}, {Project: b}}
	if !reflect.DeepEqual(all, want) {
		t.Errorf("got %+v, want %+v", all, want)
	}
	one, err := r.ProjectByName(r.ctx, "a")
	r.must(err)
	if one != want[0] {
		t.Errorf("got %+v, want %+v", one, want[0])
	}
	// What one project has the other does not see.
	r.wants(ignore(r.Get(r.ctx, GetRequest{Project: b.Number, Bucket: "bucket", Key: key("0")})), ErrObjectNotFound)
}

func TestBucketNames(t *testing.T) {
	good := []string{"abc", "a-b", "a.b", "0ab", "192.168.1.1a", strings.Repeat("a", 63), "a.b-c.d"}
	bad := []string{
		"", "ab", strings.Repeat("a", 64), "Abc", "a_b", "a b", "-ab", "ab-", ".ab", "ab.", "a..b",
		"192.168.1.1", "äbc", "a/b", "abc\x00",
	}
	for _, name := range good {
		if err := CheckBucketName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range bad {
		if err := CheckBucketName(name); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestBucketsPage(t *testing.T) {
	r := memRig(t)
	for i := range 25 {
		r.must(ignore(r.CreateBucket(r.ctx, r.project, fmt.Sprintf("b%02d", i))))
	}
	var names []string
	after, pages := "", 0
	for more := true; more; pages++ {
		var page []Bucket
		var err error
		page, more, err = r.Buckets(r.ctx, r.project, after, 10)
		r.must(err)
		for _, b := range page {
			names = append(names, b.Name)
		}
		after = names[len(names)-1]
	}
	if len(names) != 26 || pages != 3 || names[0] != "b00" || names[25] != "bucket" {
		t.Errorf("%d buckets in %d pages: %v", len(names), pages, names)
	}
}

// TestBucketAgain makes sure that a bucket made anew has nothing of the one of
// its name before.
func TestBucketAgain(t *testing.T) {
	r := memRig(t)
	u, err := r.BeginUpload(r.ctx, r.project, "bucket", key("a"))
	r.must(err)
	segments, extents := r.segments(1, 1)
	r.must(ignore(r.AddSegments(r.ctx, AddRequest{Project: r.project, Upload: u.ID, Segments: segments, Extents: extents})))
	r.commit(1, "b")
	_, _, err = r.DeleteBucket(r.ctx, r.project, "bucket", false)
	r.wants(err, ErrBucketNotEmpty)
	n, more, err := r.DeleteBucket(r.ctx, r.project, "bucket", true)
	r.must(err)
	if n != 1 || more {
		t.Fatalf("deleted %d, more %v", n, more)
	}
	r.must(ignore(r.CreateBucket(r.ctx, r.project, "bucket")))
	finish := CommitRequest{Project: r.project, Bucket: "bucket", Key: key("a"), Upload: u.ID, Size: extents[0].Length}
	r.wants(ignore(r.Commit(r.ctx, finish)), ErrInvalid)
	r.check()
	r.clock = r.clock.Add(2 * time.Hour)
	e, err := r.Expire(r.ctx)
	r.must(err)
	if e.Uploads != 1 || len(r.live(1)) != 0 {
		t.Errorf("expired %+v, %d segments live", e, len(r.live(1)))
	}
	r.check()
}
