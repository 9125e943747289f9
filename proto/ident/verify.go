package ident

import (
	"bytes"
	"crypto/sha512"
	"math/rand/v2"

	"filippo.io/edwards25519"
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"

	"github.com/cairnstorage/cairn/proto/internal/comb"
)

// asStandard has the verifier of strangers give the verdicts of crypto/ed25519
// (SPEC.md section 3), at half its cost. Equations over many signatures at once
// would not: they accept some that the standard library refuses, and evidence
// would not be judged alike by everybody.
var asStandard = &ed25519.Options{Verify: ed25519.VerifyOptionsStdLib}

// signers is what all verification in a process shares. It changes no verdict.
var signers = newKeyCache(cacheSets)

// A Statement is what a party is said to have signed.
type Statement struct {
	ID        ID
	Context   string
	Body      []byte
	Signature []byte
}

// Verify reports whether sig is the signature of id over body in context. The
// zero ID, a weak key that anyone can sign for, signs nothing.
func Verify(id ID, context string, body, sig []byte) bool {
	return VerifyAll([]Statement{{id, context, body, sig}}) < 0
}

// VerifyHandshake reports whether sig is the signature of id over msg, as
// SignHandshake makes it.
func VerifyHandshake(id ID, msg, sig []byte) bool {
	return !id.IsZero() && verify(signers, []message{{id, msg, sig}}) < 0
}

// VerifyAll returns the index of the first statement that Verify would refuse,
// or -1. To verify many together costs less than one by one.
func VerifyAll(all []Statement) int {
	var space [together]message
	messages := space[:0]
	for _, s := range all {
		if s.ID.IsZero() {
			break
		}
		messages = append(messages, message{s.ID, signingBytes(s.Context, s.Body), s.Signature})
	}
	refused := verify(signers, messages)
	if refused < 0 && len(messages) < len(all) {
		return len(messages) // it is of the zero ID
	}
	return refused
}

// A message is what is signed, context and all.
type message struct {
	id        ID
	bytes     []byte
	signature []byte
}

// together is how many signatures are verified together, at most.
const together = 16

// verify returns the index of the first message whose signature is not valid,
// or -1.
func verify(known *keyCache, messages []message) int {
	for first := 0; first < len(messages); first += together {
		if i := verifyPart(known, messages[first:min(first+together, len(messages))]); i >= 0 {
			return first + i
		}
	}
	return -1
}

// verifyPart is verify of few messages. Each is judged by its own equation. What
// those of known signers share is the encoding of the points that have to be
// theirs.
func verifyPart(known *keyCache, messages []message) int {
	var (
		terms     [together]comb.Term
		points    [together]comb.Sum
		encodings [together][32]byte
		of        [together]int // the message of a term
	)
	n, refused := 0, -1
	for i := range messages {
		m := &messages[i]
		if table := known.get(m.id); table != nil && m.term(table, &terms[n]) {
			of[n] = i
			n++
		} else if table != nil || !m.verifyStranger(known) {
			refused = i // but one before it may be, too
			break
		}
	}
	comb.Sums(points[:n], terms[:n])
	comb.Encode(encodings[:n], points[:n])
	for j, i := range of[:n] {
		if !bytes.Equal(encodings[j][:], messages[i].signature[:32]) {
			return i
		}
	}
	return refused
}

// term makes what the point R is the sum of, whose encoding the signature must
// begin with. It reports false when the signature cannot be one.
func (m *message) term(signer *comb.Table, to *comb.Term) bool {
	if len(m.signature) != SignatureSize {
		return false
	}
	var s, k edwards25519.Scalar
	if _, err := s.SetCanonicalBytes(m.signature[32:]); err != nil {
		return false
	}
	var space [512]byte // enough for most records
	hash := sha512.Sum512(append(append(append(space[:0], m.signature[:32]...), m.id[:]...), m.bytes...))
	k.SetUniformBytes(hash[:]) // 64 bytes are never refused
	to.Table, to.S, to.K = signer, [32]byte(m.signature[32:]), [32]byte(k.Bytes())
	return true
}

// verifyStranger reports whether the signature of a signer without a table is
// valid.
func (m *message) verifyStranger(known *keyCache) bool {
	valid := ed25519.VerifyWithOptions(m.id[:], m.bytes, m.signature, asStandard)
	// Whose signature is not valid may be anybody, and gets nothing.
	if valid && rand.Uint32N(admitOneIn) == 0 {
		known.admit(m.id, rand.IntN(cacheWays))
	}
	return valid
}
