package transport

import (
	"fmt"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/crypto/pb"

	"github.com/cairnstorage/cairn/proto/ident"
)

// Handshakes sign and verify by package ident, at half the cost of libp2p's own
// keys and with the same verdicts.

func init() {
	crypto.PubKeyUnmarshallers[pb.KeyType_Ed25519] = newPublicKey
}

// privateKey is an identity as libp2p wants it.
type privateKey struct {
	crypto.PrivKey
	key ident.Key
}

func newPrivateKey(key ident.Key) (crypto.PrivKey, error) {
	inner, err := crypto.UnmarshalEd25519PrivateKey(key.Ed25519())
	if err != nil {
		return nil, fmt.Errorf("transport: key: %w", err)
	}
	return privateKey{inner, key}, nil
}

func (k privateKey) Sign(msg []byte) ([]byte, error) { return k.key.SignHandshake(msg), nil }

// publicKey is who a peer claims to be.
type publicKey struct {
	crypto.PubKey
	id ident.ID
}

func newPublicKey(raw []byte) (crypto.PubKey, error) {
	inner, err := crypto.UnmarshalEd25519PublicKey(raw)
	if err != nil {
		return nil, err
	}
	return publicKey{inner, ident.ID(raw)}, nil
}

func (k publicKey) Verify(msg, sig []byte) (bool, error) {
	return ident.VerifyHandshake(k.id, msg, sig), nil
}
