package uplink

import (
	"fmt"
	"iter"
)

// decode computes the wanted pieces that are not here from those that are.
func (w *window) decode() error {
	var lost []int
	for _, slot := range w.wanted {
		if w.pieces[slot].state != pieceHere {
			lost = append(lost, slot)
			w.decoded[slot] = w.buffer()
		}
	}
	chunks := make([][]byte, w.segment.layout.Total)
	for row := 0; row < w.stripes && len(lost) > 0; row++ {
		size := w.chunkSize(row)
		for slot := range chunks {
			chunks[slot] = nil
			if w.pieces[slot].state == pieceHere {
				chunks[slot] = w.pieces[slot].buffer.chunk(row, size)
			} else if b := w.decoded[slot]; b != nil {
				chunks[slot] = b.chunk(row, size)[:0]
			}
		}
		if err := w.reconstruct(chunks, lost); err != nil {
			return fmt.Errorf("segment %s: %w", w.segment.id, err)
		}
	}
	return nil
}

func (w *window) reconstruct(chunks [][]byte, lost []int) error {
	if len(w.wanted) == w.required() {
		return w.session.coder.ReconstructData(chunks)
	}
	for _, slot := range lost {
		if err := w.session.coder.ReconstructOne(chunks, slot); err != nil {
			return err
		}
	}
	return nil
}

// A place is a chunk of a window.
type place struct{ row, slot int }

// keep keeps the wanted chunks for the reader.
func (w *window) keep() {
	for _, slot := range w.wanted {
		from := w.source(slot)
		from.hold()
		w.plain = append(w.plain, from)
	}
}

// source is the buffer that has a wanted slot's chunks.
func (w *window) source(slot int) *buffer {
	if b := w.decoded[slot]; b != nil {
		return b
	}
	return w.pieces[slot].buffer
}

// decrypt opens every wanted chunk in its place. If one does not open, it says
// which, and all are as they were.
func (w *window) decrypt() (bad place, ok bool) {
	if cipher := w.segment.cipher; cipher != nil {
		for n, at := range w.places() {
			if _, err := cipher.OpenInPlace(w.sealed(at), w.index(at)); err != nil {
				w.undo(n)
				return at, false
			}
		}
	}
	w.keep()
	return place{}, true
}

// undo closes the first chunks that decrypt has opened.
func (w *window) undo(count int) {
	for n, at := range w.places() {
		if n == count {
			return
		}
		w.segment.cipher.CloseInPlace(w.sealed(at), w.index(at))
	}
}

// places are the wanted chunks, in the order in which the object has them.
func (w *window) places() iter.Seq2[int, place] {
	return func(yield func(int, place) bool) {
		for n := range w.stripes * len(w.wanted) {
			if !yield(n, place{n / len(w.wanted), w.wanted[n%len(w.wanted)]}) {
				return
			}
		}
	}
}

// sealed is a wanted chunk as it came or was decoded.
func (w *window) sealed(at place) []byte { return w.source(at.slot).chunk(at.row, w.chunkSize(at.row)) }
