package uplink

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/wire"
)

// getStream is what a slotReader needs of nodeclient.Get. Receive may run beside
// RequestParts, and Reset at any time.
type getStream interface {
	RequestParts(segment order.SegmentID, offset int64, lengths []int) error
	Receive(into []byte) error
	Close() error
	Reset()
}

// A request asks a slot for shard bytes. done is called once, with what became
// of it, and then nobody writes to into any more.
type request struct {
	segment order.SegmentID
	offset  int64
	into    []byte
	done    func(error)
}

// A slotReader gets shard bytes from the holder of one slot over one stream,
// which all downloads share. Requests are sent ahead and answered in order.
type slotReader struct {
	session *getSession
	slot    int
	node    leaseNode
	wake    chan struct{} // holds a token when there may be something to do
	used    atomic.Int64  // of the lease, in bytes

	mu      sync.Mutex
	queue   []*request    // not yet sent
	running bool          // run is
	stream  *receiving    // nil when there is none
	parted  bool          // the session is over
	slow    time.Time     // until then others are preferred
	penalty time.Duration // by which slow was last moved on
	heard   time.Time     // when an answer came last, or the first question went out
	pace    time.Duration // between answers that had been asked for before; a moving average
	chained bool          // the next answer was asked for before the last one came
}

const (
	// maxAsked is how many requests are sent ahead.
	maxAsked = wire.MaxPipelined / 2
	// maxTogether is how many bytes are asked of a node at once. Each question
	// costs both sides as much as some 100 KB on their way.
	maxTogether = 1 << 20
)

// ask enqueues a request.
func (r *slotReader) ask(q *request) {
	r.mu.Lock()
	if r.parted {
		r.mu.Unlock()
		q.done(ErrClosed)
		return
	}
	r.queue = append(r.queue, q)
	r.session.lease.use(r.used.Add(int64(len(q.into))))
	if !r.running {
		r.running = true
		r.session.tasks.Go(r.run)
	}
	r.mu.Unlock()
	if !r.session.held() {
		r.nudge()
	}
}

// asked tells whether there is anything to send.
func (r *slotReader) asked() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queue) > 0
}

// withdraw takes back a request that was not sent yet.
func (r *slotReader) withdraw(q *request) {
	r.mu.Lock()
	i := slices.Index(r.queue, q)
	if i >= 0 {
		r.queue = slices.Delete(r.queue, i, i+1)
	}
	r.mu.Unlock()
	if i >= 0 {
		q.done(context.Canceled)
	}
}

func (r *slotReader) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run sends requests until there have been none for a while.
func (r *slotReader) run() {
	for {
		next := r.next()
		if next == nil {
			return
		}
		stream, err := r.open()
		if err != nil {
			r.failed(err)
			for _, q := range next {
				q.done(err)
			}
			r.refuse(err)
			continue
		}
		stream.send(next)
	}
}

// next waits for requests to send, one or several that can be asked at once.
// With none for long it ends the stream and the run.
func (r *slotReader) next() []*request {
	idle := time.NewTimer(idleStream)
	defer idle.Stop()
	quiet := false
	for {
		r.mu.Lock()
		if len(r.queue) > 0 && !r.session.held() {
			n := together(r.queue)
			next := r.queue[:n:n]
			r.queue = r.queue[n:]
			r.mu.Unlock()
			return next
		}
		if len(r.queue) == 0 && (quiet || r.parted) {
			r.running = false
			stream := r.stream
			r.stream = nil
			r.mu.Unlock()
			if stream != nil {
				close(stream.asked)
			}
			return nil
		}
		r.mu.Unlock()
		select {
		case <-r.wake:
		case <-idle.C:
			quiet = true
		}
	}
}

// together is how many of the first requests continue one another.
func together(queue []*request) int {
	n, size := 1, len(queue[0].into)
	for ; n < len(queue); n++ {
		q := queue[n]
		if q.segment != queue[0].segment || q.offset != queue[0].offset+int64(size) || size+len(q.into) > maxTogether {
			break
		}
		size += len(q.into)
	}
	return n
}

// open returns the stream there is or a new one.
func (r *slotReader) open() (*receiving, error) {
	r.mu.Lock()
	stream := r.stream
	if stream != nil && stream.err == nil {
		r.mu.Unlock()
		return stream, nil
	}
	r.stream = nil
	r.heard = time.Now()
	r.mu.Unlock()
	if stream != nil {
		close(stream.asked)
	}
	ctx, cancel := context.WithTimeout(r.session.ctx, r.session.tolerate.opening(r.node))
	defer cancel()
	get, err := r.session.open(ctx, r.node.address)
	if err != nil {
		return nil, err
	}
	stream = &receiving{reader: r, get: get, asked: make(chan *request, maxAsked)}
	r.mu.Lock()
	r.stream = stream
	r.mu.Unlock()
	r.session.tasks.Go(stream.run)
	return stream, nil
}

// refuse fails what is in the queue.
func (r *slotReader) refuse(err error) {
	r.mu.Lock()
	queue := r.queue
	r.queue = nil
	r.mu.Unlock()
	for _, q := range queue {
		q.done(err)
	}
}

// failed remembers that the node cannot be reached, or its stream broke.
func (r *slotReader) failed(err error) {
	if !errors.Is(err, ErrClosed) && leaseError(err) == nil {
		r.session.peers.failed(r.node.address.ID)
	}
}

// lag has other slots preferred for a while. A stream on which nothing has come
// for long, though something was asked for, is cut, so that what it owes fails.
func (r *slotReader) lag() {
	r.mu.Lock()
	now := time.Now()
	if now.After(r.slow) {
		r.penalty = min(max(2*r.penalty, minPenalty), maxPenalty)
		r.slow = now.Add(r.penalty)
	}
	stream := r.stream
	if stream != nil && (stream.owed == 0 || now.Sub(r.heard) < r.session.tolerate.stall) {
		stream = nil
	}
	r.mu.Unlock()
	if stream != nil {
		stream.get.Reset()
	}
}

// answered takes note of an answer; more tells whether another is owed already.
// The caller holds the lock.
func (r *slotReader) answered(now time.Time, more bool) {
	if gap := now.Sub(r.heard); r.chained && r.pace == 0 {
		r.pace = gap
	} else if r.chained {
		r.pace += (gap - r.pace) / 4
	}
	r.heard, r.chained = now, more
}

// keepsUp tells whether a slot that owes answers sends them, and about as quickly
// as it is usual.
func (r *slotReader) keepsUp(usual time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pace > 0 && r.pace <= lessPace*usual && time.Since(r.heard) < r.session.tolerate.hedge
}

const (
	// lessPace times what is usual may lie between the answers of a slot.
	lessPace = 2

	// minPenalty is for how long a slot that was slow is not preferred. It doubles
	// up to maxPenalty each time that the slot is slow again before it has been
	// well for as long: one on a thin line answers well at first, and to try it
	// again holds up all that was asked of it.
	minPenalty = 10 * time.Second
	maxPenalty = time.Minute
)

// quick tells whether the slot is as good as any.
func (r *slotReader) quick() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().After(r.slow)
}

// close ends the reader. What was asked before is still answered.
func (r *slotReader) close() {
	r.mu.Lock()
	r.parted = true
	r.mu.Unlock()
	r.nudge()
}

// receiving is a get stream with the requests that wait for their answers.
type receiving struct {
	reader *slotReader
	get    getStream
	asked  chan *request // closed by the reader when it parts with the stream
	owed   int           // answers; this and err are guarded by reader.mu
	err    error         // that ended it
}

// send asks for what requests that continue one another want, and leaves the
// rest to run.
func (s *receiving) send(next []*request) {
	s.reader.mu.Lock()
	if s.owed == 0 {
		s.reader.heard, s.reader.chained = time.Now(), false
	}
	s.owed += len(next)
	s.reader.mu.Unlock()
	lengths := make([]int, len(next))
	for i, q := range next {
		lengths[i] = len(q.into)
	}
	// An error ends the stream and so comes out of Receive, too.
	_ = s.get.RequestParts(next[0].segment, next[0].offset, lengths)
	for _, q := range next {
		s.asked <- q
	}
}

// run receives the answers, in the order of the requests. After the end of the
// stream the rest fails, too.
func (s *receiving) run() {
	defer s.get.Close()
	for q := range s.asked {
		err := s.ended()
		if err == nil {
			err = s.get.Receive(q.into)
		}
		s.received(err)
		q.done(err)
	}
}

func (s *receiving) ended() error {
	s.reader.mu.Lock()
	defer s.reader.mu.Unlock()
	return s.err
}

// received tells what a node says of one request from the end of the stream.
func (s *receiving) received(err error) {
	var said *wire.Error
	over := err != nil && !errors.As(err, &said)
	s.reader.mu.Lock()
	s.owed--
	switch {
	case err == nil:
		s.reader.answered(time.Now(), s.owed > 0)
		if s.reader.heard.After(s.reader.slow.Add(s.reader.penalty)) {
			s.reader.penalty = 0
		}
	case over && s.err == nil:
		s.err = err
	}
	s.reader.mu.Unlock()
	switch {
	case err == nil:
		s.reader.session.peers.worked(s.reader.node.address.ID)
	case over:
		s.reader.failed(err)
	}
}
