package transport

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/cairnstorage/cairn/proto/ident"
)

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

// BenchmarkConnect is a connection from nothing, one round trip and the end of it.
func BenchmarkConnect(b *testing.B) {
	server, client := newHost(b, listening), newHost(b, nil)
	server.Handle(echo, serveEcho)
	to := addressOf(b, server)
	message := sha256.Sum256(nil)
	b.ReportAllocs()
	for b.Loop() {
		s, err := client.Open(b.Context(), to, echo)
		if err != nil {
			b.Fatal(err)
		}
		if err := roundTrip(s, message[:]); err != nil {
			b.Fatal(err)
		}
		s.Close()
		if err := client.Disconnect(server.ID()); err != nil {
			b.Fatal(err)
		}
	}
}
