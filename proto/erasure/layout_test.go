package erasure

import (
	"errors"
	"math"
	"testing"

	"github.com/cairnstorage/cairn/proto/internal/golden"
)

// cut is the definition of a layout, by doing: take full stripes off until the
// rest is one stripe.
func cut(required int, size int64) (chunks []int) {
	for full := int64(required) * 65536; size > full; size -= full {
		chunks = append(chunks, 65536)
	}
	return append(chunks, int(size/int64(required)))
}

func TestLayoutGrid(t *testing.T) {
	for _, required := range []int{1, 2, 3, 4, 10, 20, 29, 64, 100, 254} {
		limit := int64(MaxStripes(required) * required * ChunkSize)
		if limit > MaxSegment || limit+int64(required*ChunkSize) <= MaxSegment {
			t.Errorf("MaxStripes(%d) = %d", required, MaxStripes(required))
		}
		for _, stripes := range []int{0, 1, 2, 3, 4, MaxStripes(required) - 1, MaxStripes(required)} {
			for steps := -3; steps <= 3; steps++ {
				unit := int64(required) * ChunkAlign
				size := int64(stripes*required*ChunkSize) + int64(steps)*unit
				for _, off := range []int64{-unit / 2, -1, 0, 1} {
					checkLayout(t, required, size+off, off == 0 && size > 0 && size <= limit)
				}
			}
		}
	}
}

func checkLayout(t *testing.T, required int, size int64, valid bool) {
	t.Helper()
	l, err := NewLayout(required, 255, size)
	if !valid {
		if !errors.Is(err, ErrLayout) {
			t.Errorf("NewLayout(%d, 255, %d): %v", required, size, err)
		}
		return
	}
	if err != nil {
		t.Errorf("NewLayout(%d, 255, %d): %v", required, size, err)
		return
	}
	want := cut(required, size)
	if l.Stripes() != len(want) || l.Chunk() != want[0] {
		t.Errorf("%+v: %d stripes, first chunk %d", l, l.Stripes(), l.Chunk())
	}
	var shard, segment int64
	for stripe, chunk := range want {
		if got := l.ChunkSize(stripe); got != chunk || got%ChunkAlign != 0 || got < ChunkAlign || got > ChunkSize {
			t.Errorf("%+v: chunk of stripe %d is %d, not %d", l, stripe, got, chunk)
		}
		if l.ShardOffset(stripe) != shard || l.Offset(stripe) != segment {
			t.Errorf("%+v: stripe %d at %d in the shard, %d in the segment", l, stripe, l.ShardOffset(stripe), l.Offset(stripe))
		}
		shard += int64(chunk)
		segment += int64(chunk * required)
	}
	if l.ShardSize() != shard || segment != size {
		t.Errorf("%+v: shard of %d bytes, not %d", l, l.ShardSize(), shard)
	}
}

func TestLayoutRefuses(t *testing.T) {
	for _, l := range []Layout{
		{},
		{Required: 4, Total: 10},
		{Required: 0, Total: 10, Size: 256},
		{Required: -4, Total: 10, Size: 256},
		{Required: 4, Total: 4, Size: 256},
		{Required: 4, Total: 3, Size: 256},
		{Required: 4, Total: 256, Size: 256},
		{Required: 4, Total: -1, Size: 256},
		{Required: math.MaxInt, Total: math.MaxInt, Size: math.MaxInt64},
		{Required: math.MinInt, Total: 255, Size: 256},
		{Required: 4, Total: 10, Size: -256},
		{Required: 4, Total: 10, Size: math.MaxInt64 &^ 255},
		{Required: 4, Total: 10, Size: math.MinInt64},
		{Required: 4, Total: 10, Size: 64<<20 + 256},
	} {
		if err := l.Validate(); !errors.Is(err, ErrLayout) {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

type layoutVector struct {
	Required  int   `json:"required"`
	Total     int   `json:"total"`
	Size      int64 `json:"size"`
	Stripes   int   `json:"stripes"`
	Chunk     int   `json:"chunk"`
	LastChunk int   `json:"last_chunk"`
	ShardSize int64 `json:"shard_size"`
}

func TestLayoutVectors(t *testing.T) {
	var vectors []layoutVector
	for _, l := range []Layout{
		{1, 2, 64}, {4, 10, 256}, {4, 10, 4352}, {4, 10, 262144}, {4, 10, 262144 + 256}, {4, 10, 2*262144 - 256},
		{4, 10, 67108864}, {20, 40, 1280}, {20, 40, 1310720}, {20, 40, 1310720 + 1280}, {20, 40, 66846720},
		{29, 80, 1900544 + 29*4096}, {254, 255, 254 * 64},
	} {
		if err := l.Validate(); err != nil {
			t.Fatal(err)
		}
		vectors = append(vectors, layoutVector{l.Required, l.Total, l.Size,
			l.Stripes(), l.Chunk(), l.ChunkSize(l.Stripes() - 1), l.ShardSize()})
	}
	golden.Check(t, "erasure_layout.json", vectors)
}
