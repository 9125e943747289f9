package uplink_test

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"
	"testing"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/uplink"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// segments counts the segments that doubles hold shards of.
func segments(doubles []*double) int {
	seen := make(map[order.SegmentID]bool)
	for _, d := range doubles {
		d.mu.Lock()
		for id := range d.shards {
			seen[id] = true
		}
		d.mu.Unlock()
	}
	return len(seen)
}

// TestPackFull fills packs to their limits, and with one more.
func TestPackFull(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	for _, c := range []struct{ bytes, objects, packs int }{
		{15_003, 4, 1}, {15_002, 4, 2}, {15_003, 3, 1}, {15_003, 2, 2}, {5000, 10, 3}, {1, 1, 3},
	} {
		before := segments(doubles)
		k := p.NewPacker(context.Background())
		k.Limit(c.bytes, c.objects)
		addAll(t, k, 5000, 5001, 5002)
		if err := k.Flush(); err != nil {
			t.Fatal(err)
		}
		if got := segments(doubles) - before; got != c.packs {
			t.Errorf("packs of %d bytes and %d objects: %d of them, want %d", c.bytes, c.objects, got, c.packs)
		}
		for size := 5000; size <= 5002; size++ {
			checkGet(t, p, fmt.Sprint(size), noise(size))
		}
	}
}

// TestPackedLosses loses as many nodes as may be lost, and has others lie.
func TestPackedLosses(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	sizes := []int{5000, 20_000, seal.ChunkPlain, 3 * seal.ChunkPlain, 40_000, 300_000}
	packAll(t, p, sizes...)
	await(t, "all nodes to take their shards", func() bool { return !p.Sending() })
	withLosses(doubles, func() {
		for _, size := range sizes {
			key, data := fmt.Sprint(size), noise(size)
			checkGet(t, p, key, data)
			checkRange(t, p, key, data, size/2, size/2+100)
		}
	})
}

// withLosses calls f with each choice of as many nodes as may be lost: some are
// without the shards, others give wrong bytes.
func withLosses(doubles []*double, f func()) {
	spoil := func(f *getFault) { f.data[len(f.data)/2] ^= 1 }
	for lost := range 1 << smallScheme.Total {
		if bits.OnesCount(uint(lost)) != smallScheme.Total-smallScheme.Required {
			continue
		}
		for i, d := range doubles {
			switch gone := lost>>i&1 == 1; {
			case gone && i%2 == 0:
				d.set(faults{missing: true})
			case gone:
				d.set(faults{get: spoil})
			default:
				d.set(faults{})
			}
		}
		f()
	}
}

// TestPackedFileTouchesFewNodes: what lies in one chunk is asked of one node.
func TestPackedFileTouchesFewNodes(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	sizes := make([]int, 300)
	for i := range sizes {
		sizes[i] = 4097 + 100*i
	}
	packAll(t, p, sizes...)
	await(t, "all nodes to take their shards", func() bool { return !p.Sending() })
	before := totalGets(doubles)
	for _, size := range sizes {
		checkGet(t, p, fmt.Sprint(size), noise(size))
	}
	if n := totalGets(doubles) - before; n > len(sizes)*5/4 {
		t.Errorf("%d files took %d requests", len(sizes), n)
	}
}

// TestPackIsDurableFirst: no file of a pack is there, nor said to be, before
// enough nodes have taken their shards.
func TestPackIsDurableFirst(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	hold := make(chan struct{})
	for _, d := range doubles[:smallScheme.Total-smallScheme.Success+1] {
		d.set(faults{hold: hold})
	}
	k := p.NewPacker(context.Background())
	s := addAll(t, k, 10, 5000, 6000)
	flushed := make(chan error, 1)
	go func() { flushed <- k.Flush() }()
	await(t, "the others to take their shards", func() bool {
		taken := 0
		for _, d := range doubles {
			taken += d.holds()
		}
		return taken == smallScheme.Success-1
	})
	for _, key := range []string{"10", "5000", "6000"} {
		checkAbsent(t, p, key)
	}
	if stored, failed := s.count(); stored+failed > 0 {
		t.Errorf("%d are said to be stored, %d to have failed", stored, failed)
	}
	close(hold)
	if err := <-flushed; err != nil {
		t.Fatal(err)
	}
	if stored, _ := s.count(); stored != 3 {
		t.Errorf("%d are said to be stored", stored)
	}
	checkGet(t, p, "6000", noise(6000))
}

// TestPackGoesToAnotherGroup: a pack that a group does not take goes on.
func TestPackGoesToAnotherGroup(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	var refusals atomic.Int32
	refusals.Store(3)
	for _, d := range doubles {
		d.set(faults{refuseFirst: &refusals})
	}
	sizes := []int{10, 5000, 60_000, 100_000, 500_000}
	packAll(t, p, sizes...)
	for _, size := range sizes {
		checkGet(t, p, fmt.Sprint(size), noise(size))
	}
	if refusals.Load() >= 0 {
		t.Error("nothing was refused")
	}
}

func TestPackerTooFewNodes(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	for _, d := range doubles[:2] {
		d.set(faults{refuse: pb.Code_CODE_FULL})
	}
	k := p.NewPacker(context.Background())
	s := addAll(t, k, 10, 5000, 6000)
	if err := k.Flush(); !errors.Is(err, uplink.ErrTooFewNodes) {
		t.Errorf("Flush: %v", err)
	}
	if stored, failed := s.count(); stored != 1 || failed != 2 {
		t.Errorf("%d are said to be stored, %d to have failed", stored, failed)
	}
	checkGet(t, p, "10", noise(10)) // it needs no node
	checkAbsent(t, p, "5000")
	checkAbsent(t, p, "6000")
	for _, d := range doubles {
		d.set(faults{})
	}
	if err := k.Flush(); err != nil {
		t.Errorf("another Flush: %v", err)
	}
	await(t, "the nodes to be tried again", func() bool {
		s = addAll(t, k, 5000)
		return k.Flush() == nil
	})
	checkGet(t, p, "5000", noise(5000))
}
