package comb

import (
	"filippo.io/edwards25519/field"
)

// twiceD is 2d, the constant of the curve being d = −121665/121666.
var twiceD = func() *field.Element {
	num, den := new(field.Element).One(), new(field.Element).One()
	num.Negate(num.Mult32(num, 121665))
	d := num.Multiply(num, den.Invert(den.Mult32(den, 121666)))
	return d.Add(d, d)
}()

// extended is a Sum with t = x·y/z.
type extended struct {
	Sum
	t field.Element
}

// origin is the point 0.
func origin() (p extended) {
	p.y.One()
	p.z.One()
	return p
}

// addEntry adds e, or takes it away.
func (p *extended) addEntry(e *entry, negative bool) {
	var sum, difference, product field.Element
	// All 32 bytes long and so not refused.
	sum.SetBytes(e.sum[:])
	difference.SetBytes(e.difference[:])
	product.SetBytes(e.product[:])
	if negative {
		sum, difference = difference, sum
		product.Negate(&product)
	}
	var a, b, c, d field.Element
	a.Multiply(a.Subtract(&p.y, &p.x), &difference)
	b.Multiply(b.Add(&p.y, &p.x), &sum)
	c.Multiply(&p.t, &product)
	d.Add(&p.z, &p.z)
	p.finish(&a, &b, &c, &d)
}

// add adds q.
func (p *extended) add(q *extended) {
	var a, b, c, d, v field.Element
	a.Multiply(a.Subtract(&p.y, &p.x), v.Subtract(&q.y, &q.x))
	b.Multiply(b.Add(&p.y, &p.x), v.Add(&q.y, &q.x))
	c.Multiply(c.Multiply(&p.t, twiceD), &q.t)
	d.Multiply(&p.z, &q.z)
	d.Add(&d, &d)
	p.finish(&a, &b, &c, &d)
}

// finish is the half that both additions share.
func (p *extended) finish(a, b, c, d *field.Element) {
	var e, f, g, h field.Element
	e.Subtract(b, a)
	f.Subtract(d, c)
	g.Add(d, c)
	h.Add(b, a)
	p.x.Multiply(&f, &e)
	p.y.Multiply(&g, &h)
	p.z.Multiply(&f, &g)
	p.t.Multiply(&e, &h)
}

// sumScalar is Sum, one point after another.
func sumScalar(t *Table, s, k *[32]byte) Sum {
	p := origin()
	add := func(row []entry, digit int) {
		if digit != 0 {
			p.addEntry(&row[max(digit, -digit)-1], digit < 0)
		}
	}
	digits := sextets(k)
	for i := range t.entries {
		add(t.entries[i][:], int(digits[2*i+1]))
	}
	for range pointBits {
		twin := p
		p.add(&twin)
	}
	for i := range t.entries {
		add(t.entries[i][:], int(digits[2*i]))
	}
	of := basePoint()
	for i, digit := range octets(s) {
		add(of[i][:], int(digit))
	}
	return p.Sum
}

// invert puts the inverses of all z, none of which is 0, into inverses.
func invert(inverses []field.Element, sums []Sum) {
	product := new(field.Element).One()
	for i := range sums {
		inverses[i] = *product // of those before
		product.Multiply(product, &sums[i].z)
	}
	product.Invert(product)
	for i := len(sums) - 1; i >= 0; i-- {
		inverses[i].Multiply(&inverses[i], product)
		product.Multiply(product, &sums[i].z)
	}
}
