package repair

import (
	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/seqset"
)

// maxUrgent is how many runs Health.Urgent has at most, unless it has more
// ranks: a check-in has to carry them.
const maxUrgent = 256

// urgentAt is the highest coverage that is healed at once. What an upload leaves
// behind that only just succeeded is not, unless it could lose nothing more.
func urgentAt(s erasure.Scheme) int {
	return max(s.Required, min(s.RepairBelow, s.Success-1))
}

// Examine returns the health of a group from its scheme, the head of its journal
// and its slots, of which there are scheme.Total. Its cost grows with the runs
// they lack. When the group has lost a slot, all that present holders lack is
// urgent: as long as the slot is vacant, every number, and then those its new
// holder has to rebuild.
func Examine(scheme erasure.Scheme, head uint64, slots []Slot) Health {
	x := examination{scheme: scheme, head: head, slots: slots}
	x.Slots = make([]SlotHealth, len(slots))
	x.Covered = make([]uint64, len(slots)+1)
	x.count()
	x.cover()
	if x.unreadable != nil {
		x.await()
	}
	x.rebuilds()
	x.rank()
	return x.Health
}

type examination struct {
	Health
	scheme     erasure.Scheme
	head       uint64
	slots      []Slot
	vacant     bool         // a slot has lost its holder
	renewed    bool         // or has a new one, that may not yet hold all of it
	levels     []seqset.Set // what may be urgent, by coverage
	unreadable seqset.Set
	rebuild    seqset.Set // what new holders have to rebuild and can
}

// count counts holders and what each lacks.
func (x *examination) count() {
	for i := range x.slots {
		s, lacks := &x.slots[i], uint64(0)
		s.runs(x.head, func(r seqset.Run) { lacks += r.Len() })
		x.Slots[i].Lacks = lacks
		switch {
		case s.Presence == Present && lacks == 0:
			x.Present++
			x.Healthy++
		case s.Presence == Present:
			x.Present++
			x.renewed = x.renewed || s.Given > 0
		case s.Presence != Away:
			x.vacant = true
		}
	}
}

// cover sorts the numbers by how many present holders cover them.
func (x *examination) cover() {
	x.levels = make([]seqset.Set, len(x.slots)+1)
	most := urgentAt(x.scheme)
	if x.vacant || x.renewed {
		most = len(x.slots)
	}
	covered := sweep(x.head, x.slots, func(s *Slot) bool { return s.Presence == Present })
	for r, coverage := range covered {
		x.Covered[coverage] += r.Len()
		if coverage <= most && coverage < x.Present { // else nobody could heal it
			x.levels[coverage] = append(x.levels[coverage], r)
		}
		if coverage < x.scheme.Required {
			x.unreadable = append(x.unreadable, r)
		}
	}
	x.unreadable = seqset.Of(x.unreadable...) // touching where the coverage differs
}

// await finds which of what cannot be read is lost, and who could bring back the
// rest.
func (x *examination) await() {
	var hoped seqset.Set
	covered := sweep(x.head, x.slots, func(s *Slot) bool { return s.Presence != Barred })
	for r, coverage := range covered {
		if coverage >= x.scheme.Required {
			hoped = append(hoped, r)
		}
	}
	hoped = seqset.Of(hoped...).Intersect(x.unreadable)
	x.Lost = x.unreadable.Len() - hoped.Len()
	for i := range x.slots {
		if s := &x.slots[i]; s.Presence == Away || s.Presence == Gone {
			x.Slots[i].Awaited = len(hoped.Subtract(s.Lacks(x.head))) > 0
		}
	}
}

// rebuilds finds what new holders have to rebuild.
func (x *examination) rebuilds() {
	for i := range x.slots {
		s := &x.slots[i]
		given := min(s.Given, x.head)
		if s.Presence != Present || given == 0 || x.Slots[i].Lacks == 0 {
			continue
		}
		rebuild := s.Rebuilds(x.head).Intersect(seqset.Set{{First: 1, Last: given}}).Subtract(x.unreadable)
		x.Slots[i].Rebuild = rebuild.Len()
		x.rebuild = x.rebuild.Union(rebuild)
	}
}

// rank makes the list of what is urgent. What cannot be read now comes last:
// trying it costs little, but little can be expected of it.
func (x *examination) rank() {
	for c := x.scheme.Required; c < len(x.levels); c++ {
		switch {
		case c <= urgentAt(x.scheme) || x.vacant:
			x.urgent(c, x.levels[c])
		case len(x.rebuild) > 0:
			x.urgent(c, x.rebuild.Intersect(x.levels[c]))
		}
	}
	for c := x.scheme.Required - 1; c >= 0; c-- {
		x.urgent(c, x.levels[c])
	}
	runs := 0
	for _, s := range x.Urgent {
		runs += len(s.Numbers)
	}
	if runs <= maxUrgent {
		return
	}
	// Leaving any out would let a holder that does not heal what it lacks keep
	// the rest from being healed by others.
	for i := range x.Urgent {
		s := &x.Urgent[i]
		s.Numbers = s.Numbers.Coarsen(max(1, maxUrgent/len(x.Urgent)))
	}
}

func (x *examination) urgent(coverage int, numbers seqset.Set) {
	if len(numbers) > 0 {
		x.Urgent = append(x.Urgent, Stretch{coverage, numbers})
	}
}
