// Package ident is who a party is: an Ed25519 key pair whose public half is its
// libp2p peer id, and the signatures it gives.
package ident

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mr-tron/base58"
	fast "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
)

// IDSize is the length of an ID in bytes.
const IDSize = ed25519.PublicKeySize

// SignatureSize is the length of a signature in bytes.
const SignatureSize = ed25519.SignatureSize

// ErrID is returned for text or bytes that are not the id of a party.
var ErrID = errors.New("not a peer id")

// An ID is the raw Ed25519 public key of a party. Its text form is the libp2p
// peer id ("12D3Koo…").
type ID [IDSize]byte

// peerIDPrefix turns a raw key into a libp2p peer id: an identity multihash
// (0x00) of 0x24 bytes, which are the protobuf of an Ed25519 public key.
const peerIDPrefix = "\x00\x24\x08\x01\x12\x20"

// maxIDText is more than base58 ever makes of 38 bytes. Base58 takes time
// quadratic in its length, so longer text is refused unread.
const maxIDText = 64

// ParseID reads the text form of an ID. Only peer ids of Ed25519 keys are
// accepted; all else is ErrID.
func ParseID(text string) (ID, error) {
	if len(text) > maxIDText {
		return ID{}, fmt.Errorf("%w: %d characters are too many", ErrID, len(text))
	}
	raw, err := base58.Decode(text)
	if err != nil {
		return ID{}, fmt.Errorf("%w: %q: %w", ErrID, text, err)
	}
	key, found := strings.CutPrefix(string(raw), peerIDPrefix)
	if !found || len(key) != IDSize {
		return ID{}, fmt.Errorf("%w: %q is not of an Ed25519 key (those begin with 12D3Koo)", ErrID, text)
	}
	return ID([]byte(key)), nil
}

// IDFromBytes makes an ID of a raw public key as it travels in messages. Any
// length but IDSize, and the zero ID, are ErrID.
func IDFromBytes(raw []byte) (ID, error) {
	if len(raw) != IDSize {
		return ID{}, fmt.Errorf("%w: %d bytes instead of %d", ErrID, len(raw), IDSize)
	}
	id := ID(raw)
	if id.IsZero() {
		return ID{}, fmt.Errorf("%w: all zero", ErrID)
	}
	return id, nil
}

// String is the libp2p peer id.
func (id ID) String() string {
	return base58.Encode(append([]byte(peerIDPrefix), id[:]...))
}

// Short is the end of the peer id, enough to tell parties apart in a log.
func (id ID) Short() string {
	text := id.String()
	return text[len(text)-8:]
}

// IsZero reports whether id was never set.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText is String, for JSON.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is ParseID, for JSON.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// A Key is the secret of a party. The zero Key signs nothing: using it panics.
type Key struct {
	private ed25519.PrivateKey
}

// Generate makes a new Key of 32 bytes of random.
func Generate(random io.Reader) (Key, error) {
	var seed [ed25519.SeedSize]byte
	if _, err := io.ReadFull(random, seed[:]); err != nil {
		return Key{}, fmt.Errorf("generate key: %w", err)
	}
	return FromSeed(seed), nil
}

// FromSeed makes the Key of a seed; the same seed gives the same Key.
func FromSeed(seed [ed25519.SeedSize]byte) Key {
	// Not by crypto/ed25519, whose first use in a process makes tables for a millisecond.
	return Key{private: ed25519.PrivateKey(fast.NewKeyFromSeed(seed[:]))}
}

// ID is the public half of k.
func (k Key) ID() ID { return ID(k.private.Public().(ed25519.PublicKey)) }

// IsZero reports whether k was never set.
func (k Key) IsZero() bool { return k.private == nil }

// Ed25519 is the key as the transport wants it. The caller must not change it.
func (k Key) Ed25519() ed25519.PrivateKey { return k.private }

// Sign signs body for one use, which context names. A signature given in one
// context is worth nothing in another. A context holds no zero byte.
func (k Key) Sign(context string, body []byte) []byte {
	return k.signBytes(signingBytes(context, body))
}

// SignHandshake signs what libp2p has keys sign in a handshake. That begins as no
// context does, so that it is worth nothing elsewhere.
func (k Key) SignHandshake(msg []byte) []byte { return k.signBytes(msg) }

// signBytes gives what crypto/ed25519 does, at half its cost.
func (k Key) signBytes(msg []byte) []byte { return fast.Sign(fast.PrivateKey(k.private), msg) }

// signingBytes is context ‖ 0x00 ‖ body.
func signingBytes(context string, body []byte) []byte {
	if strings.IndexByte(context, 0) >= 0 {
		panic("ident: a signing context must not hold a zero byte")
	}
	msg := make([]byte, 0, len(context)+1+len(body))
	msg = append(msg, context...)
	msg = append(msg, 0)
	return append(msg, body...)
}
