package merkle

import (
	"hash"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/minio/sha256-simd"
)

// A Hasher computes the root of a shard while its bytes arrive, and keeps the
// hash of every 64 KiB subtree for proofs later on. It is not safe for
// concurrent use.
type Hasher struct {
	leaf     hash.Hash           // over the prefix and the bytes of the open leaf
	fill     int                 // bytes in the open leaf, less than LeafSize
	count    int                 // whole leaves in the open subtree, less than subtreeLeaves
	left     [subtreeLevels]Hash // [i]: root of 2^i leaves that awaits its right sibling, if bit i of count is set
	subtrees []Hash              // the whole subtrees
	size     int64
	sum      [HashSize]byte // scratch, so that none is allocated for each leaf
}

// NewHasher makes a Hasher that does not allocate until it has taken in more
// than expected bytes.
func NewHasher(expected int64) *Hasher {
	expected = min(max(expected, 0), erasure.MaxSegment)
	return &Hasher{
		leaf:     sha256.New(),
		subtrees: make([]Hash, 0, expected/SubtreeSize+1),
	}
}

// Reset makes h as new, keeping its memory.
func (h *Hasher) Reset() {
	h.fill, h.count, h.size = 0, 0, 0
	h.subtrees = h.subtrees[:0]
}

// Size is the number of bytes taken in.
func (h *Hasher) Size() int64 { return h.size }

// Write takes in the next bytes of the shard. It never fails.
func (h *Hasher) Write(p []byte) (int, error) {
	h.size += int64(len(p))
	for rest := p; len(rest) > 0; {
		if canLanes && h.fill == 0 && h.count == 0 && len(rest) >= SubtreeSize {
			h.subtrees = append(h.subtrees, subtreeRoot((*[SubtreeSize]byte)(rest)))
			rest = rest[SubtreeSize:]
			continue
		}
		if h.fill == 0 {
			h.openLeaf()
		}
		n := min(len(rest), LeafSize-h.fill)
		h.leaf.Write(rest[:n])
		h.fill += n
		rest = rest[n:]
		if h.fill == LeafSize {
			h.closeLeaf()
		}
	}
	return len(p), nil
}

// subtreeRoot is the root of a whole subtree.
func subtreeRoot(leaves *[SubtreeSize]byte) Hash {
	hashes := leafLanes(leaves)
	for n := len(hashes); n > 1; n /= 2 {
		for i := range n / 2 {
			hashes[i] = hashNode(&hashes[2*i], &hashes[2*i+1])
		}
	}
	return hashes[0]
}

func (h *Hasher) openLeaf() {
	h.leaf.Reset()
	h.sum[0] = leafPrefix
	h.leaf.Write(h.sum[:1])
}

// leafHash is the hash of the open leaf.
func (h *Hasher) leafHash() Hash {
	h.leaf.Sum(h.sum[:0])
	return h.sum
}

// closeLeaf joins the open leaf with all that waited for it.
func (h *Hasher) closeLeaf() {
	root := h.leafHash()
	h.fill = 0
	level := 0
	for ; h.count>>level&1 == 1; level++ {
		root = hashNode(&h.left[level], &root)
	}
	h.count++
	if h.count < subtreeLeaves {
		h.left[level] = root
		return
	}
	h.subtrees = append(h.subtrees, root)
	h.count = 0
}

// Subtrees is the hash of every 64 KiB of the shard so far, the last of which
// may stand for less. The slice is valid until the next Write or Reset.
func (h *Hasher) Subtrees() []Hash {
	if h.count == 0 && h.fill == 0 {
		return h.subtrees
	}
	return append(h.subtrees, h.openSubtree())
}

// openSubtree is the root of the leaves since the last whole subtree, of which
// there is at least a part of one.
func (h *Hasher) openSubtree() Hash {
	var root Hash
	some := h.fill > 0
	if some {
		root = h.leafHash()
	}
	for level := range h.left {
		if h.count>>level&1 == 0 {
			continue
		}
		if some {
			root = hashNode(&h.left[level], &root)
		} else {
			root, some = h.left[level], true
		}
	}
	return root
}

// Root is the root of the shard so far. Writing may go on after it.
func (h *Hasher) Root() Hash { return RootOfSubtrees(h.Subtrees()) }

// RootOfSubtrees is the shard root over the hashes that Hasher.Subtrees gives.
func RootOfSubtrees(subtrees []Hash) Hash { return hashTree(subtrees) }

// ShardRoot is the root of a shard that is in memory as a whole.
func ShardRoot(data []byte) Hash {
	h := NewHasher(int64(len(data)))
	h.Write(data)
	return h.Root()
}

// hashLeaves is the hash of each leaf in data, which begins with a leaf.
func hashLeaves(data []byte) []Hash {
	h := NewHasher(0)
	hashes := make([]Hash, 0, LeafCount(int64(len(data))))
	for canLanes && len(data) >= SubtreeSize {
		some := leafLanes((*[SubtreeSize]byte)(data))
		hashes = append(hashes, some[:]...)
		data = data[SubtreeSize:]
	}
	for len(data) > 0 {
		n := min(len(data), LeafSize)
		h.openLeaf()
		h.leaf.Write(data[:n])
		hashes = append(hashes, h.leafHash())
		data = data[n:]
	}
	return hashes
}

// LeafCount is the number of leaves in a shard of size bytes.
func LeafCount(size int64) int { return int((size + LeafSize - 1) / LeafSize) }
