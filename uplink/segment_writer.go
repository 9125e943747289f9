package uplink

import (
	"context"
	"fmt"
	"sync"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// A segmentWriter turns batches into the shards of one segment. Batches are
// sealed, coded and hashed in parallel and delivered in order. The
// data chunks are kept until the segment is stored, in case it has to be
// delivered to another group.
type segmentWriter struct {
	id       order.SegmentID
	scheme   erasure.Scheme
	coder    *erasure.Coder
	seal     sealing
	stripes  int           // at most
	plain    int64         // bytes
	first    *delivery     // takes the chunks as they are coded
	complete chan struct{} // closed when all of them are

	// Set before complete is closed.
	layout     erasure.Layout
	root       merkle.Hash
	shardRoots []merkle.Hash

	mu      sync.Mutex
	batches []*batch
	coded   []bool // by batch
	sent    int    // batches
	closed  bool   // no further batches will come
}

// sealing puts ciphertext into the data chunks of a stripe.
type sealing func(chunks [][]byte, stripe int)

// sealer seals chunks of plaintext where they lie.
func sealer(cipher *seal.Segment) sealing {
	return func(chunks [][]byte, stripe int) {
		for slot, chunk := range chunks {
			plain := chunk[:len(chunk)-seal.Overhead]
			cipher.Seal(chunk[:0], plain, uint64(stripe*len(chunks)+slot))
		}
	}
}

func newSegmentWriter(id order.SegmentID, session *putSession, how sealing, stripes int) *segmentWriter {
	s := &segmentWriter{
		id: id, scheme: session.scheme(), coder: session.coder, seal: how,
		stripes: stripes, complete: make(chan struct{}),
	}
	s.first = session.deliver(s)
	return s
}

// add appends a batch that was closed, for which carry is to be called. Every
// batch but the last of a segment is full.
func (s *segmentWriter) add(b *batch) (index int) {
	b.first = s.next()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plain += int64(b.filled)
	s.batches = append(s.batches, b)
	s.coded = append(s.coded, false)
	return len(s.batches) - 1
}

// next is the index of the stripe after those there are.
func (s *segmentWriter) next() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.batches) == 0 {
		return 0
	}
	last := s.batches[len(s.batches)-1]
	return last.first + last.stripes
}

// close says that the segment ends with the batches it has.
func (s *segmentWriter) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	last := s.batches[len(s.batches)-1]
	size := int64(s.scheme.Required) * (int64(last.first)*erasure.ChunkSize + int64(last.size()))
	layout, err := s.scheme.Layout(size)
	if err != nil {
		panic("uplink: " + err.Error()) // batches are made to fit
	}
	s.layout = layout
	if s.sent == len(s.batches) {
		s.commit()
		s.first.end()
		close(s.complete)
	}
}

// carry takes a batch from plaintext to the slots.
func (s *segmentWriter) carry(index int, b *batch) error {
	if err := s.code(b); err != nil {
		return err
	}
	s.send(index)
	return nil
}

// code seals the data chunks of a batch, computes its parity chunks and hashes
// them all, stripe by stripe so that the bytes stay in the cache.
func (s *segmentWriter) code(b *batch) error {
	chunks := make([][]byte, 0, s.scheme.Total)
	for row := range b.stripes {
		chunks = b.row(row, chunks[:0])
		s.seal(chunks[:s.scheme.Required], b.first+row)
		if err := s.coder.Encode(chunks); err != nil {
			return fmt.Errorf("code stripe %d: %w", b.first+row, err)
		}
		b.hash(chunks)
	}
	return nil
}

// send marks a batch as coded and gives the slots all that are next in order.
func (s *segmentWriter) send(index int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.coded[index] = true
	for s.sent < len(s.batches) && s.coded[s.sent] {
		b := s.batches[s.sent]
		s.sent++
		last := s.closed && s.sent == len(s.batches)
		if last {
			s.commit()
		}
		s.first.send(b.buffers, b.size(), last)
		b.release(s.scheme.Required) // parity can be coded again
		b.buffers = b.buffers[:s.scheme.Required]
		if last {
			close(s.complete)
		}
	}
}

// commit computes the roots, once all is coded. The caller holds the lock.
func (s *segmentWriter) commit() {
	s.shardRoots = make([]merkle.Hash, s.scheme.Total)
	subtrees := make([]merkle.Hash, s.layout.Stripes())
	for slot := range s.shardRoots {
		for _, b := range s.batches {
			for row := range b.stripes {
				subtrees[b.first+row] = b.hashes[row*s.scheme.Total+slot]
			}
		}
		s.shardRoots[slot] = merkle.RootOfSubtrees(subtrees)
	}
	s.root = merkle.SegmentRoot(s.layout, s.shardRoots)
}

// shardLimit is the bytes that a shard of the segment has, or has at most
// while that is open.
func (s *segmentWriter) shardLimit() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.layout.ShardSize()
	}
	return int64(s.stripes) * erasure.ChunkSize
}

// redeliver sends the segment, once it is coded, to another group.
func (s *segmentWriter) redeliver(ctx context.Context, session *putSession, memory *share) (*delivery, error) {
	select {
	case <-s.complete:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	d := session.deliver(s)
	for _, b := range s.batches {
		if err := s.recode(ctx, b, d, memory); err != nil {
			d.cut(err)
			return d, err
		}
	}
	d.end()
	return d, nil
}

// recode sends a batch again. It works on a copy, for the first delivery may
// not have let go of the chunks yet and their frames must not be mixed.
func (s *segmentWriter) recode(ctx context.Context, b *batch, d *delivery, memory *share) error {
	buffers, err := memory.take(ctx, s.scheme.Total)
	if err != nil {
		return err
	}
	defer releaseAll(buffers)
	for slot, kept := range b.buffers {
		copy(buffers[slot].payload()[:b.size()], kept.payload())
	}
	again := *b
	again.buffers = buffers
	for row := range b.stripes {
		if err := s.coder.Encode(again.row(row, nil)); err != nil {
			return fmt.Errorf("code stripe %d again: %w", b.first+row, err)
		}
	}
	d.send(buffers, b.size(), false)
	return nil
}

// release lets go of the data chunks, when the segment is stored or given up.
func (s *segmentWriter) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.batches {
		b.release(0)
		b.buffers = nil
	}
	s.batches = nil
}
