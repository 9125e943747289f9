package merkle

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/minio/sha256-simd"
)

// codeVandermonde names, in the segment root, the only code there is: classic
// Reed-Solomon over GF(2^8) with a systematic Vandermonde matrix.
const codeVandermonde = 1

// ErrRoots is returned for shard roots that do not belong to a segment root.
var ErrRoots = errors.New("shard roots do not match the segment root")

// SegmentRoot is the root that commits to a segment: to its layout and, by the
// shard roots of all slots in order, to every byte. It panics if l is not valid
// or has not one root for each slot; for roots that come from another party
// there is VerifyShardRoots.
func SegmentRoot(l erasure.Layout, shardRoots []Hash) Hash {
	if err := l.Validate(); err != nil {
		panic("merkle: " + err.Error())
	}
	if len(shardRoots) != l.Total {
		panic(fmt.Sprintf("merkle: %d shard roots for %d slots", len(shardRoots), l.Total))
	}
	return hashSegment(l, hashTree(hashSlots(shardRoots)))
}

// VerifyShardRoots checks that root is the segment root over the shard roots of
// all slots. It returns ErrRoots, or erasure.ErrLayout if l is not valid.
func VerifyShardRoots(root Hash, l erasure.Layout, shardRoots []Hash) error {
	if err := l.Validate(); err != nil {
		return err
	}
	if len(shardRoots) != l.Total {
		return fmt.Errorf("%w: there are %d for %d slots", ErrRoots, len(shardRoots), l.Total)
	}
	if SegmentRoot(l, shardRoots) != root {
		return ErrRoots
	}
	return nil
}

// hashSlots is the hash of each leaf of the tree over the shard roots.
func hashSlots(shardRoots []Hash) []Hash {
	hashes := make([]Hash, len(shardRoots))
	messages := make([][]byte, len(shardRoots))
	for i := range shardRoots {
		messages[i] = shardRoots[i][:]
	}
	hashEqual(hashes, leafPrefix, messages)
	return hashes
}

func hashSlot(shardRoot *Hash) Hash {
	return hashOne(leafPrefix, shardRoot[:])
}

// hashSegment binds the root over the shard roots to the layout.
func hashSegment(l erasure.Layout, slots Hash) Hash {
	msg := make([]byte, 0, 2+2+2+4+8+HashSize)
	msg = append(msg, segmentPrefix, codeVandermonde)
	msg = binary.BigEndian.AppendUint16(msg, uint16(l.Required))
	msg = binary.BigEndian.AppendUint16(msg, uint16(l.Total))
	msg = binary.BigEndian.AppendUint32(msg, uint32(l.Chunk()))
	msg = binary.BigEndian.AppendUint64(msg, uint64(l.Size))
	msg = append(msg, slots[:]...)
	return sha256.Sum256(msg)
}
