package erasure

import (
	"errors"
	"fmt"

	"github.com/klauspost/reedsolomon"
)

var (
	// ErrTooFew is returned when fewer chunks of a stripe are present than
	// decoding requires.
	ErrTooFew = errors.New("too few chunks of the stripe to decode it")
	// ErrChunks is returned for a stripe with the wrong number of chunks, or
	// chunks of unequal size.
	ErrChunks = errors.New("chunks do not make up a stripe")
)

// A Coder turns the data chunks of a stripe into all of its chunks and any
// Required of those back into the others. The code is systematic: the first
// Required chunks are the data. A Coder is dear to make and safe for concurrent
// use, so share it; it does its work in the goroutine of the caller.
type Coder struct {
	required, total int
	code            reedsolomon.Encoder
}

// NewCoder makes a Coder for stripes of total chunks, of which any required
// give back the rest. Numbers that no Scheme can have are ErrScheme.
func NewCoder(required, total int) (*Coder, error) {
	if err := validateCode(required, total); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrScheme, err)
	}
	code, err := reedsolomon.New(required, total-required,
		reedsolomon.WithMaxGoroutines(1), reedsolomon.WithInversionCache(true))
	if err != nil {
		return nil, fmt.Errorf("make coder %d of %d: %w", required, total, err)
	}
	return &Coder{required: required, total: total, code: code}, nil
}

// Required is the number of data chunks in a stripe.
func (c *Coder) Required() int { return c.required }

// Total is the number of chunks in a stripe.
func (c *Coder) Total() int { return c.total }

// Encode computes chunks[Required:] from chunks[:Required]. There must be
// Total chunks of equal length, or it is ErrChunks. It does not allocate.
func (c *Coder) Encode(chunks [][]byte) error {
	if len(chunks) != c.total {
		return ErrChunks
	}
	return c.code.Encode(chunks)
}

// Reconstruct fills in every missing chunk. A chunk of length 0 is missing; it
// is filled in place if its capacity suffices and allocated otherwise. With
// fewer than Required chunks present it returns ErrTooFew, with present chunks
// of unequal length ErrChunks. It does not know whether the present chunks are right.
func (c *Coder) Reconstruct(chunks [][]byte) error { return c.code.Reconstruct(chunks) }

// ReconstructData is Reconstruct for missing data chunks alone.
func (c *Coder) ReconstructData(chunks [][]byte) error { return c.code.ReconstructData(chunks) }

// ReconstructOne is Reconstruct for the chunk at index alone, which need not
// be a data chunk.
func (c *Coder) ReconstructOne(chunks [][]byte, index int) error {
	wanted := make([]bool, c.total)
	wanted[index] = true
	return c.code.ReconstructSome(chunks, wanted)
}
