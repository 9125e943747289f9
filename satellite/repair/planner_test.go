package repair

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/satellite/audit"
)

// TestHolderComesBack has nobody to take a slot over while its holder is gone,
// and somebody only when it is back: it keeps the slot.
func TestHolderComesBack(t *testing.T) {
	w := newWorld(10, 1, small)
	for _, c := range []struct {
		away   time.Duration
		delays int
	}{{shortly, 0}, {limits.Grace, 0}, {long, 1}, {1000 * time.Hour, 1}} {
		w.nodes[3].Away = c.away
		if d := w.plan(limits, 1); len(d.Replacements) > 0 || len(d.Delays) != c.delays {
			t.Errorf("away for %v: %+v", c.away, d)
		}
	}
	w.nodes[3].Away = 0
	w.nodes = append(w.nodes, newWorld(11, 0, small).nodes[10])
	if d := w.plan(limits, 1); !reflect.DeepEqual(d, Decision{}) {
		t.Errorf("back: %+v", d)
	}
}

// TestAwaitedHolders takes six of ten holders away, and has one of the four that
// stay lack what could be read with any of the six.
func TestAwaitedHolders(t *testing.T) {
	w := newWorld(30, 1, small)
	for i := range 6 {
		w.nodes[i].Away = long + time.Duration(i)
	}
	w.slots[0][9].Claim.Missing = run(41, 60)
	w.slots[0][4].Claim.Missing = run(41, 60) // cannot bring it back
	w.nodes[5].State = audit.Disqualified     // nor can this
	d := w.plan(limits, 1)
	var replaced []int
	for _, r := range d.Replacements {
		replaced = append(replaced, r.Slot)
	}
	// 4 cover the rest, and RepairBelow is 6.
	if slices.Sort(replaced); !slices.Equal(replaced, []int{4, 5}) || len(d.Delays) != 4 {
		t.Fatalf("replaced %v; %+v", replaced, d.Delays)
	}
	for _, delay := range d.Delays {
		if delay.Why != "20 journal numbers cannot be read, and it could bring back some: it is waited for" {
			t.Error(delay.Why)
		}
	}
	// With only three left for the rest, nothing is.
	w.nodes[6].Away = shortly
	if d := w.plan(limits, 1); len(d.Replacements) != 0 || !strings.HasPrefix(d.Delays[0].Why, "nothing of the group can be read") {
		t.Errorf("%+v", d)
	}
	// None that could bring it back is left, so nobody is waited for.
	w.nodes[6].Away = 0
	for i := range 4 {
		w.slots[0][i].Claim.Missing = run(41, 60)
	}
	if d := w.plan(limits, 1); len(d.Replacements) != 6 {
		t.Errorf("%+v", d)
	}
	// An exit goes on whatever cannot be read.
	w.nodes[6].Away, w.nodes[7].State = shortly, audit.Exiting
	if d := w.plan(limits, 1); len(d.Replacements) != 1 || !d.Replacements[0].Successor {
		t.Errorf("%+v", d)
	}
}

// slotsOf is which slots are replaced, as group.slot in the order chosen.
func slotsOf(d Decision) (list [][2]int) {
	for _, r := range d.Replacements {
		list = append(list, [2]int{int(r.Group), r.Slot})
	}
	return list
}

// TestOrder has groups of two schemes that lost more or less.
func TestOrder(t *testing.T) {
	w := newWorld(400, 6, small)
	big := newWorld(400, 1, erasure.Scheme{Required: 20, RepairBelow: 28, Success: 32, Total: 40})
	w.groups, w.slots = append(w.groups, big.groups[0]), append(w.slots, big.slots[0])
	w.groups[6].ID = 7
	for g := range w.groups { // each of its own nodes
		for slot := range w.groups[g].Seats {
			w.groups[g].Seats[slot].Holder = id(50*g + slot)
		}
	}
	lose := func(g int, slots ...int) {
		for _, slot := range slots {
			w.nodes[50*g+slot].State = audit.Disqualified
		}
	}
	w.nodes[9].State = audit.Exiting
	lose(1, 4)            // 5 shards of 2 to spare
	lose(2, 1, 2, 3, 4)   // 2 of 2
	lose(3, 0, 5)         // 4 of 2
	lose(4, 8)            // 4 of 2, and another slot is being rebuilt
	lose(5, 6)            // 1 of 2, as few hold the first half
	lose(6, first(15)...) // 5 of 8
	w.slots[4][0] = Slot{Given: w.head}
	w.slots[5] = with(w.slots[5], Slot{Due: 50}, 0, 1, 2, 3)
	want := [][2]int{{6, 6}}
	for slot := range 15 {
		want = append(want, [2]int{7, slot})
	}
	want = append(want, [][2]int{{3, 1}, {3, 2}, {3, 3}, {3, 4}, {4, 0}, {4, 5}, {5, 8}, {2, 4}, {1, 9}}...)
	got := w.plan(limits, 1)
	if !reflect.DeepEqual(slotsOf(got), want) {
		t.Errorf("replaced %v, want %v", slotsOf(got), want)
	}
	// The same order when there is less to give.
	few := limits
	for few.Total = range 26 {
		d := w.plan(few, 1)
		n := max(0, few.Total-1) // one is being rebuilt already
		if got := slotsOf(d); len(got) != n || n > 0 && !reflect.DeepEqual(got, want[:n]) || len(d.Delays) != len(want)-n {
			t.Fatalf("%d at a time: replaced %v and delayed %d", few.Total, got, len(d.Delays))
		}
		for _, delay := range d.Delays {
			if !strings.HasPrefix(delay.Why, "its turn has not come: ") {
				t.Fatal(delay.Why)
			}
		}
	}
}

// TestPerNode loses slots of many groups with two nodes to take them.
func TestPerNode(t *testing.T) {
	w := newWorld(12, 6, small)
	for g := range w.groups {
		for slot := range w.groups[g].Seats {
			w.groups[g].Seats[slot].Holder = id(slot)
		}
	}
	w.nodes[4].State = audit.Disqualified
	d := w.plan(limits, 1)
	given := map[ident.ID]int{}
	for _, r := range d.Replacements {
		given[r.To]++
	}
	if given[id(10)] != 2 || given[id(11)] != 2 || len(d.Delays) != 2 || !strings.Contains(d.Delays[0].Why, "2 are healing as many slots as they may") {
		t.Errorf("%v %+v", given, d.Delays)
	}
	// What a node has to heal from before counts as well, even what it does not
	// heal.
	for g, to := range map[int]int{0: 10, 1: 10, 3: 11} {
		w.groups[g].Seats[4].Holder, w.slots[g][4] = id(to), Slot{Given: w.head}
	}
	w.groups[0].Seats[4].Idle = limits.Stall + 1
	w.groups[2].Seats[4].Successor, w.nodes[4].State = id(11), audit.Exiting
	d = w.plan(limits, 1)
	if len(d.Replacements) != 0 || len(d.Delays) != 3 || d.Rebuilding != 3 {
		t.Errorf("%+v", d)
	}
}

// TestOrderOfEquals has two groups in the same danger: no one gets all its slots
// first, and what is being rebuilt already counts.
func TestOrderOfEquals(t *testing.T) {
	w := newWorld(60, 2, small)
	for slot := range 10 {
		w.groups[1].Seats[slot].Holder = id(10 + slot)
	}
	for _, lost := range []int{1, 2, 3, 15, 16, 17} {
		w.nodes[lost].State = audit.Disqualified
	}
	want := [][2]int{{1, 1}, {2, 5}, {1, 2}, {2, 6}, {1, 3}, {2, 7}}
	if got := slotsOf(w.plan(limits, 1)); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	w.nodes[1].State, w.slots[0][1] = audit.Online, Slot{Given: w.head}
	w.nodes[4].State, w.nodes[18].State = audit.Disqualified, audit.Disqualified
	w.nodes[15].State, w.slots[1][5] = audit.Online, Slot{Due: w.head}
	want = [][2]int{{2, 6}, {1, 2}, {2, 7}, {1, 3}, {2, 8}, {1, 4}}
	if got := slotsOf(w.plan(limits, 1)); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestRoom takes into account what a node has been given and not yet filled.
func TestRoom(t *testing.T) {
	w := newWorld(22, 2, small)
	for i := range w.nodes {
		w.nodes[i].Free = 0
	}
	for slot := range 10 {
		w.groups[0].Seats[slot].Holder, w.groups[1].Seats[slot].Holder = id(slot), id(10+slot)
	}
	w.nodes[3].State = audit.Disqualified
	w.groups[1].Seats[0].Holder, w.slots[1][0] = id(20), Slot{Given: w.head, Claim: Claim{Seq: w.head / 2}}
	for _, c := range []struct {
		free  int64
		given bool
	}{{3<<29 - 1, false}, {3 << 29, true}} { // half a slot to go, and a new one
		w.nodes[20].Free = c.free
		if d := w.plan(limits, 1); (len(d.Replacements) == 1) != c.given {
			t.Errorf("with %d bytes: %+v", c.free, d)
		}
	}
}

// TestNewHoldersAreFair gives lost slots of a group to nodes by their free space,
// over many seeds and over many groups of one seed.
func TestNewHoldersAreFair(t *testing.T) {
	const rolls = 6000
	w := newWorld(14, 1, small)
	w.nodes[2].State = audit.Disqualified
	for i, free := range []int64{1, 2, 3, 4} {
		w.nodes[10+i].Free = free * tib
	}
	w.examine()
	seeds, groups := map[ident.ID]float64{}, map[ident.ID]float64{}
	for seed := range uint64(rolls) {
		seeds[Plan(w.groups, w.nodes, limits, seed).Replacements[0].To]++
	}
	group := w.groups[0]
	w.groups = nil
	for i := range rolls {
		group.ID = uint32(i + 1)
		w.groups = append(w.groups, group)
	}
	all := limits
	all.Total, all.PerNode = math.MaxInt, math.MaxInt
	for _, r := range Plan(w.groups, w.nodes, all, 1).Replacements {
		groups[r.To]++
	}
	for i := range 4 {
		want := float64(i+1) / 10
		if a, b := seeds[id(10+i)]/rolls, groups[id(10+i)]/rolls; math.Abs(a-want) > 0.025 || math.Abs(b-want) > 0.025 {
			t.Errorf("node %d was chosen %.3f and %.3f of the times, want %.1f", i, a, b, want)
		}
	}
}

// randomWorld has nodes and groups in any state.
func randomWorld(random *rand.Rand) *world {
	w := newWorld(12+random.IntN(40), 1+random.IntN(6), small)
	for i := range w.nodes {
		n := &w.nodes[i]
		n.State = []audit.State{audit.Vetting, audit.Vetting, audit.Online, audit.Online, audit.Online, audit.Online, audit.Online, audit.Suspended, audit.Exiting, audit.Disqualified}[random.IntN(10)]
		n.Away = []time.Duration{0, 0, 0, 0, shortly, long}[random.IntN(6)]
		n.Free = int64(random.IntN(4)) << 30
	}
	for g := range w.groups {
		for i := range w.groups[g].Seats {
			s := &w.groups[g].Seats[i]
			s.Idle = []time.Duration{0, limits.Stall, limits.Stall + 1}[random.IntN(3)]
			switch random.IntN(8) {
			case 0:
				w.slots[g][i] = Slot{Given: w.head, Claim: Claim{Seq: uint64(random.IntN(100))}}
			case 1:
				w.slots[g][i].Claim.Missing = run(1, uint64(random.IntN(100)))
			}
			if n := w.node(s.Holder); n.State == audit.Exiting && random.IntN(2) == 0 {
				other := &w.nodes[random.IntN(len(w.nodes))]
				if !slices.ContainsFunc(w.groups[g].Seats, func(s Seat) bool { return s.Holder == other.ID || s.Successor == other.ID }) {
					s.Successor, s.Ready = other.ID, random.IntN(2) == 0
				}
			}
		}
	}
	return w
}

// TestPlanHoldsRules checks decisions about random worlds, and that neither the
// order of groups nor that of nodes matters.
func TestPlanHoldsRules(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 500 {
		w := randomWorld(random)
		l := limits
		l.Total, l.PerNode, l.Distinct = 1+random.IntN(12), 1+random.IntN(3), random.IntN(2) == 0
		if random.IntN(2) == 0 { // often shared
			for i := range w.nodes {
				w.nodes[i].Operator = []string{"", w.nodes[i].Operator, "one", "two"}[random.IntN(4)]
			}
		}
		seed := random.Uint64()
		d := w.plan(l, seed)
		groups, nodes := slices.Clone(w.groups), slices.Clone(w.nodes)
		random.Shuffle(len(groups), func(i, j int) { groups[i], groups[j] = groups[j], groups[i] })
		random.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		before := slices.Clone(groups[0].Seats)
		if again := Plan(groups, nodes, l, seed); !reflect.DeepEqual(again, d) {
			t.Fatalf("shuffled: %+v, want %+v", again, d)
		}
		if !slices.Equal(groups[0].Seats, before) {
			t.Fatal("the input was changed")
		}
		checkDecision(t, w, l, d)
	}
}

// checkDecision checks what must be true of any decision.
func checkDecision(t *testing.T, w *world, l Limits, d Decision) {
	t.Helper()
	seen := map[[2]int]bool{}
	var worst *Group // of those delayed for want of a turn
	for _, delay := range d.Delays {
		g := &w.groups[delay.Group-1]
		seen[[2]int{int(delay.Group), delay.Slot}] = true
		if strings.HasPrefix(delay.Why, "its turn") && delay.Reason != HolderExiting && (worst == nil || compareDanger(g, worst) < 0) {
			worst = g
		}
	}
	load := map[ident.ID]int{}
	for _, r := range d.Replacements {
		g := &w.groups[r.Group-1]
		seat := g.Seats[r.Slot]
		key := [2]int{int(r.Group), r.Slot}
		if seen[key] || r.From != seat.Holder || r.Reason == 0 {
			t.Fatalf("%+v of %+v", r, seat)
		}
		seen[key] = true
		to, from := w.node(r.To), w.node(r.From)
		if needed := from.Presence(l.Grace) > Away || from.State == audit.Exiting || seat.Idle > l.Stall; !needed {
			t.Fatalf("%+v is replaced for nothing: %+v", from, r)
		}
		if r.To == seat.Successor && !r.Successor {
			if to.Presence(l.Grace) > Away || to.State == audit.Exiting {
				t.Fatalf("%+v takes over: %+v", to, r)
			}
			continue
		}
		if load[r.To]++; !to.State.TakesData() || to.Away > 0 || load[r.To] > l.PerNode || to.Free < int64(load[r.To])*g.Size {
			t.Fatalf("%+v was chosen for %d: %+v", to, load[r.To], r)
		}
		if worst != nil && (r.Reason == HolderExiting || compareDanger(g, worst) > 0) {
			t.Fatalf("%+v came before group %d", r, worst.ID)
		}
	}
	checkNeeds(t, w, l, seen)
	if d.Rebuilding > l.Total && len(load) > 0 {
		t.Fatalf("%d slots are being rebuilt", d.Rebuilding)
	}
	w.apply(d)
	checkSeats(t, w, l, d)
}

// checkNeeds wants something to be said of every slot that is lost.
func checkNeeds(t *testing.T, w *world, l Limits, seen map[[2]int]bool) {
	t.Helper()
	for g := range w.groups {
		for slot, s := range w.groups[g].Seats {
			n := w.node(s.Holder)
			if n.Presence(l.Grace) > Away && !seen[[2]int{g + 1, slot}] {
				t.Fatalf("nothing is said of slot %d of group %d", slot, g+1)
			}
		}
	}
}

// checkSeats makes sure that no node has two slots of a group, and that new ones
// are apart from the others.
func checkSeats(t *testing.T, w *world, l Limits, d Decision) {
	t.Helper()
	chosen := map[[2]int]ident.ID{}
	for _, r := range d.Replacements {
		chosen[[2]int{int(r.Group), r.Slot}] = r.To
	}
	for g := range w.groups {
		in := map[ident.ID]int{}
		for slot, s := range w.groups[g].Seats {
			for _, id := range []ident.ID{s.Holder, s.Successor} {
				if other, twice := in[id]; twice && !id.IsZero() {
					t.Fatalf("%v has slots %d and %d of group %d", id, other, slot, g+1)
				}
				in[id] = slot
			}
		}
		for slot := range w.groups[g].Seats {
			to, ok := chosen[[2]int{g + 1, slot}]
			if !ok || !l.Distinct || w.node(to).Operator == "" || w.inherited[[2]int{g + 1, slot}] {
				continue
			}
			for id, at := range in {
				n := w.node(id)
				if at != slot && n != nil && n.State != audit.Disqualified && n.Operator == w.node(to).Operator {
					t.Fatalf("slots %d and %d of group %d are of one operator", slot, at, g+1)
				}
			}
		}
	}
}

// apply does what was decided.
func (w *world) apply(d Decision) {
	w.inherited = map[[2]int]bool{}
	for _, r := range d.Replacements {
		s := &w.groups[r.Group-1].Seats[r.Slot]
		w.inherited[[2]int{int(r.Group), r.Slot}] = r.To == s.Successor
		switch {
		case r.Successor:
			s.Successor, s.Ready, s.Idle = r.To, false, 0
			continue
		case r.To == s.Successor && s.Ready:
			// It holds what its predecessor did.
		default:
			w.slots[r.Group-1][r.Slot] = Slot{Given: w.head}
			s.Idle = 0
		}
		s.Holder, s.Successor, s.Ready = r.To, ident.ID{}, false
	}
}

// TestNetworkHeals runs a network in which nodes come, go, exit and are
// disqualified, and new holders heal what they are given: as long as no more
// are lost at a time than are to spare, nothing ever is, and in the end all is
// whole.
func TestNetworkHeals(t *testing.T) {
	reasons := map[Reason]int{}
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 9))
		w := newWorld(60, 20, small)
		l := limits
		l.Total = 20
		for pass := range 250 {
			if pass < 200 && pass%4 == 0 {
				w.disturb(random)
			}
			for i := range w.nodes {
				if n := &w.nodes[i]; n.Away > 0 {
					n.Away += time.Hour
				}
			}
			d := w.plan(l, random.Uint64())
			for _, r := range d.Replacements {
				reasons[r.Reason]++
			}
			w.apply(d)
			w.heal(random)
			w.examine()
			for _, g := range w.groups {
				if g.Health.Lowest() < small.Required {
					t.Fatalf("seed %d, pass %d: group %d is down to %d", seed, pass, g.ID, g.Health.Lowest())
				}
			}
		}
		for _, g := range w.groups {
			if g.Health.Healthy != small.Total {
				t.Errorf("seed %d: group %d has %d healthy slots: %+v", seed, g.ID, g.Health.Healthy, w.plan(l, 1))
			}
		}
	}
	for _, reason := range []Reason{HolderBarred, HolderGone, HolderExiting} {
		if reasons[reason] < 50 {
			t.Errorf("only %d holders were replaced as %v", reasons[reason], reason)
		}
	}
}

// disturb lets something happen to a node, and another come.
func (w *world) disturb(random *rand.Rand) {
	n := &w.nodes[random.IntN(len(w.nodes))]
	switch random.IntN(4) {
	case 0:
		n.State = audit.Disqualified
	case 1:
		n.State = audit.Exiting
	default:
		n.Away = shortly
	}
	for i := range w.nodes {
		if n := &w.nodes[i]; n.Away > 0 && n.State == audit.Online && random.IntN(3) == 0 {
			n.Away = 0
		}
	}
	w.nodes = append(w.nodes, newWorld(len(w.nodes)+1, 0, small).nodes[len(w.nodes)])
}

// heal has holders and successors heal some of what they lack.
func (w *world) heal(random *rand.Rand) {
	for g := range w.groups {
		for slot := range w.groups[g].Seats {
			if n := w.node(w.groups[g].Seats[slot].Holder); n.Away == 0 && random.IntN(3) == 0 {
				w.slots[g][slot].Claim = Claim{Seq: w.head}
			}
			if s := &w.groups[g].Seats[slot]; !s.Successor.IsZero() && random.IntN(3) == 0 {
				s.Ready = true
			}
		}
	}
}
