package seal

import (
	"testing"

	"github.com/cairnstorage/cairn/proto/erasure"
)

// sizes are the lengths around every border of a segment with k data shards.
func sizes(k int64) []int64 {
	stripe := k * ChunkPlain
	full := MaxSegment(int(k))
	var out []int64
	for _, border := range []int64{0, 47, 48, 48 * k, ChunkPlain, stripe, 2 * stripe, full - stripe, full} {
		for d := int64(-2); d <= 2; d++ {
			if n := border + d; n > 0 && n <= full {
				out = append(out, n)
			}
		}
	}
	return out
}

func TestLayout(t *testing.T) {
	for _, k := range []int{1, 2, 3, 4, 10, 20, 29, 40} {
		for _, plain := range sizes(int64(k)) {
			l, err := Layout(plain, k, 2*k+1)
			if err != nil {
				t.Fatalf("%d of %d: %v", plain, k, err)
			}
			if Capacity(l) < plain {
				t.Errorf("%d of %d: capacity %d", plain, k, Capacity(l))
			}
			// One alignment unit less a chunk would not hold it.
			smaller, err := erasure.NewLayout(k, 2*k+1, l.Size-int64(k)*erasure.ChunkAlign)
			if last := l.ChunkSize(l.Stripes() - 1); err == nil && last > erasure.ChunkAlign && Capacity(smaller) >= plain {
				t.Errorf("%d of %d: %d bytes would do instead of %d", plain, k, smaller.Size, l.Size)
			}
			if waste := Capacity(l) - plain; waste >= int64(k)*(erasure.ChunkAlign+1) {
				t.Errorf("%d of %d: %d bytes of padding", plain, k, waste)
			}
		}
		if l, err := Layout(MaxSegment(k), k, 2*k); err != nil || l.Stripes() != erasure.MaxStripes(k) || l.ChunkSize(l.Stripes()-1) != erasure.ChunkSize {
			t.Errorf("full segment of %d: %+v, %v", k, l, err)
		}
	}
	for _, bad := range []struct {
		plain    int64
		required int
	}{{0, 4}, {-1, 4}, {1, 0}, {1, -1}, {MaxSegment(4) + 1, 4}} {
		if l, err := Layout(bad.plain, bad.required, 10); err == nil {
			t.Errorf("%+v: got %+v", bad, l)
		}
	}
}

// The chunks of a segment follow each other without gap, and each byte is
// located in the chunk that spans it.
func TestLocate(t *testing.T) {
	for _, k := range []int{1, 3, 4, 20} {
		for _, plain := range sizes(int64(k)) {
			l, err := Layout(plain, k, 2*k)
			if err != nil {
				t.Fatal(err)
			}
			next := int64(0)
			for index := range int64(l.Stripes() * k) {
				start, size := Span(l, index)
				if start != next || size < 1 {
					t.Fatalf("%d of %d: chunk %d begins at %d with %d bytes, expected at %d", plain, k, index, start, size, next)
				}
				for _, within := range []int{0, size / 2, size - 1} {
					if i, w := Locate(l, start+int64(within)); i != index || w != within {
						t.Fatalf("%d of %d: byte %d is in chunk %d at %d, not %d at %d", plain, k, start+int64(within), i, w, index, within)
					}
				}
				next = start + int64(size)
			}
			if next != Capacity(l) {
				t.Errorf("%d of %d: chunks span %d bytes, capacity is %d", plain, k, next, Capacity(l))
			}
		}
	}
}
