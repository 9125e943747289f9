package transport

import (
	"context"
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
	const proto = "/cairn/test/endless"
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
	s := open(t, newHost(t, nil), delayed(t, addressOf(t, server), 10*time.Millisecond), proto)
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
