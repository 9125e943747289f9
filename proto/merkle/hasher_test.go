package merkle

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairnstorage/cairn/proto/internal/golden"
)

// boundarySizes is every size from 0 to 3 leaves ± 1 byte at the borders, and
// the same around the borders of 64 KiB subtrees.
func boundarySizes() []int {
	var sizes []int
	for _, border := range []int{
		0, LeafSize, 2 * LeafSize, 3 * LeafSize, 5 * LeafSize, 8 * LeafSize, 15 * LeafSize,
		SubtreeSize, SubtreeSize + LeafSize, 2 * SubtreeSize, 3 * SubtreeSize, 4 * SubtreeSize,
		4*SubtreeSize + LeafSize, 7 * SubtreeSize, 8 * SubtreeSize,
	} {
		for _, off := range []int{-LeafSize, -64, -1, 0, 1, 64} {
			if border+off >= 0 {
				sizes = append(sizes, border+off)
			}
		}
	}
	slices.Sort(sizes)
	return slices.Compact(sizes)
}

func TestRootAtEverySizeToThreeLeaves(t *testing.T) {
	data := golden.Bytes("shard", 3*LeafSize+1)
	h := NewHasher(0)
	for size := range data {
		want := referenceRoot(cutLeaves(data[:size]))
		if h.Root() != want || h.Size() != int64(size) {
			t.Fatalf("root after %d single bytes is wrong", size)
		}
		if ShardRoot(data[:size]) != want {
			t.Fatalf("ShardRoot of %d bytes is wrong", size)
		}
		h.Write(data[size : size+1])
	}
}

func TestRootAtBoundaries(t *testing.T) {
	data := golden.Bytes("shard", 9*SubtreeSize)
	random := rand.New(rand.NewPCG(1, 2))
	h := NewHasher(0)
	for _, size := range boundarySizes() {
		leaves := cutLeaves(data[:size])
		want := referenceRoot(leaves)
		for _, most := range []int{1, 100, LeafSize - 1, LeafSize, LeafSize + 1, SubtreeSize + 3, size + 1} {
			if most == 1 && size > 2*SubtreeSize {
				continue
			}
			h.Reset()
			for rest := data[:size]; len(rest) > 0; {
				n := min(len(rest), most, 1+random.IntN(2*most))
				if wrote, err := h.Write(rest[:n]); wrote != n || err != nil {
					t.Fatal(wrote, err)
				}
				if random.IntN(50) == 0 {
					h.Root() // must not disturb what follows
				}
				rest = rest[n:]
			}
			if h.Root() != want || h.Size() != int64(size) {
				t.Fatalf("root of %d bytes in writes of up to %d is wrong", size, most)
			}
		}
		var subtrees []Hash
		for some := range slices.Chunk(leaves, 16) {
			subtrees = append(subtrees, referenceRoot(some))
		}
		if got := h.Subtrees(); !slices.Equal(got, subtrees) || RootOfSubtrees(got) != want {
			t.Fatalf("subtrees of %d bytes are wrong", size)
		}
	}
}

func TestRootOfLargestShard(t *testing.T) {
	if testing.Short() {
		t.Skip("hashes 64 MiB twice")
	}
	data := golden.Bytes("shard", 64<<20)
	if ShardRoot(data) != referenceRoot(cutLeaves(data)) {
		t.Error("root of 64 MiB is wrong")
	}
}

func TestHasherDoesNotAllocate(t *testing.T) {
	data := golden.Bytes("shard", 3*SubtreeSize+5000)
	h := NewHasher(int64(len(data)))
	if n := testing.AllocsPerRun(10, func() {
		h.Reset()
		for rest := data; len(rest) > 0; {
			n := min(len(rest), 10000)
			h.Write(rest[:n])
			rest = rest[n:]
		}
		h.Root()
	}); n != 0 {
		t.Errorf("%v allocations to hash %d bytes", n, len(data))
	}
	NewHasher(-1).Write(data) // the size expected is a hint, whatever it says
	NewHasher(1 << 62).Write(data)
}

func TestHashText(t *testing.T) {
	hashes := hashSlots(make([]Hash, 3))
	raw := JoinHashes(hashes)
	if len(raw) != 3*HashSize || !bytes.Equal(raw[:32], hashes[0][:]) {
		t.Error("JoinHashes is wrong")
	}
	if got, err := SplitHashes(raw); err != nil || !slices.Equal(got, hashes) {
		t.Error("SplitHashes does not undo JoinHashes:", err)
	}
	if got, err := SplitHashes(nil); err != nil || len(got) != 0 {
		t.Error("SplitHashes of nothing:", got, err)
	}
	if got, err := HashFromBytes(raw[:32]); err != nil || got != hashes[0] {
		t.Error("HashFromBytes:", err)
	}
	for _, n := range []int{1, 31, 33, 63, 65, 95} {
		if _, err := SplitHashes(raw[:n]); !errors.Is(err, ErrHash) {
			t.Errorf("SplitHashes of %d bytes: %v", n, err)
		}
		if _, err := HashFromBytes(raw[:n]); !errors.Is(err, ErrHash) {
			t.Errorf("HashFromBytes of %d bytes: %v", n, err)
		}
	}
	if got := hashes[0].String(); got != fmt.Sprintf("%x", raw[:32]) {
		t.Error("String:", got)
	}
}

type rootVector struct {
	Size int  `json:"size"`
	Root Hash `json:"root"`
}

func TestRootVectors(t *testing.T) {
	data := golden.Bytes("shard", 9*SubtreeSize)
	var vectors []rootVector
	for _, size := range []int{0, 1, 64, 4095, 4096, 4097, 8191, 8192, 8193, 12288, 12289,
		65535, 65536, 65537, 69632, 131072, 196608, 196672, 262144, 589824} {
		vectors = append(vectors, rootVector{size, ShardRoot(data[:size])})
	}
	golden.Check(t, "merkle_roots.json", vectors)
}

func BenchmarkHasher(b *testing.B) {
	data := golden.Bytes("shard", 1<<20)
	for _, step := range []int{4 << 10, 64 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("write=%dKiB", step>>10), func(b *testing.B) {
			h := NewHasher(int64(len(data)))
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				h.Reset()
				for some := range slices.Chunk(data, step) {
					h.Write(some)
				}
				h.Root()
			}
		})
	}
}

func BenchmarkSmallShardRoot(b *testing.B) {
	data := golden.Bytes("shard", 16<<10)
	h := NewHasher(int64(len(data)))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		h.Reset()
		h.Write(data)
		h.Root()
	}
}
