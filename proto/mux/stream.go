package mux

import (
	"cmp"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A Stream is a two-way flow of bytes. One goroutine may read while another
// writes; everything else may be called at any time.
type Stream struct {
	session *Session
	id      uint32
	release func() // of its memory

	// Hold a token when there may be news for who reads, and for who writes.
	readNews, writeNews chan struct{}
	waiting             atomic.Int32 // reads and writes that wait for either, or to receive

	mu              sync.Mutex
	in              inbox
	inEnd           error  // what follows the inbox: io.EOF, or why nothing can be read
	outEnd          error  // why nothing can be written
	credit          uint32 // bytes that may be sent
	allowed         uint32 // bytes that the peer may send
	owed            uint32 // bytes that were read and that the peer does not know of
	readBy, writeBy deadline
	unacknowledged  bool // opened here, and holds a token of opening
	reset           bool // or its session is over
}

func newStream(s *Session, id uint32, release func()) *Stream {
	return &Stream{
		session: s, id: id, release: release, credit: LeastWindow,
		readNews: make(chan struct{}, 1), writeNews: make(chan struct{}, 1),
	}
}

// Read is io.Reader. After the deadline it returns os.ErrDeadlineExceeded if there
// is nothing to read.
func (st *Stream) Read(p []byte) (int, error) {
	for len(p) > 0 {
		n, end := st.takeOut(p)
		if n > 0 || end != nil {
			return n, end
		}
		if n := st.await(st.readNews, (*Stream).readable, p); n > 0 {
			st.mu.Lock()
			more := st.owe(n)
			st.mu.Unlock()
			st.tell(more)
			return n, nil
		}
	}
	return 0, nil
}

// await waits for news, or receives until the stream is ready or some data of it is in
// p: n bytes.
func (st *Stream) await(news chan struct{}, look func(*Stream) (ready, again bool), p []byte) (n int) {
	st.waiting.Add(1)
	select {
	case <-news:
		st.waiting.Add(-1)
		return 0
	case st.session.receiver.turn <- struct{}{}:
		st.waiting.Add(-1)
		return st.session.receiveFor(st, look, p)
	}
}

// takeOut reads what there is.
func (st *Stream) takeOut(p []byte) (n int, end error) {
	st.mu.Lock()
	var more uint32
	if n = st.in.read(p); n > 0 {
		more = st.owe(n)
	} else {
		end = cmp.Or(st.inEnd, st.readBy.passed)
	}
	st.mu.Unlock()
	st.tell(more)
	return n, end
}

// owe takes note of what was read and returns what the peer is to be told that it may
// send: half a window at least, or nothing. The caller holds the lock.
func (st *Stream) owe(bytes int) (more uint32) {
	if st.owed += uint32(bytes); st.inEnd == nil && int(st.owed) >= st.session.config.Window/2 {
		more, st.owed = st.owed, 0
		st.allowed += more
	}
	return more
}

// tell tells the peer that it may send so many bytes more, if there are any.
func (st *Stream) tell(more uint32) {
	if more > 0 {
		st.session.control(header{update, 0, st.id, more})
	}
}

// readable tells whether Read needs to wait no more, and whether one may once again.
func (st *Stream) readable() (ready, again bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	again = st.inEnd == nil && st.readBy.passed == nil
	return len(st.in.pieces) > 0 || !again, again
}

// writable tells whether Write has not to wait for the peer any more, and whether one
// may once again.
func (st *Stream) writable() (ready, again bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	again = st.outEnd == nil && st.writeBy.passed == nil
	return st.credit > 0 || !again, again
}

// Write is io.Writer. It returns when all is on its way, which may take until the
// deadline; then it returns os.ErrDeadlineExceeded.
func (st *Stream) Write(p []byte) (written int, err error) {
	for written < len(p) {
		n, err := st.spend(min(len(p)-written, st.session.config.MaxMessage))
		if err != nil {
			return written, err
		}
		if err := st.session.send(st, p[written:written+n]); err != nil {
			st.credited(uint32(n))
			return written, err
		}
		written += n
	}
	return written, nil
}

// spend waits until the peer has room, and takes up to so many bytes of that.
func (st *Stream) spend(most int) (int, error) {
	for {
		st.mu.Lock()
		n, end := min(int64(most), int64(st.credit)), cmp.Or(st.outEnd, st.writeBy.passed)
		if end == nil {
			st.credit -= uint32(n)
		}
		st.mu.Unlock()
		if end != nil {
			return 0, end
		}
		if n > 0 {
			return int(n), nil
		}
		st.await(st.writeNews, (*Stream).writable, nil)
	}
}

// awaitTurn waits until nobody else writes to the connection.
func (st *Stream) awaitTurn() error {
	for {
		if end := st.outError(); end != nil {
			return end
		}
		select {
		case st.session.turn <- struct{}{}:
			return nil
		case <-st.writeNews: // the end, or the deadline
		}
	}
}

// outError is why nothing can be written just now.
func (st *Stream) outError() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	return cmp.Or(st.outEnd, st.writeBy.passed)
}

// CloseWrite tells the peer that nothing more will come; reading goes on.
func (st *Stream) CloseWrite() error {
	st.mu.Lock()
	end, over := st.outEnd, st.inEnd != nil
	if end == nil {
		st.outEnd = ErrStreamClosed
	}
	st.mu.Unlock()
	switch end {
	case nil:
	case ErrStreamClosed:
		return nil
	default:
		return end
	}
	st.wake(st.writeNews)
	st.session.control(header{update, finished, st.id, 0})
	if over {
		st.session.remove(st)
	}
	return nil
}

// CloseRead drops what comes and has come; the peer is not told.
func (st *Stream) CloseRead() error {
	st.mu.Lock()
	if st.inEnd == nil {
		st.inEnd = ErrReset
	}
	st.in.clear()
	over := st.outEnd != nil
	st.mu.Unlock()
	st.wake(st.readNews)
	if over {
		st.session.remove(st)
	}
	return nil
}

// Close is CloseRead and CloseWrite.
func (st *Stream) Close() error {
	_ = st.CloseRead() // cannot fail
	return st.CloseWrite()
}

// Reset ends both directions at once, at both ends, and says why.
func (st *Stream) Reset(code uint32) {
	if st.end(&StreamError{Code: code}) {
		st.session.control(header{update, reset, st.id, code})
	}
	st.session.remove(st)
}

// end has reads and writes fail, but for a direction that has come to its end. It
// tells whether any had not.
func (st *Stream) end(why error) (open bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.reset {
		return false
	}
	st.reset = true
	if st.inEnd == nil {
		st.inEnd, open = why, true
		st.in.clear()
	}
	if st.outEnd == nil {
		st.outEnd, open = why, true
	}
	st.wake(st.readNews)
	st.wake(st.writeNews)
	return open
}

// finished is the end of what the peer sends. It tells whether that was the last
// that was open of the stream.
func (st *Stream) finished() (over bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.inEnd == nil {
		st.inEnd = io.EOF
	}
	notify(st.readNews)
	return st.outEnd != nil
}

// forget gives back what a stream holds that is over at both ends.
func (st *Stream) forget() {
	st.mu.Lock()
	st.readBy.clear()
	st.writeBy.clear()
	st.mu.Unlock()
	st.release()
}

// acknowledge notes that the peer has accepted the stream, or never will.
func (st *Stream) acknowledge() {
	st.mu.Lock()
	first := st.unacknowledged
	st.unacknowledged = false
	st.mu.Unlock()
	if first {
		<-st.session.opening
	}
}

// credited is what the peer has room for in addition.
func (st *Stream) credited(bytes uint32) {
	st.mu.Lock()
	st.credit = uint32(min(uint64(st.credit)+uint64(bytes), 1<<32-1))
	st.mu.Unlock()
	notify(st.writeNews)
}

// allow lets the peer send so many bytes more.
func (st *Stream) allow(bytes uint32) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.allowed += bytes
}

// use takes what the peer sends from what it may send.
func (st *Stream) use(bytes uint32) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if bytes > st.allowed {
		return false
	}
	st.allowed -= bytes
	return true
}

// deliver becomes the owner of memory with so many bytes that were received.
func (st *Stream) deliver(memory *[]byte, size int) {
	st.mu.Lock()
	dropped := st.inEnd != nil
	if !dropped {
		st.in.add(memory, size)
	}
	st.mu.Unlock()
	if dropped {
		givePiece(memory)
		return
	}
	notify(st.readNews)
}

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (st *Stream) SetDeadline(t time.Time) error {
	_ = st.SetReadDeadline(t)
	return st.SetWriteDeadline(t)
}

// SetReadDeadline sets until when a Read waits; zero: as long as it takes.
func (st *Stream) SetReadDeadline(t time.Time) error {
	st.set(&st.readBy, t, st.readNews)
	return nil
}

// SetWriteDeadline sets until when a Write waits; zero: as long as it takes.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	st.set(&st.writeBy, t, st.writeNews)
	return nil
}

// A deadline has one timer for as long as it is to come, so that waiting costs none.
// One that is moved on leaves it as it is: it goes off too soon, and is set again.
type deadline struct {
	at     time.Time // zero: there is none
	passed error     // os.ErrDeadlineExceeded once it has
	timer  *time.Timer
	due    time.Time // when the timer goes off; zero: it does not
}

// set sets a deadline, of which who waits for the news hears.
func (st *Stream) set(d *deadline, t time.Time, news chan struct{}) {
	st.mu.Lock()
	defer st.mu.Unlock()
	d.at, d.passed = t, nil
	left := time.Until(t)
	switch {
	case t.IsZero() || st.inEnd != nil && st.outEnd != nil: // nothing waits any more
		d.clear()
	case left <= 0:
		d.passed = os.ErrDeadlineExceeded
		st.wake(news)
	case d.timer == nil:
		d.timer, d.due = time.AfterFunc(left, func() { st.isDue(d, news) }), t
	case d.due.IsZero() || t.Before(d.due):
		d.timer.Reset(left)
		d.due = t
	}
}

// isDue has a deadline pass whose timer has gone off, unless it was moved.
func (st *Stream) isDue(d *deadline, news chan struct{}) {
	st.mu.Lock()
	defer st.mu.Unlock()
	d.due = time.Time{}
	if d.at.IsZero() || d.passed != nil {
		return
	}
	if left := time.Until(d.at); left > 0 {
		d.timer.Reset(left)
		d.due = d.at
		return
	}
	d.passed = os.ErrDeadlineExceeded
	st.wake(news)
}

func (d *deadline) clear() {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.at, d.due, d.passed = time.Time{}, time.Time{}, nil
}

// wake tells who reads, or writes, of news that were not received.
func (st *Stream) wake(news chan struct{}) {
	notify(news)
	st.session.call(st)
}

func notify(news chan struct{}) {
	select {
	case news <- struct{}{}:
	default:
	}
}
