package erasure

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/cairnstorage/cairn/proto/internal/golden"
)

func newCoder(t testing.TB, required, total int) *Coder {
	t.Helper()
	c, err := NewCoder(required, total)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// encoded is a stripe of the coder.
func encoded(t testing.TB, c *Coder, size int) [][]byte {
	t.Helper()
	chunks := make([][]byte, c.Total())
	for i := range chunks {
		chunks[i] = golden.Bytes(fmt.Sprintf("chunk %d", i), size)
	}
	if err := c.Encode(chunks); err != nil {
		t.Fatal(err)
	}
	return chunks
}

// without is a copy of a stripe in which lost chunks are empty but have room.
func without(chunks [][]byte, lost func(i int) bool) [][]byte {
	left := make([][]byte, len(chunks))
	for i, chunk := range chunks {
		if lost(i) {
			left[i] = make([]byte, len(chunk))[:0]
		} else {
			left[i] = bytes.Clone(chunk)
		}
	}
	return left
}

func TestEncodeMatchesReference(t *testing.T) {
	for _, code := range [][2]int{{1, 2}, {1, 3}, {2, 3}, {3, 4}, {4, 10}, {10, 20}, {11, 12}, {9, 20}, {20, 40}, {29, 80}, {254, 255}} {
		c := newCoder(t, code[0], code[1])
		for _, size := range []int{64, 128, 192, 4096} {
			chunks := encoded(t, c, size)
			for i, row := range referenceMatrix(code[0], code[1]) {
				if at := i * 7 % size; chunks[i][at] != row.dot(chunks[:code[0]], at) {
					t.Fatalf("%v, %d bytes: byte %d of chunk %d is wrong", code, size, at, i)
				}
			}
		}
		if code[0] > 20 {
			continue
		}
		chunks := encoded(t, c, ChunkSize)
		for i, row := range referenceMatrix(code[0], code[1]) {
			for _, at := range []int{0, 1, 63, 64, 4095, 31111, ChunkSize - 1} {
				if chunks[i][at] != row.dot(chunks[:code[0]], at) {
					t.Fatalf("%v: byte %d of chunk %d is wrong", code, at, i)
				}
			}
		}
	}
}

func TestEveryLoss(t *testing.T) {
	c := newCoder(t, 4, 10)
	chunks := encoded(t, c, 64)
	for lost := range uint(1 << 10) {
		checkLoss(t, c, chunks, func(i int) bool { return lost>>i&1 == 1 }, 10-bits.OnesCount(lost))
	}
}

func TestRandomLossOfWideCodes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, code := range [][2]int{{10, 14}, {20, 40}, {29, 80}, {128, 255}, {254, 255}} {
		c := newCoder(t, code[0], code[1])
		for _, size := range []int{64, 4160, ChunkSize} {
			if size == ChunkSize && code[1] > 80 {
				continue // the slow part would be this test itself
			}
			chunks := encoded(t, c, size)
			for range 4 {
				order := random.Perm(code[1])
				gone := make([]bool, code[1])
				count := min(code[1]-code[0]+1, 1+random.IntN(code[1]-code[0]+1))
				for _, i := range order[:count] {
					gone[i] = true
				}
				checkLoss(t, c, chunks, func(i int) bool { return gone[i] }, code[1]-count)
			}
		}
	}
}

// checkLoss loses some chunks of a stripe and checks every way to get them back.
func checkLoss(t *testing.T, c *Coder, chunks [][]byte, lost func(int) bool, present int) {
	t.Helper()
	all, data := without(chunks, lost), without(chunks, lost)
	room := all[0][:0]
	errs := []error{c.Reconstruct(all), c.ReconstructData(data)}
	if present < c.Required() {
		errs = append(errs, c.ReconstructOne(without(chunks, lost), 0))
		for _, err := range errs {
			if !errors.Is(err, ErrTooFew) {
				t.Fatalf("%d of %d present: %v", present, len(chunks), err)
			}
		}
		return
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("%d of %d present: %v", present, len(chunks), err)
	}
	if &room[:1][0] != &all[0][0] {
		t.Fatal("chunk 0 was not filled in place")
	}
	for i := range chunks {
		if !bytes.Equal(all[i], chunks[i]) {
			t.Fatalf("chunk %d of %d is wrong", i, len(chunks))
		}
		if i < c.Required() && !bytes.Equal(data[i], chunks[i]) {
			t.Fatalf("data chunk %d of %d is wrong", i, len(chunks))
		}
		if i >= c.Required() && lost(i) != (len(data[i]) == 0) {
			t.Fatalf("chunk %d was made along with the data", i)
		}
	}
	for i := 0; i < len(chunks); i += 1 + len(chunks)/12 {
		checkOne(t, c, chunks, lost, i)
	}
}

func checkOne(t *testing.T, c *Coder, chunks [][]byte, lost func(int) bool, index int) {
	t.Helper()
	left := without(chunks, lost)
	if err := c.ReconstructOne(left, index); err != nil {
		t.Fatal(err)
	}
	for i := range left {
		if i != index && lost(i) {
			if len(left[i]) > 0 {
				t.Fatalf("chunk %d was made along with %d", i, index)
			}
		} else if !bytes.Equal(left[i], chunks[i]) {
			t.Fatalf("chunk %d of %d is wrong", i, len(chunks))
		}
	}
}

func TestCoderRefuses(t *testing.T) {
	for _, code := range [][2]int{{0, 10}, {-1, 10}, {4, 4}, {4, 3}, {4, 256}, {255, 255}, {1 << 40, 1 << 41}} {
		if _, err := NewCoder(code[0], code[1]); !errors.Is(err, ErrScheme) {
			t.Errorf("NewCoder(%d, %d): %v", code[0], code[1], err)
		}
	}
	c := newCoder(t, 4, 10)
	for name, spoil := range map[string]func([][]byte) [][]byte{
		"none":     func(s [][]byte) [][]byte { return nil },
		"few":      func(s [][]byte) [][]byte { return s[:9] },
		"many":     func(s [][]byte) [][]byte { return append(s, s[0]) },
		"short":    func(s [][]byte) [][]byte { s[3] = s[3][:63]; return s },
		"long":     func(s [][]byte) [][]byte { s[9] = make([]byte, 65); return s },
		"one byte": func(s [][]byte) [][]byte { s[0] = s[0][:1]; return s },
	} {
		for _, err := range []error{
			c.Encode(spoil(encoded(t, c, 64))),
			c.Reconstruct(spoil(encoded(t, c, 64))),
			c.ReconstructData(spoil(encoded(t, c, 64))),
			c.ReconstructOne(spoil(encoded(t, c, 64)), 0),
		} {
			if !errors.Is(err, ErrChunks) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	chunks := encoded(t, c, 64)
	chunks[9] = nil
	if err := c.Encode(chunks); !errors.Is(err, ErrChunks) {
		t.Errorf("Encode without room: %v", err)
	}
	if err := c.Reconstruct(make([][]byte, 10)); !errors.Is(err, ErrTooFew) {
		t.Errorf("Reconstruct of nothing: %v", err)
	}
}

// The coder must not remember every loss it ever saw.
func TestPatternsAreForgotten(t *testing.T) {
	c := newCoder(t, 100, 200)
	chunks := encoded(t, c, 64)
	random := rand.New(rand.NewPCG(3, 4))
	for range 3 * c.maxPatterns() {
		start := random.IntN(100)
		hole := random.IntN(100)
		left := without(chunks, func(i int) bool { return i >= start && i < start+99 || i == (start+100+hole)%200 })
		if err := c.ReconstructData(left); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			if !bytes.Equal(left[i], chunks[i]) {
				t.Fatalf("chunk %d is wrong", i)
			}
		}
		if len(c.patterns) > c.maxPatterns() {
			t.Fatalf("%d patterns kept", len(c.patterns))
		}
	}
}

func TestCoderIsShared(t *testing.T) {
	c := newCoder(t, 20, 40)
	chunks := encoded(t, c, ChunkSize)
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for round := range 5 {
				mine := without(chunks, func(i int) bool { return i >= 20 })
				for i := range mine {
					mine[i] = mine[i][:ChunkSize]
				}
				err := c.Encode(mine)
				from := 3*worker + round
				left := without(mine, func(i int) bool { return i >= from && i < from+20 })
				if err := errors.Join(err, c.Reconstruct(left)); err != nil {
					t.Error(err)
				}
				for i := range left {
					if !bytes.Equal(left[i], chunks[i]) {
						t.Errorf("chunk %d is wrong", i)
					}
				}
			}
		})
	}
	group.Wait()
}

// Coding a stripe allocates no chunk, nor anything else that grows with it: the
// library's tables, whose size the code sets, are all there is.
func TestEncodeAllocations(t *testing.T) {
	for _, code := range [][2]int{{4, 10}, {10, 14}, {10, 20}, {20, 40}} {
		c := newCoder(t, code[0], code[1])
		chunks := encoded(t, c, ChunkSize)
		ours := testing.AllocsPerRun(10, func() { c.inspect(chunks) })
		if ours != 0 {
			t.Errorf("%v: %v allocations of our own", code, ours)
		}
		encode := allocated(20, func() { c.Encode(chunks) })
		// The tables are pooled, but a pool may forget.
		if limit := uint64(32*code[1]*4 + 64*code[0]*(code[1]-code[0])); encode > limit {
			t.Errorf("%v: %d bytes allocated to encode a stripe, more than %d", code, encode, limit)
		}
		decode := allocated(20, func() {
			chunks[0], chunks[1] = chunks[0][:0], chunks[1][:0]
			c.ReconstructData(chunks)
		})
		if decode > 16<<10 {
			t.Errorf("%v: %d bytes allocated to decode a stripe", code, decode)
		}
	}
}

// allocated is the bytes f allocates, the mean of some runs.
func allocated(runs int, f func()) uint64 {
	f()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / uint64(runs)
}

type codeVector struct {
	Required int      `json:"required"`
	Total    int      `json:"total"`
	Data     []string `json:"data"`
	Parity   []string `json:"parity"`
}

func TestCodeVectors(t *testing.T) {
	var vectors []codeVector
	for _, code := range [][2]int{{1, 2}, {4, 10}, {10, 14}, {20, 40}} {
		chunks := encoded(t, newCoder(t, code[0], code[1]), 64)
		v := codeVector{Required: code[0], Total: code[1]}
		for i, chunk := range chunks {
			if text := fmt.Sprintf("%x", chunk); i < code[0] {
				v.Data = append(v.Data, text)
			} else {
				v.Parity = append(v.Parity, text)
			}
		}
		vectors = append(vectors, v)
	}
	golden.Check(t, "erasure_code.json", vectors)
}

func BenchmarkEncode(b *testing.B) {
	for _, code := range [][2]int{{4, 10}, {10, 14}, {10, 20}, {20, 40}, {29, 80}} {
		b.Run(fmt.Sprintf("%d-%d", code[0], code[1]), func(b *testing.B) {
			c := newCoder(b, code[0], code[1])
			chunks := encoded(b, c, ChunkSize)
			b.SetBytes(int64(code[0] * ChunkSize))
			b.ReportAllocs()
			for b.Loop() {
				c.Encode(chunks)
			}
		})
	}
}

func BenchmarkReconstructData(b *testing.B) {
	for _, code := range [][2]int{{4, 10}, {10, 14}, {10, 20}, {20, 40}, {29, 80}} {
		for _, losses := range []int{1, min(code[0], code[1]-code[0])} {
			b.Run(fmt.Sprintf("%d-%d/lost=%d", code[0], code[1], losses), func(b *testing.B) {
				c := newCoder(b, code[0], code[1])
				chunks := encoded(b, c, ChunkSize)
				b.SetBytes(int64(code[0] * ChunkSize))
				b.ReportAllocs()
				for b.Loop() {
					for i := range losses {
						chunks[i] = chunks[i][:0]
					}
					if err := c.ReconstructData(chunks); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
