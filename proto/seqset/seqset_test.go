package seqset

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// reference is a set as plain numbers below universe.
type reference [universe]bool

const universe = 24

func (r *reference) set() (s Set) {
	var numbers []uint64
	for n, in := range r {
		if in {
			numbers = append(numbers, uint64(n))
		}
	}
	return Numbers(numbers)
}

func randomReference(random *rand.Rand) (r reference) {
	density := random.IntN(5)
	for n := range r {
		r[n] = random.IntN(5) < density
	}
	return r
}

func TestOperations(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		a, b := randomReference(random), randomReference(random)
		s, u := a.set(), b.set()
		before, beforeU := slices.Clone(s), slices.Clone(u)
		var union, both, rest reference
		count := uint64(0)
		for n := range a {
			union[n], both[n], rest[n] = a[n] || b[n], a[n] && b[n], a[n] && !b[n]
			if a[n] {
				count++
			}
			if s.Contains(uint64(n)) != a[n] {
				t.Fatalf("%v contains %d: %v", s, n, !a[n])
			}
		}
		for name, c := range map[string]struct{ got, want Set }{
			"union": {s.Union(u), union.set()}, "intersection": {s.Intersect(u), both.set()}, "rest": {s.Subtract(u), rest.set()},
		} {
			if !slices.Equal(c.got, c.want) || !c.got.Valid() {
				t.Fatalf("%s of %v and %v: %v, want %v", name, s, u, c.got, c.want)
			}
		}
		if s.Len() != count || !slices.Equal(s, before) || !slices.Equal(u, beforeU) {
			t.Fatalf("%v (was %v) has %d numbers, want %d", s, before, s.Len(), count)
		}
		checkCoarsen(t, s, 1+random.IntN(6))
	}
}

// checkCoarsen holds Coarsen against joining, one at a time, the two runs that
// are closest.
func checkCoarsen(t *testing.T, s Set, runs int) {
	t.Helper()
	got := s.Coarsen(runs)
	if len(got) != min(runs, len(s)) || !got.Valid() || len(s.Subtract(got)) != 0 {
		t.Fatalf("%v in %d runs: %v", s, runs, got)
	}
	want := slices.Clone(s)
	for len(want) > runs {
		closest := 0
		for i := range len(want) - 1 {
			if want[i+1].First-want[i].Last < want[closest+1].First-want[closest].Last {
				closest = i
			}
		}
		want[closest].Last = want[closest+1].Last
		want = slices.Delete(want, closest+1, closest+2)
	}
	if got.Len() != want.Len() {
		t.Fatalf("%v in %d runs: %v, but %v is less", s, runs, got, want)
	}
}

func TestOf(t *testing.T) {
	const top = math.MaxUint64
	for _, c := range []struct {
		runs []Run
		want Set
	}{
		{nil, nil},
		{[]Run{{5, 4}}, nil},
		{[]Run{{1, 1}, {3, 3}}, Set{{1, 1}, {3, 3}}},
		{[]Run{{3, 3}, {1, 2}}, Set{{1, 3}}},
		{[]Run{{1, 9}, {2, 3}, {10, 10}}, Set{{1, 10}}},
		{[]Run{{top, top}, {top - 1, top - 1}, {7, 7}}, Set{{7, 7}, {top - 1, top}}},
		{[]Run{{0, top}, {5, 6}}, Set{{0, top}}},
	} {
		if got := Of(c.runs...); !slices.Equal(got, c.want) || !got.Valid() {
			t.Errorf("%v: %v, want %v", c.runs, got, c.want)
		}
	}
}

func TestEncoding(t *testing.T) {
	const top = math.MaxUint64
	for _, c := range []struct {
		set   Set
		bytes []byte
	}{
		{nil, nil},
		{Set{{0, 0}}, []byte{0, 1}},
		{Set{{1, 1}}, []byte{1, 1}},
		{Set{{1, 5}, {7, 7}, {200, 327}}, []byte{1, 5, 1, 1, 0xc0, 1, 0x80, 1}},
		{Set{{top - 1, top - 1}}, []byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1}},
	} {
		if got := c.set.Encode(nil); !slices.Equal(got, c.bytes) {
			t.Errorf("%v: % x, want % x", c.set, got, c.bytes)
		}
		if got, err := Decode(c.bytes, len(c.set)); err != nil || !slices.Equal(got, c.set) {
			t.Errorf("% x: %v %v, want %v", c.bytes, got, err, c.set)
		}
	}
	for name, bad := range map[string][]byte{
		"half a run": {1}, "empty": {1, 0}, "touching": {1, 1, 0, 1}, "long form": {0x81, 0, 1}, "cut off": {1, 0x80},
		"beyond": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1}, "too many": {1, 1, 1, 1, 1, 1},
	} {
		if s, err := Decode(bad, 2); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: %v %v", name, s, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{1, 5, 1, 1, 0xc0, 1, 0x80, 1})
	f.Add([]byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Decode(b, 100)
		if err != nil {
			return
		}
		if !s.Valid() || len(s) > 100 {
			t.Fatalf("% x is %v", b, s)
		}
		if again := s.Encode(nil); !slices.Equal(again, b) {
			t.Fatalf("% x is written again as % x", b, again)
		}
	})
}

func TestZeroValue(t *testing.T) {
	var s Set
	if s.Len() != 0 || s.Contains(0) || !s.Valid() || len(s.Union(nil)) != 0 || len(s.Coarsen(0)) != 0 {
		t.Error("the empty set is not empty")
	}
	if got := s.Union(Set{{1, 2}}); !reflect.DeepEqual(got, Set{{1, 2}}) {
		t.Error(got)
	}
}
