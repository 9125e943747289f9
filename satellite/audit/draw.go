package audit

import (
	"math/bits"
	"sort"

	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/seqset"
)

// Slot is what a node claims of one group's journal: that it holds the shards
// of all live segments numbered 1 to Seq, but for those missing. Missing must
// be valid.
type Slot struct {
	Group   uint32
	First   uint64 // no live segment has a lower number; 0 stands for 1
	Seq     uint64
	Missing seqset.Set
	Live    uint64 // live segments that the journal has from First to Seq
}

// Urn holds what one node claims, for challenges to be drawn from. A challenge
// takes three words: one for a slot, one for a number that the slot claims, and
// when the journal has a live segment under it, one for a leaf of the shard.
// When it has none, another number of the *same* slot is drawn. So every
// segment claimed is about as likely as every other, and no node can tell
// which it may lose. Words must be uniform, and unpredictable to the node; of n
// choices none is favoured by more than n/2⁶⁴.
type Urn struct {
	slots   []Slot
	claimed []uint64 // numbers, by slot
	weights []uint64 // running sums, by slot
}

// NewUrn fills an urn. A slot weighs as much as it has live segments, less the
// share of its numbers, from First on, that is missing.
func NewUrn(slots []Slot) Urn {
	u := Urn{slots: slots, claimed: make([]uint64, len(slots)), weights: make([]uint64, len(slots))}
	var sum uint64
	for i, s := range slots {
		u.claimed[i] = s.claimed()
		if u.claimed[i] > 0 && s.Live > 0 {
			high, low := bits.Mul64(s.Live, u.claimed[i])
			weight, _ := bits.Div64(high, low, s.Seq-s.first()+1) // at most Live, so it fits
			sum += max(weight, 1)
		}
		u.weights[i] = sum
	}
	return u
}

// first is the least number there is a point in drawing.
func (s Slot) first() uint64 { return max(s.First, 1) }

// claimed is how many numbers s claims from there on.
func (s Slot) claimed() uint64 {
	if s.Seq < s.first() {
		return 0
	}
	n := s.Seq - s.first() + 1
	for _, r := range s.Missing {
		if first, last := max(r.First, s.first()), min(r.Last, s.Seq); first <= last {
			n -= last - first + 1
		}
	}
	return n
}

// Slot draws one of the slots, by its index. There is none when the node
// claims no live segment.
func (u Urn) Slot(word uint64) (int, bool) {
	if len(u.weights) == 0 || u.weights[len(u.weights)-1] == 0 {
		return 0, false
	}
	point := below(u.weights[len(u.weights)-1], word)
	return sort.Search(len(u.weights), func(i int) bool { return u.weights[i] > point }), true
}

// Number draws one of the journal numbers that a slot claims, which must be
// one that was drawn.
func (u Urn) Number(slot int, word uint64) uint64 {
	if u.claimed[slot] == 0 {
		panic("audit: nothing is claimed of this slot")
	}
	lowest := u.slots[slot].first()
	n := lowest + below(u.claimed[slot], word)
	for _, r := range u.slots[slot].Missing {
		first := max(r.First, lowest)
		if first > n {
			break
		}
		if first <= r.Last {
			n += r.Last - first + 1 // steps over them
		}
	}
	return n
}

// DrawLeaf draws a leaf of a shard of size bytes, at least 1.
func DrawLeaf(size int64, word uint64) int {
	if size <= 0 {
		panic("audit: a shard without leaves")
	}
	return int(below(uint64(merkle.LeafCount(size)), word))
}

// below scales a uniform word to 0 … n-1.
func below(n, word uint64) uint64 {
	high, _ := bits.Mul64(n, word)
	return high
}
