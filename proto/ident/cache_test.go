package ident

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cairnstorage/cairn/proto/internal/comb"
	"github.com/cairnstorage/cairn/proto/internal/golden"
)

// signer is a Key of its own for each i.
func signer(i int) Key {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], uint64(i))
	return FromSeed(seed)
}

// often is so many valid signatures that a signer is known after them, but for
// once in 10²⁸ times.
const often = 64 * admitOneIn

func TestFrequentSignersAreKnown(t *testing.T) {
	c := newKeyCache(cacheSets)
	key, msg := testKey("a"), []byte("message")
	sig := key.signBytes(msg)
	for range often {
		if isValid(c, key.ID(), []byte("other message"), sig) {
			t.Fatal("a bad signature is accepted")
		}
	}
	if c.get(key.ID()) != nil {
		t.Error("a signer is known by signatures that are not its own")
	}
	for range often {
		if !isValid(c, key.ID(), msg, sig) {
			t.Fatal("a good signature is refused")
		}
	}
	if c.get(key.ID()) == nil {
		t.Error("a frequent signer is not known")
	}
	if isValid(c, key.ID(), []byte("other message"), sig) {
		t.Error("a bad signature of a known signer is accepted")
	}
}

func TestWhatIsNoKeyIsNotKept(t *testing.T) {
	c := newKeyCache(1)
	var id ID
	for i := 0; ; i++ {
		id = ID{0: byte(i)}
		if _, err := comb.NewTable((*[IDSize]byte)(&id)); err != nil {
			break
		}
	}
	c.admit(id, 0)
	if c.get(id) != nil || isValid(c, id, nil, golden.Bytes("signature", SignatureSize)) {
		t.Error("an id that is no point is kept")
	}
}

// Strangers come in at 16 times the size of the cache, while few sign often.
func TestStrangersDoNotDisplaceThoseWhoSign(t *testing.T) {
	const sets, frequent, between = 64, 64, 16
	c := newKeyCache(sets)
	random := rand.New(rand.NewPCG(1, 2))
	var ids [frequent]ID
	for i := range ids {
		ids[i] = signer(i).ID()
		c.admit(ids[i], random.IntN(cacheWays))
	}
	known := func() (n int) {
		for _, id := range ids {
			if c.get(id) != nil {
				n++
			}
		}
		return n
	}
	stranger := frequent
	for range 16 * sets * cacheWays / between {
		known() // uses each
		for range between {
			c.admit(signer(stranger).ID(), random.IntN(cacheWays))
			stranger++
		}
	}
	if n := known(); n < frequent/3 {
		t.Errorf("%d of %d frequent signers are left", n, frequent)
	}
	last := 0
	for i := stranger - sets; i < stranger; i++ {
		if c.get(signer(i).ID()) != nil {
			last++
		}
	}
	if last == 0 {
		t.Error("nobody new becomes known")
	}
}

func TestKeysAtTheSameTime(t *testing.T) {
	c := newKeyCache(2) // fewer places than signers
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := range 500 {
				key, msg := signer((i+worker)%16), []byte{byte(i)}
				sig := key.signBytes(msg)
				if !isValid(c, key.ID(), msg, sig) {
					t.Error("a good signature is refused")
				}
				if isValid(c, signer((i+worker+1)%16).ID(), msg, sig) {
					t.Error("a signature of another is accepted")
				}
			}
		})
	}
	group.Wait()
}

func BenchmarkVerify(b *testing.B) {
	key, msg := testKey("a"), golden.Bytes("message", 180) // about a receipt
	sig := key.signBytes(msg)
	known := newKeyCache(cacheSets)
	known.admit(key.ID(), 0)
	b.Run("known", func(b *testing.B) {
		for b.Loop() {
			isValid(known, key.ID(), msg, sig)
		}
	})
	b.Run("eight known", func(b *testing.B) {
		var eight []message
		for i := range 8 {
			key := signer(i)
			known.admit(key.ID(), 0)
			eight = append(eight, message{key.ID(), msg, key.signBytes(msg)})
		}
		for b.Loop() {
			verify(known, eight)
		}
	})
	b.Run("stranger", func(b *testing.B) {
		strangers := newKeyCache(1)
		for b.Loop() {
			isValid(strangers, key.ID(), msg, sig)
			strangers.sets[0] = keySet{}
		}
	})
}

func BenchmarkSign(b *testing.B) {
	key, body := testKey("a"), golden.Bytes("message", 160)
	for b.Loop() {
		key.Sign("cairn/v1/receipt", body)
	}
}
