package mux

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

var fullWindow = strings.Repeat("x", LeastWindow)

// TestBroken is what ends a session, whose peer is told so.
func TestBroken(t *testing.T) {
	for name, frames := range map[string][]any{
		"version":              {"\x01\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00"},
		"kind":                 {"\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
		"stream of this side":  {header{update, opened, 2, 0}},
		"stream 0":             {header{update, opened, 0, 0}},
		"opened twice":         {header{update, opened, 1, 0}, header{data, opened, 1, 0}},
		"more than the window": {header{data, opened, 1, LeastWindow + 1}},
		"in two frames":        {header{data, opened, 1, LeastWindow}, fullWindow, header{data, 0, 1, 1}},
		"the largest frame":    {header{data, opened, 1, 1<<32 - 1}},
		"half of that":         {header{data, opened, 1, 1 << 31}},
	} {
		t.Run(name, func(t *testing.T) {
			var l ledger
			s, peer := against(t, testConfig(LeastWindow+1, &l))
			peer.say(frames...)
			peer.hears(header{goAway, 0, 0, wrongProtocol})
			if _, err := peer.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the connection goes on: %v", err)
			}
			if eventually(t, "the session ends", s.IsClosed); !errors.Is(s.Err(), ErrProtocol) {
				t.Error(s.Err())
			}
			l.isEmpty(t)
		})
	}
}

// TestTolerated is what does not: what follows is understood.
func TestTolerated(t *testing.T) {
	for name, frames := range map[string][]any{
		"data for no stream":     {header{data, 0, 1, 5}, "lost.", header{data, finished, 2, 0}},
		"much for no stream":     {header{data, 0, 1, LeastWindow}, fullWindow, header{data, acknowledged, 1, LeastWindow}, fullWindow},
		"data for stream 0":      {header{data, 0, 0, 5}, "lost."},
		"a reset of no stream":   {header{update, reset, 1, 9}, header{data, reset, 2, 4}, "lost"},
		"a window for no stream": {header{update, 0, 1, 1<<32 - 1}},
		"windows without bounds": {header{update, opened, 1, 1<<32 - 1}, header{update, 0, 1, 1<<32 - 1}},
		"unknown answers":        {header{ping, acknowledged, 7, 7}, header{update, opened | acknowledged, 1, 0}, header{update, acknowledged, 1, 0}},
		"data after the end":     {header{data, opened | finished, 1, 1}, "x", header{data, finished, 1, 5}, "lost."},
		"data after a reset":     {header{data, opened, 1, 1}, "x", header{data, reset, 1, 5}, "lost.", header{data, 0, 1, 5}, "lost."},
		"a stream born dead":     {header{data, opened | reset, 1, 5}, "lost.", header{update, opened | reset, 1, 0}},
		"the whole window":       {header{data, opened, 1, LeastWindow}, fullWindow},
		"other flags":            {header{data, 0xfff0 | opened, 1, 1}, "x", header{ping, 0xfff0, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			var l ledger
			s, peer := against(t, testConfig(LeastWindow, &l))
			peer.say(frames...)
			peer.say(header{ping, opened, 0, 0xfeed})
			peer.hears(header{ping, acknowledged, 0, 0xfeed})
			peer.say(header{update, opened, 5, 0})
			for {
				st, err := s.AcceptStream()
				if err != nil {
					t.Fatal(err)
				}
				if peer.hears(header{update, acknowledged, st.id, 0}); st.id == 5 {
					break
				}
			}
			s.Close()
			l.isEmpty(t)
		})
	}
}

// TestPeerReads is what a peer of another kind has to be told.
func TestPeerReads(t *testing.T) {
	const window = 2 * LeastWindow
	s, peer := against(t, testConfig(window, &ledger{}))
	opening := make(chan *Stream, 1)
	go func() {
		st, _ := s.OpenStream(context.Background())
		opening <- st
	}()
	peer.hears(header{update, opened, 2, window - LeastWindow})
	st := within(t, "OpenStream", opening)
	peer.say(header{data, acknowledged, 2, LeastWindow}, fullWindow, header{data, 0, 2, LeastWindow}, fullWindow)
	p := make([]byte, window/2-1)
	if _, err := io.ReadFull(st, p); err != nil {
		t.Fatal(err)
	}
	go st.Read(p[:1])
	peer.hears(header{update, 0, 2, window / 2})
	if len(s.opening) > 0 {
		t.Error("an accepted stream counts as one that is not")
	}
	go st.Write([]byte("data"))
	peer.hears(header{data, 0, 2, 4})
	if err := expect(peer, []byte("data")); err != nil {
		t.Error(err)
	}
	st.CloseWrite()
	peer.hears(header{update, finished, 2, 0})
	st.Reset(42)
	peer.hears(header{update, reset, 2, 42})
	s.CloseWithError(0)
	if _, err := peer.Read(p); err != io.EOF {
		t.Error(err)
	}
}

// TestTooManyStreams refuses those that nobody accepts in time, and no others.
func TestTooManyStreams(t *testing.T) {
	var l ledger
	s, peer := against(t, testConfig(LeastWindow, &l))
	id := func(i int) uint32 { return uint32(2*i + 1) }
	for i := range backlog {
		peer.say(header{update, opened, id(i), 0})
	}
	peer.say(header{data, opened, id(backlog), 4}, "lost")
	peer.hears(header{update, reset, id(backlog), 0})
	if l.mu.Lock(); l.held != backlog {
		t.Errorf("%d streams are accounted for", l.held)
	}
	l.mu.Unlock()
	for i := range backlog {
		st, err := s.AcceptStream()
		if err != nil || st.id != id(i) {
			t.Fatalf("%v: %v", st.id, err)
		}
		peer.hears(header{update, acknowledged, id(i), 0})
	}
	peer.say(header{update, opened, id(backlog + 1), 0})
	if st, err := s.AcceptStream(); err != nil || st.id != id(backlog+1) {
		t.Error(err)
	}
	s.Close()
	l.isEmpty(t)
}

// TestStreamFlood opens and resets streams, and hears of none.
func TestStreamFlood(t *testing.T) {
	var l ledger
	c := testConfig(LeastWindow, &l)
	c.WriteTimeout = 300 * time.Millisecond
	s, peer := against(t, c)
	refused := 0
	for i := uint32(1); ; i += 2 {
		peer.SetWriteDeadline(time.Now().Add(patience))
		if _, err := peer.Write(header{update, reset, i, 0}.append(header{update, opened, i, 0}.append(nil))); err != nil {
			break
		}
		refused++
	}
	if refused > backlog+maxAnswers+maxPending+2 {
		t.Errorf("%d streams were taken in", refused)
	}
	eventually(t, "the session ends", s.IsClosed)
	l.isEmpty(t)
}

// TestLargestFrame is as large as none has to be, and for nobody. It is dropped as it
// comes, where numbers have 32 bits, too.
func TestLargestFrame(t *testing.T) {
	for _, size := range []uint32{1<<31 - 1, 1 << 31, 1<<32 - 1} {
		var l ledger
		s, peer := against(t, testConfig(LeastWindow, &l))
		peer.say(header{data, 0, 1, size}, fullWindow, fullWindow)
		peer.Close()
		within(t, "the end", s.received)
		if kept := s.receiver.in.size; kept > maxDropped {
			t.Errorf("%d bytes are kept", kept)
		}
		if !errors.Is(s.Err(), io.ErrUnexpectedEOF) {
			t.Errorf("within %d bytes: %v", size, s.Err())
		}
	}
}

// TestCutFrame ends the connection within each frame.
func TestCutFrame(t *testing.T) {
	frames := header{data, opened, 1, 4}.append(nil)
	frames = append(frames, "data"...)
	frames = header{data, 0, 3, 2}.append(frames) // of no stream
	frames = append(frames, "no"...)
	for size := range len(frames) + 1 {
		var l ledger
		s, peer := against(t, testConfig(LeastWindow, &l))
		peer.say(string(frames[:size]))
		peer.Close()
		eventually(t, "the session ends", s.IsClosed)
		whole := size == 0 || size == headerSize+4 || size == len(frames)
		if want := map[bool]error{true: io.EOF, false: io.ErrUnexpectedEOF}[whole]; !errors.Is(s.Err(), want) {
			t.Errorf("after %d bytes: %v, not %v", size, s.Err(), want)
		}
		l.isEmpty(t)
	}
}
