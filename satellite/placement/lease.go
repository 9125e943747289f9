package placement

import (
	"fmt"
	"slices"

	"github.com/cairnstorage/cairn/proto/erasure"
)

// Slot is the state of one slot of a group.
type Slot struct {
	Online bool
	Free   int64 // bytes that may still be put
}

// Candidate is a group that an upload might go to.
type Candidate struct {
	Group  uint32
	Scheme erasure.Scheme
	Slots  []Slot
}

// Fitness is how fit a group is for new segments.
type Fitness struct {
	Online int // slots
	Room   int // slots online that have room
	// Weight is in proportion to how often the group should be chosen; 0 when
	// it cannot be: fewer slots with room than Success.
	Weight float64
}

// Judge judges a group for segments whose shards need room bytes each. Its
// weight is the free space that Success of its slots have, at least, halved
// twice for each slot that could not take part: segments stored incompletely
// have to be healed.
func Judge(c Candidate, room int64) Fitness {
	var f Fitness
	free := make([]int64, 0, len(c.Slots))
	for _, s := range c.Slots {
		if !s.Online {
			continue
		}
		f.Online++
		if s.Free >= room {
			f.Room++
			free = append(free, s.Free)
		}
	}
	if f.Room < c.Scheme.Success || f.Room == 0 {
		return f
	}
	slices.Sort(free)
	f.Weight = float64(max(free[len(free)-max(c.Scheme.Success, 1)], 1))
	for range len(c.Slots) - f.Room {
		f.Weight /= 4
	}
	return f
}

// Choose returns the index of one of the weights, each as likely as it is
// heavy, and false when all are 0. roll is uniform in [0,1).
func Choose(weights []float64, roll float64) (int, bool) {
	var sum float64
	for _, w := range weights {
		sum += w
	}
	last := -1
	point := roll * sum
	for i, w := range weights {
		if w <= 0 {
			continue
		}
		last = i
		if point -= w; point < 0 {
			break
		}
	}
	return last, last >= 0
}

// Shortage says in words why no group can be chosen: the best of those there
// are, or that nodes are too few to form one.
type Shortage struct {
	Scheme   erasure.Scheme
	Nodes    int // known
	Online   int // nodes online
	Groups   int // not excluded
	Excluded int
	// BestOnline and BestRoom are those of the group with the most slots with
	// room, among Groups.
	BestOnline, BestRoom int
}

func (s Shortage) String() string {
	need := s.Scheme.Success
	switch {
	case s.Groups == 0 && s.Excluded > 0:
		return fmt.Sprintf("all %d placement groups were tried without success", s.Excluded)
	case s.Groups == 0 && s.Online < s.Scheme.Total:
		return fmt.Sprintf("%d of the %d storage nodes needed for scheme %v are online (%d known): start more",
			s.Online, s.Scheme.Total, s.Scheme, s.Nodes)
	case s.Groups == 0:
		return fmt.Sprintf("no placement group could be formed of the %d storage nodes online: too many share a subnet or an operator, lack room, or have only just come",
			s.Online)
	case s.BestOnline < need:
		return fmt.Sprintf("%d of %d storage nodes of the best placement group are online, %d are needed: start the others",
			s.BestOnline, s.Scheme.Total, need)
	}
	return fmt.Sprintf("%d of %d storage nodes of the best placement group have room, %d are needed: give nodes more capacity, or start more",
		s.BestRoom, s.Scheme.Total, need)
}
