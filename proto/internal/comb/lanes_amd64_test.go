package comb

import (
	"math/big"
	"math/rand/v2"
	"testing"
	"unsafe"

	"filippo.io/edwards25519/field"
)

var prime = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))

// number is what the limbs of one lane make, reduced.
func number(e *elements, lane int) *big.Int {
	n, shift := new(big.Int), uint(0)
	for i := range e {
		n.Add(n, new(big.Int).Lsh(new(big.Int).SetUint64(e[i][lane]), shift))
		shift += 26 - uint(i%2)
	}
	return n.Mod(n, prime)
}

// littleEndian is the number that b is.
func littleEndian(b [32]byte) *big.Int {
	n := new(big.Int)
	for i := range b {
		n.Or(n, new(big.Int).Lsh(big.NewInt(int64(b[i])), uint(8*i)))
	}
	return n
}

// coordinates are x, y, z, t of what need not be a point: the formulas are of
// numbers.
type coordinates [4]*big.Int

func (w *work) coordinates(lane int) (c coordinates) {
	for i, f := range []*factor{&w.x, &w.y, &w.z, &w.t} {
		c[i] = number(&f.limbs, lane)
	}
	return c
}

// finish makes the coordinates of a sum of e, f, g and h, as scalar.go does.
func finish(e, f, g, h *big.Int) (c coordinates) {
	for i, pair := range [][2]*big.Int{{f, e}, {g, h}, {f, g}, {e, h}} {
		c[i] = new(big.Int).Mul(pair[0], pair[1])
		c[i].Mod(c[i], prime)
	}
	return c
}

func plus(a, b *big.Int) *big.Int  { return new(big.Int).Add(a, b) }
func minus(a, b *big.Int) *big.Int { return new(big.Int).Sub(a, b) }
func times(a, b *big.Int) *big.Int { return new(big.Int).Mul(a, b) }

func (c coordinates) added(e *entry, negative bool) coordinates {
	sum, difference, product := littleEndian(e.sum), littleEndian(e.difference), littleEndian(e.product)
	if negative {
		sum, difference, product = difference, sum, new(big.Int).Neg(product)
	}
	x, y, z, t := c[0], c[1], c[2], c[3]
	a, b, p, d := times(minus(y, x), difference), times(plus(y, x), sum), times(t, product), plus(z, z)
	return finish(minus(b, a), minus(d, p), plus(d, p), plus(b, a))
}

func (c coordinates) doubled() coordinates {
	x, y, z := c[0], c[1], c[2]
	a, b := times(x, x), times(y, y)
	g := minus(b, a)
	return finish(plus(times(x, y), times(x, y)), minus(plus(times(z, z), times(z, z)), g), g, plus(a, b))
}

// extreme has limbs as large as those of a product may be, or at random below.
func extreme(random *rand.Rand, e *elements) {
	for i := range e {
		for lane := range e[i] {
			most := uint64(1)<<(26-i%2) + 1<<18
			switch random.IntN(3) {
			case 0:
				e[i][lane] = most
			case 1:
				e[i][lane] = 0
			default:
				e[i][lane] = random.Uint64N(most + 1)
			}
		}
	}
}

// lanes_amd64.s counts on where fields are, and looks at a step beyond the last.
func TestOffsets(t *testing.T) {
	var w work
	for i, at := range []uintptr{
		unsafe.Offsetof(w.x.limbs), unsafe.Offsetof(w.y) + 320, unsafe.Offsetof(w.z) + 320, unsafe.Offsetof(w.t) + 320,
		unsafe.Offsetof(w.scratch) + 320, unsafe.Offsetof(w.steps),
	} {
		if want := []uintptr{320, 960, 1600, 2240, 2880, 6400}[i]; at != want {
			t.Errorf("field %d is at %d instead of %d", i, at, want)
		}
	}
	if room := unsafe.Sizeof(w) - unsafe.Offsetof(w.steps) - unsafe.Sizeof(w.steps); room < unsafe.Sizeof(step{}) {
		t.Errorf("%d bytes after the steps", room)
	}
}

// entries must not lie on a stack, which may be moved.
var entries [bases]entry

// Limbs do not overflow, and so results are right, whatever they are.
func TestLimbsAtTheirBounds(t *testing.T) {
	if !canLanes {
		t.Skip("this machine has no AVX2")
	}
	random := rand.New(rand.NewPCG(5, 6))
	w := new(work)
	for range 100 {
		var want [lanes]coordinates
		for _, f := range []*factor{&w.x, &w.y, &w.z, &w.t} {
			extreme(random, &f.limbs)
		}
		for lane := range want {
			want[lane] = w.coordinates(lane)
		}
		for i := range entries {
			e, negative := &entries[i], random.IntN(2) == 0
			for _, part := range []*[32]byte{&e.sum, &e.difference, &e.product} {
				for j := range part {
					part[j] = [3]byte{0, 0xff, byte(random.Uint32())}[random.IntN(3)]
				}
				part[31] &= 0x7f
			}
			w.steps[i/lanes].entries[i%lanes] = uintptr(unsafe.Pointer(e))
			w.steps[i/lanes].negative[i%lanes] = 0
			if negative {
				w.steps[i/lanes].negative[i%lanes] = ^uint64(0)
			}
			want[i%lanes] = want[i%lanes].added(e, negative)
		}
		addSteps(w)
		compare(t, w, want)
		for _, f := range []*factor{&w.x, &w.y, &w.z, &w.t} {
			extreme(random, &f.limbs)
		}
		for lane := range want {
			want[lane] = w.coordinates(lane)
		}
		for range 3 {
			for lane := range want {
				want[lane] = want[lane].doubled()
			}
		}
		doubleLanes(w, 3)
		compare(t, w, want)
	}
}

// Of the steps, as many are added as asked for.
func TestSomeSteps(t *testing.T) {
	if !canLanes {
		t.Skip("this machine has no AVX2")
	}
	of := basePoint()
	for count := 1; count <= bases/lanes; count++ {
		w := new(work)
		w.begin()
		var want [lanes]coordinates
		for lane := range want {
			want[lane] = w.coordinates(lane)
		}
		for i := range bases {
			w.put(i, of[i][:], int64(count-i))
			if i/lanes < count && i != count {
				e := &of[i][max(count-i, i-count)-1]
				want[i%lanes] = want[i%lanes].added(e, i > count)
			} else if i/lanes < count {
				want[i%lanes] = want[i%lanes].added(&identity, false)
			}
		}
		addSome(w, count)
		compare(t, w, want)
	}
}

func compare(t *testing.T, w *work, want [lanes]coordinates) {
	t.Helper()
	for lane := range want {
		got := w.coordinates(lane)
		for i := range got {
			if got[i].Cmp(want[lane][i]) != 0 {
				t.Fatalf("lane %d, coordinate %d: %v instead of %v", lane, i, got[i], want[lane][i])
			}
		}
	}
	for _, f := range []*factor{&w.x, &w.y, &w.z, &w.t} {
		for i := range f.limbs {
			for lane, limb := range f.limbs[i] {
				if limb > 1<<(26-i%2)+1<<18 {
					t.Fatalf("limb %d of lane %d is %x", i, lane, limb)
				}
			}
		}
	}
}

func TestElementOfLane(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for range 1000 {
		var e elements
		extreme(random, &e)
		for lane := range lanes {
			var got field.Element
			e.element(lane, &got)
			if n := littleEndian([32]byte(got.Bytes())); n.Cmp(number(&e, lane)) != 0 {
				t.Fatalf("%v instead of %v", n, number(&e, lane))
			}
		}
	}
}
