package mux

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cairnstorage/cairn/proto/internal/golden"
)

// edges are where another piece is needed, or a larger one.
var edges = []int{1, 2, 511, 512, 513, 1024, 1025, 64 << 10, 128<<10 + 1, 256<<10 - 1, 256 << 10, 256<<10 + 1, maxPiece - 1, maxPiece}

func received(b []byte) *[]byte {
	memory := takePiece(len(b))
	copy(*memory, b)
	return memory
}

func TestPieces(t *testing.T) {
	for _, size := range edges {
		b := takePiece(size)
		if len(*b) < size || size > 512 && len(*b) >= 2*size+64 || size <= 512 && len(*b) != 512 {
			t.Errorf("%d bytes for %d", len(*b), size)
		}
		givePiece(b)
		if again := takePiece(size); len(*again) != len(*b) {
			t.Errorf("%d bytes, then %d, for %d", len(*b), len(*again), size)
		}
	}
}

// TestInbox is an inbox against a slice.
func TestInbox(t *testing.T) {
	for seed := range uint64(10) {
		random := rand.New(rand.NewPCG(seed, 0))
		size := func() int {
			if edge := edges[random.IntN(len(edges))]; random.IntN(2) == 0 {
				return min(edge, 513<<random.IntN(10))
			}
			return 1 + random.IntN(600)
		}
		var in inbox
		var want []byte
		for step := range 300 {
			if random.IntN(2) == 0 {
				b := golden.Bytes(fmt.Sprint(step), 64)
				b = bytes.Repeat(b, maxPiece/len(b)+1)[:size()]
				in.add(received(b), len(b))
				want = append(want, b...)
				continue
			}
			got := make([]byte, size()*random.IntN(3))
			n := in.read(got)
			if n != min(len(got), len(want)) || !bytes.Equal(got[:n], want[:n]) {
				t.Fatalf("seed %d, step %d: read %d of %d bytes into %d, or others", seed, step, n, len(want), len(got))
			}
			want = want[n:]
			held(t, in, len(want))
		}
		if in.clear(); in.read(make([]byte, 1)) != 0 || in.pieces != nil {
			t.Fatal("something was left")
		}
	}
}

// held sees to it that an inbox has so many bytes, and no piece twice.
func held(t *testing.T, in inbox, size int) {
	t.Helper()
	seen := make(map[*[]byte]bool)
	for _, p := range in.pieces {
		if seen[p.memory] || len(p.rest) == 0 {
			t.Fatal("a piece is there twice, or is empty")
		}
		seen[p.memory] = true
		size -= len(p.rest)
	}
	if size != 0 {
		t.Fatalf("%d bytes too few", size)
	}
}

// TestInboxMemory bounds what a peer that sends little at a time has us hold: not
// a piece for every byte.
func TestInboxMemory(t *testing.T) {
	for _, pattern := range [][]int{{1}, {256}, {257}, {1, 512}, {512}, {513}, {1, 513}, {512, 513}, {1, 1025}} {
		var in inbox
		size := 0
		for i := 0; size < LeastWindow; i++ {
			b := make([]byte, pattern[i%len(pattern)])
			in.add(received(b), len(b))
			size += len(b)
		}
		memory := 0
		for _, p := range in.pieces {
			memory += len(*p.memory)
		}
		if memory > 4*size {
			t.Errorf("messages of %d: %d bytes for %d", pattern, memory, size)
		}
		in.clear()
	}
}

// TestInboxGivesBackOnce takes what was given back: no memory is there twice.
func TestInboxGivesBackOnce(t *testing.T) {
	for _, size := range edges {
		for _, end := range []func(*inbox){
			func(in *inbox) { in.read(make([]byte, 4*size)); in.clear() },
			func(in *inbox) { in.read(make([]byte, size+1)); in.clear(); in.clear() },
		} {
			var in inbox
			for range 4 {
				in.add(received(make([]byte, size)), size)
			}
			end(&in)
			seen := make(map[*byte]bool)
			for range 8 {
				b := takePiece(size)
				if seen[&(*b)[0]] {
					t.Fatalf("%d bytes: memory was given back twice", size)
				}
				seen[&(*b)[0]] = true
			}
		}
	}
}
