package erasure

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/reedsolomon"
)

var (
	// ErrTooFew is returned when fewer chunks of a stripe are present than
	// decoding requires.
	ErrTooFew = errors.New("too few chunks of the stripe to decode it")
	// ErrChunks is returned for a stripe with the wrong number of chunks, or
	// with chunks of unequal size.
	ErrChunks = errors.New("chunks do not make up a stripe")
)

// A Coder turns the data chunks of a stripe into all of its chunks, and any
// Required of those back into the others. The code is systematic: the first
// Required chunks are the data. A Coder is dear to make and safe for concurrent
// use, so share it; its work is done by the time a call returns and uses one
// core.
type Coder struct {
	required, total int
	code            reedsolomon.Encoder // for encoding

	mu       sync.Mutex
	decoding reedsolomon.Encoder  // holds an inverted matrix for each of patterns
	patterns map[pattern]struct{} // losses decoding was used for
}

// A pattern is the set of chunks that are missing from a stripe, a bit each.
type pattern [(MaxTotal + 63) / 64]uint64

// NewCoder makes a Coder for stripes of total chunks, of which any required
// give back the rest. Numbers that no Scheme can have are ErrScheme.
func NewCoder(required, total int) (*Coder, error) {
	if err := validateCode(required, total); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrScheme, err)
	}
	code, err := newCode(required, total)
	if err != nil {
		return nil, err
	}
	return &Coder{
		required: required, total: total, code: code,
		decoding: code, patterns: make(map[pattern]struct{}),
	}, nil
}

// maxFused is the greatest number of inputs, and of outputs, that the library
// multiplies in one pass over memory.
const maxFused = 10

// newCode sets the library up to work in the goroutine of its caller, since
// callers code many stripes at the same time. It does not use its fastest
// instructions there for wide codes, but only in goroutines of its own: so for
// those it may have several, and finds a full chunk too small to split.
func newCode(required, total int) (reedsolomon.Encoder, error) {
	options := []reedsolomon.Option{reedsolomon.WithInversionCache(true)}
	if required > maxFused || total-required > maxFused {
		options = append(options, reedsolomon.WithMaxGoroutines(2), reedsolomon.WithMinSplitSize(ChunkSize-1))
	} else {
		options = append(options, reedsolomon.WithMaxGoroutines(1))
	}
	code, err := reedsolomon.New(required, total-required, options...)
	if err != nil {
		return nil, fmt.Errorf("make coder %d of %d: %w", required, total, err)
	}
	return code, nil
}

// Required is the number of data chunks in a stripe.
func (c *Coder) Required() int { return c.required }

// Total is the number of chunks in a stripe.
func (c *Coder) Total() int { return c.total }

// Encode computes chunks[Required:] from chunks[:Required]. There must be Total
// chunks of equal length, or it is ErrChunks. No memory is allocated but for
// the library's tables, which are small whatever the size of the chunks.
func (c *Coder) Encode(chunks [][]byte) error {
	if _, present, err := c.inspect(chunks); err != nil {
		return err
	} else if present < c.total {
		return fmt.Errorf("%w: %d of %d are empty", ErrChunks, c.total-present, c.total)
	}
	return c.code.Encode(chunks)
}

// Reconstruct fills in every missing chunk. A chunk of length 0 is missing; it
// is filled in place if its capacity suffices, and allocated otherwise. With
// fewer than Required chunks present it returns ErrTooFew, with present chunks
// of unequal length ErrChunks. It cannot tell whether those present are right.
func (c *Coder) Reconstruct(chunks [][]byte) error {
	code, err := c.decoder(chunks)
	if err != nil {
		return err
	}
	return code.Reconstruct(chunks)
}

// ReconstructData is Reconstruct for the missing data chunks alone.
func (c *Coder) ReconstructData(chunks [][]byte) error {
	code, err := c.decoder(chunks)
	if err != nil {
		return err
	}
	return code.ReconstructData(chunks)
}

// ReconstructOne is Reconstruct for the chunk at index alone, be it data or not.
func (c *Coder) ReconstructOne(chunks [][]byte, index int) error {
	code, err := c.decoder(chunks)
	if err != nil {
		return err
	}
	wanted := make([]bool, c.total)
	wanted[index] = true
	return code.ReconstructSome(chunks, wanted)
}

// inspect returns which chunks of a stripe are missing and how many are not.
func (c *Coder) inspect(chunks [][]byte) (missing pattern, present int, err error) {
	if len(chunks) != c.total {
		return missing, 0, fmt.Errorf("%w: there are %d, not %d", ErrChunks, len(chunks), c.total)
	}
	size := 0
	for i, chunk := range chunks {
		switch {
		case len(chunk) == 0:
			missing[i/64] |= 1 << (i % 64)
			continue
		case present > 0 && len(chunk) != size:
			return missing, 0, fmt.Errorf("%w: one has %d bytes, another %d", ErrChunks, size, len(chunk))
		}
		size = len(chunk)
		present++
	}
	return missing, present, nil
}

// decoder checks a stripe to be decoded and returns the code to do it with.
func (c *Coder) decoder(chunks [][]byte) (reedsolomon.Encoder, error) {
	missing, present, err := c.inspect(chunks)
	if err != nil {
		return nil, err
	}
	if present < c.required {
		return nil, fmt.Errorf("%w: %d present, %d required", ErrTooFew, present, c.required)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.patterns[missing]; known {
		return c.decoding, nil
	}
	if len(c.patterns) >= c.maxPatterns() {
		if c.decoding, err = newCode(c.required, c.total); err != nil {
			return nil, err
		}
		clear(c.patterns)
	}
	c.patterns[missing] = struct{}{}
	return c.decoding, nil
}

// maxPatterns is how many inverted matrices are kept for use again. The library
// itself keeps all there ever were, and of a wide code there are no end.
func (c *Coder) maxPatterns() int {
	const budget = 8 << 20
	matrix := c.required * (c.required + 32)
	nodes := (c.total - c.required) * (c.total + 8) * 8
	return max(16, budget/(matrix+nodes))
}
