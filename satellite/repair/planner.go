package repair

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/placement"
)

// Plan returns which slots get a new holder, and who.
//
// A slot needs one when its holder is disqualified, suspended, has been offline
// for longer than limits.Grace, or was given the slot and rebuilds nothing of it.
// One that comes back before keeps its slot. A slot whose holder exits gets a successor
// first, which takes over when it is ready, or when the holder is lost after
// all. The groups whose most endangered numbers can lose the fewest holders more
// come first, relative to how many RepairBelow asks for, and exits come last.
// New holders are chosen by a placement.Pool of the nodes that are online and may
// be given data.
//
// A group of which nothing can be read is left as it is: nobody could rebuild a
// slot of it, and its holders may come back. Where only a part cannot be read,
// holders that are gone and could bring that part back are replaced no further
// than it takes to bring the rest to RepairBelow.
//
// The same groups and nodes in any order, the same limits and the same seed give
// the same decision.
func Plan(groups []Group, nodes []Node, limits Limits, seed uint64) Decision {
	p := newPlanner(nodes, limits, seed)
	for i := range groups {
		p.look(&groups[i])
	}
	slices.SortFunc(p.Replacements, func(a, b Replacement) int { // hand-overs so far
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Slot, b.Slot))
	})
	slices.SortFunc(p.needs, compareNeeds)
	for i := range p.needs {
		p.fill(&p.needs[i])
	}
	slices.SortFunc(p.Delays, func(a, b Delay) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Slot, b.Slot))
	})
	return p.Decision
}

type planner struct {
	Decision
	limits Limits
	seed   uint64
	nodes  map[ident.ID]*Node
	pool   *placement.Pool
	needs  []need
}

func newPlanner(nodes []Node, limits Limits, seed uint64) *planner {
	p := &planner{limits: limits, seed: seed, nodes: make(map[ident.ID]*Node, len(nodes))}
	nodes = slices.Clone(nodes)
	fit := make([]placement.Node, 0, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		n.Vetting = n.State == audit.Vetting
		p.nodes[n.ID] = n
		if n.State.TakesData() && n.Away == 0 {
			fit = append(fit, n.Node)
		}
	}
	p.pool = placement.NewPool(fit, limits.Distinct, limits.PerNode)
	return p
}

// presence is that of a node; one that is not known is gone.
func (p *planner) presence(id ident.ID) Presence {
	if n := p.nodes[id]; n != nil {
		return n.Presence(p.limits.Grace)
	}
	return Gone
}

// work is a group as it becomes by what is decided.
type work struct {
	*Group
	seats   []Seat
	changed bool // seats are no longer those of the group
	needs   []need
	started int // slots that are being rebuilt
}

// seat returns a seat to be changed.
func (w *work) seat(slot int) *Seat {
	if !w.changed {
		w.seats, w.changed = slices.Clone(w.seats), true
	}
	return &w.seats[slot]
}

// need is a slot that needs a new holder.
type need struct {
	*work
	slot   int
	reason Reason
	order  int // among the slots of the group, behind those being rebuilt
}

// look hands over what can be, counts what is being rebuilt, and notes which
// slots of a group need a holder.
func (p *planner) look(g *Group) {
	w := &work{Group: g, seats: g.Seats}
	for slot := range g.Seats {
		p.judge(w, slot)
	}
	// Whoever might bring something back is replaced last.
	slices.SortStableFunc(w.needs, func(a, b need) int { return cmp.Compare(a.awaited(), b.awaited()) })
	for i := range w.needs {
		n := &w.needs[i]
		n.order = w.started + i
		if why := n.hopeless(); why != "" {
			p.delay(n, why)
		} else {
			p.needs = append(p.needs, *n)
		}
	}
}

// judge decides about one slot what does not take a new node.
func (p *planner) judge(w *work, slot int) {
	s := &w.seats[slot]
	heir := p.heir(s)
	reason := p.reason(w, slot)
	switch {
	case heir && (reason == HolderBarred || reason == HolderGone),
		heir && reason == HolderExiting && s.Ready && p.presence(s.Successor) == Present:
		p.handOver(w, slot, reason)
	case heir && reason == HolderExiting:
		p.start(w, s.Successor, w.Size)
	case reason != 0:
		if reason == HolderStalled {
			p.pool.Occupy(s.Holder, 0)
		}
		w.needs = append(w.needs, need{work: w, slot: slot, reason: reason})
	case w.Health.Slots[slot].Rebuild > 0:
		p.start(w, s.Holder, w.remaining(slot))
	}
}

// reason is why a slot needs a new holder; 0: it does not.
func (p *planner) reason(w *work, slot int) Reason {
	s := &w.seats[slot]
	switch p.presence(s.Holder) {
	case Barred:
		return HolderBarred
	case Gone:
		return HolderGone
	}
	switch {
	case p.nodes[s.Holder].State == audit.Exiting:
		return HolderExiting
	case w.Health.Slots[slot].Rebuild > 0 && s.Idle > p.limits.Stall:
		return HolderStalled
	}
	return 0
}

// heir reports whether a seat has a successor that may yet take it over.
func (p *planner) heir(s *Seat) bool {
	if s.Successor.IsZero() || !s.Ready && s.Idle > p.limits.Stall {
		return false
	}
	presence := p.presence(s.Successor)
	return (presence == Present || presence == Away) && p.nodes[s.Successor].State != audit.Exiting
}

// handOver makes the successor of a slot its holder.
func (p *planner) handOver(w *work, slot int, reason Reason) {
	s := w.seat(slot)
	p.Replacements = append(p.Replacements, Replacement{Group: w.ID, Slot: slot, From: s.Holder, To: s.Successor, Reason: reason})
	if !s.Ready {
		p.start(w, s.Successor, w.Size)
	}
	s.Holder, s.Successor = s.Successor, ident.ID{}
}

// start counts a slot as being rebuilt by a node.
func (p *planner) start(w *work, by ident.ID, size int64) {
	p.pool.Occupy(by, size)
	p.Rebuilding++
	w.started++
}

// remaining is how many bytes the holder of a slot still has to rebuild.
func (w *work) remaining(slot int) int64 {
	var head uint64
	for _, n := range w.Health.Covered {
		head += n
	}
	return int64(float64(w.Size) * float64(w.Health.Slots[slot].Rebuild) / float64(max(head, 1)))
}

func (n *need) awaited() int {
	if n.reason == HolderGone && n.Health.Slots[n.slot].Awaited {
		return 1
	}
	return 0
}

func (n *need) exiting() int {
	if n.reason == HolderExiting {
		return 1
	}
	return 0
}

// hopeless says why it would be of no use to replace the holder now; "" when it
// is of use.
func (n *need) hopeless() string {
	h := &n.Health
	unreadable := h.Unreadable(n.Scheme)
	switch {
	case n.reason == HolderExiting || unreadable == 0:
		return ""
	case !h.readable(n.Scheme):
		return fmt.Sprintf("nothing of the group can be read: %d of its holders are online and %d are required, "+
			"%d of %d journal numbers are lost for good; it is left as it is in case others come back",
			h.Present, n.Scheme.Required, h.Lost, unreadable)
	case n.awaited() == 1 && h.lowest(n.Scheme.Required)+n.order >= n.Scheme.RepairBelow:
		return fmt.Sprintf("%d journal numbers cannot be read, and it could bring back some: it is waited for", unreadable)
	}
	return ""
}

// compareNeeds puts first what should be done first.
func compareNeeds(a, b need) int {
	return cmp.Or(
		cmp.Compare(a.exiting(), b.exiting()),
		compareDanger(a.Group, b.Group),
		cmp.Compare(a.order, b.order),
		cmp.Compare(a.ID, b.ID),
		cmp.Compare(a.slot, b.slot))
}

// compareDanger puts first whichever can lose the smaller part of the shards
// that RepairBelow asks for beyond the required ones.
func compareDanger(a, b *Group) int {
	spareA, wantA := a.spare()
	spareB, wantB := b.spare()
	return cmp.Compare(spareA*wantB, spareB*wantA)
}

// spare is how many holders more than required cover the most endangered number
// that can be read, and how many of these RepairBelow asks for.
func (g *Group) spare() (has, want int) {
	return g.Health.lowest(g.Scheme.Required) - g.Scheme.Required, max(1, g.Scheme.RepairBelow-g.Scheme.Required)
}

// fill finds a new holder for a slot.
func (p *planner) fill(n *need) {
	if p.Rebuilding >= p.limits.Total {
		p.delay(n, fmt.Sprintf("its turn has not come: %d slots are being rebuilt, as many as may at a time", p.Rebuilding))
		return
	}
	s := n.seats[n.slot]
	seat := placement.Seat{Scheme: n.Scheme, Size: n.Size, Former: []ident.ID{s.Holder, s.Successor}, Others: p.others(n)}
	to, err := p.pool.Replace(seat, rand.New(rand.NewPCG(p.seed, uint64(n.ID)<<8|uint64(n.slot))))
	if err != nil {
		p.delay(n, err.Error())
		return
	}
	p.Rebuilding++
	successor := n.reason == HolderExiting
	p.Replacements = append(p.Replacements, Replacement{
		Group: n.ID, Slot: n.slot, From: s.Holder, To: to, Reason: n.reason, Successor: successor,
	})
	if changed := n.seat(n.slot); successor {
		changed.Successor = to
	} else {
		changed.Holder, changed.Successor = to, ident.ID{}
	}
}

// others returns the nodes that hold the other slots of the group or are going
// to, but for those that lose theirs whatever happens.
func (p *planner) others(n *need) []*placement.Node {
	others := make([]*placement.Node, 0, len(n.seats)+1)
	for slot, s := range n.seats {
		if slot == n.slot {
			continue
		}
		for _, id := range []ident.ID{s.Holder, s.Successor} {
			if node := p.nodes[id]; node != nil && node.State.Counts() {
				others = append(others, &node.Node)
			}
		}
	}
	return others
}

func (p *planner) delay(n *need, why string) {
	p.Delays = append(p.Delays, Delay{Group: n.ID, Slot: n.slot, Holder: n.seats[n.slot].Holder, Reason: n.reason, Why: why})
}
