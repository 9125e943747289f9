package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/internal/golden"
)

const testWindow = LeastWindow + 4097

// TestSizes sends what fits into a message or a window, or just does not, there
// and back.
func TestSizes(t *testing.T) {
	eachLink(t, testWindow, func(t *testing.T, client, server *Session) {
		for _, size := range []int{
			0, 1, testMessage - 1, testMessage, testMessage + 1, LeastWindow - 1, LeastWindow, LeastWindow + 1,
			testWindow - 1, testWindow, testWindow + 1, 3*testWindow + 1,
		} {
			data := golden.Bytes("data", size)
			a, b := streams(t, client, server)
			go func() {
				io.Copy(b, b)
				b.Close()
			}()
			go func() {
				if n, err := a.Write(data); n != size || err != nil {
					t.Errorf("wrote %d of %d bytes: %v", n, size, err)
				}
				a.CloseWrite()
			}()
			if err := returns(t, "an echo", func() error { return expectAll(a, data) }); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
	})
}

// TestManyStreams has both ends open streams and write to all of them at once, as
// much as they can, in pieces of all sizes.
func TestManyStreams(t *testing.T) {
	eachLink(t, LeastWindow, func(t *testing.T, client, server *Session) {
		const each, size = 6, 2*LeastWindow + 7
		var wait sync.WaitGroup
		use := func(s *Stream, writes, reads string) {
			wait.Go(func() {
				random := rand.New(rand.NewPCG(uint64(s.id), 1))
				for data := golden.Bytes(writes, size); len(data) > 0; {
					n := min(len(data), 1+random.IntN(1<<random.IntN(17)))
					if _, err := s.Write(data[:n]); err != nil {
						t.Error(err)
						return
					}
					data = data[n:]
				}
				s.CloseWrite()
			})
			wait.Go(func() {
				random := rand.New(rand.NewPCG(uint64(s.id), 2))
				for want := golden.Bytes(reads, size); len(want) > 0; {
					n := min(len(want), 1+random.IntN(1<<random.IntN(17)))
					if err := expect(s, want[:n]); err != nil {
						t.Errorf("stream %d: %v", s.id, err)
						return
					}
					want = want[n:]
				}
				if err := expectAll(s, nil); err != nil {
					t.Errorf("stream %d: %v", s.id, err)
				}
			})
		}
		for _, ends := range [][2]*Session{{client, server}, {server, client}} {
			for range each {
				a, b := streams(t, ends[0], ends[1])
				use(a, fmt.Sprint(a.id, "there"), fmt.Sprint(a.id, "back"))
				use(b, fmt.Sprint(a.id, "back"), fmt.Sprint(a.id, "there"))
			}
		}
		returns(t, "everything", func() error { wait.Wait(); return nil })
	})
}

// TestHalfClose ends one direction: what was sent comes first, and the other goes on.
func TestHalfClose(t *testing.T) {
	eachLink(t, LeastWindow, func(t *testing.T, client, server *Session) {
		a, b := streams(t, client, server)
		a.Write([]byte("there"))
		for range 2 {
			if err := a.CloseWrite(); err != nil {
				t.Error(err)
			}
		}
		if _, err := a.Write([]byte("more")); !errors.Is(err, ErrStreamClosed) {
			t.Errorf("written after the end: %v", err)
		}
		for _, want := range []string{"there", ""} {
			if err := expectAll(b, []byte(want)); err != nil {
				t.Error(err)
			}
		}
		b.Write([]byte("back"))
		b.Close()
		if err := expectAll(a, []byte("back")); err != nil {
			t.Error(err)
		}
	})
}

// TestReset ends both directions at both ends, which hear who did, and why.
func TestReset(t *testing.T) {
	eachLink(t, LeastWindow, func(t *testing.T, client, server *Session) {
		for _, swap := range []bool{false, true} {
			a, b := streams(t, client, server)
			if swap {
				a, b = b, a
			}
			a.Write([]byte("lost"))
			waiting := make(chan error, 1)
			go func() {
				_, err := io.ReadAll(b)
				waiting <- err
			}()
			settle()
			a.Reset(77)
			a.Reset(78)
			isReset(t, within(t, "a Read of a stream that is reset", waiting), StreamError{Remote: true, Code: 77})
			for s, want := range map[*Stream]StreamError{a: {Code: 77}, b: {Remote: true, Code: 77}} {
				_, err := s.Read(make([]byte, 1))
				isReset(t, err, want)
				_, err = s.Write(make([]byte, 1))
				isReset(t, err, want)
				isReset(t, s.CloseWrite(), want)
				s.Reset(79)
				s.Close()
			}
		}
	})
}

func isReset(t *testing.T, err error, want StreamError) {
	t.Helper()
	var got *StreamError
	if !errors.As(err, &got) || *got != want || !errors.Is(err, ErrReset) {
		t.Errorf("%v, not %v", err, &want)
	}
}

// TestResetAfterEnd has what was sent before an end be read, though the other
// direction is reset.
func TestResetAfterEnd(t *testing.T) {
	eachLink(t, LeastWindow, func(t *testing.T, client, server *Session) {
		a, b := streams(t, client, server)
		data := golden.Bytes("data", 3*testMessage)
		a.Write(data)
		a.CloseWrite()
		a.Reset(5)
		eventually(t, "the reset arrives", func() bool { return b.outError() != nil })
		if err := expectAll(b, data); err != nil {
			t.Error(err)
		}
		_, err := b.Write([]byte("x"))
		isReset(t, err, StreamError{Remote: true, Code: 5})
	})
}

// TestCloseRead drops what comes, and what has come; writing goes on.
func TestCloseRead(t *testing.T) {
	eachLink(t, LeastWindow, func(t *testing.T, client, server *Session) {
		a, b := streams(t, client, server)
		waiting := make(chan error, 1)
		go func() {
			_, err := b.Read(make([]byte, 1))
			waiting <- err
		}()
		settle()
		b.CloseRead()
		if err := within(t, "Read", waiting); !errors.Is(err, ErrReset) {
			t.Error(err)
		}
		if n, err := a.Write(make([]byte, LeastWindow)); n != LeastWindow || err != nil {
			t.Errorf("wrote %d: %v", n, err)
		}
		b.Write([]byte("back"))
		b.CloseWrite()
		if err := expectAll(a, []byte("back")); err != nil {
			t.Error(err)
		}
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, ErrReset) || len(b.in.pieces) > 0 {
			t.Error(err)
		}
	})
}

// TestReadDeadline passes before and while a Read waits, and is moved.
func TestReadDeadline(t *testing.T) {
	eachLink(t, LeastWindow, func(t *testing.T, client, server *Session) {
		a, b := streams(t, client, server)
		read := func() error {
			_, err := a.Read(make([]byte, 10))
			return err
		}
		past, far := time.Now().Add(-time.Second), time.Now().Add(time.Hour)
		soon := func(ms time.Duration) time.Time { return time.Now().Add(ms * time.Millisecond) }
		for _, set := range [][]time.Time{
			{past}, {{}, past}, {far, past}, {far, {}, soon(20)},
			{soon(30), soon(60)}, {soon(60), soon(30)}, {far, soon(80), far, soon(120)}, {soon(1), {}, past},
		} {
			a.SetReadDeadline(set[0])
			done := make(chan error, 1)
			go func() { done <- read() }()
			for _, by := range set[1:] {
				settle()
				a.SetDeadline(by)
			}
			if err := within(t, "a Read", done); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
		}
		b.Write([]byte("data"))
		a.SetDeadline(time.Time{})
		if err := expect(a, []byte("data")); err != nil {
			t.Error(err)
		}
	})
}

// TestMovedDeadline has a deadline pass at the time it was last moved to, and not at
// one before.
func TestMovedDeadline(t *testing.T) {
	client, server := sessions(t, links["pipe"], LeastWindow)
	a, _ := streams(t, client, server)
	start := time.Now()
	for _, after := range []time.Duration{20, 40, 30, 60} {
		a.SetReadDeadline(start.Add(after * time.Millisecond))
	}
	if _, err := a.Read(make([]byte, 1)); !isTimeout(err) || time.Since(start) < 60*time.Millisecond {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
	a.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	a.SetReadDeadline(time.Time{})
	time.Sleep(40 * time.Millisecond)
	if ready, _ := a.readable(); ready {
		t.Error("a deadline has passed that was taken back")
	}
}

// TestWriteDeadline passes before a Write, while it waits for the peer to read,
// and while others write. What it tells is written comes, and nothing else.
func TestWriteDeadline(t *testing.T) {
	eachLink(t, LeastWindow, func(t *testing.T, client, server *Session) {
		a, b := streams(t, client, server)
		past, far := time.Now().Add(-time.Second), time.Now().Add(time.Hour)
		data := golden.Bytes("data", 2*LeastWindow)
		a.SetWriteDeadline(past)
		if n, err := a.Write(data); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d: %v", n, err)
		}
		a.SetWriteDeadline(far)
		written := 0
		write := func() error {
			n, err := a.Write(data[written:])
			written += n
			return err
		}
		for _, stop := range []time.Time{past, time.Now().Add(20 * time.Millisecond)} {
			done := make(chan error, 1)
			go func() { done <- write() }()
			settle()
			eventually(t, "the window is used up", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.allowed == 0 })
			a.SetWriteDeadline(stop)
			if err := within(t, "a Write", done); written != LeastWindow || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("wrote %d: %v", written, err)
			}
			a.SetWriteDeadline(far)
		}
		go func() {
			if err := write(); err != nil {
				t.Error(err)
			}
			a.CloseWrite()
		}()
		if err := returns(t, "the rest", func() error { return expectAll(b, data) }); err != nil {
			t.Error(err)
		}
	})
}

// TestWriteWaitsForTurn has a Write end though the connection takes nothing; then
// it takes all, and the window is as it was.
func TestWriteWaitsForTurn(t *testing.T) {
	for name, end := range map[string]func(*Stream) error{
		"deadline": func(s *Stream) error { s.SetWriteDeadline(time.Now()); return os.ErrDeadlineExceeded },
		"close":    func(s *Stream) error { s.CloseWrite(); return ErrStreamClosed },
		"reset":    func(s *Stream) error { s.Reset(0); return ErrReset },
		"session":  func(s *Stream) error { s.session.Close(); return ErrClosed },
	} {
		t.Run(name, func(t *testing.T) {
			client, server := sessions(t, links["records"], LeastWindow)
			a, b := streams(t, client, server)
			client.turn <- struct{}{} // as if the connection took nothing
			done := make(chan error, 1)
			go func() {
				n, err := a.Write([]byte("lost"))
				if n != 0 {
					t.Errorf("wrote %d", n)
				}
				done <- err
			}()
			eventually(t, "Write is on its way", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.credit < LeastWindow })
			settle()
			want := end(a)
			if err := within(t, "Write", done); !errors.Is(err, want) {
				t.Errorf("%v, not %v", err, want)
			}
			client.release()
			if a.credit != LeastWindow {
				t.Errorf("%d bytes of the window are left", a.credit)
			}
			if name == "deadline" {
				a.SetWriteDeadline(time.Time{})
				a.Write([]byte("data"))
				if err := expect(b, []byte("data")); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestTurnAfterEnd has the turn come to a Write between the end of its stream and
// the frame that tells of that: nothing is sent behind it.
func TestTurnAfterEnd(t *testing.T) {
	client, server := sessions(t, links["records"], LeastWindow)
	a, b := streams(t, client, server)
	client.turn <- struct{}{}
	done := make(chan error, 1)
	go func() {
		_, err := a.Write([]byte("lost"))
		done <- err
	}()
	settle()
	a.mu.Lock()
	a.outEnd = ErrStreamClosed
	a.mu.Unlock()
	client.release()
	if err := within(t, "Write", done); !errors.Is(err, ErrStreamClosed) {
		t.Error(err)
	}
	client.control(header{update, finished, a.id, 0})
	if err := expectAll(b, nil); err != nil {
		t.Error(err)
	}
}

// TestOrder has far more control frames wait than are sent at a time, then data of
// a stream whose beginning is the last of them, and an end behind that.
func TestOrder(t *testing.T) {
	eachLink(t, LeastWindow, func(t *testing.T, client, server *Session) {
		client.turn <- struct{}{}
		for range 2*maxPending + 1 {
			client.control(header{update, 0, 99, 0})
		}
		s, err := client.OpenStream(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := s.Write([]byte("first"))
			s.CloseWrite()
			done <- err
		}()
		settle()
		client.release()
		if err := within(t, "Write", done); err != nil {
			t.Fatal(err)
		}
		accepted, err := server.AcceptStream()
		if err != nil {
			t.Fatal(err)
		}
		if err := returns(t, "Read", func() error { return expectAll(accepted, []byte("first")) }); err != nil {
			t.Error(err)
		}
	})
}
