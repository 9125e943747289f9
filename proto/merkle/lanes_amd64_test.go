package merkle

import (
	"crypto/sha256"
	"testing"

	"github.com/cairnstorage/cairn/proto/internal/golden"
)

// Every lane has the hash of its own leaf.
func TestLanes(t *testing.T) {
	if !canLanes {
		t.Skip("this machine has no AVX-512")
	}
	data := golden.Bytes("lanes", SubtreeSize)
	for range 20 {
		hashes := leafLanes((*[SubtreeSize]byte)(data))
		for i, leaf := range cutLeaves(data) {
			if want := sha256.Sum256(concat([]byte{0}, leaf)); hashes[i] != want {
				t.Fatalf("leaf %d", i)
			}
		}
		for i := range hashes { // of which the next data is made
			copy(data[i*LeafSize+LeafSize/2:], hashes[i][:])
			copy(data[(i+1)*LeafSize-HashSize:], hashes[len(hashes)-1-i][:])
		}
	}
}

// Machines that hash leaf by leaf find the same roots.
func TestWithoutLanes(t *testing.T) {
	defer func(can bool) { canLanes = can }(canLanes)
	canLanes = false
	TestRootAtBoundaries(t)
	TestRootVectors(t)
}
