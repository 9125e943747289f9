package merkle

import (
	"errors"
	"fmt"

	"github.com/cairnstorage/cairn/proto/erasure"
)

var (
	// ErrRange is returned for a slot or a range of leaves the segment has not.
	ErrRange = errors.New("leaf range is not within the shard")
	// ErrProof is returned for leaves and a proof that do not lead to the
	// segment root. It is the fault of whoever made them.
	ErrProof = errors.New("proof does not lead to the segment root")
	// ErrCorrupt is returned to a prover whose shard is damaged.
	ErrCorrupt = errors.New("shard data does not match its retained subtree hashes")
)

// A Proof leads from a range of one shard's leaves to the segment root. It
// holds the roots of the greatest subtrees outside of the range, from left to
// right.
type Proof struct {
	Path     []Hash // in the tree of the shard
	SlotPath []Hash // in the tree over the shard roots
}

// LeafRange is where in a shard, in bytes, count leaves from first on lie. It
// returns ErrRange unless the shard has all of them and there is at least one,
// and erasure.ErrLayout if l is not valid.
func LeafRange(l erasure.Layout, first, count int) (offset, length int64, err error) {
	if err := l.Validate(); err != nil {
		return 0, 0, err
	}
	leaves := LeafCount(l.ShardSize())
	if first < 0 || count < 1 || first >= leaves || count > leaves-first {
		return 0, 0, fmt.Errorf("%w: %d leaves from %d on, of %d", ErrRange, count, first, leaves)
	}
	offset = int64(first) * LeafSize
	return offset, min(int64(first+count)*LeafSize, l.ShardSize()) - offset, nil
}

// Window is which bytes of a shard Prove needs for count leaves from first on:
// the 64 KiB subtrees that the range touches. It returns the errors of LeafRange.
func Window(l erasure.Layout, first, count int) (offset, length int64, err error) {
	start, size, err := LeafRange(l, first, count)
	if err != nil {
		return 0, 0, err
	}
	offset = start / SubtreeSize * SubtreeSize
	end := (start + size + SubtreeSize - 1) / SubtreeSize * SubtreeSize
	return offset, min(end, l.ShardSize()) - offset, nil
}

// Prove makes the proof for count leaves from first on of the shard in slot. It
// needs the shard roots of all slots, the hashes retained by Hasher.Subtrees,
// and the bytes of the shard that Window names. It returns ErrRange for leaves
// that do not exist and ErrCorrupt if window does not match subtrees, so that no
// proof is made from damaged data.
func Prove(l erasure.Layout, slot int, shardRoots, subtrees []Hash, first, count int, window []byte) (Proof, error) {
	offset, length, err := Window(l, first, count)
	if err != nil {
		return Proof{}, err
	}
	if err := checkSlot(l, slot); err != nil {
		return Proof{}, err
	}
	s := shard{leafCount: LeafCount(l.ShardSize()), subtrees: subtrees, firstLeaf: int(offset / LeafSize)}
	if int64(len(window)) != length || len(subtrees) != s.subtreeCount() || len(shardRoots) != l.Total {
		return Proof{}, fmt.Errorf("%w: window of %d bytes, %d subtrees, %d shard roots", ErrCorrupt,
			len(window), len(subtrees), len(shardRoots))
	}
	s.leaves = make([]Hash, LeafCount(length))
	hashLeaves(s.leaves, window)
	if !s.intact() {
		return Proof{}, ErrCorrupt
	}
	inShard := prover{first: first, end: first + count, hash: s.hash}
	inShard.walk(0, s.leafCount)

	slots := hashSlots(shardRoots)
	overSlots := prover{first: slot, end: slot + 1,
		hash: func(lo, hi int) Hash { return hashTree(slots[lo:hi]) }}
	overSlots.walk(0, l.Total)
	return Proof{Path: inShard.path, SlotPath: overSlots.path}, nil
}

// VerifyProof checks that leaves are the count leaves from first on of the
// shard in slot, of the segment with the given root and layout. What the caller
// asked for and the segment cannot have is ErrRange or erasure.ErrLayout; what
// the prover got wrong is ErrProof.
func VerifyProof(root Hash, l erasure.Layout, slot, first, count int, leaves []byte, p Proof) error {
	_, length, err := LeafRange(l, first, count)
	if err != nil {
		return err
	}
	if err := checkSlot(l, slot); err != nil {
		return err
	}
	if int64(len(leaves)) != length {
		return fmt.Errorf("%w: %d bytes of leaves instead of %d", ErrProof, len(leaves), length)
	}
	hashes := make([]Hash, count)
	hashLeaves(hashes, leaves)
	inShard := verifier{first: first, end: first + count, path: p.Path,
		hash: func(lo, hi int) Hash { return hashTree(hashes[lo-first : hi-first]) }}
	shardRoot := inShard.walk(0, LeafCount(l.ShardSize()))

	overSlots := verifier{first: slot, end: slot + 1, path: p.SlotPath,
		hash: func(lo, hi int) Hash { return hashSlot(&shardRoot) }}
	slots := overSlots.walk(0, l.Total)

	if !inShard.used() || !overSlots.used() {
		return fmt.Errorf("%w: it has the wrong length", ErrProof)
	}
	if hashSegment(l, slots) != root {
		return ErrProof
	}
	return nil
}

func checkSlot(l erasure.Layout, slot int) error {
	if slot < 0 || slot >= l.Total {
		return fmt.Errorf("%w: slot %d of %d", ErrRange, slot, l.Total)
	}
	return nil
}
