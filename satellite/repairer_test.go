package satellite

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/meta"
)

// TestGoneHolder replaces the holder of slots that is away for longer than
// grace, and has the new one rebuild them.
func TestGoneHolder(t *testing.T) {
	w := newTown(t, 10)
	w.fill(100)
	w.keys = append(w.keys, newKeys(t, 4)...)
	w.pass(time.Minute)
	w.claim()
	w.repair()
	before := w.group(1)
	slot := 3
	gone := w.index(before.Nodes[slot])
	if c := w.repairer.condition(1); c.Healthy != 10 || c.Lowest() != 10 || len(c.Urgent) != 0 {
		t.Fatalf("a group that is whole is found to be %+v", c.Health)
	}
	w.away[gone] = true
	w.pass(w.config.OfflineGrace)
	w.repair()
	if c := w.repairer.condition(1); w.group(1).Epoch != 1 || c.Present != 9 || c.Lowest() != 9 {
		t.Errorf("within grace: epoch %d, %+v", w.group(1).Epoch, c.Health)
	}
	w.pass(time.Second)
	w.repair()
	after := w.group(1)
	next := after.Nodes[slot]
	opened, err := order.OpenGroup(after.record, w.key.ID())
	must(t, err)
	if after.Epoch != 2 || next == before.Nodes[slot] || opened.Nodes[slot] != next || opened.Epoch != 2 || w.index(next) < 10 {
		t.Fatalf("after grace: %+v", opened)
	}
	for other := range before.Nodes {
		if other != slot && before.Nodes[other] != after.Nodes[other] {
			t.Errorf("slot %d changed hands, too", other)
		}
	}
	if seat := after.seat(slot); seat.Given != 100 || !seat.Since.Equal(w.time) {
		t.Errorf("the slot is %+v", seat)
	}
	former := meta.ClaimKey{Group: 1, Slot: slot, Node: before.Nodes[slot]}
	if w.claims.get(former) != nil || w.held(gone) != 0 || len(w.groups.of(before.Nodes[slot])) != 0 {
		t.Errorf("the former holder has %d slots and a claim %v", w.held(gone), w.claims.get(former))
	}
	if !w.logged("standing of a node", "suspended", "away for 1h0m1s") || !w.logged("a slot has another holder", "group=1 epoch=2 slot=3", "away for too long") {
		t.Errorf("log:\n%s", w.logs.String())
	}
	w.checkRebuild(slot, w.index(next))

	// The former holder comes back: it is told, and stands as before.
	w.away[gone] = false
	w.pass(time.Minute)
	news, _ := w.tell(before.Nodes[slot], nil, []*pb.Cursor{{Group: 1, Epoch: 1, Seq: 100}}, nil)
	if len(news) != 1 || news[0].Record == nil || news[0].Epoch != 2 {
		t.Errorf("the former holder is told %v", news)
	}
	if s := w.registry.standing(before.Nodes[slot]); s.State != audit.Online {
		t.Errorf("the former holder is %v", s.State)
	}
	w.repair()
	if w.group(1).Epoch != 2 {
		t.Error("the group changed again")
	}
}

func (w *town) held(node int) int { return w.groups.held(w.keys[node].ID()) }

// checkRebuild follows a new holder of a slot of group 1, whose journal has 100
// entries, while it rebuilds, over a restart.
func (w *town) checkRebuild(slot, next int) {
	w.t.Helper()
	all := seqset.Set{{First: 1, Last: 100}}
	check := func(when string, lacks uint64, want ...repairStretch) {
		w.t.Helper()
		w.repair()
		c := w.repairer.condition(1)
		if c.Slots[slot].Rebuild != lacks || (c.Healthy == 10) != (lacks == 0) {
			w.t.Errorf("%s: %+v", when, c.Health)
		}
		if got := w.urgent(1, next); fmt.Sprint(got) != fmt.Sprint(want) {
			w.t.Errorf("%s: urgent is %v, want %v", when, got, want)
		}
		if got := w.urgent(1, w.index(w.group(1).Nodes[(slot+1)%10])); len(got) != 0 {
			w.t.Errorf("%s: urgent for a node that lacks nothing: %v", when, got)
		}
	}
	w.have[townSlot{1, next}] = nil
	w.claim()
	check("at first", 100, repairStretch{9, all})
	w.have[townSlot{1, next}] = seqset.Set{{First: 1, Last: 40}, {First: 51, Last: 60}}
	w.claim()
	want := repairStretch{9, seqset.Set{{First: 41, Last: 50}, {First: 61, Last: 100}}}
	check("half done", 50, want)
	w.stop()
	w.restart(w.key)
	w.pass(time.Minute)
	check("after a restart", 50, want)
	delete(w.have, townSlot{1, next})
	w.claim()
	check("done", 0)
}

// TestDisqualifiedHolder replaces at once.
func TestDisqualifiedHolder(t *testing.T) {
	w := newTown(t, 12)
	w.fill(10)
	w.claim()
	bad := w.holders(1)[0]
	id := w.keys[bad].ID()
	slots := w.held(bad)
	w.registry.judged(id, time.Time{}, repeat(9, audit.Wrong)...)
	w.repair()
	if w.held(bad) != 0 || slots == 0 {
		t.Errorf("a disqualified node holds %d of its %d slots", w.held(bad), slots)
	}
	if !w.logged("a slot has another holder", "group=1 epoch=2", "disqualified") {
		t.Errorf("log:\n%s", w.logs.String())
	}
	w.pass(time.Minute)
	w.repair()
	for _, g := range w.groups.all() {
		if g.Epoch > 2 || g.concerns(id) {
			t.Errorf("group %d is at epoch %d", g.ID, g.Epoch)
		}
	}
}

// TestJustStarted gives nodes time to come back after the satellite was away.
func TestJustStarted(t *testing.T) {
	w := newTown(t, 12)
	w.fill(10)
	w.claim()
	w.stop()
	w.time = w.time.Add(30 * 24 * time.Hour)
	w.restart(w.key)
	late := w.holders(1)[0]
	unchanged := func(when string) {
		t.Helper()
		w.repair()
		for _, g := range w.groups.all() {
			if g.Epoch != 1 {
				t.Fatalf("%s: group %d is at epoch %d", when, g.ID, g.Epoch)
			}
		}
	}
	unchanged("at once")
	if w.repairer.condition(1) != nil {
		t.Error("a satellite that has just started has an opinion")
	}
	w.pass(time.Minute)
	unchanged("with all of them back")
	w.away[late] = true
	w.stop()
	w.restart(w.key)
	w.pass(w.config.OfflineGrace - time.Minute)
	unchanged("within grace")
	w.pass(2 * time.Minute)
	w.repair()
	if w.held(late) != 0 {
		t.Error("a node that never came back keeps its slots")
	}
}

// TestSuspendedBefore lets nodes come back that were suspended when the
// satellite ended.
func TestSuspendedBefore(t *testing.T) {
	w := newTown(t, 10) // nobody to replace it
	w.fill(10)
	w.claim()
	w.away[0] = true
	w.pass(w.config.OfflineGrace + time.Minute)
	w.repair()
	w.stop()
	w.restart(w.key)
	w.keys = append(w.keys, newKey(t)) // now there is somebody
	w.away[0] = false
	w.pass(maxSettling)
	w.repair()
	if s := w.registry.standing(w.keys[0].ID()); s.State != audit.Online || w.held(0) != 4 {
		t.Errorf("the node is %v and holds %d slots", s.State, w.held(0))
	}
}

// TestDelays tells once why a slot gets no other holder.
func TestDelays(t *testing.T) {
	w := newTown(t, 10)
	w.fill(10)
	w.claim()
	w.away[2] = true
	w.pass(w.config.OfflineGrace + time.Minute)
	for range 3 {
		w.repair()
	}
	if n := strings.Count(w.logs.String(), "needs another holder"); n != 4 || len(w.repairer.delays) != 4 {
		t.Errorf("logged %d times; delays %v", n, w.repairer.delays)
	}
	if !w.logged("needs another holder", "away for too long", "start more") {
		t.Errorf("log:\n%s", w.logs.String())
	}
	w.away[2] = false
	w.pass(time.Minute)
	w.repair()
	if len(w.repairer.delays) != 0 {
		t.Errorf("delays %v when the node is back", w.repairer.delays)
	}
}

// spread returns nodes, as many if there are, of which no group has more than
// most.
func (w *town) spread(many, most int) (nodes []int) {
	count := map[uint32]int{}
	for i := range w.keys {
		mine := w.groups.of(w.keys[i].ID())
		full := slices.ContainsFunc(mine, func(g *group) bool { return count[g.ID] == most })
		if full || len(nodes) == many {
			continue
		}
		for _, g := range mine {
			count[g.ID]++
		}
		nodes = append(nodes, i)
	}
	return nodes
}

// TestBounded has so many slots rebuilt at a time and no more.
func TestBounded(t *testing.T) {
	w := newTown(t, 60)
	w.fill(10)
	w.claim()
	bad := w.spread(24, 5)
	for _, i := range bad {
		w.registry.judged(w.keys[i].ID(), time.Time{}, repeat(9, audit.Wrong)...)
	}
	left := func() (n int) {
		for _, i := range bad {
			n += w.held(i)
		}
		return n
	}
	all, limit := left(), rebuilds+60-len(bad)
	if all <= limit {
		t.Fatalf("%d slots are too few for this test", all)
	}
	rebuilding := func() (n int) {
		t.Helper()
		perNode := map[ident.ID]int{}
		for _, g := range w.groups.all() {
			for slot, id := range g.Nodes {
				c := w.claims.get(meta.ClaimKey{Group: g.ID, Slot: slot, Node: id})
				if g.seat(slot).Given > 0 && (c == nil || len(c.Missing) > 0) {
					perNode[id]++
					n++
				}
			}
		}
		for id, slots := range perNode {
			if slots > rebuildsPerNode {
				t.Errorf("node %d rebuilds %d slots", w.index(id), slots)
			}
		}
		return n
	}
	rounds := 0
	for ; left() > 0 && rounds < 10; rounds++ {
		for range 2 { // the second time nothing has been rebuilt since
			w.repair()
			if n := rebuilding(); n > limit || n == 0 || rounds == 0 && n != limit {
				t.Errorf("round %d: %d slots are being rebuilt at once, at most %d may", rounds, n, limit)
			}
		}
		w.claim()
	}
	if left() > 0 || rounds < 2 {
		t.Errorf("%d of %d slots are left after %d rounds", left(), all, rounds)
	}
}

// TestStalled takes a slot from a new holder that does not rebuild it.
func TestStalled(t *testing.T) {
	w := newTown(t, 12)
	w.fill(10)
	w.claim()
	w.registry.judged(w.keys[w.holders(1)[5]].ID(), time.Time{}, repeat(9, audit.Wrong)...)
	w.repair()
	lazy := w.holders(1)[5]
	w.have[townSlot{1, lazy}] = nil
	for range 3 {
		w.claim()
		w.repair()
		w.pass(stallAfter / 3)
	}
	if w.holders(1)[5] != lazy {
		t.Fatal("the slot was taken away too soon")
	}
	w.have[townSlot{1, lazy}] = seqset.Set{{First: 2, Last: 2}}
	w.claim()
	w.repair()
	w.pass(stallAfter)
	w.repair()
	if w.holders(1)[5] != lazy {
		t.Fatal("the slot was taken away though some of it was rebuilt")
	}
	w.pass(time.Minute)
	w.repair()
	if now := w.holders(1)[5]; now == lazy {
		t.Error("a node keeps a slot that it does not rebuild")
	}
}

// TestDistinct keeps to the rule of distinct networks.
// TestStalledByBadSegment has a slot that cannot be rebuilt, since a segment was
// encoded wrong, go to one other node and no further.
func TestStalledByBadSegment(t *testing.T) {
	w := newTown(t, 14)
	w.fill(10)
	w.claim()
	w.registry.judged(w.keys[w.holders(1)[5]].ID(), time.Time{}, repeat(9, audit.Wrong)...)
	w.repair()
	holders := []int{w.holders(1)[5]}
	for range 40 {
		now := w.holders(1)[5]
		if now != holders[len(holders)-1] {
			holders = append(holders, now)
		}
		w.have[townSlot{1, now}] = seqset.Set{{First: 1, Last: 6}, {First: 8, Last: 10}}
		w.claim()
		if len(w.reports.by(1, w.keys[now].ID())) == 0 {
			must(t, w.report(5, 7))
		}
		w.repair()
		must(t, w.reports.review(t.Context()))
		w.pass(stallAfter / 5)
	}
	if len(holders) != 2 {
		t.Errorf("the slot went to nodes %v", holders)
	}
	w.have[townSlot{1, holders[1]}] = seqset.Set{{First: 1, Last: 5}, {First: 8, Last: 10}}
	w.claim()
	w.repair()
	w.pass(stallAfter + time.Minute)
	w.repair()
	if now := w.holders(1)[5]; now == holders[1] {
		t.Error("a node keeps a slot that it does not rebuild, since one segment is bad")
	}
}

func TestDistinct(t *testing.T) {
	w := newTown(t, 12)
	w.config.Distinct = true // all of them have one address
	w.fill(10)
	w.claim()
	bad := w.holders(1)[0]
	w.registry.judged(w.keys[bad].ID(), time.Time{}, repeat(9, audit.Wrong)...)
	w.repair()
	if w.held(bad) == 0 || !w.logged("needs another holder", "share a subnet") {
		t.Errorf("log:\n%s", w.logs.String())
	}
}

// TestNotInTrouble changes nothing while it is not certain what the store lost.
func TestNotInTrouble(t *testing.T) {
	w := newTown(t, 12)
	w.fill(10)
	w.claim()
	bad := w.holders(1)[0]
	w.registry.judged(w.keys[bad].ID(), time.Time{}, repeat(9, audit.Wrong)...)
	w.trouble.Store(&meta.Trouble{Text: "lost"})
	w.repair()
	if w.held(bad) == 0 {
		t.Error("slots changed hands in trouble")
	}
	w.trouble.Store(nil)
	w.settling = newSettling(map[ident.ID]bool{{1}: true})
	w.repair()
	if w.held(bad) == 0 {
		t.Error("slots changed hands while settling")
	}
	w.settling.end()
	w.repair()
	if w.held(bad) != 0 {
		t.Error("slots did not change hands")
	}
}

func TestPastHeads(t *testing.T) {
	var p pastHeads
	begin := time.Unix(1_800_000_000, 0)
	for second := range uint64(400) {
		due, known := p.due(begin.Add(time.Duration(second)*time.Second), 10*second, 80*time.Second)
		if known != (second >= 80) {
			t.Fatalf("after %d s it is known: %v", second, known)
		}
		// Heads are kept for every ten seconds.
		if known && (due > 10*(second-80) || second >= 90 && due < 10*(second-90)) {
			t.Fatalf("after %d s %d is due", second, due)
		}
	}
	if len(p.times) > 10 {
		t.Errorf("%d heads are kept", len(p.times))
	}
}

// TestEmptied gives slots of groups of which everything was deleted to others,
// whoever is lost: there is nothing to wait for.
func TestEmptied(t *testing.T) {
	w := newTown(t, 10)
	w.fill(10)
	w.claim()
	for i := range 10 {
		w.away[i] = true
	}
	w.keys = append(w.keys, newKeys(t, 10)...)
	w.pass(w.config.OfflineGrace + time.Minute)
	w.repair()
	w.repair()
	if g := w.group(1); g.Epoch != 1 || w.repairer.condition(1).Covered[0] != 10 {
		t.Fatalf("a group that cannot be read is at epoch %d: %+v", g.Epoch, w.repairer.condition(1).Health)
	}
	emptyJournal(t, w.meta, w.group(1))
	w.repair()
	w.repair()
	for slot, id := range w.group(1).Nodes {
		if w.index(id) < 10 {
			t.Errorf("slot %d of an empty group is still of a node that is gone", slot)
		}
	}
	if g := w.group(2); g.Epoch != 1 {
		t.Errorf("a group that is not empty is at epoch %d", g.Epoch)
	}
}
