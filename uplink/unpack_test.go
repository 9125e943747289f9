package uplink_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/uplink"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// listPlaces lists all objects and where they are.
func listPlaces(t testing.TB, p *uplink.Project) (objects []uplink.Object) {
	t.Helper()
	for item, err := range p.List(context.Background(), bucket, uplink.ListOptions{Recursive: true, Places: true}) {
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, item.Object)
	}
	return objects
}

// getAll is what DownloadAll makes of objects. Each has to be handed over once.
func getAll(t testing.TB, ctx context.Context, p *uplink.Project, objects []uplink.Object, parallel int) (contents [][]byte, failures []error) {
	t.Helper()
	contents, failures = make([][]byte, len(objects)), make([]error, len(objects))
	told := make([]atomic.Int32, len(objects))
	var now atomic.Int32
	p.DownloadAll(ctx, bucket, objects, parallel, func(i int, d *uplink.Download, err error) {
		if n := now.Add(1); int(n) > parallel {
			t.Errorf("%d objects are handed over at once, at most %d are asked for", n, parallel)
		}
		defer now.Add(-1)
		told[i].Add(1)
		if err == nil {
			var got bytes.Buffer
			_, err = d.WriteTo(&got)
			contents[i] = got.Bytes()
			if o := d.Object(); o.Key != objects[i].Key || o.Size != int64(got.Len()) && err == nil {
				t.Errorf("%+v was handed over for %s, with %d bytes", o, objects[i].Key, got.Len())
			}
		}
		failures[i] = err
	})
	for i := range told {
		if n := told[i].Load(); n != 1 {
			t.Errorf("%s was handed over %d times", objects[i].Key, n)
		}
	}
	return contents, failures
}

func checkAll(t testing.TB, p *uplink.Project, objects []uplink.Object, parallel int) {
	t.Helper()
	contents, failures := getAll(t, context.Background(), p, objects, parallel)
	for i, o := range objects {
		if failures[i] != nil || !bytes.Equal(contents[i], noise(int(o.Size))) {
			t.Errorf("%s: %d bytes came, %v", o.Key, len(contents[i]), failures[i])
		}
	}
}

func TestDownloadAll(t *testing.T) {
	p, ctx := onNetwork(t), context.Background()
	sizes := packEdges()
	for i := range 100 {
		sizes = append(sizes, 4200+331*i)
	}
	packAll(t, p, sizes...)
	put(t, p, "large", noise(2*uplink.MaxPacked))
	for _, size := range []int{0, 1, 4200, uplink.MaxPacked} { // of which copies share the extents
		if _, err := p.Copy(ctx, bucket, fmt.Sprint(size), bucket, fmt.Sprint("copy of ", size), uplink.CopyOptions{Metadata: map[string]string{"a": "b"}}); err != nil {
			t.Fatal(err)
		}
	}
	var calls atomic.Int32
	count := func(call string) error {
		if call == "GetObject" {
			calls.Add(1)
		}
		return nil
	}
	if err := p.Interpose(shared.grant, count, func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	objects := listPlaces(t, p)
	apart := int32(0)
	for _, o := range objects {
		if o.Size > uplink.MaxPacked {
			apart++
		}
	}
	for _, parallel := range []int{1, 2, 16, 100} {
		calls.Store(0)
		checkAll(t, p, objects, parallel)
		if n := calls.Load(); n != apart {
			t.Errorf("%d objects were asked for one by one, want %d", n, apart)
		}
	}
	for step := 2; step < 60; step += 7 { // so that there are gaps of all kinds
		var some []uplink.Object
		for i := step - 1; i < len(objects); i += step {
			some = append(some, objects[i])
		}
		checkAll(t, p, some, 4)
	}
	checkAll(t, p, nil, 4)
	checkAll(t, p, objects[:1], 1)
	checkAll(t, p, append(slices.Clone(objects), objects...), 8) // all of them twice
}

// TestListedMetadata: a list that finds places says of packed files what Stat does.
func TestListedMetadata(t *testing.T) {
	p, ctx := onNetwork(t), context.Background()
	k := p.NewPacker(ctx)
	modified := time.UnixMilli(1_234_567_890_123)
	for size := 5000; size < 5003; size++ {
		o := uplink.UploadOptions{Modified: modified, Metadata: map[string]string{"size": fmt.Sprint(size)}}
		if err := k.Add(bucket, fmt.Sprint(size), bytes.NewReader(noise(size)), o, func(uplink.Object, error) {}); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Flush(); err != nil {
		t.Fatal(err)
	}
	p.DownloadAll(ctx, bucket, listPlaces(t, p), 2, func(i int, d *uplink.Download, err error) {
		if err != nil {
			t.Error(err)
			return
		}
		o := d.Object()
		want, err := p.Stat(ctx, bucket, o.Key)
		if err != nil || o.Version != want.Version || o.Size != want.Size || !o.Created.Equal(want.Created) ||
			!o.Modified.Equal(modified) || !maps.Equal(o.Metadata, want.Metadata) {
			t.Errorf("listed %+v, Stat says %+v, %v", o, want, err)
		}
		part := make([]byte, 100)
		if n, err := d.ReadAt(part, 1000); n != 100 || err != nil || !bytes.Equal(part, noise(int(o.Size))[1000:1100]) {
			t.Errorf("ReadAt: %d bytes, %v", n, err)
		}
		if at, err := d.Seek(-1, io.SeekEnd); at != o.Size-1 || err != nil {
			t.Errorf("Seek: %d, %v", at, err)
		}
	})
}

// TestPackIsReadTogether: many files take few requests.
func TestPackIsReadTogether(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	sizes := make([]int, 300)
	for i := range sizes {
		sizes[i] = 4097 + 100*i
	}
	packAll(t, p, sizes...)
	await(t, "all nodes to take their shards", func() bool { return !p.Sending() })
	before := totalGets(doubles)
	checkAll(t, p, listPlaces(t, p), 16)
	if n := totalGets(doubles) - before; n > len(sizes)/4 {
		t.Errorf("%d files took %d requests", len(sizes), n)
	}
}

// TestDownloadAllLosses loses as many nodes as may be lost, and has others lie.
func TestDownloadAllLosses(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	packAll(t, p, 5000, 5001, 20_000, seal.ChunkPlain, 3*seal.ChunkPlain, 40_000, 300_000)
	await(t, "all nodes to take their shards", func() bool { return !p.Sending() })
	objects := listPlaces(t, p)
	withLosses(doubles, func() { checkAll(t, p, objects, 4) })
	for _, d := range doubles[:smallScheme.Total-smallScheme.Required+1] {
		d.set(faults{missing: true})
	}
	for _, d := range doubles[smallScheme.Total-smallScheme.Required+1:] {
		d.set(faults{})
	}
	_, failures := getAll(t, context.Background(), p, objects, 4)
	for i, err := range failures { // what lies at nodes that are there alone can be read
		if err != nil && !errors.Is(err, uplink.ErrTooFewNodes) {
			t.Errorf("%s: %v", objects[i].Key, err)
		}
	}
}

// TestListGrowsOld: what has changed since the list is as it is.
func TestListGrowsOld(t *testing.T) {
	p, ctx := onNetwork(t), context.Background()
	packAll(t, p, 5000, 5001, 5002, 5003)
	objects := listPlaces(t, p)
	if err := p.Delete(ctx, bucket, "5001"); err != nil {
		t.Fatal(err)
	}
	put(t, p, "5002", noise(7000))
	contents, failures := getAll(t, ctx, p, objects, 2)
	for i, o := range objects {
		if failures[i] != nil || !bytes.Equal(contents[i], noise(int(o.Size))) { // the pack is still there
			t.Errorf("%s, as it was listed: %d bytes, %v", o.Key, len(contents[i]), failures[i])
		}
	}
	for _, key := range []string{"5000", "5003"} { // the last two in the pack
		if err := p.Delete(ctx, bucket, key); err != nil {
			t.Fatal(err)
		}
	}
	contents, failures = getAll(t, ctx, p, objects, 2)
	for i, o := range objects { // nodes may or may not have dropped it
		switch {
		case failures[i] == nil && (bytes.Equal(contents[i], noise(int(o.Size))) || o.Key == "5002" && bytes.Equal(contents[i], noise(7000))):
		case errors.Is(failures[i], uplink.ErrObjectNotFound), errors.Is(failures[i], uplink.ErrTooFewNodes):
		default:
			t.Errorf("%s, deleted: %d bytes, %v", o.Key, len(contents[i]), failures[i])
		}
	}
}

// TestMisplaced: a satellite that lists wrong places costs time, and that is all.
func TestMisplaced(t *testing.T) {
	p := onNetwork(t)
	var sizes []int
	for i := range 20 {
		sizes = append(sizes, 5000+1000*i)
	}
	packAll(t, p, sizes...)
	objects := listPlaces(t, p)
	for what, how := range map[string]func(*pb.SegmentPlace, *int64){
		"all at one offset":     func(_ *pb.SegmentPlace, offset *int64) { *offset = 0 },
		"shifted":               func(_ *pb.SegmentPlace, offset *int64) { *offset++ },
		"before the beginning":  func(_ *pb.SegmentPlace, offset *int64) { *offset = -1 },
		"far before":            func(_ *pb.SegmentPlace, offset *int64) { *offset = -1 << 63 },
		"at the end":            func(place *pb.SegmentPlace, offset *int64) { *offset = int64(place.Size) - 1 },
		"behind the end":        func(_ *pb.SegmentPlace, offset *int64) { *offset = 1<<63 - 1 },
		"overlapping":           func(_ *pb.SegmentPlace, offset *int64) { *offset = *offset / 2 },
		"another size":          func(place *pb.SegmentPlace, _ *int64) { place.Size -= 64 * 4 },
		"no size":               func(place *pb.SegmentPlace, _ *int64) { place.Size = 0 },
		"an impossible size":    func(place *pb.SegmentPlace, _ *int64) { place.Size = 1<<64 - 1 },
		"an id that is none":    func(place *pb.SegmentPlace, _ *int64) { place.Id = place.Id[:15] },
		"no id":                 func(place *pb.SegmentPlace, _ *int64) { place.Id = nil },
		"another segment":       func(place *pb.SegmentPlace, _ *int64) { place.Id[3] ^= 1 },
		"a root that is none":   func(place *pb.SegmentPlace, _ *int64) { place.Root = place.Root[:31] },
		"another root":          func(place *pb.SegmentPlace, _ *int64) { place.Root[0] ^= 1 },
		"a group there is not":  func(place *pb.SegmentPlace, _ *int64) { place.Group = 1 << 31 },
		"no group":              func(place *pb.SegmentPlace, _ *int64) { place.Group = 0 },
		"different id for each": func(place *pb.SegmentPlace, offset *int64) { place.Id[0] ^= byte(*offset) },
	} {
		t.Run(what, func(t *testing.T) {
			misplaced := slices.Clone(objects)
			for i := range misplaced {
				if !misplaced[i].Misplace(how) {
					t.Fatalf("the list did not tell where %s is", misplaced[i].Key)
				}
			}
			checkAll(t, p, misplaced, 4)
		})
	}
}

func TestDownloadAllContextEnds(t *testing.T) {
	p := onNetwork(t)
	sizes := []int{100}
	for i := range 40 {
		sizes = append(sizes, 5000+1000*i)
	}
	packAll(t, p, sizes...)
	objects := listPlaces(t, p)
	for _, parallel := range []int{1, 8} {
		ctx, cancel := context.WithCancel(context.Background())
		var first sync.Once
		read, failed := atomic.Int32{}, atomic.Int32{}
		p.DownloadAll(ctx, bucket, objects, parallel, func(i int, d *uplink.Download, err error) {
			first.Do(cancel)
			if err == nil {
				_, err = io.Copy(io.Discard, d)
			}
			switch {
			case err == nil:
				read.Add(1)
			case errors.Is(err, context.Canceled):
				failed.Add(1)
			default:
				t.Errorf("%s: %v", objects[i].Key, err)
			}
		})
		if int(read.Load()+failed.Load()) != len(objects) || failed.Load() == 0 {
			t.Errorf("%d objects were read and %d failed, of %d", read.Load(), failed.Load(), len(objects))
		}
	}
}

// TestSpoiledInline: what a list tells of inline objects opens, or is asked for again.
func TestSpoiledInline(t *testing.T) {
	p := onNetwork(t)
	packAll(t, p, 0, 1, 100, seal.MaxInline)
	objects := listPlaces(t, p)
	for what, how := range map[string]func([]byte) []byte{
		"changed":  func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"cut":      func(b []byte) []byte { return b[:len(b)-1] },
		"no more":  func(b []byte) []byte { return b[:0] },
		"too long": func(b []byte) []byte { return append(b, make([]byte, seal.MaxInline)...) },
	} {
		t.Run(what, func(t *testing.T) {
			spoiled := slices.Clone(objects)
			for i := range spoiled {
				if !spoiled[i].SpoilInline(how) {
					t.Fatalf("the list did not have the content of %s", spoiled[i].Key)
				}
			}
			checkAll(t, p, spoiled, 2)
		})
	}
}
