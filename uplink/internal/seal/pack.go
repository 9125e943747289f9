package seal

import (
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/cairnstorage/cairn/proto/erasure"
)

// A pack is a segment that many files share. Each lies in an extent of its own,
// a run of the ciphertext, which is cut where chunks end into blocks that are
// sealed one by one under the file's key. Blocks says where they are, to whoever
// seals and to whoever opens; Plan chooses where extents begin.

// A Block is what lies in one data chunk of an extent.
type Block struct {
	Chunk  int64 // index over the segment: stripe · required + slot
	Within int   // where it begins in the chunk, in bytes
	Size   int   // sealed, in bytes
	Start  int64 // where its plaintext begins in the extent
}

// Plain is the plaintext of the block, in bytes.
func (b Block) Plain() int { return b.Size - Overhead }

// Blocks cuts an extent, at this offset of the ciphertext of a pack and with so
// many bytes of plaintext, into its blocks.
func Blocks(l erasure.Layout, offset, length int64) ([]Block, error) {
	if offset < 0 || offset >= l.Size || length < 1 || length > l.Size {
		return nil, fmt.Errorf("seal: a pack of %d bytes has no extent of %d at %d", l.Size, length, offset)
	}
	chunk, within := LocateSealed(l, offset)
	var blocks []Block
	for start := int64(0); start < length; chunk, within = chunk+1, 0 {
		if chunk == int64(l.Stripes()*l.Required) {
			return nil, fmt.Errorf("seal: an extent of %d bytes at %d goes beyond its pack of %d", length, offset, l.Size)
		}
		room := l.ChunkSize(int(chunk)/l.Required) - within - Overhead
		if room < 1 {
			return nil, fmt.Errorf("seal: an extent cannot begin at %d, so close to the end of a chunk", offset)
		}
		plain := min(int64(room), length-start)
		blocks = append(blocks, Block{chunk, within, int(plain) + Overhead, start})
		start += plain
	}
	return blocks, nil
}

// LocateSealed returns the data chunk that holds a byte of a segment's ciphertext,
// as its index over the segment, and the byte's place within it. The offset must
// lie below the segment's size.
func LocateSealed(l erasure.Layout, offset int64) (chunk int64, within int) {
	k, last := int64(l.Required), int64(l.Stripes()-1)
	if start := last * k * erasure.ChunkSize; offset >= start {
		size := int64(l.ChunkSize(int(last)))
		offset -= start
		return last*k + offset/size, int(offset % size)
	}
	return offset / erasure.ChunkSize, int(offset % erasure.ChunkSize)
}

// SpanSealed returns where a data chunk begins in a segment's ciphertext and how
// long it is: the inverse of LocateSealed.
func SpanSealed(l erasure.Layout, index int64) (start int64, size int) {
	k := int64(l.Required)
	stripe := index / k
	size = l.ChunkSize(int(stripe))
	return stripe*k*erasure.ChunkSize + index%k*int64(size), size
}

// Plan chooses a place in a pack for a file of each size, in bytes, and returns
// the offsets in that order. A file lies in as few chunks as it can, so that it
// is read from few nodes, as long as not much is left empty for that.
func Plan(sizes []int64, required, total int) (erasure.Layout, []int64, error) {
	if len(sizes) == 0 || required < 1 {
		return erasure.Layout{}, nil, errors.New("seal: a pack needs a file and a shard")
	}
	p := planner{required: int64(required), offsets: make([]int64, len(sizes))}
	for i, size := range sizes {
		if size < 1 || size > MaxSegment(required) {
			return erasure.Layout{}, nil, fmt.Errorf("seal: a file of %d bytes does not go into a pack", size)
		}
		p.files = append(p.files, file{i, size})
		p.plain += size
	}
	sort.SliceStable(p.files, func(i, j int) bool { return p.files[i].size > p.files[j].size })
	p.enterStripe(0)
	for len(p.files) > 0 {
		p.step()
	}
	size := (p.stripe*p.required)*erasure.ChunkSize + p.required*p.chunk
	if size > erasure.MaxSegment/(p.required*erasure.ChunkSize)*p.required*erasure.ChunkSize {
		return erasure.Layout{}, nil, fmt.Errorf("seal: files of %d bytes are too much for a pack", p.placed)
	}
	l, err := erasure.NewLayout(required, total, size)
	return l, p.offsets, err
}

// maxHole is how much of a chunk may be left empty, in bytes, so that the next
// file need not lie in two.
const maxHole = 4096

// planner fills chunks one after another.
type planner struct {
	required int64
	files    []file // to be placed, the largest first
	plain    int64  // bytes of theirs
	placed   int64  // bytes of the others
	offsets  []int64

	stripe, slot, within int64
	chunk                int64 // size of the chunks of the stripe
	last                 bool  // it takes all that is left
}

type file struct {
	index int
	size  int64
}

// step places a file, or goes on to the next chunk.
func (p *planner) step() {
	room := p.chunk - p.within - Overhead
	next := sort.Search(len(p.files), func(i int) bool { return p.files[i].size <= room })
	switch {
	case next < len(p.files): // the largest that fits
	case room >= maxHole || room >= 1 && (p.last || p.within == 0):
		next = 0
	default:
		p.enterChunk(0)
		return
	}
	p.place(p.files[next])
	p.files = slices.Delete(p.files, next, next+1)
}

// place puts a file where the last one ended.
func (p *planner) place(f file) {
	p.offsets[f.index] = p.stripe*p.required*erasure.ChunkSize + p.slot*p.chunk + p.within
	p.plain -= f.size
	p.placed += f.size
	for rest := f.size; ; p.enterChunk(rest) {
		plain := min(rest, p.chunk-p.within-Overhead)
		p.within += plain + Overhead
		if rest -= plain; rest == 0 {
			return
		}
	}
}

// enterChunk goes on to the next chunk, with so much left of the file that is
// being placed.
func (p *planner) enterChunk(rest int64) {
	p.within = 0
	if p.slot++; p.slot == p.required {
		p.stripe, p.slot = p.stripe+1, 0
		p.enterStripe(rest)
	}
}

// enterStripe makes the chunks of a stripe as small as they can be if it takes
// all that is left: at most one block more than there are files for each chunk,
// and less than a block's overhead that is left empty at the end of each.
func (p *planner) enterStripe(rest int64) {
	blocks := int64(len(p.files)) + 2*p.required
	need := (rest + p.plain + blocks*Overhead + p.required - 1) / p.required
	p.chunk = min(roundUp(need, erasure.ChunkAlign), erasure.ChunkSize)
	p.last = need <= erasure.ChunkSize
}
