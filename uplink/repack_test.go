package uplink_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/cairnstorage/cairn/proto/grant"
	"github.com/cairnstorage/cairn/uplink"
)

// packTogether packs an object for each size into packs of at most so many.
func packTogether(t testing.TB, p *uplink.Project, most int, sizes ...int) {
	t.Helper()
	k := p.NewPacker(context.Background())
	k.Limit(1<<20, most)
	addAll(t, k, sizes...)
	if err := k.Flush(); err != nil {
		t.Fatal(err)
	}
}

func repack(t testing.TB, p *uplink.Project, o uplink.RepackOptions) uplink.Repacked {
	t.Helper()
	r, err := p.Repack(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func remove(t testing.TB, p *uplink.Project, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if err := p.Delete(context.Background(), bucket, key); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRepack(t *testing.T) {
	p := onNetwork(t)
	ctx := context.Background()
	var sizes []int
	for i := range 30 {
		sizes = append(sizes, 10_000+i)
	}
	packTogether(t, p, 10, sizes...) // 10000 … 10009, 10010 … 10019, 10020 … 10029
	put(t, p, "alone", noise(5000))
	put(t, p, "inline", noise(10))
	if r := repack(t, p, uplink.RepackOptions{}); r.Packs != 3 || r.Sparse != 0 || r.Moved != 0 || r.Used < 300_000 || r.Bytes < r.Used {
		t.Errorf("nothing to do: %+v", r)
	}
	// Of the first pack two objects stay, one of them with a copy; of the second
	// one stays and copies of two that go; the third stays more than half full.
	for i := range 30 {
		switch key := fmt.Sprint(10_000 + i); {
		case i == 11 || i == 12:
			if _, err := p.Move(ctx, bucket, key, bucket, "moved/"+key, uplink.CopyOptions{}); err != nil {
				t.Fatal(err)
			}
		case i > 1 && i < 10, i > 12 && i < 24:
			remove(t, p, key)
		}
	}
	if _, err := p.Copy(ctx, bucket, "10001", bucket, "copy", uplink.CopyOptions{Metadata: map[string]string{"a": "b"}}); err != nil {
		t.Fatal(err)
	}
	left := map[string]int{
		"10000": 10_000, "10001": 10_001, "copy": 10_001, "10010": 10_010, "moved/10011": 10_011, "moved/10012": 10_012,
		"10024": 10_024, "10025": 10_025, "10026": 10_026, "10027": 10_027, "10028": 10_028, "10029": 10_029, "alone": 5000, "inline": 10,
	}
	check := func() {
		t.Helper()
		n := 0
		for item, err := range p.List(ctx, bucket, uplink.ListOptions{Recursive: true}) {
			if err != nil {
				t.Fatal(err)
			}
			size, there := left[item.Object.Key]
			if n++; !there {
				t.Errorf("there is %q", item.Object.Key)
			}
			checkGet(t, p, item.Object.Key, noise(size))
		}
		if n != len(left) {
			t.Errorf("%d objects are left, want %d", n, len(left))
		}
		if o := stat(t, p, "copy"); o.Metadata["a"] != "b" {
			t.Errorf("the copy is %+v", o)
		}
	}
	first := repack(t, p, uplink.RepackOptions{DryRun: true})
	if first.Packs != 3 || first.Sparse != 2 || first.Moved != 6 || first.Freed < 200_000 || first.Kept != 0 {
		t.Errorf("a dry run: %+v", first)
	}
	if r := repack(t, p, uplink.RepackOptions{}); r != first {
		t.Errorf("the run after it: %+v, said before: %+v", r, first)
	}
	check()
	if r := repack(t, p, uplink.RepackOptions{}); r.Packs != 2 || r.Sparse != 0 || r.Used < 110_000 || r.Used > 113_000 {
		t.Errorf("another run: %+v", r) // the copy shares what it is a copy of
	}
	if r := repack(t, p, uplink.RepackOptions{Below: 0.7}); r.Sparse != 1 || r.Moved != 6 {
		t.Errorf("a run with another bound: %+v", r)
	}
	check()
	remove(t, p, "10000", "10001", "10010", "moved/10011", "moved/10012")
	if r := repack(t, p, uplink.RepackOptions{}); r.Packs != 2 || r.Sparse != 1 || r.Moved != 1 {
		t.Errorf("with a copy alone: %+v", r)
	}
	checkGet(t, p, "copy", noise(10_001))
}

// TestRepackUnderLoad repacks while objects are replaced, deleted and moved:
// nothing comes back, and nothing is lost.
func TestRepackUnderLoad(t *testing.T) {
	p := onNetwork(t)
	ctx := context.Background()
	var sizes []int
	for i := range 60 {
		sizes = append(sizes, 6000+i)
	}
	packTogether(t, p, 20, sizes...)
	want := make(map[string]int)
	for _, size := range sizes {
		if key := fmt.Sprint(size); size%5 == 0 { // a fifth is left
			want[key] = size
		} else {
			remove(t, p, key)
		}
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	sizeOf := func(key string) int {
		mu.Lock()
		defer mu.Unlock()
		return want[key]
	}
	set := func(key string, size int) {
		mu.Lock()
		defer mu.Unlock()
		if delete(want, key); size > 0 {
			want[key] = size
		}
	}
	for i, key := range []string{"6000", "6005", "6010", "6015", "6020", "6025"} {
		wait.Go(func() {
			switch i % 3 {
			case 0:
				put(t, p, key, noise(7000+i))
				set(key, 7000+i)
			case 1:
				remove(t, p, key)
				set(key, 0)
			default:
				size := sizeOf(key)
				if _, err := p.Move(ctx, bucket, key, bucket, "moved/"+key, uplink.CopyOptions{}); err != nil {
					t.Error(err)
				}
				set(key, 0)
				set("moved/"+key, size)
			}
		})
	}
	for range 2 {
		wait.Go(func() { repack(t, p, uplink.RepackOptions{}) })
	}
	wait.Wait()
	for {
		if r := repack(t, p, uplink.RepackOptions{}); r.Sparse == 0 {
			break
		}
	}
	got := make(map[string]bool)
	for item, err := range p.List(ctx, bucket, uplink.ListOptions{Recursive: true}) {
		if err != nil {
			t.Fatal(err)
		}
		got[item.Object.Key] = true
		size, there := want[item.Object.Key]
		if !there {
			t.Errorf("there is %q", item.Object.Key)
			continue
		}
		checkGet(t, p, item.Object.Key, noise(size))
	}
	if len(got) != len(want) {
		t.Errorf("there are %v, want %v", got, want)
	}
}

// TestRepackUnderAnotherPassphrase leaves alone what it cannot read, and says so.
func TestRepackUnderAnotherPassphrase(t *testing.T) {
	p := onNetwork(t)
	g, err := grant.Parse(shared.grant)
	if err != nil {
		t.Fatal(err)
	}
	g.RootKey[0] ^= 1
	other := openProject(t, g.String())
	k := other.NewPacker(context.Background())
	for i := range 4 {
		if err := k.Add(bucket, fmt.Sprint("other", i), bytes.NewReader(noise(9000)), uplink.UploadOptions{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := other.Delete(context.Background(), bucket, fmt.Sprint("other", i)); err != nil {
			t.Fatal(err)
		}
	}
	if r := repack(t, p, uplink.RepackOptions{}); r.Packs != 0 {
		t.Errorf("packs of another passphrase: %+v", r)
	}
	if got, err := get(other, "other3", uplink.DownloadOptions{}); err != nil || !bytes.Equal(got, noise(9000)) {
		t.Errorf("what was left alone: %v", err)
	}
	if r := repack(t, other, uplink.RepackOptions{}); r.Sparse != 1 || r.Moved != 1 {
		t.Errorf("under its own passphrase: %+v", r)
	}
}

// TestRepackWithoutNodes fails and leaves everything as it is.
func TestRepackWithoutNodes(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	packTogether(t, p, 10, 5000, 5001, 5002, 5003)
	await(t, "all nodes to take their shards", func() bool { return !p.Sending() })
	remove(t, p, "5001", "5002", "5003")
	for _, d := range doubles[:2] {
		d.set(faults{refuse: 10})
	}
	r, err := p.Repack(context.Background(), uplink.RepackOptions{})
	if !errors.Is(err, uplink.ErrTooFewNodes) || r.Kept != 1 || r.Freed != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	checkGet(t, p, "5000", noise(5000))
}
