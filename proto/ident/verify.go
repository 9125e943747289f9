package ident

import (
	"math/rand/v2"

	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
)

// asStandard has the verifier give the verdicts of crypto/ed25519 (SPEC.md
// section 3), at half its cost. The same library's batches are cheaper still,
// but accept signatures that the standard library refuses: evidence would not
// be judged alike by everybody.
var asStandard = &ed25519.Options{Verify: ed25519.VerifyOptionsStdLib}

// signers is what all verification in a process shares. It changes no verdict.
var signers = newKeyCache(cacheSets)

// Verify reports whether sig is the signature of id over body in context. The
// zero ID, a weak key that anyone can sign for, signs nothing.
func Verify(id ID, context string, body, sig []byte) bool {
	return !id.IsZero() && verify(signers, id, signingBytes(context, body), sig)
}

func verify(known *keyCache, id ID, msg, sig []byte) bool {
	if expanded := known.get(id); expanded != nil {
		return ed25519.VerifyExpandedWithOptions(expanded, msg, sig, asStandard)
	}
	valid := ed25519.VerifyWithOptions(id[:], msg, sig, asStandard)
	// Whose signature is not valid may be anybody, and gets nothing.
	if valid && rand.Uint32N(admitOneIn) == 0 {
		known.admit(id, rand.IntN(cacheWays))
	}
	return valid
}
