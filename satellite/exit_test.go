package satellite

import (
	"slices"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// leaving returns the slots of a node that have a successor, by group.
func (w *town) leaving(node int) map[uint32]int {
	heirs := map[uint32]int{}
	for _, g := range w.groups.all() {
		slot, holds := g.SlotOf(w.keys[node].ID())
		if next := g.seat(max(slot, 0)).Successor; holds && !next.IsZero() {
			heirs[g.ID] = w.index(next)
		}
	}
	return heirs
}

// departure opens what a node is given to go with; nil while it has to stay.
func (w *town) departure(node int) *order.Departure {
	w.t.Helper()
	signed := w.registry.standing(w.keys[node].ID()).Exit.Departure
	if signed == nil {
		return nil
	}
	d, err := order.OpenDeparture(signed, w.key.ID())
	must(w.t, err)
	return d
}

// TestExit hands over the slots of a node that wants to leave, over restarts,
// without a moment in which fewer hold something.
func TestExit(t *testing.T) {
	w := newTown(t, 10)
	w.keys = append(w.keys, newKeys(t, 3)...)
	w.fill(100)
	w.pass(time.Minute)
	w.claim()
	const node = 4
	id := w.keys[node].ID()
	must(t, w.registry.exit(t.Context(), id))
	must(t, w.registry.exit(t.Context(), id))
	w.repair()
	heirs := w.leaving(node)
	if len(heirs) != 4 || w.held(node) != 4 || w.registry.standing(id).State != audit.Exiting {
		t.Fatalf("%d slots of %d have successors", len(heirs), w.held(node))
	}
	for group, heir := range heirs {
		w.have[townSlot{group, heir}] = seqset.Set{{First: 1, Last: 99}}
		news := w.newsOf(w.keys[heir].ID(), w.group(group))
		if !news.Successor || len(news.Urgent) != 1 {
			t.Errorf("a successor is told %+v", news)
		}
	}
	w.claim()
	w.stop()
	w.restart(w.key)
	w.pass(time.Minute)
	w.repair()
	if got := w.leaving(node); len(got) != 4 || w.departure(node) != nil {
		t.Fatalf("after a restart with all but one entry: successors %v", got)
	}
	for group, heir := range heirs {
		if w.leaving(node)[group] != heir {
			t.Errorf("group %d: the successor is another one after a restart", group)
		}
		if group != 2 {
			delete(w.have, townSlot{group, heir})
		}
	}
	w.claim()
	w.repair()
	if w.held(node) != 1 || w.departure(node) != nil || w.group(2).Epoch != 1 || w.group(1).Epoch != 2 {
		t.Fatalf("%d slots are left, departure %v", w.held(node), w.departure(node))
	}
	for group, heir := range heirs {
		g := w.group(group)
		if slot, holds := g.SlotOf(w.keys[heir].ID()); holds != (group != 2) || holds && g.seat(slot).Given != 100 {
			t.Errorf("group %d: its successor holds a slot: %v", group, holds)
		}
		if c := w.repairer.condition(group); c.Lowest() < 10 {
			t.Errorf("group %d was found to be %+v", group, c.Health)
		}
	}
	delete(w.have, townSlot{2, heirs[2]})
	w.claim()
	w.repair()
	if w.departure(node) != nil {
		t.Error("the node may go before it is known what its last successor holds")
	}
	w.repair()
	left := func() {
		t.Helper()
		d, s := w.departure(node), w.registry.standing(id)
		if d == nil || d.Node != id || d.Slots != 4 || s.State != audit.Gone || w.held(node) != 0 {
			t.Fatalf("departure %+v, standing %+v", d, s)
		}
	}
	left()
	if w.registry.online(id) {
		t.Error("a node that has left is online")
	}
	w.stop()
	w.restart(w.key)
	left()
	wantError(t, "leaving again", w.registry.exit(t.Context(), id), satclient.ErrDenied)
	wantError(t, "a stranger leaves", w.registry.exit(t.Context(), ident.ID{9}), satclient.ErrDenied)
	for _, words := range []string{"asked to leave", "is to take over a slot", "exiting", "left: all its slots"} {
		if !w.logged(words) {
			t.Errorf("log lacks %q:\n%s", words, w.logs.String())
		}
	}
}

// TestExitUnderUploads hands slots over although the journals never rest: once
// successors hold all that was there a few check-ins ago.
func TestExitUnderUploads(t *testing.T) {
	w := newTown(t, 10)
	w.keys = append(w.keys, newKeys(t, 3)...)
	w.fill(100)
	w.pass(time.Minute)
	w.claim()
	w.repair()
	const node = 4
	must(t, w.registry.exit(t.Context(), w.keys[node].ID()))
	w.repair()
	heirs := w.leaving(node)
	length := uint64(100)
	upload := func() {
		length++
		w.fill(length)
		w.pass(w.config.CheckIn)
	}
	for group, heir := range heirs {
		w.have[townSlot{group, heir}] = seqset.Set{{First: 1, Last: 100}}
	}
	for range 3 * successorLapses { // behind by more and more
		upload()
		w.claim()
		w.repair()
	}
	if w.held(node) != len(heirs) {
		t.Fatalf("successors that are behind have taken over %d slots of %d", len(heirs)-w.held(node), len(heirs))
	}
	for group, heir := range heirs {
		delete(w.have, townSlot{group, heir})
	}
	w.claim()
	upload()
	upload() // which they have not claimed
	w.repair()
	if w.held(node) != 0 {
		t.Fatalf("%d slots are left", w.held(node))
	}
	for group, heir := range heirs {
		g := w.group(group)
		slot, _ := g.SlotOf(w.keys[heir].ID())
		w.repair()
		if given := g.seat(slot).Given; given != length {
			t.Errorf("group %d was given at %d of %d", group, given, length)
		}
		if urgent := w.urgent(group, heir); len(urgent) != 1 || !slices.Equal(urgent[0].numbers, seqset.Set{{First: length - 1, Last: length}}) {
			t.Errorf("group %d: %v is urgent, not what was added last", group, urgent)
		}
	}
	for group, heir := range heirs {
		w.have[townSlot{group, heir}] = seqset.Set{{First: 1, Last: length - 1}}
	}
	for group, heir := range heirs {
		w.claim()
		w.repair()
		if w.departure(node) != nil {
			t.Fatal("the node may go, and has the only shards for a slot of what was added last")
		}
		delete(w.have, townSlot{group, heir})
	}
	w.claim()
	w.repair()
	if d := w.departure(node); d == nil || int(d.Slots) != len(heirs) {
		t.Errorf("departure %+v", d)
	}
}

// TestExitWithoutSlots lets a node go at once that has nothing.
func TestExitWithoutSlots(t *testing.T) {
	w := newTown(t, 10)
	w.keys = append(w.keys, newKey(t))
	w.pass(time.Minute)
	must(t, w.registry.exit(t.Context(), w.keys[10].ID()))
	w.repair()
	if d := w.departure(10); d == nil || d.Slots != 0 {
		t.Errorf("departure %+v", d)
	}
}

// TestExitCutShort has a node die on its way out: it gets no credit for slots
// that it did not hand over.
func TestExitCutShort(t *testing.T) {
	w := newTown(t, 10)
	w.keys = append(w.keys, newKeys(t, 3)...)
	w.fill(100)
	w.pass(time.Minute)
	w.claim()
	const node = 4
	must(t, w.registry.exit(t.Context(), w.keys[node].ID()))
	w.repair()
	heirs := w.leaving(node)
	for group, heir := range heirs {
		if group != 1 {
			w.have[townSlot{group, heir}] = nil
		}
	}
	w.claim()
	w.repair()
	if w.held(node) != 3 {
		t.Fatalf("%d slots are left", w.held(node))
	}
	w.away[node] = true
	for done := range uint64(2) {
		w.pass(w.config.OfflineGrace/2 + time.Minute)
		for group, heir := range heirs {
			if group != 1 {
				w.have[townSlot{group, heir}] = seqset.Set{{First: 1, Last: 1 + done}}
			}
		}
		w.claim()
		w.repair()
	}
	for group, heir := range heirs {
		if _, holds := w.group(group).SlotOf(w.keys[heir].ID()); !holds {
			t.Errorf("group %d: its successor did not take over", group)
		}
	}
	w.repair()
	if d := w.departure(node); d == nil || d.Slots != 1 {
		t.Errorf("departure %+v", d)
	}
}

// TestSuccessorLost names another successor when one is lost.
func TestSuccessorLost(t *testing.T) {
	w := newTown(t, 10)
	w.keys = append(w.keys, newKeys(t, 3)...)
	w.fill(100)
	w.pass(time.Minute)
	w.claim()
	const node = 4
	id := w.keys[node].ID()
	must(t, w.registry.exit(t.Context(), id))
	w.repair()
	first := w.leaving(node)[1]
	w.have[townSlot{1, first}] = seqset.Set{{First: 1, Last: 9}}
	w.claim()
	w.registry.judged(w.keys[first].ID(), time.Time{}, repeat(9, audit.Wrong)...)
	w.repair()
	second, named := w.leaving(node)[1]
	if !named || second == first {
		t.Fatalf("successor %d after %d", second, first)
	}
	slot, _ := w.group(1).SlotOf(id)
	for _, n := range []int{first, second} {
		if c := w.claims.get(meta.ClaimKey{Group: 1, Slot: slot, Node: w.keys[n].ID()}); c != nil {
			t.Errorf("there is a claim of node %d: %+v", n, c)
		}
	}
}

// TestExitOverTheNetwork asks for it as a node does.
func TestExitOverTheNetwork(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	keys := newKeys(t, 10)
	nodes := s.formGroups(keys)
	_, err := s.newNode(newKey(t)).Exit(t.Context(), &pb.ExitRequest{})
	wantError(t, "a stranger", err, satclient.ErrDenied)
	_, err = nodes[0].Exit(t.Context(), &pb.ExitRequest{})
	must(t, err)
	res, err := nodes[0].CheckIn(t.Context(), checkInOf(roomy))
	must(t, err)
	if got := res.Standing; got.State != pb.NodeState_NODE_STATE_EXITING || got.Slots != 4 || got.Leaving != 4 || res.Departure != nil {
		t.Errorf("a node that wants to leave is told %+v", got)
	}
	if s.registry.free([]ident.ID{keys[0].ID()})[0] != 0 {
		t.Error("a node that wants to leave is given new data")
	}
}
