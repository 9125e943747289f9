package bound

import (
	"context"
	"crypto/rand"
	"io"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
)

const protocol = "/cairn/bound/1"

// transportRate sends chunk frames to so many receivers for the duration and
// returns the bytes per second that all of them took.
func transportRate(receivers int, duration time.Duration) (float64, error) {
	sender, err := newHost(nil)
	if err != nil {
		return 0, err
	}
	defer sender.Close()
	streams := make([]*transport.Stream, receivers)
	for i := range streams {
		receiver, err := newHost([]string{"/ip4/127.0.0.1/tcp/0"})
		if err != nil {
			return 0, err
		}
		defer receiver.Close()
		receiver.Handle(protocol, drain)
		if streams[i], err = openTo(sender, receiver); err != nil {
			return 0, err
		}
	}
	return send(streams, duration)
}

func newHost(listen []string) (*transport.Host, error) {
	key, err := ident.Generate(rand.Reader)
	if err != nil {
		return nil, err
	}
	return transport.New(transport.Config{Key: key, Listen: listen})
}

func openTo(sender, receiver *transport.Host) (*transport.Stream, error) {
	address, err := transport.ParseAddress(receiver.Addresses()[0])
	if err != nil {
		return nil, err
	}
	return sender.Open(context.Background(), address, protocol)
}

// drain reads to the end and answers with one byte, so that the sender knows
// when everything has arrived.
func drain(_ context.Context, s *transport.Stream) {
	buffer := make([]byte, wire.MaxData)
	for {
		if _, err := s.Read(buffer); err != nil {
			if err == io.EOF {
				s.Write([]byte{1})
				s.Close()
			} else {
				s.Reset()
			}
			return
		}
	}
}

func send(streams []*transport.Stream, duration time.Duration) (float64, error) {
	const frame = wire.HeaderSize + 64<<10
	var (
		wait   sync.WaitGroup
		mu     sync.Mutex
		bytes  int64
		failed error
	)
	start := time.Now()
	for _, s := range streams {
		wait.Go(func() {
			sent, err := sendOne(s, make([]byte, frame), start.Add(duration))
			mu.Lock()
			defer mu.Unlock()
			bytes += sent
			if err != nil {
				failed = err
			}
		})
	}
	wait.Wait()
	return float64(bytes) / time.Since(start).Seconds(), failed
}

func sendOne(s *transport.Stream, frame []byte, until time.Time) (int64, error) {
	defer s.Close()
	var sent int64
	for time.Now().Before(until) {
		n, err := s.Write(frame)
		sent += int64(n)
		if err != nil {
			return sent, err
		}
	}
	if err := s.CloseWrite(); err != nil {
		return sent, err
	}
	_, err := io.ReadFull(s, make([]byte, 1))
	return sent, err
}
