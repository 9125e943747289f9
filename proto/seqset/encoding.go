package seqset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrEncoding is returned for bytes that are no encoded set.
var ErrEncoding = errors.New("not a set of numbers")

// Encode appends s as it travels in messages: for each run how many numbers lie
// between it and the one before, or 0, and how many it has, both as unsigned
// LEB128 varints in their shortest form.
func (s Set) Encode(b []byte) []byte {
	next := uint64(0) // the first number that may be in the next run
	for _, r := range s {
		b = binary.AppendUvarint(b, r.First-next)
		b = binary.AppendUvarint(b, r.Len())
		next = r.Last + 1
	}
	return b
}

// Decode is the set that Encode wrote, of at most so many runs. Every set has one
// encoding. Errors wrap ErrEncoding.
func Decode(b []byte, runs int) (Set, error) {
	var s Set
	next := uint64(0)
	for len(b) > 0 {
		skip, n, err := uvarint(b)
		if err != nil {
			return nil, err
		}
		length, m, err := uvarint(b[n:])
		if err != nil {
			return nil, err
		}
		b = b[n+m:]
		switch {
		case len(s) == runs:
			return nil, fmt.Errorf("%w: more than %d runs", ErrEncoding, runs)
		case length == 0 || len(s) > 0 && skip == 0:
			return nil, fmt.Errorf("%w: run %d is empty or not apart from the one before", ErrEncoding, len(s))
		case skip > math.MaxUint64-next || length > math.MaxUint64-next-skip:
			return nil, fmt.Errorf("%w: run %d goes beyond all numbers", ErrEncoding, len(s))
		}
		first := next + skip
		next = first + length
		s = append(s, Run{first, next - 1})
	}
	return s, nil
}

func uvarint(b []byte) (v uint64, n int, err error) {
	v, n = binary.Uvarint(b)
	if n <= 0 || n > 1 && b[n-1] == 0 {
		return 0, 0, fmt.Errorf("%w: a varint is cut off or not in its shortest form", ErrEncoding)
	}
	return v, n, nil
}
