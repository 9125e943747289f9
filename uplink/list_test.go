package uplink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cairnstorage/cairn/proto/pb"
)

// listReference is what a list is by its definition, worked out from all keys.
func listReference(all []string, o ListOptions) []string {
	seen := make(map[string]bool)
	var out []string
	for _, key := range all {
		if !strings.HasPrefix(key, o.Prefix) {
			continue
		}
		dir := strings.LastIndexByte(o.Prefix, '/') + 1
		if slash := strings.IndexByte(key[dir:], '/'); slash >= 0 && !o.Recursive {
			key = key[:dir+slash+1]
		}
		if !seen[key] {
			seen[key] = true
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

func listed(t *testing.T, p *Project, o ListOptions) []string {
	t.Helper()
	var got []string
	for item, err := range p.List(t.Context(), "bucket", o) {
		if err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		if strings.HasSuffix(item.Name(), "/") != item.IsPrefix() && !strings.HasSuffix(item.Object.Key, "/") {
			t.Errorf("%+v", item)
		}
		got = append(got, item.Name())
	}
	return got
}

func TestListAgainstReference(t *testing.T) {
	p, _ := newTestProject(t, 1)
	makeBucket(t, p, "bucket")
	// Names that sort around the slash, are prefixes of each other, or empty.
	parts := []string{"a", "a!", "a0", "ab", "b", "", "é", "z z"}
	random := rand.New(rand.NewPCG(1, 2))
	keys := map[string]bool{"a": true, "a/": true, "a/b": true, "a!": true, "/": true}
	for len(keys) < 60 {
		key := parts[random.IntN(len(parts))]
		for range random.IntN(4) {
			key += "/" + parts[random.IntN(len(parts))]
		}
		if key != "" {
			keys[key] = true
		}
	}
	all := sortedKeys(keys)
	for i, key := range all {
		putTest(t, p, "bucket", key, Object{Size: int64(i)})
	}
	prefixes := []string{"", "a", "a/", "a/a", "a/b/", "/", "//", "é", "é/", "z", "nothing", "nothing/", "a!/"}
	for _, prefix := range prefixes {
		for _, recursive := range []bool{false, true} {
			o := ListOptions{Prefix: prefix, Recursive: recursive}
			want := listReference(all, o)
			if got := listed(t, p, o); !slices.Equal(got, want) {
				t.Errorf("%+v:\n got %q\nwant %q", o, got, want)
			}
			o.Unsorted = true
			got := listed(t, p, o)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%+v:\n got %q\nwant %q", o, got, want)
			}
		}
	}
}

// A tree too large to be sorted at once is sorted level by level, to the same
// result.
func TestListLargeTree(t *testing.T) {
	p, _ := newTestProject(t, 1)
	makeBucket(t, p, "bucket")
	var all []string
	for _, dir := range []string{"a/", "a/b/", "a/b/c/", "d/", ""} {
		for i := range 9 {
			all = append(all, fmt.Sprintf("%sf%d", dir, i))
		}
	}
	for _, key := range all {
		putTest(t, p, "bucket", key, Object{})
	}
	slices.Sort(all)
	for _, limit := range []int{1, 5, 10, 20, 44, 45} {
		cipher, err := p.names("bucket")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		l := lister{ctx: t.Context(), p: p, bucket: "bucket", cipher: cipher, o: ListOptions{Recursive: true}, maxSorted: limit,
			yield: func(item Item) bool { got = append(got, item.Name()); return true }}
		if err := l.tree(""); err != nil || !slices.Equal(got, all) {
			t.Errorf("at most %d: got %q, %v", limit, got, err)
		}
	}
}

func TestListMetadata(t *testing.T) {
	p, s := newTestProject(t, 1)
	makeBucket(t, p, "bucket")
	putTest(t, p, "bucket", "a/b", Object{Size: 3, Modified: someTime, Metadata: map[string]string{"x": "y"}})
	for _, with := range []bool{false, true} {
		for item, err := range p.List(t.Context(), "bucket", ListOptions{Recursive: true, Metadata: with}) {
			o := item.Object
			if err != nil || o.Size != 3 || o.Key != "a/b" || o.Created.IsZero() {
				t.Errorf("%+v, %v", o, err)
			}
			if (o.Metadata["x"] == "y") != with || o.Modified.Equal(someTime) != with {
				t.Errorf("with metadata %v: %+v", with, o)
			}
		}
	}
	for _, o := range s.buckets["bucket"] {
		o.Size++
	}
	for _, err := range p.List(t.Context(), "bucket", ListOptions{Recursive: true, Metadata: true}) {
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("another size: %v", err)
		}
	}
}

func TestListRefuses(t *testing.T) {
	s, client := newMemSatellite(t)
	p := testProject(client, 1)
	makeBucket(t, p, "bucket")
	putTest(t, p, "bucket", "a/b", Object{})
	first := func(p *Project, bucket string, o ListOptions) error {
		for _, err := range p.List(context.Background(), bucket, o) {
			return err
		}
		return nil
	}
	if err := first(testProject(client, 2), "bucket", ListOptions{}); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another root key: %v", err)
	}
	if err := first(p, "other", ListOptions{}); !errors.Is(err, ErrBucketNotFound) {
		t.Errorf("no bucket: %v", err)
	}
	if err := first(p, "bucket", ListOptions{Prefix: "\xff"}); !errors.Is(err, ErrName) {
		t.Errorf("bad prefix: %v", err)
	}
	for what, spoil := range map[string]func(*pb.ListObjectsResponse){
		"standing still":  func(r *pb.ListObjectsResponse) { r.More, r.Next = true, nil },
		"the same again":  func(r *pb.ListObjectsResponse) { r.Items = append(r.Items, r.Items[len(r.Items)-1]) },
		"no items":        func(r *pb.ListObjectsResponse) { r.Items, r.More = nil, true },
		"nothing":         func(r *pb.ListObjectsResponse) { r.Items = []*pb.ListItem{{}} },
		"a bad frame":     func(r *pb.ListObjectsResponse) { r.Items = []*pb.ListItem{{Prefix: []byte{0}}} },
		"outside the dir": func(r *pb.ListObjectsResponse) { r.Items[0].Object.Key, _ = mustCipher(t, p).Encrypt("c/b") },
	} {
		s.spoil = spoil
		if err := first(p, "bucket", ListOptions{Prefix: "a/"}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A satellite that lists the same names over and over comes to no effect.
func TestListInOrder(t *testing.T) {
	p, s := newTestProject(t, 1)
	makeBucket(t, p, "bucket")
	for _, key := range []string{"a", "a/b", "b", "c", "d/e"} {
		putTest(t, p, "bucket", key, Object{})
	}
	count := func(o ListOptions) (n int, err error) {
		for _, err = range p.List(t.Context(), "bucket", o) {
			n++
		}
		return n, err
	}
	for _, page := range []int{1, 2, 3, 10} {
		s.page = page
		if n, err := count(ListOptions{}); n != 5 || err != nil {
			t.Errorf("pages of %d: %d items, %v", page, n, err)
		}
	}
	s.page = 2
	next := 0
	s.spoil = func(r *pb.ListObjectsResponse) {
		if r.More = true; len(r.Items) < 2 {
			r.Next = nil
		} else {
			next++
			r.Next = append(r.Next[:0:0], 0, byte(next)) // onwards in name only
		}
	}
	for _, o := range []ListOptions{{}, {Recursive: true}, {Recursive: true, Unsorted: true}} {
		if n, err := count(o); n > 6 || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%+v: %d items, %v", o, n, err)
		}
	}
}

// Names of another passphrase are left out, and said to be at the end.
func TestListForeign(t *testing.T) {
	_, client := newMemSatellite(t)
	p, other := testProject(client, 1), testProject(client, 2)
	makeBucket(t, p, "bucket")
	for _, key := range []string{"a", "b/c", "b/d/e", "f"} {
		putTest(t, p, "bucket", key, Object{})
	}
	for _, key := range []string{"a", "x/y"} {
		putTest(t, other, "bucket", key, Object{})
	}
	for _, test := range []struct {
		o    ListOptions
		want []string
		all  string // names, as the error says
	}{
		{ListOptions{}, []string{"a", "b/", "f"}, "2 of 5 names"},
		{ListOptions{Prefix: "b"}, []string{"b/"}, "2 of 5 names"},
		{ListOptions{Prefix: "b/"}, []string{"b/c", "b/d/"}, ""},
		{ListOptions{Recursive: true}, []string{"a", "b/c", "b/d/e", "f"}, "2 of 6 names"},
	} {
		var got []string
		var last error
		for item, err := range p.List(t.Context(), "bucket", test.o) {
			if last = err; err == nil {
				got = append(got, item.Name())
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%+v: got %q, want %q", test.o, got, test.want)
		}
		if (test.all != "") != errors.Is(last, ErrWrongKey) || last != nil && !strings.Contains(last.Error(), test.all) {
			t.Errorf("%+v: %v", test.o, last)
		}
	}
	cipher, err := p.names("bucket")
	if err != nil {
		t.Fatal(err)
	}
	l := lister{ctx: t.Context(), p: p, bucket: "bucket", cipher: cipher, o: ListOptions{Recursive: true}, maxSorted: 2, yield: func(Item) bool { return true }}
	if err := l.tree(""); err != nil || l.foreign != 2 || l.read != 7 { // 5 at the top and 2 below b/
		t.Errorf("level by level: %d of %d names, %v", l.foreign, l.read, err)
	}
}

func mustCipher(t *testing.T, p *Project) interface{ Encrypt(string) ([]byte, error) } {
	t.Helper()
	cipher, err := p.names("bucket")
	if err != nil {
		t.Fatal(err)
	}
	return cipher
}
