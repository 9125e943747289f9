package meta

import (
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/satellite/kv"
)

const keepTombstones = 32 * time.Hour // so that moments are an hour apart

func (r *rig) trim(forget bool) Trimmed {
	r.t.Helper()
	done, err := r.Trim(r.ctx, TrimRequest{Keep: keepTombstones, Forget: forget})
	r.must(err)
	return done
}

// hours lets time go by, with a trim every hour.
func (r *rig) hours(n int, forget bool) (done Trimmed) {
	r.t.Helper()
	for range n {
		r.clock = r.clock.Add(time.Hour)
		now := r.trim(forget)
		done.Entries += now.Entries
		done.Segments += now.Segments
	}
	return done
}

func (r *rig) delete(components ...string) {
	r.t.Helper()
	found, err := r.DeleteObjects(r.ctx, DeleteRequest{Project: r.project, Bucket: "bucket", Keys: [][]byte{key(components...)}})
	r.must(err)
	if !found[0] {
		r.t.Fatalf("nothing to delete under %q", components)
	}
}

func (r *rig) journal(group uint32) Journal {
	r.t.Helper()
	all, err := r.Journals(r.ctx, []uint32{group})
	r.must(err)
	return all[group]
}

// TestTrim has tombstones go when they are old enough, and not before.
func TestTrim(t *testing.T) {
	r := memRig(t)
	r.commit(3, "kept")
	r.commit(2, "gone")
	r.delete("gone") // entries 4 and 5, 6 and 7
	r.trim(true)
	young := follower{rig: r, group: 1}
	young.follow(100)
	if done := r.hours(31, true); done != (Trimmed{}) || r.journal(1).Base != 0 {
		t.Fatalf("dropped %+v before it was time; base %d", done, r.journal(1).Base)
	}
	r.commit(1, "later") // 8
	if done := r.hours(2, true); done != (Trimmed{Entries: 4, Segments: 2}) {
		t.Errorf("dropped %+v, want 4 entries and 2 segments", done)
	}
	want := Journal{Head: 8, Segments: 4, Bytes: r.journal(1).Bytes, Base: 7}
	if j := r.journal(1); j != want {
		t.Errorf("journal %+v, want %+v", j, want)
	}
	r.check()
	if n := r.count(kindEntry); n != 4 {
		t.Errorf("%d entries are left, want 4", n)
	}
	young.follow(100)
	if young.resyns != 0 || len(young.live) != 4 {
		t.Errorf("one that was no more than a day behind compared %d times and has %d segments", young.resyns, len(young.live))
	}
	r.delete("kept") // their live entries are below the base
	r.check()
	if n := r.count(kindEntry); n != 4 {
		t.Errorf("%d entries are left, want one live and three tombstones", n)
	}
	young.follow(100)
	if young.resyns != 0 || len(young.live) != 1 {
		t.Errorf("after the tombstones: compared %d times, %d segments", young.resyns, len(young.live))
	}
	// A group without entries has no moments that would ever count.
	if j := r.journal(2); j != (Journal{}) {
		t.Errorf("journal of an empty group: %+v", j)
	}
}

// TestSparsePages reads a trimmed journal from everywhere, in pages of any size.
func TestSparsePages(t *testing.T) {
	r := memRig(t)
	for i := range 12 {
		name := string(rune('a' + i))
		r.commit(3, name)
		if i%3 != 0 {
			r.delete(name)
		}
	}
	r.trim(false)
	r.hours(33, false)
	r.commit(5, "x")
	j := r.journal(1)
	want := r.live(1)
	if j.Base != 60 || j.Head != 65 || len(want) != 17 {
		t.Fatalf("journal %+v with %d live segments", j, len(want))
	}
	for cursor := uint64(0); cursor <= j.Head; cursor++ {
		for _, limit := range []int{1, 2, 5, 12, 100} {
			f := follower{rig: r, group: 1, cursor: cursor, live: maps.Clone(want)}
			for id, e := range f.live { // what it has not followed, and something that was buried
				if e.Seq > cursor {
					delete(f.live, id)
				}
			}
			if cursor < j.Base {
				f.live[order.SegmentID{9}] = Entry{Seq: 1 + cursor/2, Segment: order.SegmentID{9}}
				delete(f.live, order.SegmentID{15: 1})
			}
			f.follow(limit)
			if !reflect.DeepEqual(f.live, want) {
				t.Fatalf("from %d in pages of %d: %d segments, want %d", cursor, limit, len(f.live), len(want))
			}
			if (f.resyns > 0) != (cursor < j.Base) {
				t.Fatalf("from %d, base %d: compared %d times", cursor, j.Base, f.resyns)
			}
		}
	}
}

// TestForget has the ids of buried segments go with their tombstones, if that is
// wanted, and be used again.
func TestForget(t *testing.T) {
	r := memRig(t)
	segments, extents := r.segments(1, 1)
	commit := func(name string) error {
		return ignore(r.Commit(r.ctx, CommitRequest{
			Project: r.project, Bucket: "bucket", Key: key(name), Segments: segments, Extents: extents, Size: totalLength(extents),
		}))
	}
	r.must(commit("a"))
	r.delete("a")
	r.wants(commit("b"), ErrSegmentExists)
	r.trim(false)
	if done := r.hours(33, false); done != (Trimmed{Entries: 2}) {
		t.Errorf("dropped %+v", done)
	}
	r.wants(commit("b"), ErrSegmentExists)

	segments, extents = r.segments(1, 1)
	r.must(commit("a"))
	r.delete("a")
	r.hours(32, true) // the first of them notes the moment
	r.wants(commit("b"), ErrSegmentExists)
	if done := r.hours(1, true); done != (Trimmed{Entries: 2, Segments: 1}) {
		t.Errorf("dropped %+v", done)
	}
	r.must(commit("b"))
	r.check()
	r.delete("b")
	r.check()
	if done := r.hours(34, true); done != (Trimmed{Entries: 2, Segments: 1}) {
		t.Errorf("dropped %+v", done)
	}
}

// TestTrimInSteps trims more than one transaction looks at.
func TestTrimInSteps(t *testing.T) {
	r := memRig(t)
	for range 3 {
		r.upload(trimWork/2, key("a")) // buries the one before
	}
	r.trim(false)
	done := r.hours(33, true)
	if want := 2 * trimWork; done.Entries != want || done.Segments != want/2 || r.journal(1).Base != r.journal(1).Head {
		t.Errorf("dropped %+v, want %d entries; %+v", done, want, r.journal(1))
	}
	r.check()
}

func TestMoments(t *testing.T) {
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(minutes int, head uint64) moment {
		return moment{start.Add(time.Duration(minutes) * time.Minute), head}
	}
	var m moments
	var old uint64
	now := start
	for minute := range 10 * 24 * 60 {
		now = start.Add(time.Duration(minute) * time.Minute)
		m, old = m.note(moment{now, uint64(minute + 1)}, keepTombstones)
		if len(m) > momentsKept+2 {
			t.Fatalf("%d moments are kept", len(m))
		}
		late := int64(minute) - int64(old) - int64(keepTombstones/time.Minute)
		if old > 0 && (late < -1 || late > 61) || old == 0 && minute > 33*60 {
			t.Fatalf("minute %d: trimmed up to %d, %d minutes late", minute, old, late)
		}
	}
	// A clock that is set back makes nothing old; one that was ahead is no
	// excuse for ever.
	m, old = m.note(at(60, 20_000), keepTombstones)
	if old != 0 || len(m) > momentsKept {
		t.Errorf("clock set back: %d is old by %+v", old, m)
	}
	m, old = m.note(at(60+32*60+61, 20_001), keepTombstones)
	if old != 20_000 {
		t.Errorf("a day and a half later: %d is old by %+v", old, m)
	}
	// Nothing new, nothing noted.
	if again, _ := m.note(at(60+32*60+200, 20_001), keepTombstones); len(again) != len(m) {
		t.Errorf("noted without a new entry: %+v", again)
	}
}

// TestAcceptLoss has journals go on behind what nodes have seen, with every node
// comparing, and never gives a lost group's id out again.
func TestAcceptLoss(t *testing.T) {
	r := memRig(t)
	r.commit(3, "a")
	r.commit(1, "gone")
	r.delete("gone")
	if tr, err := r.Trouble(r.ctx); err != nil || tr != nil {
		t.Fatalf("trouble %+v, %v", tr, err)
	}
	r.must(r.ClearTrouble(r.ctx))
	const length = 12_298
	r.must(ignore(r.AddTrouble(r.ctx, 1, 5, "first")))
	r.must(ignore(r.AddTrouble(r.ctx, 1, length, "second")))
	r.must(ignore(r.AddTrouble(r.ctx, 1, 6, "third")))
	all, err := r.AddTrouble(r.ctx, 8, 50, "fourth")
	r.must(err)
	tr, err := r.Trouble(r.ctx)
	r.must(err)
	if tr.Text != "first" || !reflect.DeepEqual(tr.Heads, map[uint32]uint64{1: length, 8: 50}) ||
		!reflect.DeepEqual(all.Heads, tr.Heads) {
		t.Fatalf("trouble %+v", tr)
	}
	r.must(r.ClearTrouble(r.ctx))
	if tr, err := r.Trouble(r.ctx); err != nil || tr != nil {
		t.Fatalf("trouble %+v, %v", tr, err)
	}
	heads, err := r.Journals(r.ctx, []uint32{1, 8})
	r.must(err)
	if heads[1].Head != length+1 || heads[1].Base != length+1 || heads[1].Segments != 3 || heads[8].Head < 50 {
		t.Errorf("journals %+v", heads)
	}
	if id, err := r.NextGroup(r.ctx); err != nil || id != 9 {
		t.Errorf("next group %d, %v", id, err)
	}
	groups, err := r.Groups(r.ctx)
	r.must(err)
	if len(groups) != 2 {
		t.Errorf("%d groups", len(groups))
	}
	if st, err := r.Stats(r.ctx); err != nil || st.Groups != 2 {
		t.Errorf("stats %+v, %v", st, err)
	}
	r.check()
	o := r.commit(1, "b")
	p, err := r.Entries(r.ctx, 1, length+1, 10)
	r.must(err)
	if len(p.Entries) != 1 || p.Entries[0].Seq != length+2 || o.Segments != 1 {
		t.Errorf("the journal goes on with %+v", p)
	}
	r.must(ignore(r.AddTrouble(r.ctx, 8, 60, "again"))) // also a group of which only the length is left
	r.must(r.ClearTrouble(r.ctx))
	if j := r.journal(8); j.Head < 60 {
		t.Errorf("a lost group's journal %+v", j)
	}
	r.trim(true)
	r.hours(40, true)
	r.check()
}

// TestNodesCompareAfterLoss: whatever a node has seen of the journal that was
// lost, and whatever of the one that took its place was trimmed before the loss
// was noticed, it ends with what counts.
func TestNodesCompareAfterLoss(t *testing.T) {
	for _, trimmed := range []bool{false, true} {
		r := memRig(t)
		r.commit(2, "kept")
		r.commit(2, "gone")
		both := follower{rig: r, group: 1} // sees the journal as it is
		both.follow(100)
		lost := Entry{Seq: 5, Segment: order.SegmentID{7}}
		ahead := follower{rig: r, group: 1, cursor: 7, live: maps.Clone(both.live)} // saw entries 5 to 7 that were lost
		ahead.live[lost.Segment] = lost
		for id, e := range ahead.live {
			if e.Seq == 1 {
				delete(ahead.live, id) // by a tombstone that was lost
			}
		}
		r.delete("gone")     // 5 and 6
		r.commit(1, "after") // 7
		both.follow(100)
		if trimmed {
			r.trim(true)
			r.hours(33, true)
		}
		r.must(ignore(r.AddTrouble(r.ctx, 1, 7, "lost")))
		r.must(r.ClearTrouble(r.ctx))
		r.check()
		for name, f := range map[string]*follower{"one that was ahead": &ahead, "one that was not": &both} {
			f.follow(2)
			if !reflect.DeepEqual(f.live, r.live(1)) || f.resyns != 1 {
				t.Errorf("trimmed %v: %s compared %d times and has %v", trimmed, name, f.resyns, slices.Collect(maps.Keys(f.live)))
			}
		}
	}
}

// TestTrimSurvivesDamage: a segment's record that is cut off is damage, not a
// reason to drop anything.
func TestTrimSurvivesDamage(t *testing.T) {
	r := memRig(t)
	r.commit(2, "a")
	id := order.SegmentID{15: 2}
	r.must(r.kv.Update(r.ctx, func(tx kv.Tx) error { return tx.Set(segmentKey(id), []byte{1}) }))
	r.trim(true)
	r.clock = r.clock.Add(2 * keepTombstones)
	_, err := r.Trim(r.ctx, TrimRequest{Keep: keepTombstones, Forget: true})
	r.wants(err, ErrDamaged)
	if j := r.journal(1); j.Base != 0 || r.count(kindEntry) != 2 {
		t.Errorf("journal %+v, %d entries", j, r.count(kindEntry))
	}
}
