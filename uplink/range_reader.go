package uplink

import (
	"context"
	"io"
)

const (
	// readAhead bounds, in bytes, the buffers of the spans that are fetched ahead
	// of what is read; but minAhead spans there may always be, and farAhead over
	// long lines: 2 MiB of each slot, so that half of them keeps a line of 100
	// Mbit/s busy for 80 ms while the others are asked for.
	readAhead = 32 << 20
	minAhead  = 3
	farAhead  = 8
	// maxBegun is how many spans are begun together, so that each slot is asked
	// for its part of them at once.
	maxBegun = maxTogether / bufferSize
)

// A rangeReader reads a range of an object from its beginning to its end,
// fetching spans ahead: few at first, in case that little is read.
type rangeReader struct {
	extents *extents
	ctx     context.Context
	cancel  context.CancelFunc
	memory  *share
	next    int64 // where the next span begins
	end     int64
	begun   int     // spans
	ahead   int     // how many there may be now
	spans   []*span // begun and not yet read to their ends
	chunk   int     // of the first span
	rest    []byte  // of that chunk
	left    int     // bytes to read of the first span
	err     error
}

func newRangeReader(ctx context.Context, e *extents, from, to int64) *rangeReader {
	r := &rangeReader{extents: e, memory: e.p.transfers.get.share(), next: from, end: to, ahead: 2}
	r.ctx, r.cancel = context.WithCancel(ctx)
	return r
}

// whole says that all of the range is going to be read.
func (r *rangeReader) whole() { r.ahead = max(r.ahead, farAhead) }

// more returns further plaintext, up to a chunk of it, which is valid until the
// next call. At the end of the range it is io.EOF.
func (r *rangeReader) more() ([]byte, error) {
	for len(r.rest) == 0 {
		if r.err == nil {
			r.err = r.step()
		}
		if r.err != nil {
			return nil, r.err
		}
	}
	piece := r.rest
	r.rest = nil
	return piece, nil
}

// read copies plaintext to p.
func (r *rangeReader) read(p []byte) (int, error) {
	piece, err := r.more()
	n := copy(p, piece)
	r.rest = piece[n:]
	return n, err
}

// step goes on to the next chunk.
func (r *rangeReader) step() error {
	if r.left == 0 {
		if err := r.turn(); err != nil {
			return err
		}
	}
	sp := r.spans[0]
	plain := sp.window.chunk(r.chunk)
	if r.chunk == 0 {
		plain = plain[sp.skip:]
	}
	r.rest = plain[:min(len(plain), r.left)]
	r.left -= len(r.rest)
	r.chunk++
	return nil
}

// turn goes on to the next span, of which there is something to read, and waits
// until it is there. Before and after, others are begun.
func (r *rangeReader) turn() error {
	if len(r.spans) > 0 {
		r.spans[0].window.release()
		r.spans = r.spans[1:]
	}
	if err := r.begin(); err != nil {
		return err
	}
	if len(r.spans) == 0 {
		return io.EOF
	}
	sp := r.spans[0]
	select {
	case <-sp.ready:
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
	if sp.err != nil {
		return sp.err
	}
	r.chunk, r.left = 0, sp.length
	r.ahead += 2
	return r.begin()
}

// begin begins to fetch spans, when there is room for as many as are worth the
// asking.
func (r *rangeReader) begin() error {
	var begun []*span
	for r.next < r.end {
		sp, err := r.plan(len(begun))
		if err != nil || sp == nil {
			r.start(begun)
			return err
		}
		begun = append(begun, sp)
		r.spans = append(r.spans, sp)
		r.next += int64(sp.length)
		r.begun++
	}
	r.start(begun)
	return nil
}

// plan makes the next span, with all that it needs to be fetched; or none if it
// is not its time. So many were planned just before it.
func (r *rangeReader) plan(before int) (*span, error) {
	segment, err := r.extents.at(r.ctx, r.next, r.end)
	if err != nil {
		return nil, err
	}
	sp := segment.span(r.next, r.end, min(1<<min(r.begun, 8), batchStripes))
	most := min(r.ahead, max(r.least(), readAhead/bufferSize/sp.need()))
	room := most - len(r.spans)
	if room <= 0 || before == 0 && len(r.spans) > 0 && room < min(maxBegun, most/2) {
		return nil, nil
	}
	buffers, err := r.gather(sp)
	if buffers == nil {
		return nil, err
	}
	session, err := segment.session(r.ctx)
	if err != nil {
		releaseAll(buffers)
		return nil, err
	}
	sp.window.prepare(session, r.memory, buffers)
	return sp, nil
}

// least is how many spans there may be ahead in any case.
func (r *rangeReader) least() int {
	if len(r.spans) > 0 && r.spans[0].window.session.typical.long() {
		return farAhead
	}
	return minAhead
}

// gather takes the memory for a span. It waits for it only if there is nothing
// else to wait for.
func (r *rangeReader) gather(sp *span) ([]*buffer, error) {
	if len(r.spans) > 0 {
		return r.memory.tryTake(sp.need()), nil
	}
	r.memory.promise(sp.need())
	return r.memory.take(r.ctx, sp.need())
}

// start begins to fetch spans, of which those that follow one another in a
// segment are asked for at once.
func (r *rangeReader) start(begun []*span) {
	for _, sp := range begun {
		sp.window.session.hold()
	}
	for _, sp := range begun {
		sp.window.start()
	}
	for _, sp := range begun {
		sp.window.session.letGo()
		go func() {
			defer close(sp.ready)
			sp.err = sp.window.fetch(r.ctx)
		}()
	}
}

// close gives back what the reader holds. It waits for what is under way.
func (r *rangeReader) close() {
	r.cancel()
	for _, sp := range r.spans {
		<-sp.ready
		sp.window.release()
	}
	r.spans, r.rest, r.left = nil, nil, 0
	r.err = ErrClosed
	r.memory.close()
}
