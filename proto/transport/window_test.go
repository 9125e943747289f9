package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// TestWindowStaysWhole reads over a line long enough that yamux would let windows
// grow, then stops half way between two reports of what was read: three quarters
// of a window must have been sent beyond, but for what one write has.
func TestWindowStaysWhole(t *testing.T) {
	const proto, window = "/cairn/test/endless", 1 << 20
	var sent atomic.Int64
	server := newHost(t, listening)
	server.Handle(proto, func(_ context.Context, s *Stream) {
		s.SetIdle(0)
		message := make([]byte, 64<<10)
		for {
			n, err := s.Write(message)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	s := open(t, newHost(t, func(c *Config) { c.Window = window }), delayed(t, addressOf(t, server), 10*time.Millisecond), proto)
	const read = 8*window + window/4
	if _, err := io.CopyN(io.Discard, struct{ io.Reader }{s}, read); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for sent.Load() < read+window*11/16 {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are sent beyond those that were read", sent.Load()-read)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestWindowsAreCounted: there are no more streams than have room for their windows.
func TestWindowsAreCounted(t *testing.T) {
	server := newHost(t, func(c *Config) {
		c.Listen, c.Window, c.MaxMemory = []string{loopback}, 1<<20, 4<<20
	})
	server.Handle(echo, serveEcho)
	to, client := addressOf(t, server), newHost(t, nil)
	var streams []*Stream
	for range 3 { // a fourth would leave nothing for the stream that is to be refused
		s := open(t, client, to, echo)
		if err := roundTrip(s, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
	}
	for range 2 {
		streams = append(streams, open(t, client, to, echo))
	}
	if err := roundTrip(streams[4], []byte("hello")); !errors.Is(err, ErrBusy) {
		t.Errorf("a stream too many: %v", err)
	}
	streams[0].Reset()
	err := ErrBusy // until the server has noticed
	for errors.Is(err, ErrBusy) {
		err = roundTrip(open(t, client, to, echo), []byte("hello"))
	}
	if err != nil {
		t.Errorf("after another was closed: %v", err)
	}
}

// delayed is the same party behind something that passes on late what comes.
func delayed(t *testing.T, to Address, by time.Duration) Address {
	t.Helper()
	at, err := multiaddr.NewMultiaddr(to.Addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		far, err := manet.Dial(at)
		if err != nil {
			t.Error(err)
			near.Close()
			return
		}
		t.Cleanup(func() { near.Close(); far.Close() })
		go passOn(far, near, by)
		passOn(near, far, by)
	}()
	addr, err := manet.FromNetAddr(listener.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return Address{ID: to.ID, Addrs: []string{addr.String()}}
}

// passOn copies, each piece so much later.
func passOn(to, from net.Conn, by time.Duration) {
	type piece struct {
		data []byte
		due  time.Time
	}
	pieces := make(chan piece, 1<<10)
	go func() {
		defer close(pieces)
		for {
			data := make([]byte, 64<<10)
			n, err := from.Read(data)
			pieces <- piece{data[:n], time.Now().Add(by)}
			if err != nil {
				return
			}
		}
	}()
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.data); err != nil {
			from.Close()
		}
	}
}
