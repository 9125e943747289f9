// Package seal encrypts and authenticates: the chunks of a segment, inline
// objects, and the secret of an object that the satellite keeps for it. A chunk
// is one AES-256-GCM message bound by its key to object, segment and position
// and by its nonce to its place, so that bytes cut off, swapped, repeated or
// moved do not open.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/gcm"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/uplink/internal/keys"
)

// Overhead is what sealing adds to each message, in bytes.
const Overhead = 16

// Limits of what is kept in the metadata, in bytes.
const (
	MaxInline = 4096 // plaintext of an inline object
	MaxSecret = 8192 // an object's secret, sealed
)

const nonceSize = 12

// ErrOpen is returned for bytes that were not sealed under this key for this
// place, or were changed since.
var ErrOpen = errors.New("seal: authentication failed")

// Segment seals and opens the data chunks of one segment. It is safe for
// concurrent use.
type Segment struct {
	aead cipher.AEAD
}

// NewSegment returns the cipher of the segment with this id at this position,
// the object offset at which its plaintext begins.
func NewSegment(content keys.Content, id [16]byte, position uint64) *Segment {
	return newSegment(content.Segment(id, position))
}

// NewExtent returns the cipher of an object's extent in the pack with this id, at
// this offset of its ciphertext. Where others have a chunk of the segment it has
// a block of the extent.
func NewExtent(content keys.Content, id [16]byte, offset uint64) *Segment {
	return newSegment(content.Extent(id, offset))
}

func newSegment(key [keys.Size]byte) *Segment {
	aead, err := gcm.New(key[:])
	if err != nil {
		panic("seal: " + err.Error()) // only for a wrong key size
	}
	return &Segment{aead: aead}
}

// Seal appends the sealed chunk to dst. The index counts the data chunks of the
// segment: stripe · required + slot. An index is sealed at most once under a
// segment id, or with the same plaintext. To seal in place, give chunk[:0] and
// chunk[:len(chunk)-Overhead].
func (s *Segment) Seal(dst, plain []byte, index uint64) []byte {
	nonce := chunkNonce(index)
	return s.aead.Seal(dst, nonce[:], plain, nil)
}

// Open appends the plaintext of a sealed chunk to dst, or returns ErrOpen.
func (s *Segment) Open(dst, chunk []byte, index uint64) ([]byte, error) {
	nonce := chunkNonce(index)
	plain, err := s.aead.Open(dst, nonce[:], chunk, nil)
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// OpenInPlace has the plaintext of a sealed chunk take its place, or leaves the
// chunk as it was and returns ErrOpen.
func (s *Segment) OpenInPlace(chunk []byte, index uint64) ([]byte, error) {
	nonce := chunkNonce(index)
	plain, err := gcm.OpenInPlace(s.aead, nonce[:], chunk)
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// CloseInPlace undoes OpenInPlace.
func (s *Segment) CloseInPlace(chunk []byte, index uint64) {
	s.Seal(chunk[:0], chunk[:len(chunk)-Overhead], index)
}

// chunkNonce is four zero bytes and the index.
func chunkNonce(index uint64) (nonce [nonceSize]byte) {
	binary.BigEndian.PutUint64(nonce[4:], index)
	return nonce
}

// Inline seals an object of at most MaxInline bytes that is kept whole in the
// metadata. A content key seals one object, so the nonce may be zero.
func Inline(content keys.Content, plain []byte) ([]byte, error) {
	if len(plain) > MaxInline {
		return nil, fmt.Errorf("seal: %d bytes are too many for an inline object, at most %d fit", len(plain), MaxInline)
	}
	return newGCM(content.Inline()).Seal(nil, make([]byte, nonceSize), plain, nil), nil
}

// OpenInline returns the plaintext of an inline object, or ErrOpen.
func OpenInline(content keys.Content, sealed []byte) ([]byte, error) {
	if len(sealed) > MaxInline+Overhead {
		return nil, ErrOpen
	}
	plain, err := newGCM(content.Inline()).Open(nil, make([]byte, nonceSize), sealed, nil)
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// Secret seals the secret of an object under the key of its name
// (keys.Path.Metadata) with a nonce from rand.
func Secret(key [keys.Size]byte, secret *pb.ObjectSecret, rand io.Reader) ([]byte, error) {
	plain, err := proto.MarshalOptions{Deterministic: true}.Marshal(secret)
	if err != nil {
		return nil, fmt.Errorf("seal: marshal the metadata: %w", err)
	}
	if size := nonceSize + len(plain) + Overhead; size > MaxSecret {
		return nil, fmt.Errorf("seal: the metadata of an object is too large: %d bytes once sealed, at most %d fit", size, MaxSecret)
	}
	sealed := make([]byte, nonceSize, nonceSize+len(plain)+Overhead)
	if _, err := io.ReadFull(rand, sealed); err != nil {
		return nil, fmt.Errorf("seal: draw a nonce: %w", err)
	}
	return newGCM(key).Seal(sealed, sealed[:nonceSize], plain, nil), nil
}

// OpenSecret returns the secret of an object, or ErrOpen.
func OpenSecret(key [keys.Size]byte, sealed []byte) (*pb.ObjectSecret, error) {
	if len(sealed) < nonceSize+Overhead || len(sealed) > MaxSecret {
		return nil, ErrOpen
	}
	plain, err := newGCM(key).Open(nil, sealed[:nonceSize], sealed[nonceSize:], nil)
	if err != nil {
		return nil, ErrOpen
	}
	secret := new(pb.ObjectSecret)
	if err := proto.Unmarshal(plain, secret); err != nil {
		return nil, fmt.Errorf("seal: the metadata opens but is malformed: %w", err)
	}
	if len(secret.ContentKey) != keys.Size {
		return nil, fmt.Errorf("seal: the metadata opens but its content key has %d bytes", len(secret.ContentKey))
	}
	return secret, nil
}

// newGCM is for keys that are used once.
func newGCM(key [keys.Size]byte) cipher.AEAD {
	b, err := aes.NewCipher(key[:])
	if err != nil {
		panic("seal: " + err.Error()) // only for a wrong key size
	}
	aead, err := cipher.NewGCM(b)
	if err != nil {
		panic("seal: " + err.Error())
	}
	return aead
}
