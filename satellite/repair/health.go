// Package repair decides how placement groups are kept whole: how many holders
// cover each entry of a group's journal, what of it has to be healed at once,
// which slots get a new holder, and who that is. It only computes: the same
// values in give the same values out.
//
// Nothing in it looks at single segments. Holders claim stretches of journals,
// and health follows from where these begin and end, so that its cost grows with
// slots and claimed runs and not with what is stored. What is counted are
// journal numbers: those of tombstones and of segments deleted since count as
// well, until the holders' next claims leave them out.
package repair

import (
	"slices"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/seqset"
)

// Presence is whether a slot can count on its holder.
type Presence int

const (
	Present Presence = iota // heard of lately
	Away                    // not, but for no longer than the grace period
	Gone                    // for longer, or suspended: the slot is lost unless it comes back before it is given away
	Barred                  // disqualified or departed: nothing it claims counts any more
)

// Claim is what the holder of a slot says that it holds: the shards of all live
// entries up to Seq, but for those in Missing. The zero value claims nothing.
type Claim struct {
	Seq     uint64
	Missing seqset.Set
}

// Slot is one slot of a group, for Examine.
type Slot struct {
	Presence Presence
	Claim    Claim // the newest since the holder was given the slot
	// Given is the journal head when the holder was given the slot, 0 for the
	// first one. What it does not claim up to there it still has to rebuild.
	Given uint64
	// Bad are numbers of segments that were encoded wrong: the holder cannot
	// rebuild its shards of them, and is not to blame.
	Bad seqset.Set
	// Due is up to where the holder should have claimed by now: the journal head
	// of some time ago. Up to there it lacks what it does not claim; beyond, it
	// is still about to follow the journal, and covers every entry. So a holder
	// that never claims is not taken for one that holds everything.
	Due uint64
}

// Lacks returns the numbers up to head that the slot does not cover.
func (s *Slot) Lacks(head uint64) seqset.Set {
	var lacks seqset.Set
	s.runs(head, func(r seqset.Run) { lacks = append(lacks, r) })
	if n := len(lacks); n > 1 && lacks[n-1].First == lacks[n-2].Last+1 {
		lacks[n-2].Last = lacks[n-1].Last
		lacks = lacks[:n-1]
	}
	return lacks
}

// Rebuilds returns what of that can be rebuilt, as far as the slot itself tells.
func (s *Slot) Rebuilds(head uint64) seqset.Set { return s.Lacks(head).Subtract(s.Bad) }

// runs calls do with the runs of what the slot lacks up to head, ascending. The
// last two may touch.
func (s *Slot) runs(head uint64, do func(seqset.Run)) {
	seq := min(s.Claim.Seq, head)
	for _, r := range s.Claim.Missing {
		if r = (seqset.Run{First: max(r.First, 1), Last: min(r.Last, seq)}); r.First <= r.Last {
			do(r)
		}
	}
	if due := min(max(s.Given, s.Due), head); due > seq {
		do(seqset.Run{First: seq + 1, Last: due})
	}
}

// Ready reports whether a successor may take a slot over: it lacks nothing that
// the one who leaves it holds, but for what cannot be rebuilt. Due is what its
// claim has to reach.
func Ready(head uint64, leaving, successor *Slot) bool {
	return len(successor.Rebuilds(head).Subtract(leaving.Lacks(head))) == 0
}

// Health is how well a group is.
type Health struct {
	Present int // holders
	Healthy int // present holders that lack nothing
	// Covered[c] is how many numbers exactly c present holders cover.
	Covered []uint64
	// Lost is how many numbers cannot be read again even if all holders come
	// back that may.
	Lost  uint64
	Slots []SlotHealth
	// Urgent is what present holders should heal at once if they lack it, the
	// most endangered first.
	Urgent []Stretch
}

// SlotHealth is how well one slot is.
type SlotHealth struct {
	Lacks uint64 // numbers
	// Rebuild is how many of those that a present holder has lacked since it was
	// given the slot can be rebuilt now.
	Rebuild uint64
	// Awaited means that the holder is not present, and that its return could
	// make numbers readable that cannot be read now.
	Awaited bool
}

// Stretch is the numbers that so many present holders cover. When there would be
// too many runs, it has numbers between them as well.
type Stretch struct {
	Coverage int
	Numbers  seqset.Set
}

// Lowest is how many present holders cover the number that fewest do. While the
// journal is empty it is how many there are.
func (h *Health) Lowest() int { return h.lowest(0) }

// lowest is the lowest coverage of those from least, or Present when no number
// has such.
func (h *Health) lowest(least int) int {
	for c := least; c < len(h.Covered); c++ {
		if h.Covered[c] > 0 {
			return c
		}
	}
	return h.Present
}

// Unreadable is how many numbers fewer present holders cover than are required.
func (h *Health) Unreadable(scheme erasure.Scheme) (n uint64) {
	for _, count := range h.Covered[:min(scheme.Required, len(h.Covered))] {
		n += count
	}
	return n
}

// readable reports whether some of the journal can be read, or it is empty.
func (h *Health) readable(scheme erasure.Scheme) bool {
	some := func(n uint64) bool { return n > 0 }
	return slices.ContainsFunc(h.Covered[scheme.Required:], some) || !slices.ContainsFunc(h.Covered, some)
}
