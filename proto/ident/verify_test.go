package ident

import (
	standard "crypto/ed25519"
	"crypto/sha512"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"testing"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"

	"github.com/cairnstorage/cairn/proto/internal/comb"
	"github.com/cairnstorage/cairn/proto/internal/golden"
)

// judge returns the verdict of crypto/ed25519 and has the test fail if that of
// this package is another, for a stranger or for a signer that is known.
func judge(t testing.TB, id ID, msg, sig []byte) bool {
	t.Helper()
	want := standard.Verify(id[:], msg, sig)
	known := knowing(id)
	if got := isValid(newKeyCache(1), id, msg, sig); got != want {
		t.Errorf("stranger: %v, crypto/ed25519 says %v: key %x, message %x, signature %x", got, want, id, msg, sig)
	}
	if got := isValid(known, id, msg, sig); got != want {
		t.Errorf("known: %v, crypto/ed25519 says %v: key %x, message %x, signature %x", got, want, id, msg, sig)
	}
	return want
}

// tables are those that tests have made: most ask for the same few.
var tables sync.Map

// knowing is a cache that knows ids, as far as they are keys.
func knowing(ids ...ID) *keyCache {
	c := newKeyCache(len(ids))
	for _, id := range ids {
		table, ok := tables.Load(id)
		if !ok {
			made, err := comb.NewTable((*[IDSize]byte)(&id))
			if err != nil {
				continue
			}
			table, _ = tables.LoadOrStore(id, made)
		}
		set := c.set(id)
		for way := range set {
			if set[way].CompareAndSwap(nil, &cachedKey{id: id, table: table.(*comb.Table)}) {
				break
			}
		}
	}
	return c
}

func isValid(known *keyCache, id ID, msg, sig []byte) bool {
	return verify(known, []message{{id, msg, sig}}) < 0
}

func TestVerdictsOfTheStandardLibrary(t *testing.T) {
	for i := range 200 {
		key := testKey(fmt.Sprint(i))
		msg := golden.Bytes(fmt.Sprint("message ", i), i)
		sig := standard.Sign(key.Ed25519(), msg)
		if !judge(t, key.ID(), msg, sig) {
			t.Fatal("a good signature is refused")
		}
		judge(t, key.ID(), append(msg, 0), sig)
		judge(t, testKey("other").ID(), msg, sig)
		judge(t, ID(golden.Bytes(fmt.Sprint("key ", i), IDSize)), msg, sig)
		judge(t, key.ID(), msg, golden.Bytes(fmt.Sprint("signature ", i), SignatureSize))
	}
	key, msg := testKey("a"), []byte("message")
	sig := standard.Sign(key.Ed25519(), msg)
	for bit := range 8 * SignatureSize {
		changed := slices.Clone(sig)
		changed[bit/8] ^= 1 << (bit % 8)
		judge(t, key.ID(), msg, changed)
	}
	for bit := range 8 * IDSize {
		id := key.ID()
		id[bit/8] ^= 1 << (bit % 8)
		judge(t, id, msg, sig)
	}
	for n := range SignatureSize + 2 {
		judge(t, key.ID(), msg, append(slices.Clone(sig), 0)[:n])
	}
}

// order is that of the base point.
var order, _ = new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)

// littleEndian is n in 32 bytes.
func littleEndian(n *big.Int) (b [32]byte) {
	n.FillBytes(b[:])
	slices.Reverse(b[:])
	return b
}

// oddPoints are encodings of all points of small order, and all encodings
// whose y is not below 2²⁵⁵ − 19 or whose sign is that of a zero. Some are of no
// point at all.
func oddPoints() (all [][32]byte) {
	for i := range curve.EIGHT_TORSION {
		all = append(all, encode(curve.EIGHT_TORSION[i]))
	}
	prime := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	add := func(y *big.Int) {
		b := littleEndian(y)
		all = append(all, b)
		b[31] |= 0x80
		all = append(all, b)
	}
	add(big.NewInt(1))
	add(new(big.Int).Sub(prime, big.NewInt(1)))
	for i := range int64(19) {
		add(new(big.Int).Add(prime, big.NewInt(i)))
	}
	return all
}

func encode(p *curve.EdwardsPoint) [32]byte {
	var c curve.CompressedEdwardsY
	return [32]byte(*c.SetEdwardsPoint(p))
}

// oddScalars are encodings of s, and of what must not pass for it.
func oddScalars(s [32]byte) (all [][32]byte) {
	big32 := s
	slices.Reverse(big32[:])
	n := new(big.Int).SetBytes(big32[:])
	all = append(all, s, littleEndian(order), littleEndian(new(big.Int).Sub(order, big.NewInt(1))))
	for times := range int64(15) {
		all = append(all, littleEndian(new(big.Int).Add(n, new(big.Int).Mul(order, big.NewInt(times+1)))))
	}
	for bit := 5; bit < 8; bit++ {
		set := s
		set[31] |= 1 << bit
		all = append(all, set)
	}
	return all
}

func TestVerdictsOnPointsOfSmallOrder(t *testing.T) {
	odd := oddPoints()
	keys := append(slices.Clone(odd), testKey("a").ID())
	accepted := 0
	for _, key := range keys {
		for _, r := range odd {
			for i := range 3 { // what a point of small order is multiplied with is up to the message
				if judge(t, key, []byte{byte(i)}, append(slices.Clone(r[:]), make([]byte, 32)...)) {
					accepted++
				}
			}
		}
	}
	if accepted == 0 {
		t.Error("no case is one that crypto/ed25519 accepts")
	}
	for _, s := range oddScalars([32]byte{}) {
		for _, r := range odd[:8] {
			judge(t, odd[0], nil, append(slices.Clone(r[:]), s[:]...))
		}
	}
}

// forge signs msg with the secret a under the key a·B + A, by the nonce n and
// with R = n·B + R.
func forge(a, n *scalar.Scalar, addA, addR *curve.EdwardsPoint, msg []byte) (id ID, r, s [32]byte) {
	var keyPoint, noncePoint curve.EdwardsPoint
	id = encode(keyPoint.Add(keyPoint.MulBasepoint(curve.ED25519_BASEPOINT_TABLE, a), addA))
	r = encode(noncePoint.Add(noncePoint.MulBasepoint(curve.ED25519_BASEPOINT_TABLE, n), addR))
	hash := sha512.Sum512(slices.Concat(r[:], id[:], msg))
	k, err := scalar.NewFromBytesModOrderWide(hash[:])
	if err != nil {
		panic(err)
	}
	var sum scalar.Scalar
	if err := sum.Add(n, sum.Mul(k, a)).ToBytes(s[:]); err != nil {
		panic(err)
	}
	return id, r, s
}

func testScalar(t testing.TB, label string) *scalar.Scalar {
	s, err := scalar.NewFromBytesModOrderWide(golden.Bytes(label, 64))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestVerdictsOnPointsOfMixedOrder(t *testing.T) {
	a, n := testScalar(t, "a"), testScalar(t, "n")
	var accepted, refused int
	for _, addA := range curve.EIGHT_TORSION {
		for _, addR := range curve.EIGHT_TORSION {
			for i := range 6 {
				msg := []byte{byte(i)}
				id, r, s := forge(a, n, addA, addR, msg)
				if judge(t, id, msg, slices.Concat(r[:], s[:])) {
					accepted++
				} else {
					refused++
				}
			}
		}
	}
	if accepted < 10 || refused < 10 {
		t.Errorf("%d cases accepted, %d refused: not a test of both", accepted, refused)
	}
	id, r, s := forge(a, n, curve.EIGHT_TORSION[0], curve.EIGHT_TORSION[0], nil)
	for i, odd := range oddScalars(s) {
		if judge(t, id, nil, slices.Concat(r[:], odd[:])) != (i == 0) {
			t.Errorf("encoding %d of the scalar: wrong verdict", i)
		}
	}
}

func TestSignaturesOfTheStandardLibrary(t *testing.T) {
	for i := range 100 {
		key := testKey(fmt.Sprint(i))
		body := golden.Bytes(fmt.Sprint("body ", i), 10*i)
		if want := standard.Sign(key.Ed25519(), signingBytes("test", body)); !slices.Equal(key.Sign("test", body), want) {
			t.Errorf("signature %d is not the one of crypto/ed25519", i)
		}
	}
}

func TestHandshake(t *testing.T) {
	key, other := testKey("a"), testKey("b")
	msg := golden.Bytes("handshake", 100)
	sig := key.SignHandshake(msg)
	if !slices.Equal(sig, standard.Sign(key.Ed25519(), msg)) {
		t.Error("not the signature of crypto/ed25519")
	}
	if !VerifyHandshake(key.ID(), msg, sig) {
		t.Error("refused")
	}
	if VerifyHandshake(other.ID(), msg, sig) || VerifyHandshake(key.ID(), msg[1:], sig) || VerifyHandshake(key.ID(), msg, sig[1:]) ||
		VerifyHandshake(key.ID(), msg, other.SignHandshake(msg)) || VerifyHandshake(ID{}, msg, make([]byte, SignatureSize)) {
		t.Error("accepted what is none")
	}
}

func FuzzVerdicts(f *testing.F) {
	key, msg := testKey("a"), []byte("message")
	id := key.ID()
	f.Add(id[:], msg, standard.Sign(key.Ed25519(), msg))
	for _, odd := range oddPoints() {
		f.Add(odd[:], msg, slices.Concat(odd[:], make([]byte, 32)))
	}
	a, n := testScalar(f, "a"), testScalar(f, "n")
	for _, torsion := range curve.EIGHT_TORSION {
		id, r, s := forge(a, n, torsion, torsion, msg)
		f.Add(id[:], msg, slices.Concat(r[:], s[:]))
	}
	f.Fuzz(func(t *testing.T, key, msg, sig []byte) {
		if len(key) == IDSize {
			judge(t, ID(key), msg, sig)
		}
		// A key of which the secret is known, as random ones sign nothing.
		own := FromSeed(sha512.Sum512_256(key))
		good := own.Sign("fuzz", msg)
		if !slices.Equal(good, standard.Sign(own.Ed25519(), signingBytes("fuzz", msg))) {
			t.Errorf("seed %x signs %x otherwise than crypto/ed25519", own.Ed25519().Seed(), msg)
		}
		if !judge(t, own.ID(), signingBytes("fuzz", msg), good) {
			t.Error("a good signature is refused")
		}
		for i := range min(len(sig), len(good)) {
			good[i] ^= sig[i]
		}
		judge(t, own.ID(), signingBytes("fuzz", msg), good)
	})
}
