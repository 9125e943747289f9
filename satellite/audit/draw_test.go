package audit

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairnstorage/cairn/proto/seqset"
)

// word is the least word that draws choice number i of n.
func word(i, n uint64) uint64 {
	if i == 0 {
		return 0
	}
	// ⌈i·2⁶⁴ / n⌉, for small n.
	return (math.MaxUint64/n)*i + ((math.MaxUint64%n+1)*i+n-1)/n
}

func TestBelow(t *testing.T) {
	for n := uint64(1); n < 300; n++ {
		for i := range n {
			w := word(i, n)
			if got := below(n, w); got != i {
				t.Fatalf("choice %d of %d by its least word: %d", i, n, got)
			}
			if i > 0 && below(n, w-1) != i-1 {
				t.Fatalf("the word before choice %d of %d draws %d", i, n, below(n, w-1))
			}
		}
		if below(n, math.MaxUint64) != n-1 {
			t.Fatalf("the greatest word draws %d of %d", below(n, math.MaxUint64), n)
		}
	}
}

// TestNumber compares with listing the numbers claimed.
func TestNumber(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		slot := Slot{First: random.Uint64N(12), Seq: random.Uint64N(30), Live: 1}
		var runs []seqset.Run
		for range random.IntN(5) {
			first := random.Uint64N(35)
			runs = append(runs, seqset.Run{First: first, Last: first + random.Uint64N(8)})
		}
		slot.Missing = seqset.Of(runs...)
		var claimed []uint64
		for n := max(slot.First, 1); n <= slot.Seq; n++ {
			if !slot.Missing.Contains(n) {
				claimed = append(claimed, n)
			}
		}
		urn := NewUrn([]Slot{slot})
		if _, ok := urn.Slot(random.Uint64()); ok != (len(claimed) > 0) {
			t.Fatalf("%+v can be drawn: %v", slot, ok)
		}
		for i, n := range claimed {
			if got := urn.Number(0, word(uint64(i), uint64(len(claimed)))); got != n {
				t.Fatalf("number %d of %+v is %d, want %d", i, slot, got, n)
			}
		}
	}
}

func TestNumberAtTheEnds(t *testing.T) {
	const top = math.MaxUint64
	for _, c := range []struct {
		slot        Slot
		word, want  uint64
		claimsLeast uint64
	}{
		{Slot{Seq: 1}, top, 1, 1},
		{Slot{Seq: top}, 0, 1, top},
		{Slot{Seq: top}, top, top, top},
		{Slot{Seq: top, Missing: seqset.Set{{First: 2, Last: top}}}, top, 1, 1},
		{Slot{Seq: top, Missing: seqset.Set{{First: 0, Last: top - 1}}}, top, top, 1},
		{Slot{Seq: top - 1, Missing: seqset.Set{{First: 0, Last: 0}, {First: 3, Last: top}}}, top, 2, 2},
		{Slot{Seq: 5, Missing: seqset.Set{{First: 6, Last: top}}}, top, 5, 5},
		{Slot{First: top, Seq: top}, top, top, 1},
		{Slot{First: 3, Seq: top, Missing: seqset.Set{{First: 0, Last: top - 2}}}, 0, top - 1, 2},
	} {
		c.slot.Live = 7
		urn := NewUrn([]Slot{c.slot})
		if _, ok := urn.Slot(c.word); !ok || urn.claimed[0] != c.claimsLeast {
			t.Errorf("%+v claims %d numbers, want %d", c.slot, urn.claimed[0], c.claimsLeast)
		}
		if got := urn.Number(0, c.word); got != c.want {
			t.Errorf("%+v by %x: %d, want %d", c.slot, c.word, got, c.want)
		}
	}
}

// TestSlotByWeight draws with every choice there is once.
func TestSlotByWeight(t *testing.T) {
	half := seqset.Set{{First: 1, Last: 50}}
	all := seqset.Set{{First: 1, Last: 100}}
	for name, c := range map[string]struct {
		slots []Slot
		want  []int
	}{
		"none":             {nil, nil},
		"nothing live":     {[]Slot{{Seq: 9}, {Seq: 9}}, []int{0, 0}},
		"nothing followed": {[]Slot{{Live: 9}}, []int{0}},
		"one":              {[]Slot{{Seq: 100, Live: 3}}, []int{3}},
		"live segments":    {[]Slot{{Seq: 100, Live: 30}, {Seq: 9}, {Seq: 1000, Live: 5}, {Seq: 1, Live: 1}}, []int{30, 0, 5, 1}},
		"nothing so low":   {[]Slot{{First: 91, Seq: 90, Live: 9}, {First: 91, Seq: 100, Live: 3}}, []int{0, 3}},
		"trimmed, half":    {[]Slot{{First: 41, Seq: 60, Live: 30, Missing: half}, {Seq: 100, Live: 30}}, []int{15, 30}},
		"half missing":     {[]Slot{{Seq: 100, Live: 30, Missing: half}, {Seq: 100, Live: 30}}, []int{15, 30}},
		"all missing":      {[]Slot{{Seq: 100, Live: 30, Missing: all}, {Seq: 100, Live: 7}}, []int{0, 7}},
		"but one":          {[]Slot{{Seq: 101, Live: 30, Missing: all}, {Seq: 100, Live: 7}}, []int{1, 7}},
	} {
		urn := NewUrn(c.slots)
		total := 0
		for _, w := range c.want {
			total += w
		}
		got := make([]int, len(c.want))
		for i := range total {
			slot, ok := urn.Slot(word(uint64(i), uint64(total)))
			if !ok {
				t.Fatalf("%s: nothing to draw", name)
			}
			got[slot]++
		}
		if _, ok := urn.Slot(math.MaxUint64); ok != (total > 0) || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v; more to draw: %v", name, got, c.want, ok)
		}
	}
}

func TestDrawLeaf(t *testing.T) {
	for _, c := range []struct {
		size int64
		word uint64
		want int
	}{
		{1, 0, 0}, {1, math.MaxUint64, 0}, {4096, math.MaxUint64, 0}, {4097, math.MaxUint64, 1}, {4097, 1<<63 - 1, 0},
		{4097, 1 << 63, 1}, {64 << 20, math.MaxUint64, 16383}, {64<<20 - 1, math.MaxUint64, 16383}, {64 << 20, 0, 0},
	} {
		if got := DrawLeaf(c.size, c.word); got != c.want {
			t.Errorf("leaf of %d bytes by %x: %d, want %d", c.size, c.word, got, c.want)
		}
	}
}

// network is what an auditor draws from, in the simplest form: for each slot
// which numbers are live, and which of them the node has really kept.
type network struct {
	slots []Slot
	live  []map[uint64]bool // kept or not
}

// newNetwork has journals in which each number is live with the probability of
// its slot, while the node keeps what keep says.
func newNetwork(random *rand.Rand, slots int, keep func(slot int) bool) network {
	var n network
	for i := range slots {
		seq := 200 + random.Uint64N(400)
		slot := Slot{Group: uint32(i + 1), Seq: seq, Missing: seqset.Of(seqset.Run{First: 20, Last: 40 + uint64(i)})}
		live := map[uint64]bool{}
		density := 0.3 + random.Float64()*0.7
		for number := uint64(1); number <= seq; number++ {
			if random.Float64() >= density {
				continue
			}
			slot.Live++
			if !slot.Missing.Contains(number) {
				live[number] = keep(i)
			}
		}
		n.slots, n.live = append(n.slots, slot), append(n.live, live)
	}
	return n
}

// draw draws a segment as an auditor does.
func (n network) draw(t *testing.T, urn Urn, random *rand.Rand) (slot int, number uint64) {
	slot, ok := urn.Slot(random.Uint64())
	if !ok {
		t.Fatal("nothing to draw")
	}
	for {
		number = urn.Number(slot, random.Uint64())
		if _, live := n.live[slot][number]; live {
			return slot, number
		}
	}
}

// TestEverySegmentIsAsLikely counts how often each is drawn, in slots whose
// journals are thinned out by deletion more or less.
func TestEverySegmentIsAsLikely(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	n := newNetwork(random, 10, func(int) bool { return true })
	urn := NewUrn(n.slots)
	segments := 0
	for _, live := range n.live {
		segments += len(live)
	}
	const each = 100
	counts := map[[2]uint64]int{}
	bySlot := make([]int, len(n.slots))
	for range segments * each {
		slot, number := n.draw(t, urn, random)
		counts[[2]uint64{uint64(slot), number}]++
		bySlot[slot]++
	}
	for segment, count := range counts {
		if count < each/2 || count > each*2 {
			t.Errorf("segment %v was drawn %d times, others %d", segment, count, each)
		}
	}
	for slot, count := range bySlot {
		if got := float64(count) / float64(len(n.live[slot])*each); got < 0.9 || got > 1.1 {
			t.Errorf("segments of slot %d were drawn %.3f times as often as others", slot, got)
		}
	}
	if len(counts) != segments {
		t.Errorf("%d of %d segments were drawn", len(counts), segments)
	}
}

// TestLiarIsFound audits nodes that lost 5 % of what they claim, scattered or
// all in one slot of 20: where makes no difference.
func TestLiarIsFound(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for name, keep := range map[string]func(int) bool{
		"scattered": func(int) bool { return random.IntN(20) > 0 },
		"one slot":  func(slot int) bool { return slot > 0 },
	} {
		taken := make([]int, 301)
		var n network
		var urn Urn
		for i := range taken {
			if i%10 == 0 { // networks differ in how much 5 % come to
				n = newNetwork(random, 20, keep)
				urn = NewUrn(n.slots)
			}
			for score := (Score{}); !score.Condemns(); taken[i]++ {
				slot, number := n.draw(t, urn, random)
				verdict := Missing
				if n.live[slot][number] {
					verdict = Proved
				}
				score = score.Add(verdict)
			}
		}
		slices.Sort(taken)
		median := taken[len(taken)/2]
		t.Logf("%s: median %d challenges", name, median)
		if median > 135 {
			t.Errorf("%s: found after %d challenges in the median", name, median)
		}
	}
}

func BenchmarkDraw(b *testing.B) {
	var missing []seqset.Run
	for i := range uint64(2000) {
		missing = append(missing, seqset.Run{First: 500 * i, Last: 500*i + 10})
	}
	slots := make([]Slot, 32)
	for i := range slots {
		slots[i] = Slot{Seq: 1_000_000, Live: 900_000, Missing: seqset.Of(missing...)}
	}
	random := rand.New(rand.NewPCG(7, 8))
	urn := NewUrn(slots)
	for b.Loop() {
		slot, _ := urn.Slot(random.Uint64())
		urn.Number(slot, random.Uint64())
	}
}
