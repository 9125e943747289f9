package merkle

import (
	"hash"
	"slices"

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
	leaves   [subtreeLeaves]Hash // of the whole leaves in the open subtree
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
		if whole := min(len(rest)/LeafSize, subtreeLeaves-h.count); h.fill == 0 && choose(whole) != single {
			hashLeaves(h.leaves[h.count:], rest[:whole*LeafSize])
			rest = rest[whole*LeafSize:]
			h.addLeaves(whole)
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
			h.leaves[h.count] = h.leafHash()
			h.fill = 0
			h.addLeaves(1)
		}
	}
	return len(p), nil
}

// addLeaves counts leaves that have been hashed.
func (h *Hasher) addLeaves(n int) {
	h.count += n
	if h.count == subtreeLeaves {
		h.subtrees = append(h.subtrees, foldTree(h.leaves[:]))
		h.count = 0
	}
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

// Subtrees is the hash of every 64 KiB of the shard so far, the last of which
// may stand for less. The slice is valid until the next Write or Reset.
func (h *Hasher) Subtrees() []Hash {
	if h.count == 0 && h.fill == 0 {
		return h.subtrees
	}
	leaves := h.leaves
	count := h.count
	if h.fill > 0 {
		leaves[count] = h.leafHash()
		count++
	}
	return append(h.subtrees, foldTree(leaves[:count]))
}

// Root is the root of the shard so far. Writing may go on after it.
func (h *Hasher) Root() Hash { return RootOfSubtrees(h.Subtrees()) }

// RootOfSubtrees is the shard root over the hashes that Hasher.Subtrees gives.
func RootOfSubtrees(subtrees []Hash) Hash { return hashTree(subtrees) }

// ShardRoot is the root of a shard that is in memory as a whole.
func ShardRoot(data []byte) Hash {
	if len(data) <= SubtreeSize {
		return subtreeRoot(data)
	}
	subtrees := make([]Hash, 0, (len(data)+SubtreeSize-1)/SubtreeSize)
	for some := range slices.Chunk(data, SubtreeSize) {
		subtrees = append(subtrees, subtreeRoot(some))
	}
	return RootOfSubtrees(subtrees)
}

// subtreeRoot is the root of a subtree, or of as much of it as the shard has.
func subtreeRoot(data []byte) Hash {
	var leaves [subtreeLeaves]Hash
	count := LeafCount(int64(len(data)))
	hashLeaves(leaves[:count], data)
	return foldTree(leaves[:count])
}

// AppendRoots appends the root of each of several shards, or subtrees of them, to
// roots. All have one length, so that short ones, too, can be hashed together.
func AppendRoots(roots []Hash, shards [][]byte) []Hash {
	for some := range slices.Chunk(shards, maxLanes) {
		if len(some[0]) < SubtreeSize {
			roots = appendSmallRoots(roots, some)
			continue
		}
		for _, shard := range some {
			roots = append(roots, ShardRoot(shard))
		}
	}
	return roots
}

// appendSmallRoots is AppendRoots for as many shards as there can be lanes, of less
// than a whole subtree.
func appendSmallRoots(roots []Hash, shards [][]byte) []Hash {
	var (
		leaves   [subtreeLeaves][maxLanes]Hash
		messages [maxLanes][]byte
		column   [subtreeLeaves]Hash
	)
	size := len(shards[0])
	count := LeafCount(int64(size))
	for i := range count {
		for j, shard := range shards {
			messages[j] = shard[i*LeafSize : min((i+1)*LeafSize, size)]
		}
		hashEqual(leaves[i][:], leafPrefix, messages[:len(shards)])
	}
	for j := range shards {
		for i := range count {
			column[i] = leaves[i][j]
		}
		roots = append(roots, foldTree(column[:count]))
	}
	return roots
}

// hashLeaves puts the hash of each leaf in data, which begins with a leaf, into
// hashes.
func hashLeaves(hashes []Hash, data []byte) {
	for len(data) >= SubtreeSize {
		if !choose(subtreeLeaves).hashSubtree((*[subtreeLeaves]Hash)(hashes), (*[SubtreeSize]byte)(data)) {
			break
		}
		hashes, data = hashes[subtreeLeaves:], data[SubtreeSize:]
	}
	var some [subtreeLeaves][]byte
	for len(data) >= LeafSize {
		n := min(len(data)/LeafSize, subtreeLeaves)
		for i := range n {
			some[i] = data[i*LeafSize:][:LeafSize]
		}
		hashEqual(hashes, leafPrefix, some[:n])
		hashes, data = hashes[n:], data[n*LeafSize:]
	}
	if len(data) > 0 {
		hashes[0] = hashOne(leafPrefix, data)
	}
}

// LeafCount is the number of leaves in a shard of size bytes.
func LeafCount(size int64) int { return int((size + LeafSize - 1) / LeafSize) }
