// Package merkle commits to the shards of a segment with one 32-byte root, and
// proves ranges of a shard's leaves against that root alone.
//
// A shard's tree has leaves of 4 KiB and the hashing and shape of RFC 6962. The
// shard roots of all slots are the leaves of one more such tree. Its root and
// the segment's layout give the segment root.
package merkle

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"

	"github.com/minio/sha256-simd"
)

const (
	// HashSize is the length of a Hash in bytes.
	HashSize = sha256.Size
	// LeafSize is the size in bytes of every leaf but a shard's last, which
	// may be smaller.
	LeafSize = 4 << 10
	// SubtreeSize is how many bytes of a shard each retained hash stands for.
	SubtreeSize = subtreeLeaves * LeafSize

	subtreeLeaves = 16
)

// What is hashed begins with a byte that says what it is, so that one kind can
// never pass for another.
const (
	leafPrefix    = 0x00
	nodePrefix    = 0x01
	segmentPrefix = 0x02
)

// ErrHash is returned for bytes that cannot be hashes because of their length.
var ErrHash = errors.New("not a hash")

// A Hash is a SHA-256 of a leaf, an inner node, a whole shard or a segment.
type Hash [HashSize]byte

// String is h in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText is String, for JSON.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// HashFromBytes makes a Hash of bytes as they travel in messages. Any length
// but HashSize is ErrHash.
func HashFromBytes(raw []byte) (Hash, error) {
	if len(raw) != HashSize {
		return Hash{}, fmt.Errorf("%w: %d bytes instead of %d", ErrHash, len(raw), HashSize)
	}
	return Hash(raw), nil
}

// JoinHashes lays hashes one behind the other, as they travel in messages.
func JoinHashes(hashes []Hash) []byte {
	raw := make([]byte, 0, len(hashes)*HashSize)
	for i := range hashes {
		raw = append(raw, hashes[i][:]...)
	}
	return raw
}

// SplitHashes undoes JoinHashes. A length that is no multiple of HashSize is
// ErrHash.
func SplitHashes(raw []byte) ([]Hash, error) {
	if len(raw)%HashSize != 0 {
		return nil, fmt.Errorf("%w: %d bytes are not whole hashes", ErrHash, len(raw))
	}
	hashes := make([]Hash, len(raw)/HashSize)
	for i := range hashes {
		hashes[i] = Hash(raw[i*HashSize:])
	}
	return hashes, nil
}

// hashNode is the hash of the node over two subtrees.
func hashNode(left, right *Hash) Hash {
	var msg [1 + 2*HashSize]byte
	msg[0] = nodePrefix
	copy(msg[1:], left[:])
	copy(msg[1+HashSize:], right[:])
	return sha256.Sum256(msg[:])
}

// hashTree is the root of the tree whose leaves, or whole equal subtrees, have
// the given hashes. Without any it is the hash of nothing.
func hashTree(hashes []Hash) Hash {
	if len(hashes) <= subtreeLeaves {
		var few [subtreeLeaves]Hash
		return foldTree(few[:copy(few[:], hashes)])
	}
	mid := split(len(hashes))
	left, right := hashTree(hashes[:mid]), hashTree(hashes[mid:])
	return hashNode(&left, &right)
}

// foldTree is hashTree for no more hashes than a subtree has leaves, in the place
// of which it puts others. Each level has the nodes over two of the level below,
// and what is left over there.
func foldTree(hashes []Hash) Hash {
	if len(hashes) == 0 {
		return sha256.Sum256(nil)
	}
	var (
		children [subtreeLeaves / 2][2 * HashSize]byte
		messages [subtreeLeaves / 2][]byte
	)
	for len(hashes) > 1 {
		nodes := len(hashes) / 2
		for i := range nodes {
			copy(children[i][:], hashes[2*i][:])
			copy(children[i][HashSize:], hashes[2*i+1][:])
			messages[i] = children[i][:]
		}
		hashEqual(hashes, nodePrefix, messages[:nodes])
		if len(hashes)%2 == 1 {
			hashes[nodes] = hashes[len(hashes)-1]
			nodes++
		}
		hashes = hashes[:nodes]
	}
	return hashes[0]
}

// split is how many of n > 1 leaves are under the left child: the greatest
// power of two less than n.
func split(n int) int {
	return 1 << (bits.Len(uint(n-1)) - 1)
}
