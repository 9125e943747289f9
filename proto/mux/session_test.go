package mux

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"
)

// TestEnd has everybody who waits hear of the end of a session, at both ends.
func TestEnd(t *testing.T) {
	away := func(err error, want GoAwayError) bool {
		var got *GoAwayError
		return errors.As(err, &got) && *got == want
	}
	for name, test := range map[string]struct {
		end         func(*Session)
		here, there func(error) bool
	}{
		"Close": {
			func(s *Session) { s.Close() },
			func(err error) bool { return errors.Is(err, ErrClosed) },
			func(err error) bool { return !errors.Is(err, ErrClosed) },
		},
		"CloseWithError": {
			func(s *Session) { s.CloseWithError(77) },
			func(err error) bool { return away(err, GoAwayError{Code: 77}) },
			func(err error) bool { return away(err, GoAwayError{Remote: true, Code: 77}) },
		},
		"without a code": {
			func(s *Session) { s.CloseWithError(0) },
			func(err error) bool { return away(err, GoAwayError{}) },
			func(err error) bool { return !errors.Is(err, ErrClosed) },
		},
		"cut": {
			func(s *Session) { s.conn.Close() },
			func(err error) bool { return err != nil },
			func(err error) bool { return err != nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachLink(t, LeastWindow, func(t *testing.T, client, server *Session) {
				here, there := waiters(t, client, server)
				settle()
				test.end(client)
				for what, done := range here {
					if err := within(t, what, done); !test.here(err) {
						t.Errorf("%s here: %v", what, err)
					}
				}
				for what, done := range there {
					if err := within(t, what, done); !test.there(err) || err == nil {
						t.Errorf("%s there: %v", what, err)
					}
				}
				if !client.IsClosed() || !test.here(client.Err()) || !test.there(server.Err()) {
					t.Errorf("here %v, there %v", client.Err(), server.Err())
				}
				if _, err := client.OpenStream(context.Background()); !test.here(err) {
					t.Errorf("opened: %v", err)
				}
				client.Close()
				client.CloseWithError(5)
				if !test.here(client.Err()) {
					t.Errorf("closed once more: %v", client.Err())
				}
			})
		})
	}
}

// waiters starts what waits until the session ends: at one end and at its peer.
func waiters(t *testing.T, s, peer *Session) (here, there map[string]<-chan error) {
	t.Helper()
	run := func(f func() error) <-chan error {
		done := make(chan error, 1)
		go func() { done <- f() }()
		return done
	}
	var ends [2]map[string]<-chan error
	var quiet, full [2]*Stream
	quiet[0], quiet[1] = streams(t, s, peer)
	full[0], full[1] = streams(t, s, peer)
	for i := range ends {
		ends[i] = map[string]<-chan error{
			"Read":  run(func() error { _, err := quiet[i].Read(make([]byte, 1)); return err }),
			"Write": run(func() error { _, err := full[i].Write(make([]byte, LeastWindow+1)); return err }),
		}
	}
	for range backlog { // nobody accepts them
		if _, err := s.OpenStream(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	ends[0]["OpenStream"] = run(func() error { _, err := s.OpenStream(context.Background()); return err })
	ends[0]["AcceptStream"] = run(func() error { _, err := s.AcceptStream(); return err })
	// Who closes a connection while something comes may take back what was said.
	eventually(t, "everything is received", func() bool {
		used := len(peer.accepted) == backlog
		for _, s := range full {
			s.mu.Lock()
			used = used && s.credit == 0 && s.allowed == 0
			s.mu.Unlock()
		}
		return used
	})
	return ends[0], ends[1]
}

// TestEndAtPeer is TestEnd for who opens and accepts while the peer ends it.
func TestEndAtPeer(t *testing.T) {
	eachLink(t, LeastWindow, func(t *testing.T, client, server *Session) {
		here, _ := waiters(t, client, server)
		settle()
		server.CloseWithError(1 << 31)
		for what, done := range here {
			var got *GoAwayError
			if err := within(t, what, done); !errors.As(err, &got) || *got != (GoAwayError{true, 1 << 31}) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

// TestBacklog opens as many streams as the peer lets wait, and no more until it
// accepts one.
func TestBacklog(t *testing.T) {
	eachLink(t, LeastWindow, func(t *testing.T, client, server *Session) {
		for range backlog {
			if _, err := client.OpenStream(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if _, err := client.OpenStream(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		for range 3 {
			opened := make(chan error, 1)
			go func() {
				_, err := client.OpenStream(context.Background())
				opened <- err
			}()
			if _, err := server.AcceptStream(); err != nil {
				t.Fatal(err)
			}
			if err := within(t, "OpenStream", opened); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestNoMemory refuses what cannot be accounted for, far more often than the
// backlog: the session goes on.
func TestNoMemory(t *testing.T) {
	var ledgers [2]ledger
	x, y := recordLink(t)
	client, server := New(x, true, testConfig(LeastWindow, &ledgers[0])), New(y, false, testConfig(LeastWindow, &ledgers[1]))
	defer client.Close()
	defer server.Close()
	ledgers[0].refuse = 2 * backlog
	for range 2 * backlog {
		if _, err := client.OpenStream(context.Background()); !errors.Is(err, errRefused) {
			t.Fatal(err)
		}
	}
	ledgers[1].mu.Lock()
	ledgers[1].refuse = 2 * backlog
	ledgers[1].mu.Unlock()
	for range 2 * backlog {
		s, err := client.OpenStream(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		s.Write([]byte("for nobody"))
		err = returns(t, "Read", func() error { _, err := s.Read(make([]byte, 1)); return err })
		isReset(t, err, StreamError{Remote: true})
	}
	ledgers[0].isEmpty(t)
	a, b := streams(t, client, server)
	a.Write([]byte("data"))
	if err := expect(b, []byte("data")); err != nil {
		t.Error(err)
	}
}

// TestReservations gives back what is accounted for a stream, however it ends at
// either end, while the session goes on.
func TestReservations(t *testing.T) {
	steps := map[string]func(*Stream){
		"Close":      func(s *Stream) { s.Close() },
		"CloseWrite": func(s *Stream) { s.CloseWrite() },
		"CloseRead":  func(s *Stream) { s.CloseRead() },
		"Reset":      func(s *Stream) { s.Reset(1) },
		"ReadAll":    func(s *Stream) { io.ReadAll(s) },
	}
	ends := [][]string{
		{"Close"}, {"Reset"}, {"CloseRead", "CloseWrite"}, {"CloseWrite", "CloseRead"}, {"CloseWrite", "ReadAll"},
		{"Close", "Reset"}, {"Reset", "Close"}, {"CloseWrite", "Reset"}, {"CloseRead", "Reset"}, {"CloseRead", "Close"},
	}
	for name, link := range links {
		t.Run(name, func(t *testing.T) {
			var ledgers [2]ledger
			x, y := link(t)
			client, server := New(x, true, testConfig(LeastWindow, &ledgers[0])), New(y, false, testConfig(LeastWindow, &ledgers[1]))
			defer client.Close()
			defer server.Close()
			for _, here := range ends {
				for _, there := range ends {
					a, b := streams(t, client, server)
					a.Write([]byte("unread"))
					done := make(chan bool)
					go func() {
						for _, step := range there {
							steps[step](b)
						}
						close(done)
					}()
					for _, step := range here {
						steps[step](a)
					}
					within(t, "the end of a stream", done)
				}
			}
			ledgers[0].isEmpty(t)
			ledgers[1].isEmpty(t)
			for _, s := range []*Session{client, server} {
				s.mu.Lock()
				if s.err != nil || len(s.streams) > 0 {
					t.Errorf("%d streams are left; %v", len(s.streams), s.err)
				}
				s.mu.Unlock()
			}
		})
	}
}
