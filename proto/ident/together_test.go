package ident

import (
	standard "crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/oasisprotocol/curve25519-voi/curve"

	"github.com/cairnstorage/cairn/proto/internal/golden"
)

// hostile are messages at the edge of what crypto/ed25519 accepts: keys and
// nonces of small order, of mixed order, in encodings of their own, scalars that
// are too large; and good ones.
func hostile(t testing.TB) (all []message) {
	add := func(id ID, msg []byte, r, s [32]byte) {
		all = append(all, message{id, msg, slices.Concat(r[:], s[:])})
	}
	odd := oddPoints()
	for i, key := range odd {
		for j := range 4 {
			add(key, []byte{byte(j)}, odd[i%(j+1)], [32]byte{})
			add(key, []byte{byte(j)}, key, [32]byte{})
		}
	}
	a, n := testScalar(t, "a"), testScalar(t, "n")
	for _, addA := range curve.EIGHT_TORSION {
		for _, addR := range curve.EIGHT_TORSION {
			for i := range 4 {
				msg := []byte{byte(i)}
				id, r, s := forge(a, n, addA, addR, msg)
				add(id, msg, r, s)
			}
		}
	}
	id, r, s := forge(a, n, curve.EIGHT_TORSION[0], curve.EIGHT_TORSION[0], nil)
	for _, scalar := range oddScalars(s) {
		add(id, nil, r, scalar)
	}
	for i := range 20 {
		key, msg := testKey(fmt.Sprint(i)), golden.Bytes(fmt.Sprint("message ", i), 40*i)
		sig := key.signBytes(msg)
		all = append(all, message{key.ID(), msg, sig}, message{key.ID(), append(msg, 0), sig},
			message{key.ID(), msg, sig[:i]}, message{ID(golden.Bytes(fmt.Sprint(i), IDSize)), msg, sig})
	}
	return all
}

// firstRefused is the reference: the first message that crypto/ed25519 refuses.
func firstRefused(messages []message) int {
	return slices.IndexFunc(messages, func(m message) bool { return !standard.Verify(m.id[:], m.bytes, m.signature) })
}

// checkTogether has the test fail unless messages are judged together as
// crypto/ed25519 judges them one by one, whoever of the signers is known.
func checkTogether(t testing.TB, messages []message) {
	t.Helper()
	var ids, half []ID
	for i, m := range messages {
		ids = append(ids, m.id)
		if i%2 == 0 {
			half = append(half, m.id)
		}
	}
	want := firstRefused(messages)
	for name, known := range map[string]*keyCache{
		"all known": knowing(ids...), "half known": knowing(half...), "none known": newKeyCache(1),
	} {
		if got := verify(known, messages); got != want {
			t.Errorf("%s: message %d is the first refused, crypto/ed25519 says %d: %+v", name, got, want, messages)
		}
	}
}

func TestTogetherAsAlone(t *testing.T) {
	all := hostile(t)
	accepted := slices.DeleteFunc(slices.Clone(all), func(m message) bool { return firstRefused([]message{m}) == 0 })
	if len(accepted) < 40 || len(accepted) > len(all)-40 {
		t.Fatalf("%d of %d are accepted: not a test of both", len(accepted), len(all))
	}
	random := rand.New(rand.NewPCG(3, 4))
	for i, m := range all {
		checkTogether(t, []message{m})
		if i%7 != 0 {
			continue // to be done sooner
		}
		// One that may be refused, among others that are not.
		messages := make([]message, 1+i%(2*together+3))
		for j := range messages {
			messages[j] = accepted[random.IntN(len(accepted))]
		}
		checkTogether(t, messages)
		messages[random.IntN(len(messages))] = m
		checkTogether(t, messages)
		messages[random.IntN(len(messages))] = all[random.IntN(len(all))]
		checkTogether(t, messages)
	}
	checkTogether(t, nil)
}

// The terms of two forgeries cancel out in a sum, as those of a valid pair do.
func TestForgeriesThatCancelOut(t *testing.T) {
	a, n := testScalar(t, "a"), testScalar(t, "n")
	of := func(torsion int) message {
		id, r, s := forge(a, n, curve.EIGHT_TORSION[0], curve.EIGHT_TORSION[torsion], []byte("message"))
		return message{id, []byte("message"), slices.Concat(r[:], s[:])}
	}
	for torsion := 1; torsion < 8; torsion++ {
		messages := []message{of(0), of(torsion), of(8 - torsion), of(0)}
		if want := firstRefused(messages); want != 1 {
			t.Fatalf("crypto/ed25519 refuses %d", want)
		}
		checkTogether(t, messages)
	}
}

func TestTheBadOneIsNamed(t *testing.T) {
	for _, count := range []int{1, 2, 8, 10, together - 1, together, together + 1, 40, 3 * together} {
		good := make([]Statement, count)
		for i := range good {
			key, body := signer(i%8), golden.Bytes(fmt.Sprint("body ", i), 1+20*i)
			good[i] = Statement{key.ID(), "test", body, key.Sign("test", body)}
			signers.admit(key.ID(), i%cacheWays)
		}
		if got := VerifyAll(good); got != -1 {
			t.Errorf("of %d good ones %d is refused", count, got)
		}
		for i := range good {
			for name, spoil := range map[string]func(s *Statement){
				"signature":       func(s *Statement) { s.Signature = slices.Clone(s.Signature); s.Signature[i]++ },
				"body":            func(s *Statement) { s.Body = append(s.Body, 0) },
				"context":         func(s *Statement) { s.Context = "tests" },
				"signer":          func(s *Statement) { s.ID = signer(i%8 + 1).ID() },
				"zero signer":     func(s *Statement) { s.ID = ID{} },
				"no signature":    func(s *Statement) { s.Signature = nil },
				"short signature": func(s *Statement) { s.Signature = s.Signature[:SignatureSize-1] },
			} {
				all := slices.Clone(good)
				spoil(&all[i])
				if i < count-1 {
					all[count-1].Signature = nil // a later one is not named
				}
				if got := VerifyAll(all); got != i {
					t.Errorf("%d of %d has another %s: %d is named", i, count, name, got)
				}
				if s := all[i]; Verify(s.ID, s.Context, s.Body, s.Signature) {
					t.Errorf("a signature with another %s is accepted", name)
				}
			}
		}
	}
	if got := VerifyAll(nil); got != -1 {
		t.Errorf("of none, %d is refused", got)
	}
}

// FuzzTogether judges messages chosen by the fuzzer among the hostile ones, of
// which it may change a byte.
func FuzzTogether(f *testing.F) {
	all := hostile(f)
	f.Add([]byte{0, 1, 0, 0, 0, 2, 0, 0, 0, 200, 7, 1, 1, 45, 33, 128})
	f.Add([]byte{1, 60, 0, 0, 1, 61, 0, 0, 1, 64, 0, 0, 1, 65, 0, 0, 1, 68, 70, 1})
	f.Fuzz(func(t *testing.T, choice []byte) {
		var messages []message
		for ; len(choice) >= 4 && len(messages) < 2*together+2; choice = choice[4:] {
			m := all[(int(choice[0])<<8+int(choice[1]))%len(all)]
			m.signature = slices.Clone(m.signature)
			if at := int(choice[2]); at < len(m.signature) {
				m.signature[at] ^= choice[3]
			} else if at -= SignatureSize; at >= 0 && at < IDSize {
				m.id[at] ^= choice[3]
			}
			messages = append(messages, m)
		}
		checkTogether(t, messages)
	})
}
