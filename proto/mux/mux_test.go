package mux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/record"
)

// patience is how long tests wait for what has to come.
const patience = time.Minute

const testMessage = 1000 // a Config.MaxMessage

// ledger counts reservations.
type ledger struct {
	mu          sync.Mutex
	held, twice int
	refuse      int // so many times
}

var errRefused = errors.New("no memory")

func (l *ledger) reserve() (func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse > 0 {
		l.refuse--
		return nil, errRefused
	}
	l.held++
	released := false
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if released {
			l.twice++
		}
		released = true
		l.held--
	}, nil
}

// isEmpty waits until all is given back, and sees that nothing was twice.
func (l *ledger) isEmpty(t testing.TB) {
	t.Helper()
	eventually(t, "reservations are given back", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.held == 0
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.twice > 0 {
		t.Errorf("%d reservations were given back twice", l.twice)
	}
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for until := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

func testConfig(window int, l *ledger) Config {
	return Config{Window: window, MaxMessage: testMessage, WriteTimeout: patience, KeepAlive: patience, Reserve: l.reserve}
}

// links are connections of all kinds: that take nothing unless somebody reads,
// that take some, and that are written to without waiting.
var links = map[string]func(testing.TB) (client, server net.Conn){
	"pipe":    func(testing.TB) (client, server net.Conn) { return net.Pipe() },
	"tcp":     tcpLink,
	"records": recordLink,
}

func tcpLink(t testing.TB) (client, server net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if client, err = net.Dial("tcp", listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func recordLink(t testing.TB) (client, server net.Conn) {
	t.Helper()
	client, server = tcpLink(t)
	a, err := recordOver(client, 0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := recordOver(server, 1)
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// recordOver is an end, 0 or 1, of a secured connection.
func recordOver(conn net.Conn, side byte) (*record.Conn, error) {
	return record.New(conn, record.AES128GCM, record.Secrets{Send: record.Secret{side}, Receive: record.Secret{1 - side}})
}

// eachLink runs a test with two sessions, whose windows are as given, over each
// kind of connection. Afterwards nothing of them is left.
func eachLink(t *testing.T, window int, test func(t *testing.T, client, server *Session)) {
	for name, link := range links {
		t.Run(name, func(t *testing.T) {
			client, server := sessions(t, link, window)
			test(t, client, server)
		})
	}
}

func sessions(t testing.TB, link func(testing.TB) (net.Conn, net.Conn), window int) (client, server *Session) {
	t.Helper()
	x, y := link(t)
	ledgers := [2]ledger{}
	client, server = New(x, true, testConfig(window, &ledgers[0])), New(y, false, testConfig(window, &ledgers[1]))
	t.Cleanup(func() {
		client.Close()
		server.Close()
		ledgers[0].isEmpty(t)
		ledgers[1].isEmpty(t)
		nothingLeft(t)
	})
	return client, server
}

// nothingLeft waits until no goroutine of a session is left.
func nothingLeft(t testing.TB) {
	t.Helper()
	var all string
	for until := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		b := make([]byte, 1<<20)
		all = string(b[:runtime.Stack(b, true)])
		if !strings.Contains(all, "mux.(*Session)") && !strings.Contains(all, "mux.(*Stream)") {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("goroutines are left:\n%s", all)
		}
	}
}

// streams opens a stream and accepts it.
func streams(t testing.TB, from, to *Session) (opener, acceptor *Stream) {
	t.Helper()
	opener, err := from.OpenStream(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if acceptor, err = to.AcceptStream(); err != nil {
		t.Fatal(err)
	}
	return opener, acceptor
}

// expect reads just that.
func expect(r io.Reader, want []byte) error {
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", n, len(want), err)
	}
	if !bytes.Equal(got, want) {
		return errors.New("other bytes")
	}
	return nil
}

// expectAll reads just that, then the end.
func expectAll(r io.Reader, want []byte) error {
	got, err := io.ReadAll(r)
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("got %d bytes, not those %d", len(got), len(want))
	}
	return err
}

// returns runs something that has to return.
func returns(t testing.TB, what string, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	return within(t, what, done)
}

func within[T any](t testing.TB, what string, done <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-done:
	case <-time.After(patience):
		b := make([]byte, 1<<20)
		t.Fatalf("%s takes for ever:\n%s", what, b[:runtime.Stack(b, true)])
	}
	return v
}

// settle lets goroutines get to where they wait. Tests do not depend on it.
func settle() { time.Sleep(10 * time.Millisecond) }

// scripted is a peer that does what a test says.
type scripted struct {
	t testing.TB
	net.Conn
}

// against is a session as server over a connection that takes nothing unless the
// scripted peer reads.
func against(t testing.TB, c Config) (*Session, scripted) {
	t.Helper()
	x, y := net.Pipe()
	s := New(y, false, c)
	t.Cleanup(func() {
		x.Close()
		s.Close()
		nothingLeft(t)
	})
	return s, scripted{t, x}
}

// say sends frames, each a header or what follows one.
func (p scripted) say(parts ...any) {
	p.t.Helper()
	var b []byte
	for _, part := range parts {
		switch part := part.(type) {
		case header:
			b = part.append(b)
		case string:
			b = append(b, part...)
		}
	}
	p.SetWriteDeadline(time.Now().Add(patience))
	if _, err := p.Write(b); err != nil {
		p.t.Fatalf("said %x: %v", b[:min(len(b), 40)], err)
	}
}

// hears receives just that frame.
func (p scripted) hears(want header) {
	p.t.Helper()
	var raw [headerSize]byte
	p.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(p, raw[:]); err != nil {
		p.t.Fatalf("heard nothing, not %v: %v", want, err)
	}
	if got, err := parseHeader(&raw); got != want || err != nil {
		p.t.Fatalf("heard %v, not %v: %v", got, want, err)
	}
}
