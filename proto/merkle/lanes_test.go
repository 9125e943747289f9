package merkle

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/internal/golden"
)

var allMethods = []method{single, pair, eight, sixteen}

// force makes m the only method, whatever it is worth, until the test ends. It
// reports whether the machine has it.
func force(t testing.TB, m method) bool {
	if !m.supported() {
		return false
	}
	before := methods
	t.Cleanup(func() { methods = before })
	methods = []method{m}
	return true
}

// withEach runs a test with each method that the machine has.
func withEach(t *testing.T, test func(t *testing.T)) {
	for _, m := range allMethods {
		t.Run(fmt.Sprint(int(m)), func(t *testing.T) {
			if !force(t, m) {
				t.Skip("this machine has no such instructions")
			}
			test(t)
		})
	}
}

// edgeSizes is the lengths of messages at which their blocks change in kind or
// number.
func edgeSizes() []int {
	sizes := []int{0, 1, 31, 32, 33}
	for _, border := range []int{64, 128, 192, 256, LeafSize} {
		for off := -10; off <= 1; off++ {
			sizes = append(sizes, border+off)
		}
	}
	return slices.DeleteFunc(sizes, func(size int) bool { return size > LeafSize })
}

// Every lane hashes its own message, of whatever length, however many there are.
func TestEqualMessages(t *testing.T) {
	data := golden.Bytes("lanes", (2*maxLanes+1)*(LeafSize+1))
	withEach(t, func(t *testing.T) {
		for _, size := range edgeSizes() {
			for _, count := range []int{0, 1, 2, 3, 4, 7, 8, 9, 11, 12, 15, 16, 17, 31, 32, 33} {
				messages := make([][]byte, count)
				for i := range messages {
					messages[i] = data[i*(size+1)+i%2:][:size:size]
				}
				hashes := make([]Hash, count)
				hashEqual(hashes, byte(size), messages)
				for i, message := range messages {
					if want := sha256.Sum256(concat([]byte{byte(size)}, message)); hashes[i] != want {
						t.Fatalf("hash %d of %d messages of %d bytes is wrong", i, count, size)
					}
				}
			}
		}
	})
}

// A method does as it should with fewer messages than are worth it.
func TestIdleLanes(t *testing.T) {
	for _, m := range allMethods {
		if !m.supported() {
			continue
		}
		for count := 1; count <= int(m); count++ {
			messages := slices.Collect(slices.Chunk(golden.Bytes("idle", count*LeafSize), LeafSize))
			hashes := make([]Hash, count+1)
			m.hash(hashes[:count], leafPrefix, messages)
			for i, message := range messages {
				if want := sha256.Sum256(concat([]byte{0}, message)); hashes[i] != want {
					t.Errorf("hash %d of %d with %d lanes is wrong", i, count, m)
				}
			}
			if hashes[count] != (Hash{}) {
				t.Errorf("%d lanes put a hash more than there are messages, %d", m, count)
			}
		}
	}
}

// Each state is taken on from block to block: a chain of hashes of hashes shows
// the smallest slip.
func TestChainedHashes(t *testing.T) {
	withEach(t, func(t *testing.T) {
		data := golden.Bytes("chain", SubtreeSize)
		var hashes [subtreeLeaves]Hash
		for range 20 {
			hashLeaves(hashes[:], data)
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
	})
}

// All machines find the same roots.
func TestRootsWithEachMethod(t *testing.T) {
	withEach(t, func(t *testing.T) {
		TestRootAtBoundaries(t)
		TestRootVectors(t)
		TestHasherDoesNotAllocate(t)
	})
}

func TestTreesWithEachMethod(t *testing.T) {
	leaves := cutLeaves(golden.Bytes("trees", 70*HashSize*128))
	hashes := make([]Hash, 70)
	for i := range hashes {
		hashes[i] = sha256.Sum256(concat([]byte{0}, leaves[i%len(leaves)], []byte{byte(i)}))
	}
	withEach(t, func(t *testing.T) {
		for count := range hashes {
			before := slices.Clone(hashes[:count])
			if got, want := hashTree(hashes[:count]), referenceTree(before); got != want {
				t.Fatalf("tree over %d hashes is wrong", count)
			}
			if !slices.Equal(before, hashes[:count]) {
				t.Fatalf("hashTree of %d changed what it was given", count)
			}
		}
	})
}

// referenceTree is the root over leaves of the given hashes.
func referenceTree(hashes []Hash) Hash {
	switch len(hashes) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return hashes[0]
	}
	k := 1
	for k*2 < len(hashes) {
		k *= 2
	}
	left, right := referenceTree(hashes[:k]), referenceTree(hashes[k:])
	return sha256.Sum256(concat([]byte{1}, left[:], right[:]))
}

// The roots of several shards at once are those of each.
func TestAppendRoots(t *testing.T) {
	data := golden.Bytes("roots", 41*(SubtreeSize+LeafSize+1))
	withEach(t, func(t *testing.T) {
		for _, size := range []int{0, 1, 64, LeafSize - 1, LeafSize, LeafSize + 64, 2 * LeafSize, 5*LeafSize + 192,
			SubtreeSize - 64, SubtreeSize, SubtreeSize + 64, SubtreeSize + LeafSize} {
			for _, count := range []int{0, 1, 2, 3, 10, 15, 16, 17, 40, 41} {
				shards := make([][]byte, count)
				for i := range shards {
					shards[i] = data[i*(size+1):][:size:size]
				}
				roots := AppendRoots([]Hash{{1}}, shards)
				if len(roots) != 1+count || roots[0] != (Hash{1}) {
					t.Fatalf("%d roots of %d shards", len(roots)-1, count)
				}
				for i, shard := range shards {
					if roots[1+i] != referenceRoot(cutLeaves(shard)) {
						t.Fatalf("root %d of %d shards of %d bytes is wrong", i, count, size)
					}
				}
			}
		}
	})
}

// Every machine makes and checks the same proofs.
func TestProofsWithEachMethod(t *testing.T) {
	l := erasure.Layout{Required: 3, Total: 37, Size: 3 * (2*SubtreeSize + 5*LeafSize + 64)}
	for _, slot := range []int{0, 36} {
		s := newSegment(t, l, slot)
		leaves, want := s.prove(t, 3, 31)
		withEach(t, func(t *testing.T) {
			got, p := s.prove(t, 3, 31)
			if !slices.Equal(p.Path, want.Path) || !slices.Equal(p.SlotPath, want.SlotPath) || !slices.Equal(got, leaves) {
				t.Error("another proof")
			}
			if err := VerifyProof(s.root, l, slot, 3, 31, leaves, want); err != nil {
				t.Error(err)
			}
		})
	}
}

// FuzzMethods compares the methods with each other over all that they hash.
func FuzzMethods(f *testing.F) {
	f.Add([]byte("cairn"), byte(0), 17, 3)
	f.Add([]byte{}, byte(1), 1, 0)
	f.Add(golden.Bytes("fuzz", 3000), byte(1), 40, 64)
	f.Fuzz(func(t *testing.T, data []byte, prefix byte, count, size int) {
		if count < 0 || count > 64 || size < 0 || size > min(len(data), LeafSize) {
			return
		}
		messages := make([][]byte, count)
		for i := range messages {
			at := 0
			if spare := len(data) - size; spare > 0 {
				at = i * 37 % spare
			}
			messages[i] = data[at:][:size:size]
		}
		want := make([]Hash, count)
		for i, message := range messages {
			want[i] = sha256.Sum256(concat([]byte{prefix}, message))
		}
		for _, m := range allMethods {
			if !force(t, m) {
				continue
			}
			got := make([]Hash, count)
			hashEqual(got, prefix, messages)
			if !slices.Equal(got, want) {
				t.Fatalf("%d lanes hash %d messages of %d bytes otherwise", m, count, size)
			}
		}
	})
}

func BenchmarkMethods(b *testing.B) {
	data := golden.Bytes("shard", SubtreeSize)
	for _, m := range allMethods {
		for _, count := range []int{1, 2, 4, 8, 16} {
			messages := slices.Collect(slices.Chunk(data[:count*LeafSize], LeafSize))
			nodes := slices.Collect(slices.Chunk(data[:count*2*HashSize], 2*HashSize))
			hashes := make([]Hash, count)
			b.Run(fmt.Sprintf("lanes=%d/leaves=%d", m, count), func(b *testing.B) {
				if !force(b, m) {
					b.Skip()
				}
				b.SetBytes(int64(count * LeafSize))
				for b.Loop() {
					hashEqual(hashes, leafPrefix, messages)
				}
			})
			b.Run(fmt.Sprintf("lanes=%d/nodes=%d", m, count), func(b *testing.B) {
				if !force(b, m) {
					b.Skip()
				}
				for b.Loop() {
					hashEqual(hashes, nodePrefix, nodes)
				}
			})
		}
	}
}
