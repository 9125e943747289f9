package repair

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/seqset"
)

var small = erasure.Scheme{Required: 4, RepairBelow: 6, Success: 8, Total: 10}

func run(first, last uint64) seqset.Set { return seqset.Set{{First: first, Last: last}} }

// whole makes n slots that hold everything up to seq.
func whole(n int, seq uint64) []Slot {
	slots := make([]Slot, n)
	for i := range slots {
		slots[i].Claim.Seq = seq
	}
	return slots
}

// with sets some of the slots to one value.
func with(slots []Slot, to Slot, which ...int) []Slot {
	for _, i := range which {
		slots[i] = to
	}
	return slots
}

func first(n int) (which []int) {
	for i := range n {
		which = append(which, i)
	}
	return which
}

func TestExamine(t *testing.T) {
	const head = 100
	gone := Slot{Presence: Gone, Claim: Claim{Seq: head}}
	barred := Slot{Presence: Barred, Claim: Claim{Seq: head}}
	away := Slot{Presence: Away, Claim: Claim{Seq: head}}
	fresh := Slot{Given: head}
	half := Slot{Claim: Claim{Seq: head, Missing: run(51, 100)}}
	for name, c := range map[string]struct {
		head                     uint64
		slots                    []Slot
		present, healthy, lowest int
		unreadable, lost         uint64
		urgent                   []Stretch
	}{
		"a new group":                      {0, make([]Slot, 10), 10, 10, 10, 0, 0, nil},
		"not yet claimed, but about to be": {head, make([]Slot, 10), 10, 10, 10, 0, 0, nil},
		"all claimed":                      {head, whole(10, head), 10, 10, 10, 0, 0, nil},
		"claims lag":                       {head, whole(10, 1), 10, 10, 10, 0, 0, nil},
		"two slow ones": {head, with(whole(10, head), half, 0, 1),
			10, 8, 8, 0, 0, nil},
		"at repair below": {head, with(whole(10, head), half, 0, 1, 2, 3),
			10, 6, 6, 0, 0, []Stretch{{6, run(51, 100)}}},
		"nobody there lacks it": {head, with(whole(10, head), away, 0, 1, 2, 3),
			6, 6, 6, 0, 0, nil},
		"the rest of the slots is away": {head, with(with(whole(10, head), away, 0, 1, 2), half, 3),
			7, 6, 6, 0, 0, []Stretch{{6, run(51, 100)}}},
		"never claimed though due": {head, with(whole(10, head), Slot{Due: 30}, 0, 1, 2, 3),
			10, 6, 6, 0, 0, []Stretch{{6, run(1, 30)}}},
		"claimed less than due": {head, with(whole(10, head), Slot{Claim: Claim{Seq: 20}, Due: 30}, 0, 1, 2, 3),
			10, 6, 6, 0, 0, []Stretch{{6, run(21, 30)}}},
		"due beyond the head": {head, with(whole(10, head), Slot{Claim: Claim{Seq: 20}, Due: math.MaxUint64}, 0, 1, 2, 3),
			10, 6, 6, 0, 0, []Stretch{{6, run(21, head)}}},
		"a new holder": {head, with(whole(10, head), fresh, 0),
			10, 9, 9, 0, 0, []Stretch{{9, run(1, 100)}}},
		"a new holder, and what uploads left": {head, with(with(whole(10, head), Slot{Claim: Claim{Seq: head, Missing: run(61, 100)}}, 0), Slot{Given: 80}, 1),
			10, 8, 8, 0, 0, []Stretch{{8, run(61, 80)}, {9, run(1, 60)}}},
		"a slot is vacant": {head, with(with(whole(10, head), gone, 0), half, 1),
			9, 8, 8, 0, 0, []Stretch{{8, run(51, 100)}}},
		"a holder is barred": {head, with(with(whole(10, head), barred, 0), half, 1),
			9, 8, 8, 0, 0, []Stretch{{8, run(51, 100)}}},
		"too few there": {head, with(whole(10, head), away, first(7)...),
			3, 3, 3, 100, 0, nil},
		"half cannot be read": {head, with(with(whole(10, head), away, first(6)...), half, 9),
			4, 3, 3, 50, 0, []Stretch{{3, run(51, 100)}}},
		"half is lost": {head, with(with(whole(10, head), barred, first(6)...), half, 9),
			4, 3, 3, 50, 50, []Stretch{{3, run(51, 100)}}},
		"few lack what can be read": {head, with(with(whole(10, head), Slot{Claim: Claim{Seq: head, Missing: run(1, 50)}}, first(7)...), half, 7, 8, 9),
			10, 0, 3, 50, 50, []Stretch{{3, run(1, 50)}}},
		"claims of what is not": {head, with(whole(10, head), Slot{Claim: Claim{Seq: math.MaxUint64, Missing: seqset.Set{{First: 0, Last: 0}, {First: 200, Last: math.MaxUint64}}}}, first(9)...),
			10, 10, 10, 0, 0, nil},
		"missing beyond the claim": {head, with(whole(10, head), Slot{Claim: Claim{Seq: 10, Missing: run(5, 50)}}, first(4)...),
			10, 6, 6, 0, 0, []Stretch{{6, run(5, 10)}}},
	} {
		h := Examine(small, c.head, c.slots)
		if h.Present != c.present || h.Healthy != c.healthy || h.Lowest() != c.lowest {
			t.Errorf("%s: %d present, %d healthy, lowest %d; want %d, %d, %d",
				name, h.Present, h.Healthy, h.Lowest(), c.present, c.healthy, c.lowest)
		}
		if h.Unreadable(small) != c.unreadable || h.Lost != c.lost {
			t.Errorf("%s: %d unreadable, %d lost; want %d, %d", name, h.Unreadable(small), h.Lost, c.unreadable, c.lost)
		}
		if !reflect.DeepEqual(h.Urgent, c.urgent) {
			t.Errorf("%s: urgent is %v, want %v", name, h.Urgent, c.urgent)
		}
	}
}

// TestUrgentAt makes sure that what an upload leaves is not urgent, whatever the
// scheme, unless it has nothing to spare.
func TestUrgentAt(t *testing.T) {
	for _, c := range []struct {
		scheme string
		want   int
	}{
		{"4/6/8/10", 6}, {"20/28/32/40", 28}, {"10/14/16/20", 14}, {"4/8/8/10", 7}, {"4/10/10/10", 9}, {"4/4/4/10", 4}, {"1/1/1/2", 1},
	} {
		scheme, err := erasure.ParseScheme(c.scheme)
		if got := urgentAt(scheme); err != nil || got != c.want {
			t.Errorf("%s: %d, want %d (%v)", c.scheme, got, c.want, err)
		}
	}
}

func TestRebuild(t *testing.T) {
	const head = 100
	slots := whole(10, head)
	slots[0] = Slot{Given: 90, Claim: Claim{Seq: 60, Missing: run(11, 20)}}
	slots[1] = Slot{Given: 15, Claim: Claim{Seq: head, Missing: run(11, 20)}}
	slots[2] = Slot{Claim: Claim{Seq: head, Missing: run(1, 100)}}
	slots[3] = Slot{Presence: Away, Given: 90}
	check := func(want ...SlotHealth) {
		t.Helper()
		if got := Examine(small, head, slots).Slots[:4]; !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	check(SlotHealth{Lacks: 40, Rebuild: 40}, SlotHealth{Lacks: 10, Rebuild: 5}, SlotHealth{Lacks: 100}, SlotHealth{Lacks: 90})
	// What was encoded wrong cannot be rebuilt.
	slots[1].Bad = run(5, 18)
	check(SlotHealth{Lacks: 40, Rebuild: 40}, SlotHealth{Lacks: 10}, SlotHealth{Lacks: 100}, SlotHealth{Lacks: 90})
	// What cannot be read cannot be rebuilt either.
	for i := 4; i < 8; i++ {
		slots[i] = Slot{Presence: Barred}
	}
	check(SlotHealth{Lacks: 40}, SlotHealth{Lacks: 10}, SlotHealth{Lacks: 100}, SlotHealth{Lacks: 90})
}

// TestAwaited takes away all but three holders for 11 to 20, of which others that
// are not there hold more or less.
func TestAwaited(t *testing.T) {
	const head = 100
	few := Slot{Claim: Claim{Seq: head, Missing: run(11, 20)}}
	slots := with(whole(10, head), few, 0, 1, 2)
	slots[3] = Slot{Presence: Away, Claim: Claim{Seq: 15}, Due: head}             // could bring 11 to 15
	slots[4] = Slot{Presence: Gone, Claim: Claim{Seq: head, Missing: run(1, 17)}} // could bring 18 to 20
	slots[5] = Slot{Presence: Gone, Claim: Claim{Seq: head, Missing: run(11, 20)}}
	slots[6] = Slot{Presence: Barred, Claim: Claim{Seq: head}}
	h := Examine(small, head, slots)
	if h.Lowest() != 3 || h.Unreadable(small) != 10 || h.Lost != 2 { // 16 and 17
		t.Errorf("%+v", h)
	}
	for i, want := range []bool{3: true, 4: true, 9: false} {
		if h.Slots[i].Awaited != want {
			t.Errorf("slot %d: awaited %v, want %v", i, h.Slots[i].Awaited, want)
		}
	}
}

// TestUrgentIsBounded has holders that lack so much here and there that the runs
// have to be joined, and none may be left out.
func TestUrgentIsBounded(t *testing.T) {
	const head = 100_000
	slots := whole(10, head)
	var dust []uint64
	for n := uint64(1); n <= 4000; n += 2 {
		dust = append(dust, n)
	}
	slots = with(slots, Slot{Claim: Claim{Seq: head, Missing: seqset.Numbers(dust)}}, 0, 1, 2, 3, 4)
	slots = with(slots, Slot{Claim: Claim{Seq: head, Missing: run(90_001, 90_010)}}, 5, 6, 7, 8)
	h := Examine(small, head, slots)
	runs := 0
	for _, s := range h.Urgent {
		runs += len(s.Numbers)
	}
	if runs > maxUrgent || len(h.Urgent) != 2 || h.Urgent[0].Coverage != 5 || h.Urgent[1].Coverage != 6 {
		t.Fatalf("%d runs in %d stretches", runs, len(h.Urgent))
	}
	if left := seqset.Numbers(dust).Subtract(h.Urgent[0].Numbers); len(left) > 0 {
		t.Errorf("%v was left out", left)
	}
	if !reflect.DeepEqual(h.Urgent[1].Numbers, run(90_001, 90_010)) {
		t.Errorf("%v, which was few", h.Urgent[1].Numbers)
	}
}

// TestAnyHead makes sure that numbers do not wrap.
func TestAnyHead(t *testing.T) {
	const top = math.MaxUint64
	slots := with(whole(10, top), Slot{Claim: Claim{Seq: top, Missing: seqset.Set{{First: 1, Last: 1}, {First: top - 1, Last: top}}}}, first(4)...)
	h := Examine(small, top, slots)
	want := []Stretch{{6, seqset.Set{{First: 1, Last: 1}, {First: top - 1, Last: top}}}}
	if h.Covered[6] != 3 || h.Covered[10] != top-3 || !reflect.DeepEqual(h.Urgent, want) {
		t.Errorf("%+v", h)
	}
}

func TestReady(t *testing.T) {
	const head = 100
	leaving := Slot{Claim: Claim{Seq: head, Missing: run(11, 20)}, Due: 95}
	for name, c := range map[string]struct {
		successor Slot
		want      bool
	}{
		"nothing yet":         {Slot{Given: 90}, false},
		"all the same":        {Slot{Given: 90, Claim: Claim{Seq: head, Missing: run(11, 20)}}, true},
		"more":                {Slot{Given: 90, Claim: Claim{Seq: head}}, true},
		"one less":            {Slot{Given: 90, Claim: Claim{Seq: head, Missing: run(11, 21)}}, false},
		"one that is bad":     {Slot{Given: 90, Claim: Claim{Seq: head, Missing: run(11, 21)}, Bad: run(21, 21)}, true},
		"one of two is bad":   {Slot{Given: 90, Claim: Claim{Seq: head, Missing: run(11, 22)}, Bad: run(21, 21)}, false},
		"up to what is due":   {Slot{Given: 90, Due: 95, Claim: Claim{Seq: 95, Missing: run(12, 19)}}, true},
		"less than what is":   {Slot{Given: 90, Due: 95, Claim: Claim{Seq: 94, Missing: run(12, 19)}}, false},
		"more, but too short": {Slot{Given: 90, Due: 95, Claim: Claim{Seq: 20}}, false},
	} {
		if got := Ready(head, &leaving, &c.successor); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// source yields numbers below n: from a random source, or from fuzzed bytes.
type source func(n int) int

func randomSource(seed uint64) source {
	random := rand.New(rand.NewPCG(seed, 7))
	return random.IntN
}

func bytesSource(b []byte) source {
	return func(n int) int {
		if len(b) == 0 {
			return 0
		}
		v := int(b[0])
		b = b[1:]
		return v % n
	}
}

// scenario makes a group with a short journal.
func scenario(from source) (erasure.Scheme, uint64, []Slot) {
	var s erasure.Scheme
	s.Required = 1 + from(4)
	s.RepairBelow = s.Required + from(3)
	s.Success = s.RepairBelow + from(3)
	s.Total = max(s.Success+from(4), s.Required+1)
	head := from(40)
	slots := make([]Slot, s.Total)
	for i := range slots {
		slot := Slot{Presence: []Presence{Present, Present, Present, Present, Away, Gone, Barred}[from(7)]}
		slot.Claim.Seq = uint64(from(head + 4))
		var runs []seqset.Run
		for range from(6) {
			at := uint64(from(head + 3))
			runs = append(runs, seqset.Run{First: at, Last: at + uint64(from(8))})
		}
		slot.Claim.Missing = seqset.Of(runs...)
		if from(3) == 0 {
			slot.Given = uint64(from(head + 1))
		}
		if from(3) == 0 {
			slot.Due = uint64(from(head + 3))
		}
		slots[i] = slot
	}
	return s, uint64(head), slots
}

// reference is Examine one number after the other.
type reference struct {
	scheme erasure.Scheme
	head   uint64
	slots  []Slot
}

func (r reference) lacks(i int, n uint64) bool {
	s := &r.slots[i]
	if n <= s.Claim.Seq {
		return s.Claim.Missing.Contains(n)
	}
	return n <= s.Given || n <= s.Due
}

// covered is how many holders cover a number: those present, or all that are
// not barred.
func (r reference) covered(n uint64, all bool) (c int) {
	for i := range r.slots {
		p := r.slots[i].Presence
		if (p == Present || all && p != Barred) && !r.lacks(i, n) {
			c++
		}
	}
	return c
}

// rebuilds reports whether the holder of a slot has to rebuild a number.
func (r reference) rebuilds(i int, n uint64) bool {
	return r.slots[i].Presence == Present && n <= r.slots[i].Given && r.lacks(i, n) && r.covered(n, false) >= r.scheme.Required
}

func (r reference) health() Health {
	h := Health{Covered: make([]uint64, len(r.slots)+1), Slots: make([]SlotHealth, len(r.slots))}
	for n := uint64(1); n <= r.head; n++ {
		covered := r.covered(n, false)
		hoped := covered < r.scheme.Required && r.covered(n, true) >= r.scheme.Required
		h.Covered[covered]++
		if covered < r.scheme.Required && !hoped {
			h.Lost++
		}
		for i := range r.slots {
			s := &h.Slots[i]
			if r.lacks(i, n) {
				s.Lacks++
			} else if p := r.slots[i].Presence; hoped && (p == Away || p == Gone) {
				s.Awaited = true
			}
			if r.rebuilds(i, n) {
				s.Rebuild++
			}
		}
	}
	for i := range r.slots {
		if r.slots[i].Presence == Present {
			h.Present++
			if h.Slots[i].Lacks == 0 {
				h.Healthy++
			}
		}
	}
	return h
}

// urgent reports whether a number is.
func (r reference) urgent(n uint64, present int) bool {
	covered, rebuilt, vacant := r.covered(n, false), false, false
	for i := range r.slots {
		rebuilt = rebuilt || r.rebuilds(i, n)
		vacant = vacant || r.slots[i].Presence == Gone || r.slots[i].Presence == Barred
	}
	low := covered <= r.scheme.RepairBelow && covered < r.scheme.Success || covered <= r.scheme.Required
	return covered < present && (low || rebuilt || vacant)
}

// checkExamine holds Examine against the reference.
func checkExamine(t *testing.T, scheme erasure.Scheme, head uint64, slots []Slot) {
	t.Helper()
	before := fmt.Sprint(slots)
	got := Examine(scheme, head, slots)
	ref := reference{scheme, head, slots}
	want := ref.health()
	want.Urgent = got.Urgent
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%v, head %d, %+v:\n%+v, want\n%+v", scheme, head, slots, got, want)
	}
	if fmt.Sprint(slots) != before {
		t.Fatalf("the input was changed from %s", before)
	}
	checkUrgent(t, ref, got)
	for i := range slots {
		lacks := slots[i].Lacks(head)
		for n := uint64(0); n <= head+1; n++ {
			if lacks.Contains(n) != (n > 0 && n <= head && ref.lacks(i, n)) || !lacks.Valid() {
				t.Fatalf("%+v, head %d, lacks %v", slots[i], head, lacks)
			}
		}
	}
}

// checkUrgent wants every urgent number once, at its coverage, and the ranks in
// order: it is for groups with so few runs that nothing is coarsened.
func checkUrgent(t *testing.T, r reference, h Health) {
	t.Helper()
	rank := func(coverage int) int {
		if coverage < r.scheme.Required {
			return 2*erasure.MaxTotal - coverage
		}
		return coverage
	}
	at := make(map[uint64]int)
	for i, s := range h.Urgent {
		if i > 0 && rank(h.Urgent[i-1].Coverage) >= rank(s.Coverage) || !s.Numbers.Valid() || len(s.Numbers) == 0 {
			t.Fatalf("%v: %v is out of order", r.scheme, h.Urgent)
		}
		for _, run := range s.Numbers {
			for n := run.First; n <= run.Last; n++ {
				at[n] = s.Coverage
			}
		}
	}
	for n := uint64(0); n <= r.head+1; n++ {
		coverage, urgent := at[n]
		want := n > 0 && n <= r.head && r.urgent(n, h.Present)
		if urgent != want || urgent && coverage != r.covered(n, false) {
			t.Fatalf("%v, head %d, %+v: %d is urgent: %v (covered by %d), want %v", r.scheme, r.head, r.slots, n, urgent, coverage, want)
		}
	}
}

func TestExamineLikeReference(t *testing.T) {
	for seed := range uint64(3_000) {
		scheme, head, slots := scenario(randomSource(seed))
		checkExamine(t, scheme, head, slots)
	}
}

func FuzzExamine(f *testing.F) {
	f.Add([]byte{3, 2, 2, 2, 30, 0, 30, 1, 4, 4, 1, 1})
	for seed := range uint64(8) {
		from := randomSource(seed)
		b := make([]byte, 200)
		for i := range b {
			b[i] = byte(from(256))
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		scheme, head, slots := scenario(bytesSource(b))
		checkExamine(t, scheme, head, slots)
	})
}
