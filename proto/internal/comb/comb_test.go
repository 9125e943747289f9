package comb

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"filippo.io/edwards25519"

	"github.com/cairnstorage/cairn/proto/internal/golden"
)

func testScalar(label string) *edwards25519.Scalar {
	s, err := new(edwards25519.Scalar).SetUniformBytes(golden.Bytes(label, 64))
	if err != nil {
		panic(err)
	}
	return s
}

func testScalarBytes(label string) [32]byte { return [32]byte(testScalar(label).Bytes()) }

// small is a number times a power of two.
func small(n, shift int) *edwards25519.Scalar {
	var b [32]byte
	for bit := range 9 {
		if at := bit + shift; at < 253 {
			b[at/8] |= byte(n>>bit&1) << (at % 8)
		}
	}
	s, err := new(edwards25519.Scalar).SetCanonicalBytes(b[:])
	if err != nil {
		panic(err)
	}
	return s
}

// scalars are at the edges of digits and at random.
func scalars() (all []*edwards25519.Scalar) {
	for _, digits := range []string{"00", "77", "78", "7f", "80", "88", "f8", "ff", "0f", "f0", "01", "10"} {
		b, err := hex.DecodeString(digits)
		if err != nil {
			panic(err)
		}
		b = append(bytes.Repeat(b, 31), b[0]&0x0f)
		s, err := new(edwards25519.Scalar).SetCanonicalBytes(b)
		if err != nil {
			panic(err)
		}
		all = append(all, s)
	}
	for i := range 5 {
		all = append(all, testScalar(fmt.Sprint("scalar ", i)))
	}
	one := small(1, 0)
	return append(all, one, new(edwards25519.Scalar).Negate(one)) // the order less 1
}

// points are of all small orders, of the order of the base point, and mixed.
func points(t testing.TB) (all []*edwards25519.Point) {
	const eighth = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05" // of order 8
	b, err := hex.DecodeString(eighth)
	if err != nil {
		t.Fatal(err)
	}
	torsion, err := new(edwards25519.Point).SetBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	p := edwards25519.NewIdentityPoint()
	for i := range 8 {
		random := new(edwards25519.Point).ScalarBaseMult(testScalar(fmt.Sprint("point ", i)))
		all = append(all, new(edwards25519.Point).Set(p), random, random.Add(random, p))
		p.Add(p, torsion)
	}
	if p.Equal(edwards25519.NewIdentityPoint()) != 1 {
		t.Fatal("not a point of order 8")
	}
	return append(all, edwards25519.NewGeneratorPoint())
}

func mustTable(t testing.TB, p *edwards25519.Point) *Table {
	t.Helper()
	table, err := NewTable((*[32]byte)(p.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// sums are s·B − k·A for the A of a table, by both ways to add.
func sums(table *Table, s, k *edwards25519.Scalar) []Sum {
	sb, kb := (*[32]byte)(s.Bytes()), (*[32]byte)(k.Bytes())
	return []Sum{sumScalar(table, sb, kb), table.Sum(sb, kb)}
}

func TestSums(t *testing.T) {
	for i, a := range points(t) {
		table, minus := mustTable(t, a), new(edwards25519.Point).Negate(a)
		var got []Sum
		var want []*edwards25519.Point
		for _, k := range scalars() {
			for j, s := range scalars() {
				if i > 0 && j%4 != i%4 {
					continue // to be done sooner
				}
				got = append(got, sums(table, s, k)...)
				want = append(want, new(edwards25519.Point).VarTimeDoubleScalarBaseMult(k, minus, s))
			}
		}
		encodings := make([][32]byte, len(got))
		Encode(encodings, got)
		for i := range encodings {
			if encodings[i] != [32]byte(want[i/2].Bytes()) {
				t.Fatalf("A %x, sum %d: %x instead of %x", a.Bytes(), i, encodings[i], want[i/2].Bytes())
			}
		}
	}
}

// TestSumsOfMany: each is that of its own term, however many there are and
// whatever the others are.
func TestSumsOfMany(t *testing.T) {
	var terms []Term
	var want []Sum
	for i, a := range points(t) {
		table := mustTable(t, a)
		for j, k := range scalars() {
			for l, s := range scalars() {
				if (i+j+l)%4 != 0 && j != l {
					continue // to be done sooner
				}
				term := Term{table, [32]byte(s.Bytes()), [32]byte(k.Bytes())}
				terms, want = append(terms, term), append(want, sumScalar(table, &term.S, &term.K))
			}
		}
	}
	random := rand.New(rand.NewPCG(5, 6))
	random.Shuffle(len(terms), func(i, j int) {
		terms[i], terms[j] = terms[j], terms[i]
		want[i], want[j] = want[j], want[i]
	})
	wanted := make([][32]byte, len(want))
	Encode(wanted, want)
	check := func(from, count int) {
		t.Helper()
		got, encodings := make([]Sum, count), make([][32]byte, count)
		Sums(got, terms[from:from+count])
		Encode(encodings, got)
		for i := range encodings {
			if encodings[i] != wanted[from+i] {
				t.Fatalf("sum %d of %d is %x instead of %x, for %+v", i, count, encodings[i], wanted[from+i], terms[from+i])
			}
		}
	}
	for count := range 3*lanes + 2 {
		check(random.IntN(len(terms)-count), count)
	}
	for _, count := range []int{together - 1, together, together + 1, len(terms)} {
		check(0, count)
	}
}

// Every entry of both tables is what it should be.
func TestEntries(t *testing.T) {
	a, zero := points(t)[5], small(0, 0)
	table := mustTable(t, a)
	minus := new(edwards25519.Point).Negate(a)
	check := func(most, shift int, p *edwards25519.Point, of func(n *edwards25519.Scalar) []Sum) {
		t.Helper()
		step := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(small(1, shift), p, zero)
		var got []Sum
		for n := 1; n <= most; n++ {
			got = append(got, of(small(n, shift))...)
		}
		encodings := make([][32]byte, len(got))
		Encode(encodings, got)
		want := edwards25519.NewIdentityPoint()
		for i := range encodings {
			if i%2 == 0 {
				want.Add(want, step)
			}
			if encodings[i] != [32]byte(want.Bytes()) {
				t.Fatalf("%d times 2^%d: %x instead of %x", i/2+1, shift, encodings[i], want.Bytes())
			}
		}
	}
	for shift := 0; shift < 252; shift += 4 {
		check(15, shift, minus, func(k *edwards25519.Scalar) []Sum { return sums(table, zero, k) })
	}
	for shift := 0; shift < 252; shift += pointBits {
		check(2*pointDigits-1, shift, minus, func(k *edwards25519.Scalar) []Sum { return sums(table, zero, k) })
	}
	for shift := 0; shift < 248; shift += 8 {
		check(255, shift, edwards25519.NewGeneratorPoint(), func(s *edwards25519.Scalar) []Sum { return sums(table, s, zero) })
	}
	check(15, 248, edwards25519.NewGeneratorPoint(), func(s *edwards25519.Scalar) []Sum { return sums(table, s, zero) })
}

// TestDigits: both kinds of digits are in their bounds and add up to the scalar.
func TestDigits(t *testing.T) {
	most := [32]byte(bytes.Repeat([]byte{0xff}, 32))
	most[31] = 0x1f // 2²⁵³ − 1, which is more than any scalar
	all := [][32]byte{{}, most}
	for _, s := range scalars() {
		all = append(all, [32]byte(s.Bytes()))
	}
	for _, b := range all {
		var bySextets, byOctets, shifted big.Int
		for i, digit := range sextets(&b) {
			if digit < -pointDigits || digit >= pointDigits {
				t.Errorf("digit %d of %x by sextets is %d", i, b, digit)
			}
			bySextets.Add(&bySextets, shifted.Lsh(big.NewInt(int64(digit)), uint(pointBits*i)))
		}
		for i, digit := range octets(&b) {
			if digit < -baseDigits || digit >= baseDigits {
				t.Errorf("digit %d of %x by octets is %d", i, b, digit)
			}
			byOctets.Add(&byOctets, shifted.Lsh(big.NewInt(int64(digit)), uint(8*i)))
		}
		reversed := slices.Clone(b[:])
		slices.Reverse(reversed)
		want := new(big.Int).SetBytes(reversed)
		if bySextets.Cmp(want) != 0 || byOctets.Cmp(want) != 0 {
			t.Errorf("digits of %x are those of %x and %x", want, &bySextets, &byOctets)
		}
	}
}

func TestEncodeAnyNumber(t *testing.T) {
	table := mustTable(t, points(t)[1])
	var all []Sum
	var want [][32]byte
	for i := range 3*together + 2 {
		encodings := make([][32]byte, len(all))
		Encode(encodings, all)
		for j := range encodings {
			if encodings[j] != want[j] {
				t.Fatalf("%d of %d", j, len(all))
			}
		}
		s, k := testScalar(fmt.Sprint("s", i)), testScalar(fmt.Sprint("k", i))
		all = append(all, sums(table, s, k)[1])
		want = append(want, [32]byte{})
		Encode(want[i:], all[i:])
	}
}

func TestWhatIsNoPointHasNoTable(t *testing.T) {
	refused := 0
	for i := range 100 {
		key := [32]byte(golden.Bytes(fmt.Sprint("key ", i), 32))
		_, want := new(edwards25519.Point).SetBytes(key[:])
		if _, err := NewTable(&key); (err == nil) != (want == nil) {
			t.Errorf("%x: %v, want %v", key, err, want)
		} else if err != nil {
			refused++
		}
	}
	if refused == 0 || refused == 100 {
		t.Errorf("%d of 100 are no points", refused)
	}
}

func FuzzSum(f *testing.F) {
	for _, k := range scalars() {
		f.Add(golden.Bytes("A", 32), k.Bytes(), k.Bytes())
	}
	f.Fuzz(func(t *testing.T, key, s, k []byte) {
		if len(key) != 32 || len(s) != 32 || len(k) != 32 {
			return
		}
		a, err := new(edwards25519.Point).SetBytes(key)
		if err != nil {
			a = new(edwards25519.Point).ScalarBaseMult(testScalar(string(key)))
		}
		for _, scalar := range [][]byte{s, k} {
			scalar[31] &= 0x0f
		}
		var factors [2]edwards25519.Scalar
		for i, b := range [][]byte{s, k} {
			if _, err := factors[i].SetCanonicalBytes(b); err != nil {
				return
			}
		}
		want := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(&factors[1], new(edwards25519.Point).Negate(a), &factors[0])
		encodings := make([][32]byte, 2)
		Encode(encodings, sums(mustTable(t, a), &factors[0], &factors[1]))
		if encodings[0] != encodings[1] || encodings[0] != [32]byte(want.Bytes()) {
			t.Fatalf("A %x, s %x, k %x: %x instead of %x", a.Bytes(), s, k, encodings, want.Bytes())
		}
	})
}

func BenchmarkSum(b *testing.B) {
	key := (*[32]byte)(points(b)[1].Bytes())
	s, k := (*[32]byte)(testScalar("s").Bytes()), (*[32]byte)(testScalar("k").Bytes())
	table, err := NewTable(key)
	if err != nil {
		b.Fatal(err)
	}
	basePoint()
	b.Run("as here", func(b *testing.B) {
		for b.Loop() {
			table.Sum(s, k)
		}
	})
	b.Run("scalar", func(b *testing.B) {
		for b.Loop() {
			sumScalar(table, s, k)
		}
	})
	for _, count := range []int{lanes, together} {
		b.Run(fmt.Sprint("of ", count), func(b *testing.B) {
			terms, sums := make([]Term, count), make([]Sum, count)
			for i := range terms { // the tables do not lie in the nearest cache all at once
				terms[i] = Term{mustTable(b, points(b)[1]), testScalarBytes(fmt.Sprint("s", i)), testScalarBytes(fmt.Sprint("k", i))}
			}
			for b.Loop() {
				Sums(sums, terms)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*count), "ns/sum")
		})
	}
	for _, count := range []int{1, together} {
		b.Run(fmt.Sprint("encode ", count), func(b *testing.B) {
			sums, encodings := make([]Sum, count), make([][32]byte, count)
			for i := range sums {
				sums[i] = table.Sum(s, k)
			}
			for b.Loop() {
				Encode(encodings, sums)
			}
		})
	}
	b.Run("table", func(b *testing.B) {
		for b.Loop() {
			if _, err := NewTable(key); err != nil {
				b.Fatal(err)
			}
		}
	})
}
