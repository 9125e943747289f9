package transport

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
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

// newHost starts a host that is closed with the test. It waits for longer than
// a machine can be busy.
func newHost(t testing.TB, change func(*Config)) *Host {
	t.Helper()
	c := Config{Key: newKey(t), DialTimeout: 2 * time.Minute, Idle: 2 * time.Minute}
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
	client := newHost(t, func(c *Config) { c.QUIC = true })
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
	impatient := newHost(t, func(c *Config) { c.DialTimeout = time.Second })
	_, err = impatient.Open(t.Context(), silent, echo)
	wantShort(t, err, "no answer")
	both := Address{ID: newKey(t).ID(), Addrs: append(refused.Addrs, silent.Addrs...)}
	_, err = impatient.Open(t.Context(), both, echo)
	wantShort(t, err, "no answer", "connection refused")
	_, err = client.Open(t.Context(), Address{ID: id}, echo)
	wantShort(t, err, "no address")
	// A name that no resolver has to be asked for.
	_, err = client.Open(t.Context(), Address{ID: id, Addrs: []string{"/dns4/" + strings.Repeat("a", 64) + ".invalid/tcp/1"}}, echo)
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
	if n := len(client.node.Conns()); n != 1 {
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
	if !InUse(err) || InUse(ErrAddress) {
		t.Errorf("in use: %v, of %v", InUse(err), err)
	}
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
	for range 60 {
		if err := roundTrip(open(t, newHost(t, nil), to, echo), []byte("hello")); err != nil {
			t.Error(err)
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
	if _, err := s.Read(make([]byte, 1)); err != io.EOF && !errors.Is(err, ErrReset) {
		t.Errorf("read: %v", err)
	}
	client.Close()
	if _, err := client.Open(t.Context(), to, echo); !errors.Is(err, ErrClosed) {
		t.Errorf("open: %v", err)
	}
}

// TestRedial: a peer can be dialed again as soon as its connection is gone, and
// is not remembered for longer than that.
func TestRedial(t *testing.T) {
	server := newHost(t, listening)
	server.Handle(echo, serveEcho)
	client := newHost(t, nil)
	to := addressOf(t, server)
	for range 20 {
		if err := roundTrip(open(t, client, to, echo), []byte("again")); err != nil {
			t.Fatal(err)
		}
		if err := client.Disconnect(to.ID); err != nil {
			t.Fatal(err)
		}
	}
	nobody := Address{ID: newKey(t).ID(), Addrs: []string{"/ip4/127.0.0.1/tcp/1"}}
	if err := client.Connect(t.Context(), nobody); !errors.Is(err, ErrUnreachable) {
		t.Errorf("connect to nobody: %v", err)
	}
	for _, h := range []*Host{client, server} {
		known := func() (n int) {
			for _, who := range h.node.Peerstore().Peers() {
				if who != toPeer(h.ID()) {
					n++
				}
			}
			return n
		}
		for end := time.Now().Add(time.Minute); known() > 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d peers are remembered", known())
			}
		}
	}
}

// TestServes: a peer that comes before its protocol is handled waits for that.
func TestServes(t *testing.T) {
	const late = echo + "/late"
	server := newHost(t, func(c *Config) { listening(c); c.Serves = []string{late, echo} })
	server.Handle(late, serveEcho)
	client := newHost(t, nil)
	done := make(chan error, 2)
	for _, proto := range []string{late, echo} {
		s := open(t, client, addressOf(t, server), proto)
		go func() { done <- roundTrip(s, []byte("early")) }()
	}
	for client.Stats().Connections == 0 {
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-done:
		t.Fatalf("a stream was served before all could be: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	server.Handle(echo, serveEcho)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	server.Handle(echo, serveEcho) // a second time does no harm
}

// TestServesNothing: who never handles what was promised refuses it in the end,
// and closes before that.
func TestServesNothing(t *testing.T) {
	server := newHost(t, func(c *Config) { listening(c); c.Serves = []string{echo} })
	client := newHost(t, nil)
	done := make(chan error, 1)
	s := open(t, client, addressOf(t, server), echo)
	go func() { done <- roundTrip(s, []byte("early")) }()
	for server.Stats().Connections == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("a closed host answers")
	}
}
