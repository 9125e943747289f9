package mux

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"
)

// TestBothHaveMuch has both ends with far more to say than is taken in at once,
// and as many answers to give as an honest peer asks for: they do not wait for each
// other.
func TestBothHaveMuch(t *testing.T) {
	eachLink(t, LeastWindow, func(t *testing.T, client, server *Session) {
		for _, s := range []*Session{client, server} {
			s.turn <- struct{}{}
			for i := range uint32(backlog + 1) {
				s.control(header{ping, opened, 0, i})
				for range 4 {
					s.control(header{update, 0, 98, 0})
				}
			}
		}
		go client.release()
		go server.release()
		err := returns(t, "an echo", func() error {
			a, b := streams(t, client, server)
			go io.Copy(b, b)
			a.Write([]byte("data"))
			return expect(a, []byte("data"))
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestSilence gives a peer up that says nothing, and not one that answers.
func TestSilence(t *testing.T) {
	c := testConfig(LeastWindow, &ledger{})
	c.KeepAlive = 20 * time.Millisecond
	s, peer := against(t, c)
	go io.Copy(io.Discard, peer)
	eventually(t, "the session ends", s.IsClosed)
	if !errors.Is(s.Err(), ErrSilent) {
		t.Error(s.Err())
	}

	c.KeepAlive = time.Second
	s, peer = against(t, c)
	for range 3 {
		peer.hears(header{ping, opened, 0, 0})
		peer.say(header{ping, acknowledged, 0, 0})
	}
	if s.IsClosed() {
		t.Error(s.Err())
	}
}

// TestSlowFrame is not silence: a frame that takes long, of which something comes
// all the while.
func TestSlowFrame(t *testing.T) {
	s, peer := against(t, testConfig(LeastWindow, &ledger{}))
	peer.say(header{data, opened, 1, LeastWindow}, "x")
	s.alive.Store(false)
	peer.say(string(make([]byte, LeastWindow-1)))
	eventually(t, "it is heard", s.alive.Load)
}

// TestPingFlood is a peer that asks and never listens: not much is kept for it, and
// it is not waited for longer than is allowed.
func TestPingFlood(t *testing.T) {
	c := testConfig(LeastWindow, &ledger{})
	c.WriteTimeout = 300 * time.Millisecond
	s, peer := against(t, c)
	pings := 0
	for {
		peer.SetWriteDeadline(time.Now().Add(patience))
		if _, err := peer.Write(header{ping, opened, 0, 1}.append(nil)); err != nil {
			break
		}
		pings++
		s.mu.Lock()
		if kept := len(s.answers) + len(s.pending); s.err == nil && kept > maxAnswers*headerSize {
			t.Errorf("%d bytes are kept", kept)
		}
		s.mu.Unlock()
	}
	if most := maxAnswers + maxPending + 2; pings > most {
		t.Errorf("%d pings were taken in", pings)
	}
	eventually(t, "the session ends", s.IsClosed)
	if !errors.Is(s.Err(), os.ErrDeadlineExceeded) {
		t.Error(s.Err())
	}
}

// dead is a connection that takes nothing and does not even know when to stop.
type dead struct{ net.Conn }

func (d dead) SetWriteDeadline(time.Time) error { return net.ErrClosed }

// TestRestIsCalled has a connection refuse a deadline. It is closed, and does not
// stay locked: writing goes on to fail.
func TestRestIsCalled(t *testing.T) {
	x, _ := tcpLink(t)
	a, err := recordOver(dead{x}, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := New(a, true, testConfig(LeastWindow, &ledger{}))
	st, err := s.OpenStream(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the session ends", s.IsClosed)
	returns(t, "Write", func() error { _, err := st.Write([]byte("data")); return err })
	returns(t, "another frame", func() error { s.control(header{ping, opened, 0, 0}); return nil })
	returns(t, "Write", func() error { _, err := a.Write([]byte("data")); return err })
	s.Close()
}

// TestNothingIsSentForNothing has many be done with their turns at once: whose
// frames somebody else has sent sends no empty message.
func TestNothingIsSentForNothing(t *testing.T) {
	w := &counting{}
	s, peer := against(t, testConfig(LeastWindow, &ledger{}))
	go io.Copy(io.Discard, peer)
	s.turn <- struct{}{}
	s.out = w
	s.release()
	s.turn <- struct{}{}
	s.flushPending()
	done := make(chan bool)
	for range 8 {
		go func() {
			for range 5000 {
				s.control(header{update, 0, 99, 0})
			}
			done <- true
		}()
	}
	for range 8 {
		within(t, "control", done)
	}
	if s.turn <- struct{}{}; w.empty > 0 || w.frames != 8*5000 {
		t.Errorf("%d messages were empty; %d frames", w.empty, w.frames)
	}
}

// TestLead sends the beginning of a message with the header of its frame, as much of
// it as there is.
func TestLead(t *testing.T) {
	c := testConfig(LeastWindow, &ledger{})
	c.Lead = 5
	s, p := against(t, c)
	p.say(header{update, opened, 1, 0})
	st, err := s.AcceptStream()
	if err != nil {
		t.Fatal(err)
	}
	p.hears(header{update, acknowledged, 1, 0})
	s.turn <- struct{}{}
	w := &split{}
	s.out = w
	s.release()
	for size, want := range map[int][2]int{1: {1, 0}, 4: {4, 0}, 5: {5, 0}, 6: {5, 1}, 100: {5, 95}} {
		if _, err := st.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if got := [2]int{w.head - headerSize, w.body}; got != want {
			t.Errorf("%d bytes were sent as %d and %d", size, got[0], got[1])
		}
	}
}

// split takes all and notes the sizes of the last message's parts.
type split struct{ head, body int }

func (w *split) WriteAhead(head, body []byte) (func() error, error) {
	w.head, w.body = len(head), len(body)
	return nil, nil
}

// counting takes all.
type counting struct{ empty, frames int }

func (w *counting) WriteAhead(head, body []byte) (func() error, error) {
	if len(slices.Concat(head, body)) == 0 {
		w.empty++
	}
	w.frames += len(head) / headerSize
	return nil, nil
}

// gone is a connection to a peer that said why before it went.
type gone struct {
	heard
	tried chan struct{}
}

func (g gone) Write([]byte) (int, error) {
	defer func() { recover() }() // who tries twice
	close(g.tried)
	return 0, io.ErrClosedPipe
}

func (g gone) Read(p []byte) (int, error) {
	<-g.tried
	settle()
	return g.heard.Read(p)
}

// TestReasonBeforeFailure has a write fail before it is heard why the peer is
// gone. A machine that is too busy to hear it in time has more attempts.
func TestReasonBeforeFailure(t *testing.T) {
	var got *GoAwayError
	for range 20 {
		conn := gone{heard{Reader: bytes.NewReader(header{goAway, 0, 0, 7}.append(nil))}, make(chan struct{})}
		s := New(conn, true, testConfig(LeastWindow, &ledger{}))
		s.control(header{ping, opened, 0, 0})
		eventually(t, "the session ends", s.IsClosed)
		if errors.As(s.Err(), &got) {
			break
		}
	}
	if got == nil || *got != (GoAwayError{Remote: true, Code: 7}) {
		t.Errorf("%v", got)
	}
	nothingLeft(t)
}

// hasty is a connection whose peer closes it before a write returns.
type hasty struct {
	gone
	closed func()
}

func (h hasty) Write(p []byte) (int, error) {
	close(h.tried)
	h.closed()
	return len(p), nil
}

// TestOwnReason is that of this side, though the peer is faster.
func TestOwnReason(t *testing.T) {
	var s *Session
	conn := hasty{gone{heard{Reader: bytes.NewReader(nil)}, make(chan struct{})}, func() {
		eventually(t, "the session ends", func() bool { return s.IsClosed() })
	}}
	s = New(conn, true, testConfig(LeastWindow, &ledger{}))
	s.CloseWithError(5)
	var got *GoAwayError
	if !errors.As(s.Err(), &got) || *got != (GoAwayError{Code: 5}) {
		t.Error(s.Err())
	}
}
