package mux

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/internal/golden"
)

// receivesFor waits until a stream's Read or Write receives; nil: the session does.
func receivesFor(t testing.TB, s *Session, st *Stream) {
	t.Helper()
	eventually(t, "who should receive does", func() bool {
		s.receiver.mu.Lock()
		defer s.receiver.mu.Unlock()
		return len(s.receiver.turn) > 0 && s.receiver.by == st
	})
}

// waits waits until a stream's Read or Write does, or receives by itself.
func waits(t testing.TB, st *Stream) {
	t.Helper()
	r := &st.session.receiver
	eventually(t, "it waits", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return st.waiting.Load() > 0 || r.by == st
	})
}

// unwatched has the session's goroutine receive only when it is told to, so that who
// waits receives, however late it is about it.
func unwatched(s *Session) {
	s.receiver.mu.Lock()
	s.receiver.watched = true
	s.receiver.mu.Unlock()
}

// accepted has a scripted peer open a stream.
func accepted(t *testing.T) (*Session, scripted, *Stream) {
	t.Helper()
	var l ledger
	s, p := against(t, testConfig(LeastWindow, &l))
	p.say(header{update, opened, 1, 0})
	st, err := s.AcceptStream()
	if err != nil {
		t.Fatal(err)
	}
	p.hears(header{update, acknowledged, 1, 0})
	return s, p, st
}

// reading has a stream opened by a scripted peer be read, and sees to it that the
// Read receives for itself. What it reads comes from got.
func reading(t *testing.T, size int) (s *Session, p scripted, st *Stream, got chan string, failed chan error) {
	t.Helper()
	s, p, st = accepted(t)
	unwatched(s)
	got, failed = make(chan string), make(chan error, 1)
	go func() {
		for b := make([]byte, size); ; {
			n, err := st.Read(b)
			if err != nil {
				failed <- err
				return
			}
			got <- string(b[:n])
		}
	}()
	waits(t, st)
	p.say(header{data, 0, 1, 1}, "a") // received by the session, which then leaves
	if b := within(t, "the first byte", got); b != "a" {
		t.Fatalf("read %q", b)
	}
	receivesFor(t, s, st)
	return s, p, st, got, failed
}

// TestReadReceives has a Read take what comes, in whatever parts.
func TestReadReceives(t *testing.T) {
	for name, test := range map[string]struct {
		size int // of what is read by
		said [][]any
		want []string
	}{
		"a frame":        {10, [][]any{{header{data, 0, 1, 3}, "bcd"}}, []string{"bcd"}},
		"less than":      {2, [][]any{{header{data, 0, 1, 3}, "bcd"}}, []string{"bc", "d"}},
		"just that":      {3, [][]any{{header{data, 0, 1, 3}, "bcd"}}, []string{"bcd"}},
		"two frames":     {10, [][]any{{header{data, 0, 1, 2}, "bc", header{data, 0, 1, 1}, "d"}}, []string{"bc", "d"}},
		"half a header":  {10, [][]any{{"\x00\x00\x00\x00\x00\x00"}, {"\x00\x01\x00\x00\x00\x02"}, {"bc"}}, []string{"bc"}},
		"half the data":  {10, [][]any{{header{data, 0, 1, 3}, "b"}, {"cd"}}, []string{"b", "cd"}},
		"nothing first":  {10, [][]any{{header{data, 0, 1, 0}, header{data, 0, 1, 2}, "bc"}}, []string{"bc"}},
		"others' first":  {10, [][]any{{header{data, 0, 9, 2}, "xx", header{data, 0, 1, 2}, "bc"}}, []string{"bc"}},
		"credit first":   {10, [][]any{{header{update, 0, 1, 5}, header{data, 0, 1, 2}, "bc"}}, []string{"bc"}},
		"and the end":    {10, [][]any{{header{data, finished, 1, 2}, "bc"}}, []string{"bc", ""}},
		"the end":        {10, [][]any{{header{update, finished, 1, 0}}}, []string{""}},
		"empty with end": {10, [][]any{{header{data, finished, 1, 0}}}, []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			_, p, _, got, failed := reading(t, test.size)
			said := make(chan bool)
			go func() {
				for _, parts := range test.said {
					p.say(parts...)
				}
				close(said)
			}()
			for _, want := range test.want {
				if want == "" {
					if err := within(t, "the end", failed); err != io.EOF {
						t.Errorf("at the end: %v", err)
					}
				} else if b := within(t, "a Read", got); b != want {
					t.Errorf("read %q, not %q", b, want)
				}
			}
			within(t, "to say it", said)
			if test.want[len(test.want)-1] == "" { // nobody comes who would receive
				p.say(header{ping, opened, 0, 7})
				p.hears(header{ping, acknowledged, 0, 7})
			}
		})
	}
}

// inPlace notes where a connection's data was put.
type inPlace struct {
	net.Conn
	mu    sync.Mutex // guards where
	where []*byte
}

func (c *inPlace) Read(p []byte) (int, error) {
	c.mu.Lock()
	c.where = append(c.where, &p[0])
	c.mu.Unlock()
	return c.Conn.Read(p)
}

// TestReadInPlace has data put where its reader wants it, if its beginning was read
// apart, and not in between.
func TestReadInPlace(t *testing.T) {
	x, y := recordLink(t)
	noted := &inPlace{Conn: y}
	var l ledger
	c := testConfig(LeastWindow, &l)
	c.Lead = 5
	client, server := New(x, true, c), New(noted, false, c)
	defer server.Close()
	defer client.Close()
	a, b := streams(t, client, server)
	message, lead, rest := golden.Bytes("message", 50_000), make([]byte, 5), make([]byte, 49_995)
	eventually(t, "data is in place", func() bool {
		go a.Write(message)
		if err := errors.Join(expectInto(b, lead, message[:5]), expectInto(b, rest, message[5:])); err != nil {
			t.Fatal(err)
		}
		noted.mu.Lock()
		defer noted.mu.Unlock()
		return slices.Contains(noted.where, &lead[0]) && slices.Contains(noted.where, &rest[0])
	})
}

func expectInto(r io.Reader, b, want []byte) error {
	clear(b)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if string(b) != string(want) {
		return errors.New("other bytes")
	}
	return nil
}

// TestCalledBack has a Read that receives, in the middle of anything, end for other
// reasons. The session goes on where it was.
func TestCalledBack(t *testing.T) {
	h := string(header{data, 0, 1, 3}.append(nil))
	for name, test := range map[string]struct {
		call func(*Stream)
		is   func(error) bool
		over bool // the stream is
	}{
		"deadline": {func(st *Stream) { st.SetReadDeadline(time.Now().Add(time.Millisecond)) }, isTimeout, false},
		"past":     {func(st *Stream) { st.SetReadDeadline(time.Unix(1, 0)) }, isTimeout, false},
		"reset":    {func(st *Stream) { st.Reset(4) }, func(err error) bool { return errors.Is(err, ErrReset) }, true},
		"closed":   {func(st *Stream) { st.CloseRead() }, func(err error) bool { return errors.Is(err, ErrReset) }, true},
	} {
		for cut, name2 := range map[int]string{0: "between frames", 5: "in a header", headerSize: "before data", headerSize + 1: "in data"} {
			t.Run(name+"/"+name2, func(t *testing.T) {
				s, p, st, got, failed := reading(t, 10)
				said := h + "bcd"
				if cut > 0 {
					p.say(said[:cut])
				}
				want := said[headerSize:]
				if cut > headerSize {
					if b := within(t, "a Read", got); b != "b" {
						t.Fatalf("read %q", b)
					}
					want = want[1:]
				}
				receivesFor(t, s, st)
				go io.Copy(io.Discard, p) // hears of a reset
				test.call(st)
				if err := within(t, "a Read", failed); !test.is(err) {
					t.Errorf("failed by %v", err)
				}
				receivesFor(t, s, nil)
				p.say(said[cut:], header{update, opened, 3, 0}, header{data, 0, 3, 1}, "x")
				if !test.over {
					st.SetReadDeadline(time.Time{})
					if err := returns(t, "the rest", func() error { return expect(st, []byte(want)) }); err != nil {
						t.Error(err)
					}
				}
				other, err := s.AcceptStream()
				if err != nil {
					t.Fatal(err)
				}
				if err := returns(t, "another stream", func() error { return expect(other, []byte("x")) }); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestFloodedRead has a Read that receives end though the peer asks much and never
// listens, so that it cannot be answered.
func TestFloodedRead(t *testing.T) {
	for name, call := range map[string]func(*Stream){
		"deadline": func(st *Stream) { st.SetReadDeadline(time.Now().Add(time.Millisecond)) },
		"reset":    func(st *Stream) { st.Reset(4) },
	} {
		t.Run(name, func(t *testing.T) {
			s, p, st, _, failed := reading(t, 10)
			go func() {
				for pings := bytes.Repeat(header{ping, opened, 0, 1}.append(nil), 100); ; {
					if _, err := p.Write(pings); err != nil {
						return
					}
				}
			}()
			eventually(t, "all answers there is room for wait", func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return len(s.answers) == maxAnswers*headerSize
			})
			settle()
			receivesFor(t, s, st)
			call(st)
			if err := within(t, "a Read", failed); !isTimeout(err) && !errors.Is(err, ErrReset) {
				t.Error(err)
			}
			if receivesFor(t, s, nil); s.IsClosed() {
				t.Error(s.Err())
			}
			s.mu.Lock()
			if more := len(s.answers) - maxAnswers*headerSize; more > headerSize {
				t.Errorf("%d bytes more are kept", more)
			}
			s.mu.Unlock()
		})
	}
}

// TestTakesOver has a Read receive the rest of what another has begun to.
func TestTakesOver(t *testing.T) {
	s, p, st, _, failed := reading(t, 10)
	p.say(header{update, opened, 3, 0})
	other, err := s.AcceptStream()
	if err != nil {
		t.Fatal(err)
	}
	p.hears(header{update, acknowledged, 3, 0})
	p.say(header{data, 0, 3, 4}, "bc")
	read := make(chan error, 1)
	go func() { read <- expect(other, []byte("bcde")) }()
	waits(t, other)
	st.SetReadDeadline(time.Unix(1, 0))
	if err := within(t, "a Read", failed); !isTimeout(err) {
		t.Error(err)
	}
	receivesFor(t, s, other)
	p.say("de")
	if err := within(t, "the other Read", read); err != nil {
		t.Error(err)
	}
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// TestNobodyReads has a reader not come again: the session soon receives by itself.
func TestNobodyReads(t *testing.T) {
	s, p, st := accepted(t)
	first := make(chan error, 1)
	go func() { first <- expect(st, []byte("ab")) }()
	waits(t, st)
	p.say(header{data, 0, 1, 1}, "a")
	receivesFor(t, s, st)
	p.say(header{data, 0, 1, 1}, "b")
	if err := within(t, "a Read", first); err != nil {
		t.Fatal(err)
	}
	for range 3 { // and goes on, for nobody waits
		p.say(header{ping, opened, 0, 7}, header{data, 0, 1, 1}, "c")
		p.hears(header{ping, acknowledged, 0, 7})
	}
	if err := expect(st, []byte("ccc")); err != nil {
		t.Error(err)
	}
}

// TestTurns has one of two streams end whose Read receives. The other goes on.
func TestTurns(t *testing.T) {
	eachLink(t, LeastWindow, func(t *testing.T, client, server *Session) {
		for range 20 {
			a, b := streams(t, client, server)
			c, d := streams(t, client, server)
			var readers sync.WaitGroup
			readers.Go(func() { io.Copy(io.Discard, b) })
			data := golden.Bytes("data", 10_000)
			readers.Go(func() {
				if err := expectAll(d, data); err != nil {
					t.Error(err)
				}
			})
			a.Write([]byte("x"))
			c.Write(data[:5000])
			b.Reset(1)
			c.Write(data[5000:])
			c.Close()
			returns(t, "both", func() error { readers.Wait(); return nil })
			d.Close()
		}
	})
}

// TestWriteReceives has a Write get its credit with nobody else there to receive it.
func TestWriteReceives(t *testing.T) {
	eachLink(t, LeastWindow, func(t *testing.T, client, server *Session) {
		a, b := streams(t, client, server)
		data := golden.Bytes("data", 3*LeastWindow)
		unwatched(client)
		go io.CopyN(io.Discard, a, 1) // which then leaves
		waits(t, a)
		b.Write([]byte{1})
		written := make(chan error, 1)
		go func() {
			_, err := a.Write(data)
			written <- err
		}()
		receivesFor(t, client, a)
		if err := expect(b, data); err != nil {
			t.Error(err)
		}
		if err := within(t, "the Write", written); err != nil {
			t.Error(err)
		}
	})
}

// TestWriteCalledBack has a Write that receives end for other reasons than that there
// is room. The session goes on.
func TestWriteCalledBack(t *testing.T) {
	for name, test := range map[string]struct {
		call func(*Stream, scripted)
		is   func(error) bool
	}{
		"deadline": {func(st *Stream, _ scripted) { st.SetWriteDeadline(time.Now().Add(time.Millisecond)) }, isTimeout},
		"past":     {func(st *Stream, _ scripted) { st.SetWriteDeadline(time.Unix(1, 0)) }, isTimeout},
		"closed":   {func(st *Stream, _ scripted) { st.CloseWrite() }, func(err error) bool { return err == ErrStreamClosed }},
		"reset":    {func(st *Stream, _ scripted) { st.Reset(4) }, func(err error) bool { return errors.Is(err, ErrReset) }},
		"by the peer": {func(_ *Stream, p scripted) { p.say(header{update, reset, 1, 4}) }, func(err error) bool {
			return errors.Is(err, ErrReset)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s, p, st := accepted(t)
			unwatched(s)
			go io.Copy(io.Discard, p)
			failed := make(chan error, 1)
			go func() {
				_, err := st.Write(make([]byte, LeastWindow+2))
				failed <- err
			}()
			waits(t, st)
			p.say(header{update, 0, 1, 1})
			receivesFor(t, s, st)
			test.call(st, p)
			if err := within(t, "the Write", failed); !test.is(err) {
				t.Errorf("failed by %v", err)
			}
			p.say(header{update, opened, 3, 0})
			if err := returns(t, "another stream", func() error { _, err := s.AcceptStream(); return err }); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDeadlinesLoseNothing has deadlines pass at every moment, in several streams.
func TestDeadlinesLoseNothing(t *testing.T) {
	eachLink(t, LeastWindow, func(t *testing.T, client, server *Session) {
		var all sync.WaitGroup
		for i := range 4 {
			a, b := streams(t, client, server)
			data := golden.Bytes("data", 400_000+i)
			all.Go(func() {
				for rest := data; len(rest) > 0; {
					n, err := a.Write(rest[:min(len(rest), 5000*(i+1))])
					if err != nil {
						t.Error(err)
						return
					}
					rest = rest[n:]
					if i%2 == 0 {
						time.Sleep(time.Millisecond)
					}
				}
				a.CloseWrite()
			})
			all.Go(func() {
				var got []byte
				p := make([]byte, 3001*(i+1))
				for round := 0; ; round++ {
					b.SetReadDeadline(time.Now().Add(time.Duration(round%7) * 50 * time.Microsecond))
					n, err := b.Read(p)
					got = append(got, p[:n]...)
					if err == io.EOF {
						break
					}
					if err != nil && !isTimeout(err) {
						t.Error(err)
						return
					}
				}
				if string(got) != string(data) {
					t.Errorf("stream %d: read %d bytes, not those %d", i, len(got), len(data))
				}
			})
		}
		returns(t, "all", func() error { all.Wait(); return nil })
	})
}
