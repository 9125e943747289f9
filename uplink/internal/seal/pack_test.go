package seal

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/uplink/internal/keys"
)

// The vectors were made by another implementation. Byte j of a plaintext is
// seed + 7·j + ⌊j/251⌋, modulo 256.
func TestGoldenPack(t *testing.T) {
	var v struct {
		Content, Segment hexBytes
		Extents          []struct {
			Name            string
			Required, Total int
			Size            int64
			Offset, Length  int64
			Seed            int
			Key             hexBytes
			Blocks          []Block
			Sealed          hexBytes `json:"sealed_sha256"`
		}
	}
	data, err := os.ReadFile("testdata/pack.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	content, id := keys.Content(v.Content), [16]byte(v.Segment)
	for _, e := range v.Extents {
		t.Run(e.Name, func(t *testing.T) {
			l, err := erasure.NewLayout(e.Required, e.Total, e.Size)
			if err != nil {
				t.Fatal(err)
			}
			blocks, err := Blocks(l, e.Offset, e.Length)
			if err != nil || !slices.Equal(blocks, e.Blocks) {
				t.Fatalf("blocks %+v, %v, want %+v", blocks, err, e.Blocks)
			}
			if key := content.Extent(id, uint64(e.Offset)); !bytes.Equal(key[:], e.Key) {
				t.Errorf("key %x, want %x", key, []byte(e.Key))
			}
			plain := make([]byte, e.Length)
			for j := range plain {
				plain[j] = byte(e.Seed + 7*j + j/251)
			}
			c := NewExtent(content, id, uint64(e.Offset))
			var sealed []byte
			for i, b := range blocks {
				from := len(sealed)
				sealed = c.Seal(sealed, plain[b.Start:b.Start+int64(b.Plain())], uint64(i))
				opened, err := c.Open(nil, sealed[from:], uint64(i))
				if err != nil || !bytes.Equal(opened, plain[b.Start:b.Start+int64(b.Plain())]) {
					t.Errorf("block %d opens to %d bytes, %v", i, len(opened), err)
				}
			}
			if sum := sha256.Sum256(sealed); !bytes.Equal(sum[:], e.Sealed) {
				t.Errorf("sealed to hash %x", sum)
			}
		})
	}
}

// A block opens at its own place in its own extent, pack and object, and nowhere
// else: not even where a chunk of a segment that is no pack would be.
func TestBlockIsBound(t *testing.T) {
	content, id := keys.Content{1}, [16]byte{2}
	sealed := NewExtent(content, id, 3).Seal(nil, []byte("some plaintext of a block"), 4)
	for what, c := range map[string]*Segment{
		"another object":   NewExtent(keys.Content{9}, id, 3),
		"another pack":     NewExtent(content, [16]byte{9}, 3),
		"another offset":   NewExtent(content, id, 4),
		"a segment":        NewSegment(content, id, 3),
		"another position": NewSegment(content, id, 0),
	} {
		if got, err := c.Open(nil, sealed, 4); !errors.Is(err, ErrOpen) {
			t.Errorf("%s: got %x, %v", what, got, err)
		}
	}
	if got, err := NewExtent(content, id, 3).Open(nil, sealed, 5); !errors.Is(err, ErrOpen) {
		t.Errorf("another block: got %x, %v", got, err)
	}
}

// checkPlan checks that files lie in a pack without touching each other, and
// returns the bytes of it that no block fills.
func checkPlan(t *testing.T, sizes []int64, required int) (l erasure.Layout, empty int64) {
	t.Helper()
	l, offsets, err := Plan(sizes, required, 2*required+1)
	if err != nil {
		t.Fatalf("%d files for %d: %v", len(sizes), required, err)
	}
	var all []Block
	empty = l.Size
	for i, size := range sizes {
		blocks, err := Blocks(l, offsets[i], size)
		if err != nil {
			t.Fatalf("file %d of %d bytes at %d: %v", i, size, offsets[i], err)
		}
		for _, b := range blocks {
			empty -= int64(b.Size)
		}
		all = append(all, blocks...)
	}
	slices.SortFunc(all, func(a, b Block) int { return cmp.Or(cmp.Compare(a.Chunk, b.Chunk), cmp.Compare(a.Within, b.Within)) })
	for i := 1; i < len(all); i++ {
		if a, b := all[i-1], all[i]; a.Chunk == b.Chunk && a.Within+a.Size > b.Within {
			t.Fatalf("blocks %+v and %+v overlap", a, b)
		}
	}
	return l, empty
}

// TestPlan packs files at every border, alone and among others, and random ones.
func TestPlan(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, k := range []int{1, 2, 4, 10, 20} {
		for _, border := range []int64{2, 4097, 48 * int64(k), ChunkPlain, 2 * ChunkPlain, int64(k) * ChunkPlain, 1 << 20} {
			for d := int64(-1); d <= 1; d++ {
				for _, count := range []int{1, 2, 7, 40} {
					checkPlan(t, slices.Repeat([]int64{border + d}, count), k)
				}
			}
		}
		for range 200 {
			sizes := make([]int64, 1+random.IntN(200))
			most := int64(64 << random.IntN(14))
			for i := range sizes {
				sizes[i] = 1 + random.Int64N(most)
			}
			checkPlan(t, sizes, k)
		}
	}
	if l, _, err := Plan(nil, 4, 10); err == nil {
		t.Errorf("a pack of no files: %+v", l)
	}
	for _, sizes := range [][]int64{{0}, {-1}, {MaxSegment(4) + 1}, {MaxSegment(4), 1}, slices.Repeat([]int64{1 << 20}, 64)} {
		if l, _, err := Plan(sizes, 4, 10); err == nil {
			t.Errorf("%d files of %d bytes: %+v", len(sizes), sizes[0], l)
		}
	}
	if l, _, err := Plan([]int64{MaxSegment(4)}, 4, 10); err != nil || l.Size != erasure.MaxSegment {
		t.Errorf("a file that fills a segment: %+v, %v", l, err)
	}
}

// TestPlanWastesLittle: neither many files nor few leave much of a pack empty,
// and most of those that fit into a chunk lie in one.
func TestPlanWastesLittle(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	draw := func(count int, least, most int64) (sizes []int64, plain int64) {
		for range count {
			size := least + random.Int64N(most-least+1)
			sizes, plain = append(sizes, size), plain+size
		}
		return sizes, plain
	}
	for _, k := range []int{4, 10, 20} {
		for _, c := range []struct {
			count       int
			least, most int64
			inOne       int // percent
		}{
			{480, 4 << 10, 64 << 10, 80}, {480, 4097, 8 << 10, 80}, {480, 33 << 10, 33 << 10, 35}, {300, 60 << 10, 64 << 10, 0},
			{1, 5000, 5000, 0}, {3, 5000, 20000, 0}, {20, 100 << 10, 1 << 20, 0},
		} {
			name := fmt.Sprintf("%d files of %d to %d for %d", c.count, c.least, c.most, k)
			sizes, plain := draw(c.count, c.least, c.most)
			l, _ := checkPlan(t, sizes, k)
			if allowed := plain + plain/10 + int64(96*k); l.Size > allowed {
				t.Errorf("%s: %d bytes of ciphertext for %d", name, l.Size, plain)
			}
			_, offsets, _ := Plan(sizes, k, 2*k+1)
			inOne := 0
			for i := range sizes {
				if blocks, _ := Blocks(l, offsets[i], sizes[i]); len(blocks) == 1 {
					inOne++
				}
			}
			if 100*inOne < c.inOne*c.count {
				t.Errorf("%s: only %d lie in one chunk", name, inOne)
			}
		}
	}
}

// FuzzBlocks: whatever a satellite says of an extent, its blocks are a run that
// lies within the pack, or there are none.
func FuzzBlocks(f *testing.F) {
	f.Add(uint8(4), int64(4*65536*2), int64(65536), int64(5000))
	f.Add(uint8(3), int64(3*65536+3*4096), int64(3*65536-50), int64(10000))
	f.Add(uint8(1), int64(64), int64(-1), int64(1)<<62)
	f.Fuzz(func(t *testing.T, required uint8, size, offset, length int64) {
		k := int64(required)
		l, err := erasure.NewLayout(int(k), int(k)+1, size)
		if err != nil {
			t.Skip()
		}
		blocks, err := Blocks(l, offset, length)
		if err != nil {
			return
		}
		sum := int64(0)
		for i, b := range blocks {
			chunk := l.ChunkSize(int(b.Chunk / k))
			switch {
			case b.Chunk < 0 || b.Chunk >= int64(l.Stripes())*k || b.Within < 0 || b.Plain() < 1 || b.Within+b.Size > chunk:
				t.Fatalf("block %+v of %+v", b, l)
			case i > 0 && (b.Chunk != blocks[i-1].Chunk+1 || b.Within != 0), i < len(blocks)-1 && b.Within+b.Size != chunk:
				t.Fatalf("blocks %+v are no run", blocks)
			case b.Start != sum:
				t.Fatalf("block %+v begins at %d", b, sum)
			}
			sum += int64(b.Plain())
		}
		if sum != length {
			t.Fatalf("blocks hold %d bytes of %d", sum, length)
		}
	})
}

// BenchmarkPlan lays out a pack of 480 files of 4 to 64 KiB.
func BenchmarkPlan(b *testing.B) {
	random := rand.New(rand.NewPCG(5, 6))
	sizes := make([]int64, 480)
	for i := range sizes {
		sizes[i] = 4096 + random.Int64N(60<<10)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Plan(sizes, 4, 10); err != nil {
			b.Fatal(err)
		}
	}
}
