package uplink

import (
	"errors"
	"testing"

	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// What a satellite could say of an object's extents to have less, or other
// bytes, taken for the object.
func TestExtentsThatCannotBe(t *testing.T) {
	layout, err := seal.Layout(10_000_000, 4, 10)
	if err != nil {
		t.Fatal(err)
	}
	full := seal.Capacity(layout)
	for name, test := range map[string]struct {
		start, length, offset, size int64
		good                        bool
	}{
		"the only one":             {0, 10_000_000, 0, 10_000_000, true},
		"the first of several":     {0, full, 0, 2 * full, true},
		"the last of several":      {full, 10_000_000, 0, full + 10_000_000, true},
		"nothing":                  {0, 0, 0, 10_000_000, false},
		"negative":                 {0, -1, 0, 10_000_000, false},
		"beyond the segment":       {0, full + 1, 0, full + 1, false},
		"beyond the object":        {0, 10_000_000, 0, 9_999_999, false},
		"not from the beginning":   {0, full - 1, 1, full - 1, false},
		"cut short within":         {0, full - 1, 0, 2 * full, false},
		"cut short before the end": {full, 1, 0, full + 2, false},
	} {
		s := &segmentReader{layout: layout, start: test.start, length: test.length, offset: test.offset}
		if err := s.check(test.size); (err == nil) != test.good || err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExtentsAreFound(t *testing.T) {
	e := new(extents)
	for _, start := range []int64{200, 0, 100, 500, 100} {
		e.insert(&segmentReader{start: start, length: 100})
	}
	for offset, start := range map[int64]int64{0: 0, 99: 0, 100: 100, 250: 200, 299: 200, 500: 500, 599: 500} {
		if s := e.find(offset); s == nil || s.start != start {
			t.Errorf("offset %d: %+v", offset, s)
		}
	}
	for _, offset := range []int64{300, 499, 600} {
		if s := e.find(offset); s != nil {
			t.Errorf("offset %d is found at %d", offset, s.start)
		}
	}
	if len(e.known) != 4 {
		t.Errorf("%d extents are known", len(e.known))
	}
}
