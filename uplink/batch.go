package uplink

import (
	"io"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// A batch is up to batchStripes stripes of a segment being uploaded. Its data
// chunks are filled with plaintext, which is then sealed where it lies; parity
// chunks are coded beside them. Plaintext runs through the chunks of a stripe
// slot by slot, then through the next stripe.
type batch struct {
	required int
	limit    int       // stripes it has at most
	first    int       // index of its first stripe in the segment, once it is in one
	buffers  []*buffer // by slot
	filled   int       // plaintext bytes
	// Set by close.
	stripes int
	last    int           // chunk size of the last stripe
	hashes  []merkle.Hash // of every chunk, stripe by stripe; appended by hash
}

func newBatch(required, limit int, buffers []*buffer) *batch {
	return &batch{required: required, limit: min(limit, batchStripes), buffers: buffers}
}

// stripePlain is the plaintext of a full stripe, in bytes.
func (b *batch) stripePlain() int { return b.required * seal.ChunkPlain }

// full tells whether no more plaintext fits.
func (b *batch) full() bool { return b.filled == b.limit*b.stripePlain() }

// space is where the next plaintext goes, up to the end of a chunk. The batch
// must not be full.
func (b *batch) space() []byte {
	index, within := b.filled/seal.ChunkPlain, b.filled%seal.ChunkPlain
	row, slot := index/b.required, index%b.required
	return b.buffers[slot].chunk(row, erasure.ChunkSize)[within:seal.ChunkPlain]
}

// readFrom reads once into the space there is.
func (b *batch) readFrom(r io.Reader) (int, error) {
	n, err := r.Read(b.space())
	b.filled += n
	return n, err
}

// write copies what fits into the current chunk.
func (b *batch) write(p []byte) int {
	n := copy(b.space(), p)
	b.filled += n
	return n
}

// close fixes how many stripes the batch has. If its last one is not full, its
// plaintext is spread evenly over smaller chunks and zeros fill them up.
func (b *batch) close() {
	b.stripes = (b.filled + b.stripePlain() - 1) / b.stripePlain()
	b.last = erasure.ChunkSize
	b.hashes = make([]merkle.Hash, 0, b.stripes*len(b.buffers))
	rest := b.filled - (b.stripes-1)*b.stripePlain()
	if rest == b.stripePlain() {
		return
	}
	plain := (rest + b.required - 1) / b.required
	b.last = (plain + seal.Overhead + erasure.ChunkAlign - 1) / erasure.ChunkAlign * erasure.ChunkAlign
	plain = b.last - seal.Overhead
	for slot := b.required - 1; slot >= 0; slot-- {
		b.spread(slot, plain, rest)
	}
}

// spread moves to the last stripe's chunk of a slot the plaintext that belongs
// there once each chunk holds plain bytes of the rest. Chunks only move towards
// higher slots, so going from the last slot to the first, and within a chunk
// from its end, overwrites nothing that is needed later.
func (b *batch) spread(slot, plain, rest int) {
	row := b.stripes - 1
	to := b.buffers[slot].chunk(row, erasure.ChunkSize)[:plain]
	from := slot * plain
	have := min(max(rest-from, 0), plain)
	clear(to[have:])
	for have > 0 {
		source := (from + have - 1) / seal.ChunkPlain
		begin := max(source*seal.ChunkPlain, from)
		n := from + have - begin
		within := begin - source*seal.ChunkPlain
		copy(to[have-n:have], b.buffers[source].chunk(row, erasure.ChunkSize)[within:within+n])
		have -= n
	}
}

// chunkSize is the size of the chunks in a row.
func (b *batch) chunkSize(row int) int {
	if row == b.stripes-1 {
		return b.last
	}
	return erasure.ChunkSize
}

// size is the bytes of one slot's chunks together.
func (b *batch) size() int { return (b.stripes-1)*erasure.ChunkSize + b.last }

// row lists the chunks of one stripe by slot, in the slice given.
func (b *batch) row(row int, chunks [][]byte) [][]byte {
	size := b.chunkSize(row)
	for _, buffer := range b.buffers {
		chunks = append(chunks, buffer.chunk(row, size))
	}
	return chunks
}

// hash appends what each chunk of a stripe adds to the tree of its shard: a chunk
// is a subtree of its own, so that stripes can be hashed in any order.
func (b *batch) hash(chunks [][]byte) { b.hashes = merkle.AppendRoots(b.hashes, chunks) }

// release lets go of the buffers of slots from on.
func (b *batch) release(from int) { releaseAll(b.buffers[from:]) }
