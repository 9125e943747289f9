package uplink_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/deploy/localnet/network"
	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/uplink"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// smallScheme needs few nodes and tolerates three losses.
var smallScheme = erasure.Scheme{Required: 3, RepairBelow: 4, Success: 5, Total: 6}

// putBySlot puts an object and returns who holds the shard of each slot.
func putBySlot(t testing.TB, doubles []*double, p *uplink.Project, key string, data []byte) []*double {
	t.Helper()
	putWhole(t, p, key, data)
	sorted := make([]*double, len(doubles))
	for _, d := range doubles {
		d.mu.Lock()
		for _, h := range d.shards {
			sorted[h.slot] = d
		}
		d.mu.Unlock()
	}
	if slices.Contains(sorted, nil) {
		t.Fatal("some slot did not take its shard")
	}
	return sorted
}

func TestEveryLossOfParityMany(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	data := noise(2*smallScheme.Required*seal.ChunkPlain - 1000)
	putWhole(t, p, "object", data)
	for lost := range 1 << smallScheme.Total {
		count := 0
		for i, d := range doubles {
			gone := lost>>i&1 == 1
			d.set(faults{missing: gone})
			if gone {
				count++
			}
		}
		switch {
		case count == smallScheme.Total-smallScheme.Required:
			checkGet(t, p, "object", data)
		case count == smallScheme.Total-smallScheme.Required+1:
			_, err := get(p, "object", uplink.DownloadOptions{})
			if !errors.Is(err, uplink.ErrTooFewNodes) || !strings.Contains(err.Error(), "2 of its 6 shards") {
				t.Fatalf("with %d shards lost: %v", count, err)
			}
		}
	}
}

// A node that answers wrongly must cost no more than being left out.
func TestNodesThatGetWrong(t *testing.T) {
	for name, fault := range map[string]faults{
		"wrong bytes":       {get: func(f *getFault) { f.data[len(f.data)/2] ^= 0x10 }},
		"and wrong proofs":  {get: func(f *getFault) { f.data[0] ^= 1 }, lie: true},
		"too few":           {get: func(f *getFault) { f.data, f.reset = f.data[:len(f.data)-1], true }},
		"none":              {get: func(f *getFault) { f.data, f.reset = nil, true }},
		"too many":          {get: func(f *getFault) { f.data = append(f.data, 0) }},
		"another shard":     {get: func(f *getFault) { clear(f.data) }},
		"stalls":            {get: func(f *getFault) { f.stall = true }},
		"stalls half way":   {get: func(f *getFault) { f.data = f.data[:len(f.data)/2] }},
		"does not have it ": {missing: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			doubles, p := startDoubles(t, smallScheme)
			p.LimitSegments(8)
			p.HedgeAfter(500 * time.Millisecond)
			data := noise(10*smallScheme.Required*seal.ChunkPlain + 12345)
			slots := putBySlot(t, doubles, p, "object", data)
			slots[0].set(fault)
			slots[2].set(fault)
			slots[4].set(fault)
			checkGet(t, p, "object", data)
			got, err := get(p, "object", uplink.DownloadOptions{Offset: 5, Length: 10})
			if err != nil || !bytes.Equal(got, data[5:15]) {
				t.Fatalf("range: %x, %v", got, err)
			}
		})
	}
}

func TestLiarIsFoundOutOnce(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	data := noise(64 * smallScheme.Required * seal.ChunkPlain)
	liar := putBySlot(t, doubles, p, "object", data)[1]
	liar.set(faults{get: func(f *getFault) { f.data[0] ^= 1 }})
	d, err := p.Download(context.Background(), bucket, "object", uplink.DownloadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	first := make([]byte, len(data)/2)
	if _, err := io.ReadFull(d, first); err != nil {
		t.Fatal(err)
	}
	asked := liar.counts()
	if asked.proofs == 0 {
		t.Error("the liar was not asked for a proof")
	}
	rest, err := io.ReadAll(d)
	if err != nil || !bytes.Equal(append(first, rest...), data) {
		t.Fatalf("wrong content, %v", err)
	}
	if now := liar.counts(); now != asked {
		t.Errorf("the liar was asked %+v, and after it was found out %+v", asked, now)
	}
}

// Where too few nodes tell the truth, nothing false is handed on.
func TestTooManyLiars(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	data := noise(20 * smallScheme.Required * seal.ChunkPlain)
	putWhole(t, p, "object", data)
	for i, d := range doubles {
		if i%3 != 0 {
			d.set(faults{get: func(f *getFault) { f.data[0] ^= 1 }})
		}
	}
	got, err := get(p, "object", uplink.DownloadOptions{})
	if !errors.Is(err, uplink.ErrCorrupt) {
		t.Errorf("error %v", err)
	}
	if !bytes.HasPrefix(data, got) {
		t.Error("false bytes were handed on")
	}
}

func TestSmallRangeTouchesOneNode(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	data := noise(40 * smallScheme.Required * seal.ChunkPlain)
	putWhole(t, p, "object", data)
	for range 20 {
		chunk := rand.IntN(40 * smallScheme.Required)
		offset := chunk*seal.ChunkPlain + rand.IntN(seal.ChunkPlain-4096)
		before := totalGets(doubles)
		got, err := get(p, "object", uplink.DownloadOptions{Offset: int64(offset), Length: 4096})
		if err != nil || !bytes.Equal(got, data[offset:offset+4096]) {
			t.Fatalf("range at %d: %v", offset, err)
		}
		if n := totalGets(doubles) - before; n != 1 {
			t.Errorf("a range within a chunk took %d requests", n)
		}
	}
}

func totalGets(doubles []*double) int {
	n := 0
	for _, d := range doubles {
		n += d.counts().gets
	}
	return n
}

func TestRanges(t *testing.T) {
	p := onNetwork(t)
	p.LimitSegments(2)
	stripe := 4 * seal.ChunkPlain
	for _, size := range []int{100, 70_000, 5*stripe + 77} {
		key := fmt.Sprint(size)
		data := noise(size)
		put(t, p, key, data)
		d, err := p.Download(context.Background(), bucket, key, uplink.DownloadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		edges := []int{0, 1, 50, 99, size - 1, size}
		for _, unit := range []int{seal.ChunkPlain, stripe, 2 * stripe} {
			edges = append(edges, unit-1, unit, unit+1, 2*unit)
		}
		var wait sync.WaitGroup
		for _, from := range edges {
			for _, to := range edges {
				if from < to && to <= size {
					checkRange(t, p, key, data, from, to)
					wait.Go(func() { checkReadAt(t, d, data, from, to) })
				}
			}
		}
		wait.Wait()
		checkSeek(t, d, data)
	}
}

func checkRange(t *testing.T, p *uplink.Project, key string, data []byte, from, to int) {
	t.Helper()
	got, err := get(p, key, uplink.DownloadOptions{Offset: int64(from), Length: int64(to - from)})
	if err != nil || !bytes.Equal(got, data[from:to]) {
		t.Errorf("range %d to %d of %s: %d bytes, %v", from, to, key, len(got), err)
	}
}

func checkReadAt(t *testing.T, d *uplink.Download, data []byte, from, to int) {
	got := make([]byte, to-from)
	if n, err := d.ReadAt(got, int64(from)); n != len(got) || err != nil || !bytes.Equal(got, data[from:to]) {
		t.Errorf("ReadAt %d to %d of %d: %d bytes, %v", from, to, len(data), n, err)
	}
	if n, err := d.ReadAt(make([]byte, 10), int64(len(data)-3)); n != 3 || err != io.EOF {
		t.Errorf("ReadAt over the end: %d bytes, %v", n, err)
	}
}

func checkSeek(t *testing.T, d *uplink.Download, data []byte) {
	t.Helper()
	for range 10 {
		from := rand.IntN(len(data))
		if at, err := d.Seek(int64(from-len(data)), io.SeekEnd); at != int64(from) || err != nil {
			t.Fatalf("Seek to %d: %d, %v", from, at, err)
		}
		got := make([]byte, min(1000, len(data)-from))
		if _, err := io.ReadFull(d, got); err != nil || !bytes.Equal(got, data[from:from+len(got)]) {
			t.Errorf("read at %d of %d: %v", from, len(data), err)
		}
	}
	if _, err := d.Seek(-1, io.SeekStart); err == nil {
		t.Error("Seek to before the beginning is possible")
	}
	d.Seek(0, io.SeekStart)
	if all, err := io.ReadAll(d); err != nil || !bytes.Equal(all, data) {
		t.Errorf("read all after seeking: %v", err)
	}
	if n, err := d.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read at the end: %d, %v", n, err)
	}
}

func TestNodesStoppedMidDownload(t *testing.T) {
	n, p := startNetwork(t, network.Config{})
	data := noise(40 << 20)
	putWhole(t, p, "object", data)
	d, err := p.Download(context.Background(), bucket, "object", uplink.DownloadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got := make([]byte, len(data))
	half := 20 << 20
	if _, err := io.ReadFull(d, got[:half]); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		if err := n.StopNode(i); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.ReadFull(d, got[half:]); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Error("wrong content")
	}
}

func TestDownloadErrors(t *testing.T) {
	p := onNetwork(t)
	put(t, p, "object", noise(100_000))
	ctx := context.Background()
	if _, err := p.Download(ctx, bucket, "nothing", uplink.DownloadOptions{}); !errors.Is(err, uplink.ErrObjectNotFound) {
		t.Errorf("unknown key: %v", err)
	}
	if _, err := p.Download(ctx, "no-bucket", "object", uplink.DownloadOptions{}); !errors.Is(err, uplink.ErrBucketNotFound) {
		t.Errorf("unknown bucket: %v", err)
	}
	if _, err := p.Download(ctx, bucket, "object", uplink.DownloadOptions{Offset: 100_001}); err == nil {
		t.Error("offset beyond the end is taken")
	}
	if _, err := p.Download(ctx, bucket, "object", uplink.DownloadOptions{Offset: -1}); err == nil {
		t.Error("negative offset is taken")
	}
	ctx, cancel := context.WithCancel(ctx)
	d, err := p.Download(ctx, bucket, "object", uplink.DownloadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(d); !errors.Is(err, context.Canceled) {
		t.Errorf("read after the context ended: %v", err)
	}
	d.Close()
	if _, err := d.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) && !errors.Is(err, uplink.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
}
