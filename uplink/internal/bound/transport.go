package bound

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
)

// What a far end does with a stream: take frames in, give them out, or say what
// the process has cost so far.
const (
	takeProtocol = "/cairn/bound/take/1"
	giveProtocol = "/cairn/bound/give/1"
	costProtocol = "/cairn/bound/cost/1"
)

// frame is what streams are written by: the largest that shards travel in.
const frame = wire.HeaderSize + wire.MaxData

// A Spawn starts a far end in a process of its own, as nodes are, and returns
// its address and how to end it.
type Spawn func() (address string, end func(), err error)

// Serve is what a far end does, one that keeps what it gets in these directories:
// it says where it listens and serves until in ends.
func Serve(in io.Reader, out io.Writer, dirs []string) error {
	keeper, err := newKeeper(dirs)
	if err != nil {
		return err
	}
	defer keeper.close()
	host, err := newHost(transport.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		return err
	}
	defer host.Close()
	host.Handle(takeProtocol, take)
	host.Handle(giveProtocol, give)
	host.Handle(costProtocol, tellCost)
	host.Handle(keepProtocol, keeper.keep)
	host.Handle(supplyProtocol, keeper.supply)
	if _, err := fmt.Fprintln(out, host.Addresses()[0]); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}

func newHost(c transport.Config) (host *transport.Host, err error) {
	if c.Key, err = ident.Generate(rand.Reader); err != nil {
		return nil, err
	}
	return transport.New(c)
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

// tellCost says how many nanoseconds of a processor the process has used.
func tellCost(_ context.Context, s *transport.Stream) {
	binary.Write(s, binary.BigEndian, int64(ownCPU()))
	s.Close()
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

// farEnd is a process that bytes are moved to or from.
type farEnd struct {
	host    *transport.Host
	address string
	end     func()
}

// farEnds are as many processes as there would be nodes.
type farEnds struct {
	host *transport.Host
	all  []farEnd
}

func newFarEnds(spawn Spawn, count int) (*farEnds, error) {
	host, err := newHost(transport.Config{Window: transport.FarWindow})
	if err != nil {
		return nil, err
	}
	f := &farEnds{host: host}
	for range count {
		address, end, err := spawn()
		if err != nil {
			f.close()
			return nil, err
		}
		f.all = append(f.all, farEnd{host, address, end})
	}
	return f, nil
}

func (f *farEnds) close() {
	for _, far := range f.all {
		far.end()
	}
	f.host.Close()
}

// move moves bytes over one stream to or from each of so many far ends for the
// duration. The cost is that of all ends.
func (f *farEnds) move(count int, proto string, duration time.Duration) (spent, error) {
	far := f.all[:count]
	return costing(far, func() (spent, error) { return moveAll(far, proto, duration) })
}

// costing is what is done to bytes with the cost of all ends.
func costing(far []farEnd, do func() (spent, error)) (spent, error) {
	before, err := costOf(far)
	if err != nil {
		return spent{}, err
	}
	done, err := do()
	if err != nil {
		return spent{}, err
	}
	after, err := costOf(far)
	done.cpu = after - before
	return done, err
}

// moveAll moves bytes to or from all far ends at once.
func moveAll(far []farEnd, proto string, duration time.Duration) (spent, error) {
	one := send
	if proto == giveProtocol {
		one = fetch
	}
	return atOnce(far, duration, func(f farEnd, until time.Time) (int64, error) {
		stream, err := f.open(proto)
		if err != nil {
			return 0, err
		}
		return one(stream, until)
	})
}

func (f farEnd) open(proto string) (*transport.Stream, error) {
	to, err := transport.ParseAddress(f.address)
	if err != nil {
		return nil, err
	}
	return f.host.Open(context.Background(), to, proto)
}

// costOf is what this process and all far ends have cost so far.
func costOf(far []farEnd) (time.Duration, error) {
	sum := ownCPU()
	for _, f := range far {
		cost, err := f.cost()
		if err != nil {
			return 0, err
		}
		sum += cost
	}
	return sum, nil
}

func (f farEnd) cost() (time.Duration, error) {
	s, err := f.open(costProtocol)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	if err := s.CloseWrite(); err != nil {
		return 0, err
	}
	var cost int64
	err = binary.Read(s, binary.BigEndian, &cost)
	return time.Duration(cost), err
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
