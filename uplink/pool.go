package uplink

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/wire"
)

const (
	// batchStripes is how many stripes travel through the data path together:
	// as many as make one slot's chunks of a batch fill one data frame.
	batchStripes = wire.MaxData / erasure.ChunkSize
	// bufferSize is the payload of a buffer, in bytes.
	bufferSize = batchStripes * erasure.ChunkSize
)

// A buffer holds one slot's chunks of a batch, with headroom before them for
// the header of the frame they travel in. It goes back to its pool when the
// last of its owners lets go of it.
type buffer struct {
	bytes []byte
	share *share
	refs  atomic.Int32
}

// payload is the bytes of the chunks, all of them.
func (b *buffer) payload() []byte { return b.bytes[wire.HeaderSize:] }

// chunk is the place of the chunk of this size in a row of the batch.
func (b *buffer) chunk(row, size int) []byte {
	from := row * erasure.ChunkSize
	return b.payload()[from : from+size : from+size]
}

// frame is the first size bytes of payload with the headroom before them.
func (b *buffer) frame(size int) []byte { return b.bytes[:wire.HeaderSize+size] }

// hold adds an owner.
func (b *buffer) hold() { b.refs.Add(1) }

// release takes an owner away; the last one may no longer touch the buffer.
func (b *buffer) release() {
	switch n := b.refs.Add(-1); {
	case n == 0:
		b.share.pool.put(b)
	case n < 0:
		panic("uplink: buffer released twice")
	}
}

// A pool bounds the memory that payload takes. All transfers of a project draw
// on one pool through shares of it.
type pool struct {
	mu      sync.Mutex
	limit   int // buffers that may be in use, promises aside
	used    int
	shares  int
	made    int // buffers, all in all
	free    []*buffer
	waiting []*ticket

	emptied  time.Time // when the last buffer in use came back
	trimming bool      // trim will be called
}

const (
	// spareBuffers is how many free buffers a pool keeps when nobody has used any
	// for spareTime: between packs, or small objects, memory is not given up only
	// to be made anew.
	spareBuffers = 64
	spareTime    = time.Second
)

// newPool returns a pool of about so many bytes.
func newPool(bytes int) *pool { return &pool{limit: bytes / bufferSize} }

// A share is one transfer's part of a pool. Whatever others hold, it may have as
// many buffers as it was promised, so that no transfer waits for another's end.
type share struct {
	pool     *pool
	promised int // this and held are guarded by pool.mu
	held     int
}

// share makes a share; close ends it.
func (p *pool) share() *share {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shares++
	return &share{pool: p}
}

// promise raises the number of buffers that the share gets in any case.
func (s *share) promise(count int) {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	s.promised = max(s.promised, count)
}

// close says that the share takes no more buffers. Those it holds may still be
// released later.
func (s *share) close() {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	s.pool.shares--
}

// shared tells whether there are other shares.
func (s *share) shared() bool {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return s.pool.shares > 1
}

// fair is how many buffers each share can have if all have the same.
func (s *share) fair() int {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return s.pool.limit / max(s.pool.shares, 1)
}

// ticket is a share's place in the queue for buffers.
type ticket struct {
	share *share
	count int
	got   chan []*buffer // buffered
}

// take returns count buffers, each with one owner, as soon as they are free.
func (s *share) take(ctx context.Context, count int) ([]*buffer, error) {
	p := s.pool
	p.mu.Lock()
	if len(p.waiting) == 0 && p.fits(s, count) || s.held+count <= s.promised {
		defer p.mu.Unlock()
		return p.grant(s, count), nil
	}
	t := &ticket{share: s, count: count, got: make(chan []*buffer, 1)}
	p.waiting = append(p.waiting, t)
	p.mu.Unlock()
	select {
	case buffers := <-t.got:
		return buffers, nil
	case <-ctx.Done():
		return nil, p.withdraw(t, ctx)
	}
}

// tryTake is take without waiting: nil if there is not enough.
func (s *share) tryTake(count int) []*buffer {
	p := s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 && p.fits(s, count) {
		return p.grant(s, count)
	}
	return nil
}

// force takes a buffer even if that is one too many.
func (s *share) force() *buffer {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return s.pool.grant(s, 1)[0]
}

// withdraw takes a ticket out of the queue, or returns what it has just got.
func (p *pool) withdraw(t *ticket, ctx context.Context) error {
	p.mu.Lock()
	i := slices.Index(p.waiting, t)
	if i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		p.serve() // it may have stood before others that fit
	}
	p.mu.Unlock()
	if i < 0 {
		for _, b := range <-t.got {
			b.release()
		}
	}
	return context.Cause(ctx)
}

func (p *pool) fits(s *share, count int) bool {
	return p.used+count <= p.limit || s.held+count <= s.promised
}

// grant hands out buffers. The caller holds the lock.
func (p *pool) grant(s *share, count int) []*buffer {
	p.used += count
	s.held += count
	buffers := make([]*buffer, count)
	for i := range buffers {
		var b *buffer
		if last := len(p.free) - 1; last >= 0 {
			b, p.free[last] = p.free[last], nil
			p.free = p.free[:last]
		} else {
			b = &buffer{bytes: erasure.NewBuffer(p.made, wire.HeaderSize, bufferSize)}
			p.made++
		}
		b.share = s
		b.refs.Store(1)
		buffers[i] = b
	}
	return buffers
}

// put takes a buffer back.
func (p *pool) put(b *buffer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used--
	b.share.held--
	b.share = nil
	p.free = append(p.free, b)
	p.serve()
	if p.used == 0 && len(p.free) > spareBuffers {
		p.emptied = time.Now()
		if !p.trimming {
			p.trimming = true
			time.AfterFunc(spareTime, p.trim)
		}
	}
}

// trim gives up what is more than spare, once that has not been used for a while.
func (p *pool) trim() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trimming = false
	if p.used > 0 || len(p.free) <= spareBuffers {
		return // the next end of use comes here again
	}
	if rest := spareTime - time.Since(p.emptied); rest > 0 {
		p.trimming = true
		time.AfterFunc(rest, p.trim)
		return
	}
	clear(p.free[spareBuffers:])
	p.free = p.free[:spareBuffers]
}

// serve grants what waiting shares can have: in the order they came, and out
// of it what they were promised. The caller holds the lock.
func (p *pool) serve() {
	first := true
	p.waiting = slices.DeleteFunc(p.waiting, func(t *ticket) bool {
		if first && p.fits(t.share, t.count) || t.share.held+t.count <= t.share.promised {
			t.got <- p.grant(t.share, t.count)
			return true
		}
		first = false
		return false
	})
}

// releaseAll lets go of every buffer that is there.
func releaseAll(buffers []*buffer) {
	for _, b := range buffers {
		if b != nil {
			b.release()
		}
	}
}
