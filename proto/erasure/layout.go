package erasure

import (
	"errors"
	"fmt"
)

const (
	// ChunkSize is the size in bytes of every chunk but those of a segment's
	// last stripe, which may be smaller.
	ChunkSize = 64 << 10
	// ChunkAlign is what every chunk's size in bytes is a multiple of, and the
	// smallest a chunk can be.
	ChunkAlign = 64
	// MaxSegment is the greatest size of a segment in ciphertext bytes.
	MaxSegment = 64 << 20
)

// ErrLayout is returned for parameters no segment can have.
var ErrLayout = errors.New("bad segment layout")

// A Layout is the geometry of one segment: ciphertext cut into stripes of
// Required data chunks. Chunk i of every stripe belongs to shard i. All
// stripes have chunks of ChunkSize but the last, whose chunks share what is
// left. A Layout from NewLayout, or one that passed Validate, is sound; the
// methods of another are undefined.
type Layout struct {
	Required int   // data chunks in a stripe
	Total    int   // chunks in a coded stripe, and shards of the segment
	Size     int64 // ciphertext bytes of the segment, always whole stripes
}

// NewLayout is the Layout of a segment of size ciphertext bytes, or ErrLayout
// if there is none.
func NewLayout(required, total int, size int64) (Layout, error) {
	l := Layout{Required: required, Total: total, Size: size}
	return l, l.Validate()
}

// MaxStripes is the number of stripes in the greatest segment, which are all
// full. It is at least 1 for every valid required.
func MaxStripes(required int) int { return MaxSegment / (required * ChunkSize) }

// Validate returns ErrLayout unless some segment has this layout.
func (l Layout) Validate() error {
	if err := validateCode(l.Required, l.Total); err != nil {
		return fmt.Errorf("%w: %w", ErrLayout, err)
	}
	if limit := int64(MaxStripes(l.Required)) * l.stripeSize(); l.Size < 1 || l.Size > limit {
		return fmt.Errorf("%w: size %d is not within 1 to %d", ErrLayout, l.Size, limit)
	}
	if unit := int64(l.Required) * ChunkAlign; l.Size%unit != 0 {
		return fmt.Errorf("%w: size %d is not a multiple of %d", ErrLayout, l.Size, unit)
	}
	return nil
}

// stripeSize is the data bytes in a full stripe.
func (l Layout) stripeSize() int64 { return int64(l.Required) * ChunkSize }

// Stripes is the number of stripes, at least 1.
func (l Layout) Stripes() int {
	return int((l.Size + l.stripeSize() - 1) / l.stripeSize())
}

// ChunkSize is the size in bytes of the chunks of a stripe.
func (l Layout) ChunkSize(stripe int) int {
	if stripe < l.Stripes()-1 {
		return ChunkSize
	}
	return int((l.Size - int64(stripe)*l.stripeSize()) / int64(l.Required))
}

// Chunk is the size in bytes of the chunks of the first stripe, which are the
// largest. The segment root commits to it.
func (l Layout) Chunk() int { return l.ChunkSize(0) }

// ShardSize is the size in bytes of each of the Total shards.
func (l Layout) ShardSize() int64 { return l.Size / int64(l.Required) }

// ShardOffset is where in a shard, in bytes, its chunk of a stripe begins.
func (l Layout) ShardOffset(stripe int) int64 { return int64(stripe) * ChunkSize }

// Offset is where in the segment's ciphertext, in bytes, a stripe begins.
func (l Layout) Offset(stripe int) int64 { return int64(stripe) * l.stripeSize() }
