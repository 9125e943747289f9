package repair

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/placement"
)

var limits = Limits{Grace: 4 * time.Hour, Stall: 24 * time.Hour, Total: 100, PerNode: 2, Distinct: true}

const (
	tib     = 1 << 40
	shortly = time.Minute
	long    = 5 * time.Hour
)

func id(i int) ident.ID { return ident.ID{byte(i), byte(i >> 8), 1} }

// world is nodes and groups, with what is known of their slots.
type world struct {
	nodes  []Node
	groups []Group
	slots  [][]Slot // by group
	head   uint64
	// inherited are the slots, by group and number, that a successor took over.
	inherited map[[2]int]bool
}

// newWorld has so many nodes, each of its own operator, and groups of nodes that
// follow each other, holding everything.
func newWorld(nodes, groups int, scheme erasure.Scheme) *world {
	w := &world{head: 100}
	for i := range nodes {
		w.nodes = append(w.nodes, Node{Node: placement.Node{ID: id(i), Free: tib, Operator: fmt.Sprint("operator ", i)}, State: audit.Online})
	}
	for g := range groups {
		group := Group{ID: uint32(g + 1), Scheme: scheme, Size: 1 << 30}
		for slot := range scheme.Total {
			group.Seats = append(group.Seats, Seat{Holder: id((g*7 + slot) % nodes)})
		}
		w.groups = append(w.groups, group)
		w.slots = append(w.slots, whole(scheme.Total, w.head))
	}
	return w
}

func (w *world) node(id ident.ID) *Node {
	if i := slices.IndexFunc(w.nodes, func(n Node) bool { return n.ID == id }); i >= 0 {
		return &w.nodes[i]
	}
	return nil
}

// examine brings the health of all groups up to date.
func (w *world) examine() {
	for g := range w.groups {
		for i, s := range w.groups[g].Seats {
			w.slots[g][i].Presence = Gone
			if n := w.node(s.Holder); n != nil {
				w.slots[g][i].Presence = n.Presence(limits.Grace)
			}
		}
		w.groups[g].Health = Examine(w.groups[g].Scheme, w.head, w.slots[g])
	}
}

func (w *world) plan(l Limits, seed uint64) Decision {
	w.examine()
	return Plan(w.groups, w.nodes, l, seed)
}

// change is something that happens to a world.
type change func(w *world)

func state(s audit.State, which ...int) change {
	return func(w *world) {
		for _, i := range which {
			w.nodes[i].State = s
		}
	}
}

func away(since time.Duration, which ...int) change {
	return func(w *world) {
		for _, i := range which {
			w.nodes[i].Away = since
		}
	}
}

// successor gives slot 3 of the first group to a node when its holder has gone.
func successor(who int, ready bool, idle time.Duration) change {
	return func(w *world) {
		s := &w.groups[0].Seats[3]
		s.Successor, s.Ready, s.Idle = id(who), ready, idle
	}
}

// rebuilding has the holder of slot 3 of the first group begin.
func rebuilding(idle time.Duration) change {
	return func(w *world) { w.slots[0][3], w.groups[0].Seats[3].Idle = Slot{Given: w.head}, idle }
}

// operatedLike has a node share the operator of another.
func operatedLike(other, who int) change {
	return func(w *world) { w.nodes[who].Operator = w.nodes[other].Operator }
}

// one is a world of one group of the nodes 0 to 9, which holds everything, and so
// many nodes to spare, with what happens to it.
func one(spare int, changes ...change) *world {
	w := newWorld(10+spare, 1, small)
	for _, change := range changes {
		change(w)
	}
	return w
}

// TestPlan has something happen to the holder of slot 3, with node 10 to spare.
func TestPlan(t *testing.T) {
	stall, exits := limits.Stall, state(audit.Exiting, 3)
	const handOver, invite = false, true
	for name, c := range map[string]struct {
		world      *world
		reason     Reason // 0: nothing is done
		to         int
		successor  bool
		rebuilding int
	}{
		"all well":                {one(1), 0, 0, false, 0},
		"away":                    {one(1, away(shortly, 3, 4, 5, 6, 7, 8, 9)), 0, 0, false, 0},
		"away for as long as may": {one(1, away(limits.Grace, 3)), 0, 0, false, 0},
		"gone":                    {one(1, away(long, 3)), HolderGone, 10, handOver, 1},
		"suspended":               {one(1, state(audit.Suspended, 3)), HolderGone, 10, handOver, 1},
		"not known any more":      {one(1, func(w *world) { w.nodes = slices.Delete(w.nodes, 3, 4) }), HolderGone, 10, handOver, 1},
		"disqualified":            {one(1, state(audit.Disqualified, 3)), HolderBarred, 10, handOver, 1},
		"disqualified and away":   {one(1, state(audit.Disqualified, 3), away(long, 3)), HolderBarred, 10, handOver, 1},
		"departed":                {one(1, state(audit.Gone, 3)), HolderBarred, 10, handOver, 1},
		"shares an operator with whom it replaces": {one(1, away(long, 3), operatedLike(3, 10)), HolderGone, 10, handOver, 1},

		"a new holder":                {one(1, rebuilding(stall)), 0, 0, false, 1},
		"a new holder does nothing":   {one(1, rebuilding(stall+1)), HolderStalled, 10, handOver, 1},
		"a new holder can do nothing": {one(1, rebuilding(stall+1), away(shortly, 4, 5, 6, 7, 8, 9)), 0, 0, false, 0},

		"exiting":          {one(1, exits), HolderExiting, 10, invite, 1},
		"exiting and away": {one(1, exits, away(shortly, 3)), HolderExiting, 10, invite, 1},
		"exiting and gone": {one(1, exits, away(long, 3)), HolderGone, 10, handOver, 1},

		"the successor is not ready":            {one(2, exits, successor(11, false, stall)), 0, 0, false, 1},
		"the successor is ready, but away":      {one(2, exits, successor(11, true, 0), away(shortly, 11)), 0, 0, false, 1},
		"the successor is ready":                {one(2, exits, successor(11, true, 2*stall)), HolderExiting, 11, handOver, 0},
		"the successor is gone":                 {one(2, exits, successor(11, true, 0), away(long, 11)), HolderExiting, 10, invite, 1},
		"the successor is suspended":            {one(2, exits, successor(11, true, 0), state(audit.Suspended, 11)), HolderExiting, 10, invite, 1},
		"the successor is disqualified":         {one(2, exits, successor(11, true, 0), state(audit.Disqualified, 11)), HolderExiting, 10, invite, 1},
		"the successor exits":                   {one(2, exits, successor(11, false, 0), state(audit.Exiting, 11)), HolderExiting, 10, invite, 1},
		"the successor does nothing":            {one(2, exits, successor(11, false, stall+1)), HolderExiting, 10, invite, 1},
		"gone before the successor is ready":    {one(2, exits, away(long, 3), successor(11, false, 0)), HolderGone, 11, handOver, 1},
		"disqualified, and its successor ready": {one(2, state(audit.Disqualified, 3), successor(11, true, 0), away(shortly, 11)), HolderBarred, 11, handOver, 0},
		"lost, and its successor too":           {one(2, state(audit.Disqualified, 3, 11), successor(11, true, 0)), HolderBarred, 10, handOver, 1},
	} {
		var want []Replacement
		if c.reason != 0 {
			want = []Replacement{{Group: 1, Slot: 3, From: id(3), To: id(c.to), Reason: c.reason, Successor: c.successor}}
		}
		if got, want := c.world.plan(limits, 1), (Decision{Replacements: want, Rebuilding: c.rebuilding}); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// TestDelays has slots that no node can take.
func TestDelays(t *testing.T) {
	full := func(w *world) { w.nodes[10].Free = 1<<30 - 1 }
	for name, c := range map[string]struct {
		world    *world
		replaced int
		slot     int // the first that is delayed
		why      string
		delays   int
	}{
		"nobody to spare": {one(0, away(long, 3)), 0, 3,
			"none of the 9 storage nodes online in good standing can take the slot: 9 hold or had a slot of the group already: start more", 1},
		"nobody online": {one(1, away(shortly, first(11)...), state(audit.Disqualified, 3), func(w *world) { w.head = 0 }), 0, 3,
			"no storage node is online that could take the slot: start more", 1},
		"nobody with room": {one(3, away(long, 3), full, away(shortly, 11), state(audit.Suspended, 12)), 0, 3,
			"none of the 10 storage nodes online in good standing can take the slot: 9 hold or had a slot of the group already, 1 lack room: start more", 1},
		"nobody apart from the others": {one(1, away(long, 3), operatedLike(9, 10)), 0, 3,
			"1 share a subnet or an operator with another holder: start more", 1},
		"nobody apart from one who is gone": {one(1, state(audit.Disqualified, 3), away(long, 9), operatedLike(9, 10)), 1, 3, // but 10 may have 9's slot
			"1 share a subnet or an operator with another holder: start more", 1},
		"apart from one disqualified": {one(1, away(long, 3), state(audit.Disqualified, 9), operatedLike(9, 10)), 1, 9,
			"9 hold or had a slot of the group already: start more", 1},
		"nobody but a successor that does nothing": {one(1, state(audit.Exiting, 3), successor(10, false, limits.Stall+1)), 0, 3,
			"none of the 10 storage nodes online in good standing can take the slot: 10 hold or had a slot of the group already", 1},
		"nothing can be read": {one(9, away(long, 0, 1, 2, 3, 4), state(audit.Disqualified, 5), away(shortly, 6)), 0, 0,
			"nothing of the group can be read: 3 of its holders are online and 4 are required, 0 of 100 journal numbers are lost for good", 6},
		"nothing is left": {one(9, state(audit.Disqualified, first(7)...)), 0, 0,
			"nothing of the group can be read: 3 of its holders are online and 4 are required, 100 of 100 journal numbers are lost for good", 7},
		"nothing is stored": {one(3, state(audit.Disqualified, first(7)...), func(w *world) { w.head = 0 }), 3, 3,
			"none of the 6 storage nodes online in good standing can take the slot", 4},
	} {
		d := c.world.plan(limits, 1)
		if len(d.Replacements) != c.replaced || len(d.Delays) != c.delays {
			t.Errorf("%s: %+v", name, d)
			continue
		}
		if got := d.Delays[0]; got.Slot != c.slot || got.Holder != id(c.slot) || !strings.Contains(got.Why, c.why) {
			t.Errorf("%s: %+v, want %q of slot %d", name, got, c.why, c.slot)
		}
	}
}
