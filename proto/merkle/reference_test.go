package merkle

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/cairnstorage/cairn/proto/erasure"
)

// A slow reference, written from the definitions alone.

func concat(parts ...[]byte) []byte { return slices.Concat(parts...) }

// cutLeaves is data as leaves of 4,096 bytes, the last with what is left.
func cutLeaves(data []byte) [][]byte {
	return slices.Collect(slices.Chunk(data, 4096))
}

// referenceRoot is MTH of RFC 6962, section 2.1.
func referenceRoot(leaves [][]byte) Hash {
	switch len(leaves) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(concat([]byte{0}, leaves[0]))
	}
	k := 1
	for k*2 < len(leaves) {
		k *= 2
	}
	left, right := referenceRoot(leaves[:k]), referenceRoot(leaves[k:])
	return sha256.Sum256(concat([]byte{1}, left[:], right[:]))
}

// referencePath is the roots of the greatest subtrees without any of the leaves
// first up to but not including end, from left to right.
func referencePath(leaves [][]byte, first, end int) []Hash {
	if end <= 0 || first >= len(leaves) {
		return []Hash{referenceRoot(leaves)}
	}
	if first <= 0 && end >= len(leaves) {
		return nil
	}
	k := 1
	for k*2 < len(leaves) {
		k *= 2
	}
	return append(referencePath(leaves[:k], first, end), referencePath(leaves[k:], first-k, end-k)...)
}

func rootLeaves(shardRoots []Hash) [][]byte {
	leaves := make([][]byte, len(shardRoots))
	for i := range shardRoots {
		leaves[i] = shardRoots[i][:]
	}
	return leaves
}

func referenceSegmentRoot(l erasure.Layout, shardRoots []Hash) Hash {
	chunk := min(l.Size/int64(l.Required), 65536)
	slots := referenceRoot(rootLeaves(shardRoots))
	return sha256.Sum256(concat([]byte{2, 1},
		binary.BigEndian.AppendUint16(nil, uint16(l.Required)),
		binary.BigEndian.AppendUint16(nil, uint16(l.Total)),
		binary.BigEndian.AppendUint32(nil, uint32(chunk)),
		binary.BigEndian.AppendUint64(nil, uint64(l.Size)),
		slots[:]))
}
