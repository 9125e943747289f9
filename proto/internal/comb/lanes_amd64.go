package comb

import (
	"encoding/binary"
	"runtime"
	"sync"
	"unsafe"

	"filippo.io/edwards25519/field"
	"golang.org/x/sys/cpu"
)

// canLanes tells whether this machine adds four points at once.
var canLanes = cpu.X86.HasAVX2

// lanes is how many points are added at once, each to a sum of its own.
const lanes = 4

// elements are a field element in each lane: limb i counts 2^⌈25.5·i⌉ and has
// 26 bits if i is even, 25 if it is odd, or a little more.
type elements [10][lanes]uint64

// A step is an entry for each lane, to be added or, where negative is all ones,
// taken away.
type step struct {
	entries  [lanes]uintptr
	negative [lanes]uint64
}

// work is what lanes_amd64.s works on, and has the offsets of. It comes from
// the heap, to be aligned with cache lines.
type work struct {
	x, y, z, t factor
	scratch    [6]factor
	steps      [bases / lanes]step
	_          step // which is looked at while the last is added
}

// A factor is a field element in each lane, with room for 19 times its limbs.
type factor struct{ nineteen, limbs elements }

var works = sync.Pool{New: func() any { return new(work) }}

// addSteps adds the entries of all steps.
//
//go:noescape
func addSteps(w *work)

// addSome adds the entries of the first so many steps, at least one.
//
//go:noescape
func addSome(w *work, steps int)

// doubleLanes doubles the sums of all lanes so many times, at least once.
//
//go:noescape
func doubleLanes(w *work, times int)

// sumLanes is Sum, four points at a time.
func sumLanes(t *Table, s, k *[32]byte) Sum {
	w := works.Get().(*work)
	defer works.Put(w)
	w.begin()
	digits := sextets(k)
	const steps = (pointBases + lanes - 1) / lanes
	for i := pointBases; i < steps*lanes; i++ {
		w.put(i, nil, 0)
	}
	for i := range t.entries {
		w.put(i, t.entries[i][:], int64(digits[2*i+1]))
	}
	addSome(w, steps)
	doubleLanes(w, pointBits)
	for i := range t.entries {
		w.put(i, t.entries[i][:], int64(digits[2*i]))
	}
	addSome(w, steps)
	runtime.KeepAlive(t)
	of := basePoint()
	for i, digit := range octets(s) {
		w.put(i, of[i][:], int64(digit))
	}
	addSteps(w)
	left, right, other := w.lane(0), w.lane(2), w.lane(1)
	left.add(&other)
	other = w.lane(3)
	right.add(&other)
	left.add(&right)
	return left.Sum
}

// sumTogether is Sums of as many terms as there are lanes, each in its own:
// nothing is left to add up in the end, and all are doubled together.
func sumTogether(sums []Sum, terms []Term) {
	w := works.Get().(*work)
	defer works.Put(w)
	w.begin()
	var points [lanes][2 * pointBases]int8
	var base [lanes][bases]int16
	for lane := range lanes {
		points[lane], base[lane] = sextets(&terms[lane].K), octets(&terms[lane].S)
	}
	for _, place := range [...]int{1, 0} {
		w.addRows(pointBases, func(i, lane, row int) {
			w.put(i, terms[lane].Table.entries[row][:], int64(points[lane][2*row+place]))
		})
		if place > 0 {
			doubleLanes(w, pointBits)
		}
	}
	of := basePoint()
	w.addRows(bases, func(i, lane, row int) {
		w.put(i, of[row][:], int64(base[lane][row]))
	})
	runtime.KeepAlive(terms)
	for lane := range lanes {
		sums[lane] = w.lane(lane).Sum
	}
}

// addRows adds an entry of each row to each lane. It is put in place i of the
// steps by put.
func (w *work) addRows(rows int, put func(i, lane, row int)) {
	for row := range rows {
		at := row % len(w.steps)
		for lane := range lanes {
			put(at*lanes+lane, lane, row)
		}
		if at == len(w.steps)-1 || row == rows-1 {
			addSome(w, at+1)
		}
	}
}

// begin has the sums of all lanes be 0.
func (w *work) begin() {
	w.x.limbs, w.t.limbs = elements{}, elements{}
	w.y.limbs = elements{{1, 1, 1, 1}}
	w.z.limbs = w.y.limbs
}

// put has an entry of a row be added digit times, in place i of the steps. Nothing that entries are in is ever moved.
func (w *work) put(i int, row []entry, digit int64) {
	negative, e := digit>>63, &identity // negative is 0 or −1
	if digit != 0 {
		e = &row[(digit^negative)-negative-1]
	}
	at := &w.steps[i/lanes]
	at.entries[i%lanes] = uintptr(unsafe.Pointer(e))
	at.negative[i%lanes] = uint64(negative)
}

// lane is the sum of one lane.
func (w *work) lane(i int) (p extended) {
	w.x.limbs.element(i, &p.x)
	w.y.limbs.element(i, &p.y)
	w.z.limbs.element(i, &p.z)
	w.t.limbs.element(i, &p.t)
	return p
}

// element is the one of lane i.
func (e *elements) element(i int, to *field.Element) {
	const mask = 1<<51 - 1
	var limbs [5]uint64
	for j := range limbs {
		limbs[j] = e[2*j][i] + e[2*j+1][i]<<26
	}
	for range 2 { // after which all that is less than 2²⁵⁶ is less than 2²⁵⁵
		carry := limbs[4] >> 51 * 19
		limbs[4] &= mask
		for j := range limbs {
			limbs[j] += carry
			if j < 4 {
				carry = limbs[j] >> 51
				limbs[j] &= mask
			}
		}
	}
	var b [32]byte
	binary.LittleEndian.PutUint64(b[0:], limbs[0]|limbs[1]<<51)
	binary.LittleEndian.PutUint64(b[8:], limbs[1]>>13|limbs[2]<<38)
	binary.LittleEndian.PutUint64(b[16:], limbs[2]>>26|limbs[3]<<25)
	binary.LittleEndian.PutUint64(b[24:], limbs[3]>>39|limbs[4]<<12)
	to.SetBytes(b[:])
}
