//go:build !amd64

package merkle

// canLanes tells whether this machine hashes the leaves of a whole subtree at
// once.
const canLanes = false

// leafLanes is the hashes of the leaves of a whole subtree.
func leafLanes(*[SubtreeSize]byte) [subtreeLeaves]Hash {
	panic("merkle: leafLanes where it is not to be had")
}
