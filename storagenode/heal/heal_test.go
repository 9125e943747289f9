package heal

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// healAll heals until there is nothing more that can be done now.
func (w *world) healAll() {
	w.t.Helper()
	for range 100 {
		worked, err := w.healer.Once(context.Background())
		if err != nil {
			w.t.Fatal(err)
		}
		if !worked {
			return
		}
	}
	w.t.Fatal("it never ends")
}

// mustHold checks that the node has its shards of all segments.
func (w *world) mustHold() {
	w.t.Helper()
	for i, s := range w.segments {
		w.mustHave(i, s)
	}
	if missing, _, err := w.store.MissingRuns(testGroup); err != nil || len(missing) > 0 {
		w.t.Fatalf("still missing: %v, %v", missing, err)
	}
}

func (w *world) mustHave(i int, s segment) {
	w.t.Helper()
	h, err := w.store.Open(shardstore.Key{Segment: s.id, Group: testGroup})
	if err != nil {
		w.t.Fatalf("segment %d: %v", i, err)
	}
	defer h.Close()
	got := make([]byte, s.layout.ShardSize())
	if _, err := h.ReadAt(got, 0); err != nil || !bytes.Equal(got, s.shards[testSlot]) {
		w.t.Fatalf("segment %d has other bytes, %v", i, err)
	}
	if info := h.Info(); !info.Live || info.Seq != uint64(i+1) || info.Slot != testSlot {
		w.t.Fatalf("segment %d is kept as %+v", i, info)
	}
	if _, _, err := h.Prove(0, 1); err != nil {
		w.t.Fatalf("segment %d cannot be proved: %v", i, err)
	}
}

// sizes of segments around everything that has a boundary: the smallest, a leaf,
// a chunk, windows.
func sizes() (all []int64) {
	const k = 4
	for _, shard := range []int64{64, 4096 - 64, 4096, 4096 + 64, erasure.ChunkSize - 64, erasure.ChunkSize} {
		all = append(all, k*shard)
	}
	const window = windowStripes * erasure.ChunkSize
	for _, shard := range []int64{window - erasure.ChunkSize, window - 64, window, window + 64, 2 * window, 3*window + 128} {
		all = append(all, k*shard)
	}
	return all
}

func TestHeal(t *testing.T) {
	w := newWorld(t)
	w.urgently()
	for _, size := range sizes() {
		w.add(size)
	}
	w.healAll()
	w.mustHold()
	p := w.healer.Progress()
	var shards int64
	for _, s := range w.segments {
		shards += s.layout.ShardSize()
	}
	// Exactly k shards are read for each that is made.
	if p.Shards != int64(len(w.segments)) || p.Written != shards || p.Read != shards*int64(testScheme.Required) || p.Failed != 0 || p.Active != 0 {
		t.Errorf("%+v for %d bytes of shards", p, shards)
	}
}

// Holders that fail in any way are done without, as long as k are left.
func TestFaults(t *testing.T) {
	for name, f := range map[string]fault{
		"unreachable":   {unreachable: true},
		"missing":       {missing: true},
		"no roots":      {noRoots: true},
		"lies":          {lie: true},
		"breaks":        {breaks: 1},
		"breaks later":  {breaks: 2},
		"is busy":       {says: errors.New("busy")},
		"says nonsense": {says: context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.urgently()
			for _, slot := range []int{0, 1, 3, 8, 9} { // n−k, less the one that heals
				w.faults[slot] = f
			}
			w.add(4 * 64)
			w.add(4 * (windowStripes*erasure.ChunkSize*2 + 64))
			w.healAll()
			w.mustHold()
			if len(w.reported) > 0 {
				t.Error("a good segment was reported")
			}
		})
	}
}

// With one honest holder too few nothing is made, and nothing wrong is kept.
func TestTooFew(t *testing.T) {
	for name, f := range map[string]fault{"missing": {missing: true}, "lies": {lie: true}, "unreachable": {unreachable: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.urgently()
			for _, slot := range []int{0, 1, 2, 3, 8, 9} {
				w.faults[slot] = f
			}
			s := w.add(4 * erasure.ChunkSize)
			if worked, err := w.healer.Once(t.Context()); worked || err != nil {
				t.Fatalf("%v, %v", worked, err)
			}
			if _, err := w.store.Stat(shardstore.Key{Segment: s.id, Group: testGroup}); !errors.Is(err, shardstore.ErrNotFound) {
				t.Errorf("something is held: %v", err)
			}
			if p := w.healer.Progress(); p.Failed != 1 || p.Bad != 0 || len(w.reported) > 0 {
				t.Errorf("%+v, %d reported", p, len(w.reported))
			}
			// It is not tried again at once.
			before := w.opened
			if worked, err := w.healer.Once(t.Context()); worked || err != nil || w.opened != before {
				t.Errorf("%v, %v, %d streams opened", worked, err, w.opened-before)
			}
		})
	}
}

// An uplink that committed to a shard which is not the coding of the others
// hurts nobody but itself.
func TestBadSegment(t *testing.T) {
	w := newWorld(t)
	w.urgently()
	bad := newSegment(t, 4*4096)
	bad.shards[testSlot][100] ^= 1
	bad.commit()
	w.enter(bad)
	w.add(4 * 4096)
	w.faults[2] = fault{lie: true} // it is found out, and no excuse
	w.healAll()
	if len(w.reported) != 1 || w.reported[0].Segment != bad.id || w.reported[0].Seq != 1 {
		t.Errorf("reported: %+v", w.reported)
	}
	w.mustHave(1, w.segments[1])
	for slot, key := range w.keys {
		if w.healer.avoids(key.ID()) != (slot == 2) {
			t.Errorf("slot %d: avoided %v", slot, slot != 2)
		}
	}
}

// Whoever takes a slot over copies from who leaves it, and makes what that does
// not give from others.
func TestSuccessor(t *testing.T) {
	for name, c := range map[string]struct {
		fault fault
		read  int64 // shards for the one made
	}{
		"copies":         {fault{}, 1},
		"leaver lacks":   {fault{missing: true}, 4},
		"leaver lies":    {fault{lie: true}, 5},
		"leaver breaks":  {fault{breaks: 1}, 0},
		"leaver is gone": {fault{unreachable: true}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.store.Close()
			w.node = newKey(t)
			w.start()
			w.needs = []Need{{Group: testGroup, Slot: testSlot, Successor: true}}
			w.faults[testSlot] = c.fault
			s := w.add(4 * windowStripes * erasure.ChunkSize * 2)
			w.healAll()
			w.mustHold()
			if got := w.healer.Progress().Read; c.read > 0 && got != c.read*s.layout.ShardSize() {
				t.Errorf("read %d bytes for a shard of %d", got, s.layout.ShardSize())
			}
		})
	}
}

// A lease that is not honoured any more is replaced.
func TestLeaseThatRanOut(t *testing.T) {
	w := newWorld(t)
	w.urgently()
	w.add(4 * 64)
	for slot := range w.faults {
		w.faults[slot].says = &order.Refusal{Reason: order.ErrEpoch, Detail: "another"}
	}
	if worked, err := w.healer.Once(t.Context()); worked || err != nil {
		t.Fatal(worked, err)
	}
	clear(w.faults)
	w.healer.retries = map[shardstore.Key]retry{}
	w.healAll()
	w.mustHold()
	if w.leases != 2 {
		t.Errorf("%d leases", w.leases)
	}
}

// What is not urgent waits until the node has nothing else to do.
func TestIdle(t *testing.T) {
	w := newWorld(t)
	w.needs = []Need{{Group: testGroup, Slot: testSlot, Urgent: []Urgent{{Coverage: 5, Numbers: seqset.Of(seqset.Run{First: 2, Last: 2})}}}}
	for range 3 {
		w.add(4 * 64)
	}
	w.healAll()
	if missing, _, err := w.store.MissingRuns(testGroup); err != nil || !slices.Equal(missing, seqset.Numbers([]uint64{1, 3})) {
		t.Fatalf("missing: %v, %v", missing, err)
	}
	w.idle = true
	w.healAll()
	w.mustHold()
}

// Peers that serve others are not read from for what is not urgent, nor is that tried
// less often for it. What is urgent is made at once.
func TestPeersYield(t *testing.T) {
	w := newWorld(t)
	w.idle = true
	w.needs = []Need{{Group: testGroup, Slot: testSlot}}
	w.add(4 * (windowStripes*erasure.ChunkSize + 64))
	w.add(4 * 64)
	for _, slot := range []int{0, 1, 2, 3, 8, 9} { // one more than can be done without
		w.faults[slot].yields = true
	}
	w.healAll()
	if p := w.healer.Progress(); p.Failed != 0 || p.Shards != 0 || p.Active != 0 {
		t.Errorf("%+v", p)
	}
	if w.patient == 0 || w.patient != w.opened {
		t.Errorf("%d of %d streams were patient", w.patient, w.opened)
	}
	opened := w.opened
	w.faults[9].yields = false
	if w.healAll(); w.opened != opened {
		t.Error("peers that were busy a moment ago were asked again")
	}
	w.now = w.now.Add(busyPause)
	w.healAll()
	w.mustHold()

	w.faults[9].yields = true
	w.add(4 * 64)
	w.urgently()
	before := w.patient
	w.healAll()
	w.mustHold()
	if w.patient != before {
		t.Error("a stream for what is urgent was patient")
	}
}

// A group whose peers are busy keeps none of another from being made.
func TestOtherGroupsGoOn(t *testing.T) {
	w := newWorld(t)
	w.idle = true
	w.needs = []Need{{Group: testGroup + 1, Slot: testSlot}, {Group: testGroup, Slot: testSlot}}
	w.busyGroup = testGroup + 1
	s := w.add(4 * 64)
	err := w.store.Advance(w.busyGroup, []shardstore.Entry{{Seq: 1, Segment: s.id, Live: true, Root: s.root, Size: s.layout.Size}})
	if err != nil {
		t.Fatal(err)
	}
	w.healAll()
	w.mustHold()
	if missing, _, err := w.store.MissingRuns(w.busyGroup); err != nil || len(missing) != 1 {
		t.Errorf("of the group whose peers are busy is missing %v, %v", missing, err)
	}
}

// A peer that begins to serve others in the middle of a shard is replaced.
func TestPeerYieldsLater(t *testing.T) {
	w := newWorld(t)
	w.idle = true
	w.needs = []Need{{Group: testGroup, Slot: testSlot}}
	w.add(4 * (3 * windowStripes * erasure.ChunkSize))
	for _, slot := range []int{0, 1, 2, 3, 9} {
		w.faults[slot].yieldsAfter = 1
	}
	w.healAll()
	w.mustHold()
	if p := w.healer.Progress(); p.Failed != 0 || p.Shards != 1 {
		t.Errorf("%+v", p)
	}
}

// What is not urgent does not wait for others for ever: not for what the node
// itself serves, nor for peers.
func TestPatienceEnds(t *testing.T) {
	for _, idle := range []bool{false, true} {
		w := newWorld(t)
		w.idle = idle
		w.needs = []Need{{Group: testGroup, Slot: testSlot}}
		for slot := range w.faults {
			w.faults[slot].yields = true
		}
		waits := func() {
			t.Helper()
			before := w.healer.Progress()
			w.healAll()
			if w.healer.Progress() != before {
				t.Fatal("it did not wait")
			}
		}
		waits() // there is nothing yet, so that the time does not count
		w.now = w.now.Add(patience)
		w.add(4 * 64)
		w.add(4 * 4096)
		waits()
		w.now = w.now.Add(patience - time.Second)
		waits()
		w.now = w.now.Add(time.Second)
		w.healAll()
		w.mustHold()
		w.add(4 * 64) // the next has to wait as long
		waits()
		w.now = w.now.Add(patience)
		w.healAll()
		w.mustHold()
	}
}

// A satellite that gives no lease is an error, and no harm.
func TestNoLease(t *testing.T) {
	w := newWorld(t)
	w.urgently()
	w.add(4 * 64)
	w.failing = errors.New("no satellite")
	if worked, err := w.healer.Once(t.Context()); worked || !errors.Is(err, w.failing) {
		t.Fatal(worked, err)
	}
	w.failing = nil
	w.healAll()
	w.mustHold()
}

// What was made is there after a restart, and the rest goes on.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	w.needs = []Need{{Group: testGroup, Slot: testSlot, Urgent: []Urgent{{Coverage: 5, Numbers: seqset.Of(seqset.Run{First: 1, Last: 2})}}}}
	for range 4 {
		w.add(4 * 4096)
	}
	w.healAll()
	w.store.Close()
	w.start()
	w.urgently()
	w.healAll()
	w.mustHold()
	if p := w.healer.Progress(); p.Shards != 2 {
		t.Errorf("%d shards were made after the restart", p.Shards)
	}
}

func TestRank(t *testing.T) {
	run := func(first, last uint64) seqset.Set { return seqset.Of(seqset.Run{First: first, Last: last}) }
	needs := []Need{
		{Group: 1, Urgent: []Urgent{{4, run(1, 10)}, {6, run(20, 30)}}},
		{Group: 2, Urgent: []Urgent{{5, run(1, 100)}}},
		{Group: 3, Successor: true},
		{Group: 4, Urgent: []Urgent{{4, run(1, 100)}}},
		{Group: 5, Urgent: []Urgent{{1, run(50, 60)}}},
	}
	missing := map[uint32]seqset.Set{1: run(5, 25), 2: run(90, 200), 3: run(1, 2), 4: run(1, 50), 5: run(1, 9)}
	type one struct {
		group    uint32
		coverage int
		numbers  uint64
	}
	var got []one
	for _, c := range rank(needs, missing) {
		got = append(got, one{c.need.Group, c.coverage, c.numbers.Len()})
	}
	want := []one{{4, 4, 50}, {1, 4, 6}, {2, 5, 11}, {1, 6, 6}, {3, allUrgent, 2}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
