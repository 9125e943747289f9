package uplink

import (
	"context"
	"fmt"
	"log/slog"
	"sort"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// A segmentReader is a segment as far as it belongs to an object being read.
type segmentReader struct {
	transfers *transfers
	blamed    *excluded // for wrong data, by the whole download
	absent    excluded  // who does not hold the segment's shard
	log       *slog.Logger

	id     order.SegmentID
	group  uint32
	layout erasure.Layout
	root   merkle.Hash
	cipher *seal.Segment // nil: the ciphertext is what is read

	index  uint32       // of the extent in the object
	start  int64        // of the extent in the object, in plaintext bytes
	length int64        // of the extent
	offset int64        // of the extent in the segment
	blocks []seal.Block // of an extent of a pack
}

// end is the place in the object after the extent.
func (s *segmentReader) end() int64 { return s.start + s.length }

// session returns the session to read the segment with. It is kept for the
// group, of which the satellite may have said something else before.
func (s *segmentReader) session(ctx context.Context) (*getSession, error) {
	session, err := s.transfers.getFrom(ctx, s.group)
	if err != nil {
		return nil, err
	}
	if scheme := session.lease.group.Scheme; scheme.Required != s.layout.Required || scheme.Total != s.layout.Total {
		return nil, fmt.Errorf("%w: the satellite has two schemes for group %d", ErrCorrupt, s.group)
	}
	return session, nil
}

// A span is a window with the part of its plaintext that is asked for.
type span struct {
	window *window
	skip   int // bytes of the window before it
	length int
	ready  chan struct{} // closed when the window was fetched, or failed
	err    error
}

// span cuts the beginning off the range [from, to) of the object: up to so many
// whole stripes, or chunks of one stripe.
func (s *segmentReader) span(from, to int64, stripes int) *span {
	if s.blocks != nil {
		return s.blockSpan(from, to)
	}
	k := int64(s.layout.Required)
	from, to = from-s.start+s.offset, min(to, s.end())-s.start+s.offset
	first, last := s.chunkOf(from), s.chunkOf(to-1)
	w := &window{segment: s, first: int(first / k), stripes: 1}
	switch {
	case first/k == last/k: // within a stripe
	case first%k != 0: // the rest of a stripe
		last = first - first%k + k - 1
	default:
		whole := (last+1)/k - first/k
		w.stripes = int(min(whole, int64(stripes)))
		last = first + int64(w.stripes)*k - 1
	}
	for slot := first % k; slot <= last%k; slot++ {
		w.wanted = append(w.wanted, int(slot))
	}
	begin, _ := s.bounds(first)
	end, size := s.bounds(last)
	return &span{
		window: w, skip: int(from - begin), length: int(min(to, end+int64(size)) - from),
		ready: make(chan struct{}),
	}
}

// blockSpan cuts the beginning off a range of an object that is packed: what lies
// in one block.
func (s *segmentReader) blockSpan(from, to int64) *span {
	i := sort.Search(len(s.blocks), func(i int) bool { return s.blocks[i].Start > from }) - 1
	b, k := &s.blocks[i], int64(s.layout.Required)
	return &span{
		window: &window{
			segment: s, first: int(b.Chunk / k), stripes: 1, wanted: []int{int(b.Chunk % k)}, block: b, number: i,
		},
		skip: int(from - b.Start), length: int(min(to, b.Start+int64(b.Plain())) - from),
		ready: make(chan struct{}),
	}
}

// chunkOf is the index of the data chunk that holds what is at an offset.
func (s *segmentReader) chunkOf(offset int64) int64 {
	locate := seal.Locate
	if s.cipher == nil {
		locate = seal.LocateSealed
	}
	index, _ := locate(s.layout, offset)
	return index
}

// bounds is where what is in a data chunk begins, and its length.
func (s *segmentReader) bounds(index int64) (start int64, size int) {
	if s.cipher == nil {
		return seal.SpanSealed(s.layout, index)
	}
	return seal.Span(s.layout, index)
}

// need is how many buffers the span takes: for its pieces, which become plaintext
// where they are.
func (sp *span) need() int { return len(sp.window.wanted) }

// prepare gives the window what it needs to be fetched.
func (w *window) prepare(session *getSession, memory *share, buffers []*buffer) {
	w.session, w.memory, w.spare = session, memory, buffers
	w.pieces = make([]piece, w.segment.layout.Total)
	w.decoded = make(map[int]*buffer)
	w.arrivals = make(chan arrival, (maxRenewals+1)*w.segment.layout.Total)
}

// chunk is what is read of the window's i-th chunk, in the order in which the
// object has them; nil after the last.
func (w *window) chunk(i int) []byte {
	row := i / len(w.wanted)
	if row >= w.stripes {
		return nil
	}
	size := w.chunkSize(row)
	chunk := w.plain[i%len(w.wanted)].chunk(row, size)
	if w.segment.cipher == nil {
		return chunk
	}
	return chunk[:size-seal.Overhead]
}

// check verifies what the satellite says of the extent. An object is written
// as segments that its plaintext fills, but for the last.
func (s *segmentReader) check(size int64) error {
	capacity := seal.Capacity(s.layout)
	switch {
	case s.offset != 0 || s.length < 1 || s.length > capacity || s.end() > size:
		return fmt.Errorf("%w: the satellite has extent %d at %d with %d bytes from %d on, in a segment of %d",
			ErrCorrupt, s.index, s.start, s.length, s.offset, capacity)
	case s.end() < size && s.length < capacity:
		return fmt.Errorf("%w: the satellite has extent %d with %d bytes where the segment holds %d", ErrCorrupt, s.index, s.length, capacity)
	}
	return nil
}
