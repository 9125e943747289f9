package seal

import (
	"fmt"

	"github.com/cairnstorage/cairn/proto/erasure"
)

// ChunkPlain is the plaintext that a chunk of full size holds, in bytes.
const ChunkPlain = erasure.ChunkSize - Overhead

// MaxSegment is the plaintext that the largest segment holds under a scheme
// with this many required shards, in bytes.
func MaxSegment(required int) int64 {
	stripes := erasure.MaxSegment / (int64(required) * erasure.ChunkSize)
	return stripes * int64(required) * ChunkPlain
}

// Layout returns the layout of a segment that holds plain bytes: full stripes,
// and for what remains one whose chunks are just large enough.
func Layout(plain int64, required, total int) (erasure.Layout, error) {
	if required < 1 || plain < 1 || plain > MaxSegment(required) {
		return erasure.Layout{}, fmt.Errorf("seal: a segment of %d shards cannot hold %d bytes", required, plain)
	}
	k := int64(required)
	size := plain / (k * ChunkPlain) * k * erasure.ChunkSize
	if rest := plain % (k * ChunkPlain); rest > 0 {
		size += k * roundUp((rest+k-1)/k+Overhead, erasure.ChunkAlign)
	}
	return erasure.NewLayout(required, total, size)
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// Capacity returns the plaintext that fills a segment of this layout, in
// bytes. An object's extent says how much of it is meant; the rest is zeros.
func Capacity(l erasure.Layout) int64 {
	return l.Size - int64(l.Stripes())*int64(l.Required)*Overhead
}

// Locate returns the data chunk that holds the plaintext byte at offset, as
// its index over the segment (stripe · required + slot), and the byte's place
// within the plaintext of the chunk. The offset must lie below Capacity.
func Locate(l erasure.Layout, offset int64) (index int64, within int) {
	k := int64(l.Required)
	last := int64(l.Stripes() - 1)
	if start := last * k * ChunkPlain; offset >= start {
		size := int64(l.ChunkSize(int(last))) - Overhead
		offset -= start
		return last*k + offset/size, int(offset % size)
	}
	return offset / ChunkPlain, int(offset % ChunkPlain)
}

// Span returns where the plaintext of a data chunk begins within the segment
// and how long it is: the inverse of Locate.
func Span(l erasure.Layout, index int64) (start int64, size int) {
	k := int64(l.Required)
	stripe := index / k
	size = int(l.ChunkSize(int(stripe))) - Overhead
	return stripe*k*ChunkPlain + index%k*int64(size), size
}
