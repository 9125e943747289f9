// Package mux lets many streams share one connection. It speaks yamux, version 0,
// with two habits of libp2p: a reset carries why in the length of its frame, and so
// does the end of a session. (https://github.com/hashicorp/yamux/blob/master/spec.md)
//
// What sets it apart from other implementations is that reads and writes are done
// by whom they are for: nothing is copied to be sent by another goroutine, or was
// received by one, and none is woken, unless the connection takes no more just then
// or something for others comes. Windows are as large from the beginning as they will
// ever be.
package mux

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// LeastWindow is the window that all streams begin with, in bytes.
	LeastWindow = 256 << 10

	backlog = 256 // streams of a peer that wait to be accepted, or of ours for the peer

	maxPending = 256 // control frames that are sent at a time

	// maxAnswers is how many answers wait to be sent before nothing more is
	// received. A peer that keeps to the backlog waits for fewer.
	maxAnswers = 2 * backlog
)

// Config says how a session behaves. All of it is needed but Lead.
type Config struct {
	// Window is how many bytes the peer may send on a stream that were not read
	// yet; at least LeastWindow.
	Window int
	// MaxMessage is the most data that is sent in one frame, in bytes.
	MaxMessage int
	// Lead is how many bytes of a message are sent with the header of its frame, apart
	// from the rest, so that who reads as many first can have the rest put in place.
	Lead int
	// WriteTimeout is how long a frame may take to be sent.
	WriteTimeout time.Duration
	// KeepAlive is after how much silence the peer is asked whether it is there.
	// A session is given up when nothing was heard for two to three times as long.
	KeepAlive time.Duration
	// Reserve accounts for LeastWindow bytes of memory, which release gives back.
	Reserve func() (release func(), err error)
}

// A Session is one end of a connection. It is safe for concurrent use.
type Session struct {
	config   Config
	conn     net.Conn
	out      aheadWriter
	turn     chan struct{} // holds a token while somebody writes
	head     []byte        // of what is written; whose turn it is has it
	accepted chan *Stream  // to be handed out by AcceptStream
	opening  chan struct{} // a token for each stream that the peer has not acknowledged
	over     chan struct{} // closed at the end
	receiver receiver
	received chan struct{} // closed when nothing will be received

	alive, active atomic.Bool // something was heard since the last tick; more than pings
	silent        int         // ticks without anything; of tick alone
	ticking       *time.Timer

	mu      sync.Mutex
	drained sync.Cond // there is room for answers, the session over, or who receives called
	pending []byte    // control frames, to be sent before others
	answers []byte    // and those that the peer has asked for
	streams map[uint32]*Stream
	next    uint32 // stream
	err     error  // why it is over
	leaving error  // why it will be, though the peer may be faster in closing the connection
}

// New begins a session. The parties must not both be the client. A deadline that
// passes must not keep conn from being read later on.
func New(conn net.Conn, client bool, c Config) *Session {
	s := &Session{
		config: c, conn: conn, out: writerOf(conn),
		turn: make(chan struct{}, 1), accepted: make(chan *Stream, backlog), opening: make(chan struct{}, backlog),
		over: make(chan struct{}), received: make(chan struct{}),
		streams: make(map[uint32]*Stream), next: 2,
	}
	if client {
		s.next = 1
	}
	s.drained.L = &s.mu
	s.initReceiver()
	s.mu.Lock() // or tick might not find it
	s.ticking = time.AfterFunc(c.KeepAlive, s.tick)
	s.mu.Unlock()
	go s.receive()
	return s
}

// OpenStream begins a stream. It waits while the peer is behind with accepting.
func (s *Session) OpenStream(ctx context.Context) (*Stream, error) {
	select {
	case s.opening <- struct{}{}:
	case <-s.over:
		return nil, s.Err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	release, err := s.config.Reserve()
	if err != nil {
		<-s.opening
		return nil, fmt.Errorf("open a stream: %w", err)
	}
	s.mu.Lock()
	if err = s.err; err == nil && s.next >= 1<<32-2 {
		err = fmt.Errorf("%w: there were too many streams", ErrClosed)
	}
	if err != nil {
		s.mu.Unlock()
		release()
		<-s.opening
		return nil, err
	}
	st := newStream(s, s.next, release)
	st.allowed = uint32(s.config.Window)
	st.unacknowledged = true
	s.next += 2
	s.streams[st.id] = st
	s.mu.Unlock()
	s.control(header{update, opened, st.id, uint32(s.config.Window - LeastWindow)})
	return st, nil
}

// AcceptStream waits for a stream that the peer opens.
func (s *Session) AcceptStream() (*Stream, error) {
	select {
	case st := <-s.accepted:
		more := uint32(s.config.Window - LeastWindow)
		st.allow(more)
		s.control(header{update, acknowledged, st.id, more})
		return st, nil
	case <-s.over:
		return nil, s.Err()
	}
}

// Close ends the session and all of its streams. What was written still reaches the
// peer, if that takes it at once.
func (s *Session) Close() error { return s.leave(ErrClosed) }

// CloseWithError is Close with a last word why; with code 0 there is none.
func (s *Session) CloseWithError(code uint32) error {
	why := &GoAwayError{Code: code}
	if code == 0 {
		return s.leave(why)
	}
	return s.leave(why, header{goAway, 0, 0, code})
}

func (s *Session) leave(why error, last ...header) error {
	s.mu.Lock()
	if s.leaving == nil {
		s.leaving = why
	}
	s.mu.Unlock()
	s.settle(last...)
	s.fail(why)
	<-s.received
	return nil
}

// IsClosed tells whether the session is over.
func (s *Session) IsClosed() bool { return s.Err() != nil }

// Err is why the session is over, if it is.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// fail ends the session and its streams, the first time.
func (s *Session) fail(err error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	if s.leaving != nil {
		err = s.leaving
	}
	s.err = err
	streams := s.streams
	s.streams = nil
	s.ticking.Stop()
	close(s.over)
	s.mu.Unlock()
	notify(s.receiver.idle)
	s.conn.Close()
	s.drained.Broadcast() // only now: what still comes is not to be answered
	if _, told := err.(*GoAwayError); !told {
		err = fmt.Errorf("%w: %w", ErrReset, err)
	}
	for _, st := range streams {
		st.end(err)
		st.forget()
	}
}

// lookup returns a stream, or nil.
func (s *Session) lookup(id uint32) *Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[id]
}

// remove forgets a stream that is over at both ends.
func (s *Session) remove(st *Stream) {
	s.mu.Lock()
	known := s.streams[st.id] == st
	if known {
		delete(s.streams, st.id)
	}
	s.mu.Unlock()
	if known {
		st.acknowledge()
		st.forget()
		if len(s.receiver.turn) == 0 {
			notify(s.receiver.idle) // who has received for it may not come again
		}
	}
}

// tick asks a peer that says nothing whether it is there, and gives it up if it
// does not answer.
func (s *Session) tick() {
	if s.alive.Swap(false) {
		s.silent = 0
	} else if s.silent++; s.silent >= 2 {
		s.fail(ErrSilent)
		return
	}
	if !s.active.Swap(false) {
		s.control(header{ping, opened, 0, 0})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.ticking.Reset(s.config.KeepAlive)
	}
}
