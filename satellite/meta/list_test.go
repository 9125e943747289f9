package meta

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"testing"

	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/memkv"
)

// put makes an inline object.
func (r *rig) put(k []byte) {
	r.t.Helper()
	r.must(ignore(r.Commit(r.ctx, CommitRequest{
		Project: r.project, Bucket: "bucket", Key: k, Inline: []byte("x"), SealedMetadata: []byte("m"),
	})))
}

// listAll returns the items of all pages as strings, prefixes with a slash.
func (r *rig) listAll(q ListRequest, between func()) (names []string) {
	r.t.Helper()
	q.Project, q.Bucket = r.project, "bucket"
	for {
		page, err := r.List(r.ctx, q)
		r.must(err)
		for _, item := range page.Items {
			if item.Prefix != nil {
				names = append(names, fmt.Sprintf("%s/", item.Prefix))
			} else {
				names = append(names, string(item.Key))
			}
		}
		if !page.More {
			return names
		}
		q.After = page.Next
		if between != nil {
			between()
		}
	}
}

// TestListStable shows every object that is there all the time exactly once,
// while others come and go.
func TestListStable(t *testing.T) {
	r := memRig(t)
	steady := map[string]bool{}
	for i := range 60 {
		k := key(fmt.Sprintf("%02d", i%20), fmt.Sprintf("%02d", i))
		r.put(k)
		steady[string(k)] = true
	}
	n := 0
	churn := func() {
		n++
		for i := range 5 {
			r.put(key(fmt.Sprintf("%02d", (n*7+i)%20), fmt.Sprint("new", n, i)))
		}
		_, err := r.DeleteObjects(r.ctx, DeleteRequest{Project: r.project, Bucket: "bucket", Keys: [][]byte{
			key(fmt.Sprintf("%02d", (n*7-7)%20), fmt.Sprint("new", n-1, 0)),
		}})
		r.must(err)
	}
	seen := map[string]int{}
	last := ""
	for _, name := range r.listAll(ListRequest{Recursive: true, Limit: 7}, churn) {
		if seen[name]++; name <= last {
			t.Fatalf("%x follows %x", name, last)
		}
		last = name
	}
	for k := range steady {
		if seen[k] != 1 {
			t.Errorf("%x was seen %d times", k, seen[k])
		}
	}
}

// TestListSeeks counts the steps that listing one level takes: they must not
// grow with what lies below.
func TestListSeeks(t *testing.T) {
	store := &counting{Store: memkv.New()}
	r := newRig(t, store)
	p, err := r.CreateProject(r.ctx, "demo", [16]byte{}, [16]byte{})
	r.must(err)
	r.project = p.Number
	r.must(ignore(r.CreateBucket(r.ctx, r.project, "bucket")))
	for i := range 10 {
		for j := range 300 {
			r.put(key(fmt.Sprint("dir", i), fmt.Sprintf("%03d", j)))
		}
		r.put(key(fmt.Sprint("dir", i)))
	}
	store.steps = 0
	if names := r.listAll(ListRequest{}, nil); len(names) != 20 {
		t.Fatalf("got %d items", len(names))
	}
	if store.steps > 10*(patience+5)+5 {
		t.Errorf("listing 10 prefixes took %d steps", store.steps)
	}
}

// counting counts the pairs that scans yield.
type counting struct {
	kv.Store
	steps int
}

func (c *counting) View(ctx context.Context, fn func(kv.Reader) error) error {
	return c.Store.View(ctx, func(r kv.Reader) error { return fn(&countingReader{r, c}) })
}

type countingReader struct {
	kv.Reader
	c *counting
}

func (r *countingReader) Scan(start, end []byte) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		for p, err := range r.Reader.Scan(start, end) {
			if r.c.steps++; !yield(p, err) {
				return
			}
		}
	}
}

// TestListBoundaries has an object whose key is also a prefix at the end of a
// page.
func TestListBoundaries(t *testing.T) {
	r := memRig(t)
	for _, k := range [][]byte{key("a"), key("a", "b"), key("a", "c"), key("b"), key("b", "x")} {
		r.put(k)
	}
	a, b := string(key("a")), string(key("b"))
	want := fmt.Sprint([]string{a, a + "/", b, b + "/"})
	for limit := 1; limit < 6; limit++ {
		if got := fmt.Sprint(r.listAll(ListRequest{Limit: limit}, nil)); got != want {
			t.Errorf("limit %d: got %q, want %q", limit, got, want)
		}
	}
	below := r.listAll(ListRequest{Prefix: key("a"), Limit: 1}, nil)
	if fmt.Sprint(below) != fmt.Sprint([]string{string(key("a", "b")), string(key("a", "c"))}) {
		t.Errorf("below a: %q", below)
	}
	if none := r.listAll(ListRequest{Prefix: key("z")}, nil); len(none) != 0 {
		t.Errorf("below z: %q", none)
	}
	// A key of a page before, not the page's next: go on behind it.
	if rest := r.listAll(ListRequest{Recursive: true, After: key("a", "c")}, nil); len(rest) != 2 {
		t.Errorf("after a/c: %q", rest)
	}
	if rest := r.listAll(ListRequest{After: key("a")}, nil); len(rest) != 2 {
		t.Errorf("after the prefix a: %q", rest)
	}
	for _, after := range [][]byte{{0}, {5, 1}, {1, 'a', 0, 0}} {
		_, err := r.List(r.ctx, ListRequest{Project: r.project, Bucket: "bucket", After: after})
		r.wants(err, ErrInvalid)
	}
}

// TestListPageBytes ends a page early when its items are large.
func TestListPageBytes(t *testing.T) {
	r := memRig(t)
	for i := range 150 {
		r.must(ignore(r.Commit(r.ctx, CommitRequest{
			Project: r.project, Bucket: "bucket", Key: key(fmt.Sprintf("%03d", i)), Inline: []byte("x"),
			SealedMetadata: bytes.Repeat([]byte{1}, MaxSealedMetadata),
		})))
	}
	page, err := r.List(r.ctx, ListRequest{Project: r.project, Bucket: "bucket", WithMetadata: true})
	r.must(err)
	if !page.More || len(page.Items) != 127 {
		t.Errorf("page of %d items, more %v", len(page.Items), page.More)
	}
	if all := r.listAll(ListRequest{WithMetadata: true}, nil); len(all) != 150 {
		t.Errorf("%d items in all", len(all))
	}
}
