package transport

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cairnstorage/cairn/proto/ident"
)

const (
	loopback     = "/ip4/127.0.0.1/tcp/0"
	loopbackQUIC = "/ip4/127.0.0.1/udp/0/quic-v1"
	echo         = "/cairn/test/echo"
)

func newKey(t testing.TB) ident.Key {
	t.Helper()
	key, err := ident.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newHost starts a host that is closed with the test.
func newHost(t testing.TB, change func(*Config)) *Host {
	t.Helper()
	c := Config{Key: newKey(t)}
	if change != nil {
		change(&c)
	}
	h, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func listening(c *Config) { c.Listen = []string{loopback} }

func addressOf(t testing.TB, h *Host) Address {
	t.Helper()
	a, err := ParseAddress(strings.Join(h.Addresses(), ","))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func serveEcho(_ context.Context, s *Stream) { io.Copy(struct{ io.Writer }{s}, struct{ io.Reader }{s}) }

func open(t testing.TB, h *Host, to Address, proto string) *Stream {
	t.Helper()
	s, err := h.Open(t.Context(), to, proto)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Reset)
	return s
}

// roundTrip sends what is echoed.
func roundTrip(s *Stream, message []byte) error {
	errs := make(chan error, 1)
	go func() {
		_, err := s.Write(message)
		errs <- err
	}()
	got := make([]byte, len(message))
	if _, err := io.ReadFull(s, got); err != nil {
		return err
	}
	if !bytes.Equal(got, message) {
		return errors.New("another message came back")
	}
	return <-errs
}

func TestStreams(t *testing.T) {
	transports := map[string]func(*Config){
		"TCP":  listening,
		"QUIC": func(c *Config) { c.QUIC, c.Listen = true, []string{loopbackQUIC} },
	}
	for name, config := range transports {
		t.Run(name, func(t *testing.T) {
			server, client := newHost(t, config), newHost(t, func(c *Config) { c.QUIC = name == "QUIC" })
			served := make(chan ident.ID, 1)
			server.Handle(echo, func(ctx context.Context, s *Stream) {
				served <- s.Remote()
				serveEcho(ctx, s)
			})
			s := open(t, client, addressOf(t, server), echo)
			// Many TLS records in one write, and more than a stream's first window.
			message := make([]byte, 3<<20)
			rand.Read(message)
			for _, size := range []int{1, 100, 1 << 14, 1<<14 + 1, len(message)} {
				if err := roundTrip(s, message[:size]); err != nil {
					t.Fatalf("%d bytes: %v", size, err)
				}
			}
			if who := <-served; who != client.ID() || s.Remote() != server.ID() {
				t.Errorf("the stream is between %s and %s", who, s.Remote())
			}
			if err := s.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if n, err := s.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("read after the end: %d, %v", n, err)
			}
		})
	}
}

// A last word arrives although the stream is ended at once, and the other side's
// writes fail although it goes on.
func TestRefuse(t *testing.T) {
	for _, listen := range []string{loopback, loopbackQUIC} {
		t.Run(listen, func(t *testing.T) {
			server := newHost(t, func(c *Config) { c.QUIC, c.Listen = true, []string{listen} })
			client := newHost(t, func(c *Config) { c.QUIC = true })
			server.Handle(echo, func(_ context.Context, s *Stream) {
				io.ReadFull(s, make([]byte, 1))
				s.Write([]byte("no"))
				s.Refuse()
			})
			s := open(t, client, addressOf(t, server), echo)
			var err error
			for err == nil {
				_, err = s.Write(make([]byte, 64<<10))
			}
			if !errors.Is(err, ErrReset) {
				t.Errorf("write: %v", err)
			}
			if word, err := io.ReadAll(s); string(word) != "no" || err != nil {
				t.Errorf("read %q, %v", word, err)
			}
		})
	}
}

func TestReset(t *testing.T) {
	server, client := newHost(t, listening), newHost(t, nil)
	server.Handle(echo, func(_ context.Context, s *Stream) {
		io.ReadFull(s, make([]byte, 1))
		s.Reset()
	})
	s := open(t, client, addressOf(t, server), echo)
	if _, err := s.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, ErrReset) {
		t.Errorf("read: %v", err)
	}
}

func TestUnknownProtocol(t *testing.T) {
	server, client := newHost(t, listening), newHost(t, nil)
	s := open(t, client, addressOf(t, server), "/cairn/test/unknown")
	if _, err := s.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	_, err := s.Read(make([]byte, 1))
	if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), "/cairn/test/unknown") {
		t.Errorf("read: %v", err)
	}
}

// wantShort checks an error that users get to see.
func wantShort(t *testing.T, err error, wants ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	text := err.Error()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%q does not say %q", text, want)
		}
	}
	if len(text) > 200 || strings.Contains(text, "\n") {
		t.Errorf("%q is long", text)
	}
}

func TestWrongPeer(t *testing.T) {
	for _, listen := range []string{loopback, loopbackQUIC} {
		t.Run(listen, func(t *testing.T) {
			server := newHost(t, func(c *Config) { c.QUIC, c.Listen = true, []string{listen} })
			client := newHost(t, func(c *Config) { c.QUIC = true })
			to := addressOf(t, server)
			to.ID = newKey(t).ID()
			_, err := client.Open(t.Context(), to, echo)
			if !errors.Is(err, ErrWrongPeer) || !errors.Is(err, ErrUnreachable) {
				t.Fatalf("open: %v", err)
			}
			wantShort(t, err, to.ID.Short(), server.ID().String())
		})
	}
}

func TestPeerDown(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := gone.Addr().(*net.TCPAddr).Port
	gone.Close()
	client := newHost(t, func(c *Config) { c.QUIC = true; c.DialTimeout = time.Second })
	id := newKey(t).ID()
	refused := Address{ID: id, Addrs: []string{multiaddrOf(port)}}
	for range 2 { // the second is not told off for asking again
		_, err := client.Open(t.Context(), refused, echo)
		if !errors.Is(err, ErrUnreachable) {
			t.Fatalf("open: %v", err)
		}
		wantShort(t, err, id.Short(), refused.Addrs[0], "connection refused")
	}
	// A listener that never accepts completes no handshake.
	hole, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	silent := Address{ID: newKey(t).ID(), Addrs: []string{multiaddrOf(hole.Addr().(*net.TCPAddr).Port)}}
	_, err = client.Open(t.Context(), silent, echo)
	wantShort(t, err, "no answer")
	both := Address{ID: newKey(t).ID(), Addrs: append(refused.Addrs, silent.Addrs...)}
	_, err = client.Open(t.Context(), both, echo)
	wantShort(t, err, "no answer", "connection refused")
	_, err = client.Open(t.Context(), Address{ID: id}, echo)
	wantShort(t, err, "no address")
	_, err = client.Open(t.Context(), Address{ID: id, Addrs: []string{"/dns4/nowhere.invalid/tcp/1"}}, echo)
	if !errors.Is(err, ErrUnreachable) {
		t.Errorf("open: %v", err)
	}
	wantShort(t, err, "resolve")
	_, err = client.Open(t.Context(), Address{ID: client.ID(), Addrs: refused.Addrs}, echo)
	wantShort(t, err, "itself")
}

func multiaddrOf(port int) string {
	return strings.Replace(loopback, "/0", "/"+strconv.Itoa(port), 1)
}

// A caller that gives up does not spoil the dial for others.
func TestSharedDial(t *testing.T) {
	server, client := newHost(t, listening), newHost(t, nil)
	server.Handle(echo, serveEcho)
	to := addressOf(t, server)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() {
			if i%2 == 0 {
				if err := client.Connect(canceled, to); err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("connect: %v", err)
				}
				return
			}
			s, err := client.Open(t.Context(), to, echo)
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			defer s.Close()
			if err := roundTrip(s, []byte("hello")); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if n := len(client.host.Network().Conns()); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestRedialAfterRestart(t *testing.T) {
	key := newKey(t)
	first, err := New(Config{Key: key, Listen: []string{loopback}})
	if err != nil {
		t.Fatal(err)
	}
	first.Handle(echo, serveEcho)
	to := addressOf(t, first)
	client := newHost(t, nil)
	gone := make(chan ident.ID, 1)
	client.OnDisconnect(func(id ident.ID) { gone <- id })
	if err := roundTrip(open(t, client, to, echo), []byte("1")); err != nil {
		t.Fatal(err)
	}
	if !client.Connected(key.ID()) {
		t.Error("not connected")
	}
	first.Close()
	if id := <-gone; id != key.ID() || client.Connected(id) {
		t.Errorf("%s is gone", id)
	}
	if _, err := client.Open(t.Context(), to, echo); !errors.Is(err, ErrUnreachable) {
		t.Errorf("open while it is down: %v", err)
	}
	second, err := New(Config{Key: key, Listen: to.Addrs})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	second.Handle(echo, serveEcho)
	if err := roundTrip(open(t, client, to, echo), []byte("2")); err != nil {
		t.Fatal(err)
	}
}

func TestPortTaken(t *testing.T) {
	first := newHost(t, listening)
	_, err := New(Config{Key: newKey(t), Listen: addressOf(t, first).Addrs})
	wantShort(t, err, "listen on", "address already in use")
}

func TestGate(t *testing.T) {
	friend := newKey(t)
	server := newHost(t, func(c *Config) {
		c.Listen = []string{loopback}
		c.Gate = func(id ident.ID) bool { return id == friend.ID() }
	})
	server.Handle(echo, serveEcho)
	known := newHost(t, func(c *Config) { c.Key = friend })
	if err := roundTrip(open(t, known, addressOf(t, server), echo), []byte("hello")); err != nil {
		t.Error(err)
	}
	stranger := newHost(t, listening)
	s, err := stranger.Open(t.Context(), addressOf(t, server), echo)
	if err == nil { // TLS clients are done before the server has judged them
		err = roundTrip(s, []byte("hello"))
	}
	if !errors.Is(err, ErrReset) && !errors.Is(err, ErrUnreachable) {
		t.Errorf("a stranger got %v", err)
	}
	if _, err := server.Open(t.Context(), addressOf(t, stranger), echo); !errors.Is(err, ErrUnreachable) {
		t.Errorf("calling a stranger: %v", err)
	}
}

func TestOtherKeysAreRefused(t *testing.T) {
	server := newHost(t, listening)
	server.Handle(echo, serveEcho)
	key, _, err := crypto.GenerateECDSAKeyPair(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := libp2p.New(libp2p.Identity(key), libp2p.NoListenAddrs)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	addrs, _ := parseAll(addressOf(t, server).Addrs)
	stranger.Connect(t.Context(), peer.AddrInfo{ID: toPeer(server.ID()), Addrs: addrs})
	s, err := stranger.NewStream(t.Context(), toPeer(server.ID()), echo)
	if err == nil {
		s.Write([]byte{1})
		_, err = io.ReadFull(s, make([]byte, 1))
	}
	if err == nil {
		t.Error("a peer with another kind of key was served")
	}
}

func TestStreamsPerPeer(t *testing.T) {
	server := newHost(t, func(c *Config) { c.Listen, c.MaxStreamsPerPeer = []string{loopback}, 3 })
	server.Handle(echo, serveEcho)
	to := addressOf(t, server)
	for range 2 { // each peer has its own share
		client := newHost(t, nil)
		var streams []*Stream
		for range 3 {
			s := open(t, client, to, echo)
			if err := roundTrip(s, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			streams = append(streams, s)
		}
		if err := roundTrip(open(t, client, to, echo), []byte("hello")); !errors.Is(err, ErrBusy) {
			t.Errorf("one stream more: %v", err)
		}
		streams[0].CloseWrite()
		if _, err := io.ReadAll(streams[0]); err != nil {
			t.Error(err)
		}
		err := ErrBusy // until the server has noticed
		for errors.Is(err, ErrBusy) {
			err = roundTrip(open(t, client, to, echo), []byte("hello"))
		}
		if err != nil {
			t.Errorf("after another was closed: %v", err)
		}
	}
}

// libp2p's own limits would let 8 in.
func TestManyPeersFromOneAddress(t *testing.T) {
	server := newHost(t, listening)
	server.Handle(echo, serveEcho)
	to := addressOf(t, server)
	var wait sync.WaitGroup
	for range 60 {
		client := newHost(t, nil)
		wait.Go(func() {
			s, err := client.Open(t.Context(), to, echo)
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			defer s.Close()
			if err := roundTrip(s, []byte("hello")); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

func TestSilentPeer(t *testing.T) {
	server, client := newHost(t, listening), newHost(t, nil)
	result := make(chan error, 1)
	server.Handle(echo, func(_ context.Context, s *Stream) {
		s.SetIdle(50 * time.Millisecond)
		_, err := io.ReadFull(s, make([]byte, 2))
		s.Reset()
		result <- err
	})
	s := open(t, client, addressOf(t, server), echo)
	if _, err := s.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if err := <-result; !errors.Is(err, ErrStalled) {
		t.Errorf("reading from a silent peer: %v", err)
	}
}

// A peer that takes nothing blocks a writer only so long.
func TestDeafPeer(t *testing.T) {
	server, client := newHost(t, listening), newHost(t, nil)
	done := make(chan struct{})
	defer close(done)
	server.Handle(echo, func(context.Context, *Stream) { <-done })
	s := open(t, client, addressOf(t, server), echo)
	s.SetIdle(50 * time.Millisecond)
	if _, err := s.Write(make([]byte, 64<<20)); !errors.Is(err, ErrStalled) {
		t.Errorf("writing to a deaf peer: %v", err)
	}
}

// slowly is a raw stream that takes some of every write before the deadline.
type slowly struct {
	network.Stream
	takes     int
	deadlines int
}

func (s *slowly) SetWriteDeadline(time.Time) error { s.deadlines++; return nil }

func (s *slowly) Write(p []byte) (int, error) {
	if len(p) > s.takes {
		return s.takes, os.ErrDeadlineExceeded
	}
	return len(p), nil
}

// A peer that is slow, but not too slow, may take longer than the idle time for
// one write.
func TestSlowPeer(t *testing.T) {
	raw := &slowly{takes: 100 << 10}
	s := &Stream{raw: raw, rw: raw}
	s.SetIdle(time.Minute)
	if n, err := s.Write(make([]byte, 1<<20)); n != 1<<20 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	raw.takes = 0
	if n, err := s.Write(make([]byte, 1)); n != 0 || !errors.Is(err, ErrStalled) {
		t.Errorf("%d bytes, %v", n, err)
	}
	raw.takes = 1
	s.out.left = -time.Second
	if n, err := s.Write(make([]byte, 2)); n != 1 || !errors.Is(err, ErrStalled) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// The budget of a direction, on a clock of its own.
func TestBudget(t *testing.T) {
	const idle = 30 * time.Second
	cases := map[string]struct {
		wait  time.Duration // before each read
		bytes int           // of each read
		reads int           // until the budget is used up, 0: never
	}{
		"silence":          {idle, 0, 1},
		"a byte at a time": {idle - time.Second, 1, 2},
		"half the rate":    {time.Second, MinRate / 2, 60},
		"the rate":         {time.Second, MinRate, 0},
		"slow, in bursts":  {idle / 2, MinRate * 15, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var b budget
			b.reset(idle)
			for read := 1; read <= 1000; read++ {
				waited := min(c.wait, b.left) // no read waits longer than it may
				over := c.wait >= b.left
				b.charge(waited, c.bytes)
				if over {
					if c.bytes > 0 {
						read++ // what came with the last moment still counts
					}
					if c.reads == 0 || read < c.reads-1 || read > c.reads+1 {
						t.Errorf("used up at read %d, want %d", read, c.reads)
					}
					return
				}
			}
			if c.reads != 0 {
				t.Errorf("never used up")
			}
		})
	}
}

// The same over the network: more than the idle time in all, but never long without a byte.
func TestDrippingPeer(t *testing.T) {
	server, client := newHost(t, listening), newHost(t, nil)
	result := make(chan error, 1)
	server.Handle(echo, func(_ context.Context, s *Stream) {
		s.SetIdle(100 * time.Millisecond)
		_, err := io.Copy(io.Discard, struct{ io.Reader }{s})
		s.Reset()
		result <- err
	})
	s := open(t, client, addressOf(t, server), echo)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.Write([]byte{1})
		case err := <-result:
			if !errors.Is(err, ErrStalled) {
				t.Errorf("reading from a dripping peer: %v", err)
			}
			return
		}
	}
}

// Between messages a peer may be silent for longer than within one.
func TestNextMessage(t *testing.T) {
	server, client := newHost(t, listening), newHost(t, nil)
	result := make(chan error, 1)
	allowed := make(chan time.Time, 3)
	server.Handle(echo, func(_ context.Context, s *Stream) {
		s.SetIdle(time.Second)
		one := make([]byte, 1)
		s.Read(one)
		allowed <- s.in.deadline
		s.NextMessage(time.Hour)
		s.Write(one)
		s.Read(one)
		allowed <- s.in.deadline
		_, err := s.Read(one)
		allowed <- s.in.deadline
		result <- err
	})
	s := open(t, client, addressOf(t, server), echo)
	s.Write([]byte{1})
	s.Read(make([]byte, 1))
	s.Write([]byte{2})
	if err := <-result; !errors.Is(err, ErrStalled) {
		t.Errorf("within the next message: %v", err)
	}
	first, between, after := <-allowed, <-allowed, <-allowed
	if between.Sub(first) < 50*time.Minute || between.Sub(after) < 50*time.Minute {
		t.Errorf("deadlines %v, %v, %v", first, between, after)
	}
}

func TestAddress(t *testing.T) {
	id := newKey(t).ID()
	good := "/ip4/192.0.2.7/tcp/7700/p2p/" + id.String()
	rsa := "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
	a, err := ParseAddress(good)
	if err != nil || a.ID != id || a.String() != good {
		t.Fatalf("%v, %v", a, err)
	}
	two := good + ",/dns4/node.example.org/tcp/7700/p2p/" + id.String()
	if a, err = ParseAddress(two); err != nil || len(a.Addrs) != 2 || a.String() != two {
		t.Fatalf("%v, %v", a, err)
	}
	if b, err := JoinAddress(id, a.Addrs); err != nil || b.String() != two {
		t.Errorf("%v, %v", b, err)
	}
	if b, err := JoinAddress(id, strings.Split(two, ",")); err != nil || b.String() != two {
		t.Errorf("%v, %v", b, err)
	}
	bad := map[string]string{
		"":                                "empty",
		"node.example.org:7700":           "want one like",
		"/ip4/192.0.2.7/tcp/7700":         "does not end in /p2p/ID",
		"/p2p/" + id.String():             "not where",
		"/ip4/192.0.2.7/tcp/1/p2p/" + rsa: "Ed25519",
		good + ",/ip4/1.2.3.4/tcp/1/p2p/" + newKey(t).ID().String(): "two parties",
		good + ",": "empty",
	}
	for text, want := range bad {
		_, err := ParseAddress(text)
		if !errors.Is(err, ErrAddress) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, addr := range []string{"x", "/p2p/" + id.String(), "/ip4/1.2.3.4/tcp/1/p2p/" + rsa} {
		if _, err := JoinAddress(id, []string{addr}); !errors.Is(err, ErrAddress) {
			t.Errorf("%q: %v", addr, err)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	f.Add("/ip4/192.0.2.7/tcp/7700/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA")
	f.Add("/dns4/a/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N,")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAddress(text)
		if err != nil {
			return
		}
		again, err := ParseAddress(a.String())
		if err != nil || again.String() != a.String() {
			t.Errorf("%q became %q: %v", text, a, err)
		}
	})
}

func TestPeerIDs(t *testing.T) {
	id := newKey(t).ID()
	p := toPeer(id)
	if err := p.Validate(); err != nil || p.String() != id.String() {
		t.Errorf("%s is %s: %v", id, p, err)
	}
	if back, ok := fromPeer(p); !ok || back != id {
		t.Errorf("%s came back as %s", id, back)
	}
	for _, other := range []peer.ID{"", p[:37], p + "x", "\x12\x20" + peer.ID(id[:])} {
		if _, ok := fromPeer(other); ok {
			t.Errorf("%q was taken", other)
		}
	}
}

func TestConfig(t *testing.T) {
	key := newKey(t)
	for name, c := range map[string]Config{
		"no key":         {},
		"negative limit": {Key: key, MaxConns: -1},
		"bad listen":     {Key: key, Listen: []string{"0.0.0.0:1"}},
		"bad announce":   {Key: key, Announce: []string{"x"}},
		"QUIC is off":    {Key: key, Listen: []string{loopbackQUIC}},
	} {
		if h, err := New(c); err == nil {
			h.Close()
			t.Errorf("%s: no error", name)
		}
	}
	h := newHost(t, func(c *Config) {
		c.Listen, c.Announce = []string{loopback}, []string{"/dns4/node.example.org/tcp/7"}
	})
	want := "/dns4/node.example.org/tcp/7/p2p/" + h.ID().String()
	if got := h.Addresses(); len(got) != 1 || got[0] != want {
		t.Errorf("announces %q", got)
	}
}

func TestClosed(t *testing.T) {
	server, client := newHost(t, listening), newHost(t, nil)
	entered, returned := make(chan struct{}), make(chan struct{})
	server.Handle(echo, func(ctx context.Context, s *Stream) {
		close(entered)
		<-ctx.Done()
		close(returned)
	})
	to := addressOf(t, server)
	s := open(t, client, to, echo)
	s.Write([]byte{1})
	<-entered
	server.Close()
	select {
	case <-returned:
	default:
		t.Error("Close did not wait for the handler")
	}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, ErrReset) {
		t.Errorf("read: %v", err)
	}
	client.Close()
	if _, err := client.Open(t.Context(), to, echo); !errors.Is(err, ErrClosed) {
		t.Errorf("open: %v", err)
	}
}

func BenchmarkStream(b *testing.B) {
	for name, listen := range map[string]string{"TCP": loopback, "QUIC": loopbackQUIC} {
		b.Run(name, func(b *testing.B) {
			server := newHost(b, func(c *Config) { c.QUIC, c.Listen = true, []string{listen} })
			client := newHost(b, func(c *Config) { c.QUIC = true })
			server.Handle(echo, func(_ context.Context, s *Stream) {
				buffer := make([]byte, 256<<10)
				for {
					if _, err := io.ReadFull(s, buffer); err != nil {
						break
					}
				}
				s.Write([]byte{1})
			})
			s := open(b, client, addressOf(b, server), echo)
			frame := make([]byte, 256<<10)
			b.SetBytes(int64(len(frame)))
			for b.Loop() {
				if _, err := s.Write(frame); err != nil {
					b.Fatal(err)
				}
			}
			s.CloseWrite()
			io.ReadFull(s, make([]byte, 1))
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	server, client := newHost(b, listening), newHost(b, nil)
	server.Handle(echo, serveEcho)
	to := addressOf(b, server)
	message := sha256.Sum256(nil)
	for b.Loop() {
		s, err := client.Open(b.Context(), to, echo)
		if err != nil {
			b.Fatal(err)
		}
		if err := roundTrip(s, message[:]); err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}
