package bound

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
)

// What a far end does with a stream: take frames in, or give them out.
const (
	takeProtocol = "/cairn/bound/take/1"
	giveProtocol = "/cairn/bound/give/1"
)

// frame is what streams are written by: the largest that shards travel in.
const frame = wire.HeaderSize + wire.MaxData

// A Spawn starts a far end in a process of its own, as nodes are, and returns
// its address and how to end it.
type Spawn func() (address string, end func(), err error)

// Serve is what a far end does: it says where it listens and serves until in
// ends.
func Serve(in io.Reader, out io.Writer) error {
	host, err := newHost([]string{"/ip4/127.0.0.1/tcp/0"})
	if err != nil {
		return err
	}
	defer host.Close()
	host.Handle(takeProtocol, take)
	host.Handle(giveProtocol, give)
	if _, err := fmt.Fprintln(out, host.Addresses()[0]); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}

func newHost(listen []string) (*transport.Host, error) {
	key, err := ident.Generate(rand.Reader)
	if err != nil {
		return nil, err
	}
	return transport.New(transport.Config{Key: key, Listen: listen})
}

// take reads to the end and answers with one byte, so that the sender knows
// when everything has arrived.
func take(_ context.Context, s *transport.Stream) {
	if _, err := readAll(s); err != nil {
		s.Reset()
		return
	}
	s.Write([]byte{1})
	s.Close()
}

// give writes until the other end has enough.
func give(_ context.Context, s *transport.Stream) {
	buffer := make([]byte, frame)
	for {
		if _, err := s.Write(buffer); err != nil {
			s.Reset()
			return
		}
	}
}

// readAll counts the bytes up to the end of the stream.
func readAll(s *transport.Stream) (read int64, err error) {
	buffer := make([]byte, frame)
	for {
		n, err := s.Read(buffer)
		read += int64(n)
		if err == io.EOF {
			return read, nil
		}
		if err != nil {
			return read, err
		}
	}
}

// transportRate moves bytes over one stream to each of so many far ends for the
// duration, and returns the bytes per second of all together.
func transportRate(spawn Spawn, ends int, proto string, duration time.Duration) (float64, error) {
	host, err := newHost(nil)
	if err != nil {
		return 0, err
	}
	defer host.Close()
	streams := make([]*transport.Stream, ends)
	for i := range streams {
		address, end, err := spawn()
		if err != nil {
			return 0, err
		}
		defer end()
		if streams[i], err = open(host, address, proto); err != nil {
			return 0, err
		}
	}
	return move(streams, proto, duration)
}

func open(host *transport.Host, address, proto string) (*transport.Stream, error) {
	to, err := transport.ParseAddress(address)
	if err != nil {
		return nil, err
	}
	return host.Open(context.Background(), to, proto)
}

func move(streams []*transport.Stream, proto string, duration time.Duration) (float64, error) {
	one := send
	if proto == giveProtocol {
		one = fetch
	}
	var (
		wait   sync.WaitGroup
		mu     sync.Mutex
		bytes  int64
		failed error
	)
	start := time.Now()
	for _, s := range streams {
		wait.Go(func() {
			moved, err := one(s, start.Add(duration))
			mu.Lock()
			defer mu.Unlock()
			bytes += moved
			failed = errors.Join(failed, err)
		})
	}
	wait.Wait()
	return float64(bytes) / time.Since(start).Seconds(), failed
}

func send(s *transport.Stream, until time.Time) (sent int64, err error) {
	defer s.Close()
	buffer := make([]byte, frame)
	for time.Now().Before(until) {
		n, err := s.Write(buffer)
		sent += int64(n)
		if err != nil {
			return sent, err
		}
	}
	if err := s.CloseWrite(); err != nil {
		return sent, err
	}
	_, err = io.ReadFull(s, buffer[:1])
	return sent, err
}

func fetch(s *transport.Stream, until time.Time) (got int64, err error) {
	defer s.Reset()
	buffer := make([]byte, frame)
	if err := s.CloseWrite(); err != nil { // opens the stream at the far end
		return 0, err
	}
	for time.Now().Before(until) {
		n, err := s.Read(buffer)
		got += int64(n)
		if err != nil {
			return got, err
		}
	}
	return got, nil
}
