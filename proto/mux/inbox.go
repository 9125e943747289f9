package mux

import (
	"math/bits"
	"sync"
)

const (
	leastPiece = 9  // log₂ of the least piece
	mostPiece  = 18 // and of the largest
	// maxPiece is the largest piece, in bytes: what 256 KiB of data need with a
	// header of theirs, which would take another piece else.
	maxPiece = 1<<mostPiece + 64
)

// pieces are the memory of what was received, by the logarithm of the size, so
// that each takes at most twice as much as its data, or the least.
var pieces [mostPiece - leastPiece + 1]sync.Pool // of *[]byte

// takePiece returns memory for size bytes, up to maxPiece.
func takePiece(size int) *[]byte {
	class := min(max(bits.Len(uint(size-1)), leastPiece), mostPiece) - leastPiece
	if b, ok := pieces[class].Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 1<<(class+leastPiece))
	if class == mostPiece-leastPiece {
		b = make([]byte, maxPiece)
	}
	return &b
}

func givePiece(b *[]byte) {
	class := min(bits.Len(uint(len(*b)-1)), mostPiece) - leastPiece
	pieces[class].Put(b)
}

// An inbox is what a stream has received and nobody has read. The zero value is
// empty.
type inbox struct {
	pieces []piece
}

type piece struct {
	memory *[]byte
	rest   []byte // of it, not yet read
}

// add becomes the owner of memory with so many bytes. What is small goes where
// there is room, or a peer that sends single bytes would have each take a piece.
func (in *inbox) add(memory *[]byte, size int) {
	if last := len(in.pieces) - 1; last >= 0 && size <= 1<<leastPiece {
		rest := &in.pieces[last].rest
		if cap(*rest)-len(*rest) >= size {
			*rest = append(*rest, (*memory)[:size]...)
			givePiece(memory)
			return
		}
	}
	in.pieces = append(in.pieces, piece{memory, (*memory)[:size]})
}

// read takes out what fits.
func (in *inbox) read(p []byte) (n int) {
	for len(in.pieces) > 0 && n < len(p) {
		first := &in.pieces[0]
		copied := copy(p[n:], first.rest)
		n += copied
		if first.rest = first.rest[copied:]; len(first.rest) > 0 {
			break
		}
		givePiece(first.memory)
		*first = piece{}
		if in.pieces = in.pieces[1:]; len(in.pieces) == 0 {
			in.pieces = nil
		}
	}
	return n
}

func (in *inbox) clear() {
	for _, p := range in.pieces {
		givePiece(p.memory)
	}
	in.pieces = nil
}
