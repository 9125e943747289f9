// Package seqset is a set of journal sequence numbers, kept as runs: what a
// node lacks of a journal, and what of it is urgent, are few runs however long
// the journal is.
package seqset

import (
	"cmp"
	"math"
	"slices"
)

// A Run is the numbers First to Last, both among them.
type Run struct{ First, Last uint64 }

// Len is how many numbers the run has. That of all numbers from 0 is too
// large to tell, but no journal has a number 0.
func (r Run) Len() uint64 { return r.Last - r.First + 1 }

// A Set is runs in ascending order with a gap of at least one number between
// two of them. The zero value is the empty set. Sets are values: no operation
// changes its operands.
type Set []Run

// Of makes a set of runs in any order, which may overlap. Runs that end before
// they begin are empty.
func Of(runs ...Run) Set {
	sorted := slices.DeleteFunc(slices.Clone(runs), func(r Run) bool { return r.Last < r.First })
	slices.SortFunc(sorted, func(a, b Run) int { return cmp.Compare(a.First, b.First) })
	var s Set
	for _, r := range sorted {
		s = s.append(r)
	}
	return s
}

// Numbers makes a set of numbers in ascending order.
func Numbers(ascending []uint64) Set {
	var s Set
	for _, n := range ascending {
		s = s.append(Run{n, n})
	}
	return s
}

// append adds a run that does not begin before the last one of s.
func (s Set) append(r Run) Set {
	if len(s) > 0 {
		if last := &s[len(s)-1]; last.Last == math.MaxUint64 || r.First <= last.Last+1 {
			last.Last = max(last.Last, r.Last)
			return s
		}
	}
	return append(s, r)
}

// Valid reports whether s is what its operations take for granted.
func (s Set) Valid() bool {
	for i, r := range s {
		if r.Last < r.First || i > 0 && (s[i-1].Last == math.MaxUint64 || r.First <= s[i-1].Last+1) {
			return false
		}
	}
	return true
}

// Len is how many numbers there are.
func (s Set) Len() (n uint64) {
	for _, r := range s {
		n += r.Len()
	}
	return n
}

// Contains reports whether n is in the set.
func (s Set) Contains(n uint64) bool {
	i := s.search(n)
	return i < len(s) && s[i].First <= n
}

// search is the index of the first run that does not end before n.
func (s Set) search(n uint64) int {
	i, _ := slices.BinarySearchFunc(s, n, func(r Run, n uint64) int { return cmp.Compare(r.Last, n) })
	return i
}

// Union is what is in s or in t.
func (s Set) Union(t Set) Set {
	var u Set
	for len(s) > 0 || len(t) > 0 {
		if len(t) == 0 || len(s) > 0 && s[0].First <= t[0].First {
			u, s = u.append(s[0]), s[1:]
		} else {
			u, t = u.append(t[0]), t[1:]
		}
	}
	return u
}

// Intersect is what is in both s and t.
func (s Set) Intersect(t Set) Set {
	var both Set
	for len(s) > 0 && len(t) > 0 {
		if r := (Run{max(s[0].First, t[0].First), min(s[0].Last, t[0].Last)}); r.First <= r.Last {
			both = append(both, r)
		}
		if s[0].Last < t[0].Last {
			s = s[1:]
		} else {
			t = t[1:]
		}
	}
	return both
}

// Subtract is what is in s but not in t.
func (s Set) Subtract(t Set) Set {
	var rest Set
	for _, r := range s {
		for len(t) > 0 && t[0].Last < r.First {
			t = t[1:]
		}
		for _, cut := range t {
			if cut.First > r.Last {
				break
			}
			if cut.First > r.First {
				rest = append(rest, Run{r.First, cut.First - 1})
			}
			if cut.Last >= r.Last {
				r = Run{1, 0} // nothing is left
				break
			}
			r.First = cut.Last + 1
		}
		if r.First <= r.Last {
			rest = append(rest, r)
		}
	}
	return rest
}

// Coarsen is a set of at most so many runs, at least one, that has all of s: the
// runs closest to each other are joined.
func (s Set) Coarsen(runs int) Set {
	if runs = max(runs, 1); len(s) <= runs {
		return s
	}
	gaps := make([]uint64, len(s)-1)
	for i := range gaps {
		gaps[i] = s[i+1].First - s[i].Last
	}
	sorted := slices.Sorted(slices.Values(gaps))
	// Of the gaps as wide as the narrowest that stays, only so many may.
	narrowest := sorted[len(gaps)-(runs-1):]
	var coarse Set
	wide, left := uint64(math.MaxUint64), 0
	if len(narrowest) > 0 {
		wide = narrowest[0]
		for left < len(narrowest) && narrowest[left] == wide {
			left++
		}
	}
	for i, r := range s {
		if i > 0 {
			keep := gaps[i-1] > wide
			if gaps[i-1] == wide && left > 0 {
				keep = true
				left--
			}
			if !keep || runs == 1 {
				coarse[len(coarse)-1].Last = r.Last
				continue
			}
		}
		coarse = append(coarse, r)
	}
	return coarse
}
