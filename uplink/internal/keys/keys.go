// Package keys derives every key of an uplink from two secrets: the root key
// of an access grant, which yields a key for each bucket, name component and
// object name; and the content key of an object, which is random, is kept
// sealed under the key of the object's name, and yields the keys of its
// segments, or of its extent in a pack. SPEC.md ("Keys") holds the derivations.
package keys

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
)

// Size is the length in bytes of every key but that of a name cipher.
const Size = 32

// NameSize is the length in bytes of a name cipher's key (AES-256-SIV).
const NameSize = 64

// Info strings of the derivations. Those that take data are followed by a zero
// byte and that data.
const (
	infoBucket    = "cairn/v1/bucket"
	infoComponent = "cairn/v1/component"
	infoName      = "cairn/v1/name"
	infoMetadata  = "cairn/v1/metadata"
	infoSegment   = "cairn/v1/segment"
	infoExtent    = "cairn/v1/extent"
	infoInline    = "cairn/v1/inline"
)

// Path is the key at one point of a project's tree of names: of a bucket, or
// of a bucket and the first components of an object key. Whoever holds it can
// reach what lies below it and nothing beside it.
type Path [Size]byte

// Bucket derives the key of a bucket from a project's root key.
func Bucket(root [Size]byte, name string) Path {
	return Path(derive(root[:], infoBucket+"\x00"+name, Size))
}

// Component derives the key one level below p.
func (p Path) Component(name string) Path {
	return Path(derive(p[:], infoComponent+"\x00"+name, Size))
}

// Name derives the AES-SIV key that encrypts the names directly below p.
func (p Path) Name() [NameSize]byte {
	return [NameSize]byte(derive(p[:], infoName, NameSize))
}

// Metadata derives the key that seals the secret of the object named by p.
func (p Path) Metadata() [Size]byte {
	return [Size]byte(derive(p[:], infoMetadata, Size))
}

// Content is an object's own key.
type Content [Size]byte

// NewContent draws a content key from rand, which must be cryptographically
// strong.
func NewContent(rand io.Reader) (Content, error) {
	var c Content
	if _, err := io.ReadFull(rand, c[:]); err != nil {
		return Content{}, fmt.Errorf("keys: draw a content key: %w", err)
	}
	return c, nil
}

// Segment derives the key of the segment with this id at this position, which
// is where in the object its plaintext begins, in bytes: a segment that is taken
// for another one, or put in another place, does not open.
func (c Content) Segment(id [16]byte, position uint64) [Size]byte {
	return c.within(infoSegment, id, position)
}

// Extent derives the key of an object's extent in the pack with this id, at
// this offset of its ciphertext.
func (c Content) Extent(id [16]byte, offset uint64) [Size]byte {
	return c.within(infoExtent, id, offset)
}

func (c Content) within(info string, id [16]byte, place uint64) [Size]byte {
	b := make([]byte, 0, len(info)+1+len(id)+8)
	b = append(b, info...)
	b = append(b, 0)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, place)
	return [Size]byte(derive(c[:], string(b), Size))
}

// Inline derives the key of an object that is stored in its metadata.
func (c Content) Inline() [Size]byte {
	return [Size]byte(derive(c[:], infoInline, Size))
}

// derive is HKDF-SHA256 with no salt.
func derive(secret []byte, info string, size int) []byte {
	key, err := hkdf.Key(sha256.New, secret, nil, info, size)
	if err != nil {
		panic("keys: " + err.Error()) // only for sizes out of bounds
	}
	return key
}
