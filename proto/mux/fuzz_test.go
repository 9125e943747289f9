package mux

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/internal/golden"
)

// heard is a connection on which the bytes come and nothing after. It takes all.
type heard struct {
	net.Conn
	io.Reader
}

func (h heard) Read(p []byte) (int, error)     { return h.Reader.Read(p) }
func (heard) Write(p []byte) (int, error)      { return len(p), nil }
func (heard) Close() error                     { return nil }
func (heard) SetWriteDeadline(time.Time) error { return nil }
func (heard) SetReadDeadline(time.Time) error  { return nil }

// FuzzReceive has anything come to a session that has streams of its own and
// answers on all others. It ends when that ends, and nothing is left.
func FuzzReceive(f *testing.F) {
	frame := func(hs ...header) (b []byte) {
		for _, h := range hs {
			b = h.append(b)
		}
		return b
	}
	f.Add(frame(header{update, opened, 2, 0}, header{data, finished, 2, 0}, header{update, reset, 2, 5}))
	f.Add(append(frame(header{data, opened, 2, 3}), "abc"...))
	f.Add(append(frame(header{data, acknowledged, 1, 3}), "abc"...))
	f.Add(frame(header{update, acknowledged | finished, 1, 9}, header{update, reset, 1, 9}))
	f.Add(frame(header{ping, opened, 0, 5}, header{goAway, 0, 0, 2}))
	f.Add([]byte{9})
	f.Fuzz(func(t *testing.T, b []byte) {
		var l ledger
		s := New(heard{Reader: bytes.NewReader(b)}, true, testConfig(LeastWindow, &l))
		go func() {
			if st, err := s.OpenStream(context.Background()); err == nil {
				st.Write([]byte("data"))
				io.Copy(io.Discard, st)
				st.Close()
			}
		}()
		for {
			st, err := s.AcceptStream()
			if err != nil {
				break
			}
			go func() {
				io.Copy(st, st)
				st.Close()
			}()
		}
		within(t, "the end", s.received)
		if s.Err() == nil {
			t.Error("no error")
		}
		s.Close()
		l.isEmpty(t)
	})
}

// A way is one direction of a stream, as it has to be.
type way struct {
	sender, receiver *Stream
	sent, read       int
	data             []byte // all that will ever be sent
	closed, dropped  bool   // by who sends, by who receives
}

// FuzzPlay does with two sessions what the bytes say, and compares.
func FuzzPlay(f *testing.F) {
	f.Add([]byte{0, 0, 1, 1, 0, 200, 2, 0, 100, 3, 0, 0, 2, 1, 255})
	f.Add(golden.Bytes("play", 300))
	f.Add(golden.Bytes("play on", 1200))
	f.Fuzz(func(t *testing.T, script []byte) {
		script = script[:min(len(script), 3000)]
		client, server := sessions(t, links["pipe"], LeastWindow)
		var ways []*way
		for ; len(script) >= 3; script = script[3:] {
			op, which, size := script[0]%8, int(script[1]), int(script[2])*int(script[2])
			if op == 0 || len(ways) == 0 {
				ends := [2]*Session{client, server}
				a, b := streams(t, ends[which%2], ends[1-which%2])
				data := golden.Bytes("way", 1<<18)
				ways = append(ways, &way{sender: a, receiver: b, data: data}, &way{sender: b, receiver: a, data: data[7:]})
				continue
			}
			i := which % len(ways)
			w, back := ways[i], ways[i^1]
			switch {
			case op <= 3:
				w.write(t, size)
			case op <= 5:
				w.readSome(t, size)
			case op == 6 && size%3 > 0:
				w.closeWrite(t)
			case op == 6:
				w.receiver.CloseRead()
				w.dropped = true
			case size%4 == 0:
				w.reset(t, back, uint32(size))
				ways[i], ways[i^1] = ways[len(ways)-2], ways[len(ways)-1]
				ways = ways[:len(ways)-2]
			}
		}
		for _, w := range ways {
			w.closeWrite(t)
			w.readSome(t, len(w.data))
			w.readSome(t, 1)
		}
	})
}

// write writes what certainly fits into the window.
func (w *way) write(t *testing.T, size int) {
	t.Helper()
	if size = min(size, len(w.data)-w.sent, LeastWindow/2-(w.sent-w.read)); size <= 0 || w.dropped && w.sent+size > LeastWindow/2 {
		return
	}
	n, err := w.sender.Write(w.data[w.sent : w.sent+size])
	if w.closed {
		if n > 0 || !errors.Is(err, ErrStreamClosed) {
			t.Fatalf("wrote %d bytes after the end: %v", n, err)
		}
		return
	}
	if w.sent += n; n < size || err != nil {
		t.Fatalf("wrote %d of %d bytes: %v", n, size, err)
	}
}

// readSome reads what has to come, and no more.
func (w *way) readSome(t *testing.T, size int) {
	t.Helper()
	w.receiver.SetReadDeadline(time.Now().Add(patience))
	switch size = min(size, w.sent-w.read); {
	case w.dropped:
		n, err := w.receiver.Read(make([]byte, 1))
		if n > 0 || !errors.Is(err, ErrReset) && err != io.EOF { // the end may have come before
			t.Fatalf("read %d bytes of nothing: %v", n, err)
		}
	case size > 0:
		if err := expect(w.receiver, w.data[w.read:w.read+size]); err != nil {
			t.Fatal(err)
		}
		w.read += size
	case w.closed && w.read == w.sent:
		if n, err := w.receiver.Read(make([]byte, 1)); n > 0 || err != io.EOF {
			t.Fatalf("read %d bytes at the end: %v", n, err)
		}
	}
}

func (w *way) closeWrite(t *testing.T) {
	t.Helper()
	if err := w.sender.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	w.closed = true
}

// reset has both ends fail, but for what had ended before.
func (w *way) reset(t *testing.T, back *way, code uint32) {
	t.Helper()
	w.sender.Reset(code)
	if _, err := w.sender.Write([]byte{1}); !w.closed && !errors.Is(err, ErrReset) {
		t.Fatalf("written after a reset: %v", err)
	}
	w.receiver.SetReadDeadline(time.Now().Add(patience))
	got, err := io.ReadAll(w.receiver)
	left := w.data[w.read:w.sent]
	switch {
	case w.closed && !w.dropped:
		if err != nil || !bytes.Equal(got, left) {
			t.Fatalf("read %d bytes after the end: %v", len(got), err)
		}
	case !bytes.HasPrefix(left, got):
		t.Fatal("other bytes")
	case !w.closed && !w.dropped:
		isReset(t, err, StreamError{Remote: true, Code: code})
	}
	if back.closed && w.closed || back.dropped && w.closed {
		return // all was over, so nothing was said
	}
	if !back.closed && !back.dropped && !w.dropped {
		eventually(t, "the other direction ends", func() bool { return back.sender.outError() != nil })
	}
}
