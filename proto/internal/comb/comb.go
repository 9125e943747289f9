// Package comb computes s·B − k·A on edwards25519 for points A that it has
// tables of, B being the base point. That is what verifying an Ed25519 signature
// takes, and with tables most doublings are saved. Results are exact for all
// points, those of small order included, and not for secrets: the time that they
// take tells the scalars.
package comb

import (
	"fmt"
	"sync"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
)

const (
	// bases is how many powers of 256 scalars have digits for, by which multiples
	// of B are added: each has baseDigits of them.
	bases      = 32
	baseDigits = 128
	// Multiples of −A are by digits of pointBits. There are pointDigits of them for
	// each power of two digits; those of odd places are multiplied with one digit
	// more by doubling their sum.
	pointBits   = 6
	pointDigits = 1 << (pointBits - 1)
	pointBases  = 22
)

// An entry is an affine point (x, y) in the form in which it is added.
type entry struct {
	sum, difference, product [32]byte // y + x, y − x, 2d·x·y, all canonical
}

var identity = entry{sum: [32]byte{1}, difference: [32]byte{1}}

// A Table has multiples of one point: 66 KiB.
type Table struct {
	entries [pointBases][pointDigits]entry
}

// basePoint is the table of B: 384 KiB, and some milliseconds to make.
var basePoint = sync.OnceValue(func() *[bases][baseDigits]entry {
	var entries [bases][baseDigits]entry
	rows := make([][]entry, bases)
	for i := range rows {
		rows[i] = entries[i][:]
	}
	fill(rows, 8, edwards25519.NewGeneratorPoint())
	return &entries
})

// NewTable makes the table of the point A that key is the encoding of, canonical
// or not. It takes as long as verifying ten signatures.
func NewTable(key *[32]byte) (*Table, error) {
	point, err := new(edwards25519.Point).SetBytes(key[:])
	if err != nil {
		return nil, fmt.Errorf("make table of a key: %w", err)
	}
	t := new(Table)
	rows := make([][]entry, pointBases)
	for i := range rows {
		rows[i] = t.entries[i][:]
	}
	fill(rows, 2*pointBits, point.Negate(point))
	return t, nil
}

// fill has row i hold 1, 2, 3 … times 2^(bits·i)·p. The length of rows is a power
// of two.
func fill(rows [][]entry, bits int, p *edwards25519.Point) {
	width := len(rows[0])
	points := make([]Sum, 0, len(rows)*width)
	base := new(edwards25519.Point).Set(p)
	for range rows {
		multiple := new(edwards25519.Point).Set(base)
		for n := 1; ; n++ {
			x, y, z, _ := multiple.ExtendedCoordinates()
			points = append(points, Sum{*x, *y, *z})
			if n == width {
				break
			}
			multiple.Add(multiple, base)
		}
		for times := width; times < 1<<bits; times *= 2 {
			multiple.Double(multiple)
		}
		base.Set(multiple)
	}
	inverses := make([]field.Element, len(points))
	invert(inverses, points)
	for i := range points {
		rows[i/width][i%width] = newEntry(&points[i], &inverses[i])
	}
}

func newEntry(p *Sum, inverse *field.Element) (e entry) {
	var x, y, v field.Element
	x.Multiply(&p.x, inverse)
	y.Multiply(&p.y, inverse)
	copy(e.sum[:], v.Add(&y, &x).Bytes())
	copy(e.difference[:], v.Subtract(&y, &x).Bytes())
	v.Multiply(&x, &y)
	copy(e.product[:], v.Multiply(&v, twiceD).Bytes())
	return e
}

// A Sum is a point that Encode has yet to encode: (x/z, y/z).
type Sum struct{ x, y, z field.Element }

// Sum returns s·B − k·A, of which s and k are little-endian and less than 2²⁵³.
func (t *Table) Sum(s, k *[32]byte) Sum {
	if canLanes {
		return sumLanes(t, s, k)
	}
	return sumScalar(t, s, k)
}

// A Term is what a Sum is of: S·B − K·A for the A of a table. S and K are
// little-endian and less than 2²⁵³.
type Term struct {
	Table *Table
	S, K  [32]byte
}

// Sums puts the sums of all terms into sums, which has room for them. Four together cost
// less than one after another.
func Sums(sums []Sum, terms []Term) {
	for canLanes && len(terms) >= lanes {
		sumTogether(sums[:lanes], terms[:lanes])
		sums, terms = sums[lanes:], terms[lanes:]
	}
	for i := range terms {
		sums[i] = terms[i].Table.Sum(&terms[i].S, &terms[i].K)
	}
}

// together is how many sums share an inversion, which costs as much as three
// tenths of a sum.
const together = 16

// Encode puts the canonical encodings of all sums into encodings, which has room
// for them. Many cost less than each by itself.
func Encode(encodings [][32]byte, sums []Sum) {
	for len(sums) > together {
		Encode(encodings[:together], sums[:together])
		encodings, sums = encodings[together:], sums[together:]
	}
	if len(sums) == 0 {
		return
	}
	var space [together]field.Element
	inverses := space[:len(sums)]
	invert(inverses, sums)
	for i := range sums {
		var x, y field.Element
		x.Multiply(&sums[i].x, &inverses[i])
		y.Multiply(&sums[i].y, &inverses[i])
		copy(encodings[i][:], y.Bytes())
		encodings[i][31] |= byte(x.IsNegative() << 7)
	}
}

// sextets are the digits of k, each −32 … 31: k is the sum of digit i times 64ⁱ.
func sextets(k *[32]byte) (digits [2 * pointBases]int8) {
	var b [2*pointBases*pointBits/8 + 1]byte
	copy(b[:], k[:])
	carry := int8(0)
	for i := range digits {
		at := i * pointBits
		word := uint16(b[at/8]) | uint16(b[at/8+1])<<8
		digit := int8(word>>(at%8)&(2*pointDigits-1)) + carry
		carry = (digit + pointDigits) >> pointBits
		digits[i] = digit - carry<<pointBits
	}
	return digits
}

// octets are the digits of s, each −128 … 127: s is the sum of digit i times
// 256ⁱ.
func octets(s *[32]byte) (digits [bases]int16) {
	carry := int16(0)
	for i := range digits {
		digit := int16(s[i]) + carry
		carry = (digit + 128) >> 8
		digits[i] = digit - carry<<8
	}
	return digits
}
