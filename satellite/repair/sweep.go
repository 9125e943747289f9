package repair

import (
	"iter"
	"math"
	"slices"

	"github.com/cairnstorage/cairn/proto/seqset"
)

// sweep goes through the numbers from 1 to head in runs of equal coverage: how
// many of the slots that count cover them. Neighbouring runs differ in coverage.
// It looks only at where the runs that slots lack begin and end.
func sweep(head uint64, slots []Slot, counts func(*Slot) bool) iter.Seq2[seqset.Run, int] {
	holders, runs := 0, 0
	for i := range slots {
		if counts(&slots[i]) {
			holders++
			runs += len(slots[i].Claim.Missing) + 1
		}
	}
	e := edges{firsts: make([]uint64, 0, runs), lasts: make([]uint64, 0, runs)}
	for i := range slots {
		if counts(&slots[i]) {
			slots[i].runs(head, e.add)
		}
	}
	slices.Sort(e.firsts)
	slices.Sort(e.lasts)
	return func(yield func(seqset.Run, int) bool) {
		e := e
		first, coverage := uint64(1), holders // of what is not given out yet
		for at := uint64(1); at <= head; {
			lacking, last := e.pass(at)
			if now := holders - lacking; now != coverage {
				if at > first && !yield(seqset.Run{First: first, Last: at - 1}, coverage) {
					return
				}
				first, coverage = at, now
			}
			if last >= head {
				yield(seqset.Run{First: first, Last: head}, coverage)
				return
			}
			at = last + 1
		}
	}
}

// edges are where runs begin and end, each in ascending order.
type edges struct {
	firsts, lasts []uint64
	open          int // runs that have begun before and have not ended
}

func (e *edges) add(r seqset.Run) {
	e.firsts, e.lasts = append(e.firsts, r.First), append(e.lasts, r.Last)
}

// pass forgets the edges up to a number. It returns how many runs have the
// number, and up to where there are as many.
func (e *edges) pass(at uint64) (runs int, last uint64) {
	for len(e.firsts) > 0 && e.firsts[0] <= at {
		e.firsts, e.open = e.firsts[1:], e.open+1
	}
	for len(e.lasts) > 0 && e.lasts[0] < at {
		e.lasts, e.open = e.lasts[1:], e.open-1
	}
	last = math.MaxUint64
	if len(e.firsts) > 0 {
		last = e.firsts[0] - 1
	}
	if len(e.lasts) > 0 {
		last = min(last, e.lasts[0])
	}
	return e.open, last
}
