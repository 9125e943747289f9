package mux

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// lookTime is for how long nobody receives, and twice that at most, until the session's
// own goroutine does.
const lookTime = 20 * time.Millisecond

// A receiver says whose turn it is to receive. Whoever waits for something that the
// peer sends receives it by itself, and whatever else comes before: so data goes at
// once where it is wanted, and no goroutine is woken to be handed it. While nobody
// waits a goroutine of the session receives. It passes the turn on as soon as there
// is something for a stream, whose user may soon wait for more.
type receiver struct {
	turn chan struct{} // holds a token while somebody receives
	idle chan struct{} // holds a token when it is time for the session's goroutine
	in   incoming      // of whose turn it is

	mu      sync.Mutex
	by      *Stream     // for which the turn is used; nil: for all
	called  atomic.Bool // by a deadline in the past, to look for other news
	passed  bool        // the turn was, since look was here
	looking *time.Timer // for look, running while watched
	watched bool
}

func (s *Session) initReceiver() {
	s.receiver.turn, s.receiver.idle = make(chan struct{}, 1), make(chan struct{}, 1)
	s.receiver.looking = time.AfterFunc(time.Hour, s.look)
	s.receiver.looking.Stop()
}

// receive receives when nobody else does, until the connection ends.
func (s *Session) receive() {
	r := &s.receiver
	for {
		select {
		case r.turn <- struct{}{}:
			s.receiveFor(nil, func(*Stream) (ready, again bool) { return r.in.news, true }, nil)
		default:
		}
		select {
		case <-r.idle:
		case <-s.received:
			return
		}
	}
}

// receiveFor receives until a stream is ready, or some data of it has been put into p:
// n bytes. It uses up the turn, which the caller has.
func (s *Session) receiveFor(st *Stream, look func(*Stream) (ready, again bool), p []byte) (n int) {
	r := &s.receiver
	r.mu.Lock()
	r.by = st
	r.mu.Unlock()
	r.in.news = false
	ready, again := look(st)
	for n == 0 && !ready {
		var err error
		if n, err = s.receiveSome(st, p); err != nil {
			s.endReceiving(err)
			return 0
		}
		ready, again = look(st)
	}
	s.passTurn(again)
	return n
}

// receiveSome receives by one read: data of the stream into p, if that is what comes,
// n bytes, or else anything.
func (s *Session) receiveSome(st *Stream, p []byte) (n int, err error) {
	in := &s.receiver.in
	into, direct := in.space(st, p)
	got, err := s.conn.Read(into)
	if got == 0 {
		return 0, s.explain(err)
	}
	s.alive.Store(true)
	switch {
	case in.left == 0:
		return 0, s.arrivedHeader(got)
	case direct:
		in.left -= uint32(got)
		n = got
	default:
		in.arrived(got)
	}
	if in.left == 0 {
		s.endFrame()
	}
	return n, nil
}

// explain is what an error means to who receives. It is none if somebody called.
func (s *Session) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && s.resume():
		return nil
	case err == io.EOF && s.receiver.in.within():
		return io.ErrUnexpectedEOF
	}
	return err
}

// endReceiving ends the session when no more can be received. It keeps the turn.
func (s *Session) endReceiving(err error) {
	if errors.Is(err, ErrProtocol) {
		s.settle(header{goAway, 0, 0, wrongProtocol})
	}
	s.receiver.in.drop()
	s.fail(err)
	close(s.received)
}

// passTurn lets others receive. The session's goroutine does if none has for a while,
// or at once if this one will not come again.
func (s *Session) passTurn(again bool) {
	r := &s.receiver
	r.mu.Lock()
	r.by = nil
	s.unsetCall()
	if r.passed = true; !r.watched {
		r.watched = true
		r.looking.Reset(lookTime)
	}
	<-r.turn
	r.mu.Unlock()
	if !again || s.IsClosed() { // of which it has to find out, too
		notify(r.idle)
	}
}

// look finds out whether anybody receives, now and then.
func (s *Session) look() {
	r := &s.receiver
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watched = false
	switch {
	case len(r.turn) > 0: // until the turn is passed
	case r.passed:
		r.passed, r.watched = false, true
		r.looking.Reset(lookTime)
	default:
		notify(r.idle)
	}
}

// call has a stream's Read or Write that receives look for other news.
func (s *Session) call(st *Stream) {
	r := &s.receiver
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by != st || r.called.Load() {
		return
	}
	r.called.Store(true)
	_ = s.conn.SetReadDeadline(time.Unix(1, 0)) // it fails for a connection that has ended, as reads do
	s.mu.Lock()                                 // or answer might not hear of it
	s.drained.Broadcast()
	s.mu.Unlock()
}

// resume tells whether somebody has called, and makes the connection readable again.
func (s *Session) resume() bool {
	s.receiver.mu.Lock()
	defer s.receiver.mu.Unlock()
	return s.unsetCall()
}

func (s *Session) unsetCall() (called bool) {
	if called = s.receiver.called.Swap(false); called {
		_ = s.conn.SetReadDeadline(time.Time{})
	}
	return called
}
