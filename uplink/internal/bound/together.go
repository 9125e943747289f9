package bound

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

const (
	// lotStripes is how many stripes go out together: a frame for each slot.
	lotStripes = wire.MaxData / erasure.ChunkSize
	// lots is how many are under way.
	lots = 4
)

// A program does all parts together, and nothing else: it has no satellite, no
// signatures and no order among its bytes, reads no file and knows its peers
// beforehand. What it comes to is what parts come to that share processors, caches
// and memory. After an error it is of no use any more.
type program struct {
	far     *farEnds
	stripes []*stripe // one for each core to work on
	coder   *erasure.Coder
	free    chan *lot
	count   int // of lots that go through
}

// A lot is stripes that go out together.
type lot struct {
	frames [][]byte // by slot
	unsent atomic.Int32
}

// newProgram is for so many bytes of user data, rounded up to whole lots.
func newProgram(far *farEnds, stripes []*stripe, bytes int64) *program {
	p := &program{far: far, stripes: stripes, coder: stripes[0].coder, free: make(chan *lot, lots)}
	p.count = int((bytes + p.lotSize() - 1) / p.lotSize())
	for range lots {
		l := new(lot)
		for slot := range p.coder.Total() {
			l.frames = append(l.frames, erasure.NewBuffer(slot, 0, wire.MaxData))
		}
		p.free <- l
	}
	return p
}

// lotSize is the bytes of user data in a lot.
func (p *program) lotSize() int64 { return int64(p.coder.Required() * lotStripes * seal.ChunkPlain) }

// did is that all lots have gone through since then.
func (p *program) did(since time.Time) spent {
	return spent{bytes: int64(p.count) * p.lotSize(), wall: time.Since(since)}
}

// upload has all far ends keep a shard in one of their directories.
func (p *program) upload(dir int) (spent, error) {
	streams, err := p.open(p.far.all, keepProtocol, dir)
	if err != nil {
		return spent{}, err
	}
	defer resetAll(streams)
	for _, s := range streams {
		if err := answered(s); err != nil {
			return spent{}, err
		}
	}
	return costing(p.far.all, func() (spent, error) {
		start := time.Now()
		err := p.send(streams)
		return p.did(start), err
	})
}

// send codes all lots, on all cores, and sends them as they come.
func (p *program) send(streams []*transport.Stream) error {
	all, ctx := errgroup.WithContext(context.Background())
	defer context.AfterFunc(ctx, func() { resetAll(streams) })()
	queues := make([]chan *lot, len(streams))
	for slot := range queues {
		queues[slot] = make(chan *lot, lots)
		all.Go(func() error { return p.sendSlot(streams[slot], slot, queues[slot]) })
	}
	var begun atomic.Int64
	var coding errgroup.Group
	for _, s := range p.stripes {
		coding.Go(func() error {
			worker := *s
			worker.chunks = make([][]byte, len(queues))
			for begun.Add(1) <= int64(p.count) {
				select {
				case l := <-p.free:
					if err := l.fill(&worker); err != nil {
						return err
					}
					for _, queue := range queues {
						queue <- l // has room for all lots
					}
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	}
	err := coding.Wait()
	for _, queue := range queues {
		close(queue)
	}
	if failed := all.Wait(); failed != nil {
		return failed
	}
	return err
}

// fill seals, codes and hashes each stripe of a lot.
func (l *lot) fill(worker *stripe) error {
	l.unsent.Store(int32(len(l.frames)))
	for row := range lotStripes {
		for slot, frame := range l.frames {
			worker.chunks[slot] = frame[row*erasure.ChunkSize:][:erasure.ChunkSize]
		}
		for _, do := range []func() error{worker.seal, worker.code, worker.hash} {
			if err := do(); err != nil {
				return err
			}
		}
	}
	return nil
}

// sendSlot sends a slot's frames, and waits until they are kept.
func (p *program) sendSlot(s *transport.Stream, slot int, queue <-chan *lot) error {
	for l := range queue {
		_, err := s.Write(l.frames[slot])
		if l.unsent.Add(-1) == 0 {
			p.free <- l
		}
		if err != nil {
			return err
		}
	}
	if err := s.CloseWrite(); err != nil {
		return err
	}
	return answered(s)
}

// download has the far ends with data shards supply what they have kept, and opens it.
func (p *program) download(dir int) (spent, error) {
	far := p.far.all[:p.coder.Required()]
	return costing(far, func() (spent, error) {
		start := time.Now()
		streams, err := p.open(far, supplyProtocol, dir)
		if err != nil {
			return spent{}, err
		}
		defer resetAll(streams)
		all, ctx := errgroup.WithContext(context.Background())
		defer context.AfterFunc(ctx, func() { resetAll(streams) })()
		for slot, s := range streams {
			all.Go(func() error { return p.receive(s, slot) })
		}
		err = all.Wait()
		return p.did(start), err
	})
}

// receive opens the chunks of a slot, which is how it sees that all have come.
func (p *program) receive(s *transport.Stream, slot int) error {
	cipher := newCipher()
	frame := make([]byte, wire.MaxData)
	for range p.count {
		if _, err := io.ReadFull(s, frame); err != nil {
			return fmt.Errorf("slot %d: %w", slot, err)
		}
		for row := range lotStripes {
			if err := cipher.openChunk(frame[row*erasure.ChunkSize:][:erasure.ChunkSize], slot); err != nil {
				return fmt.Errorf("slot %d: %w", slot, err)
			}
		}
	}
	return nil
}

// open opens a stream to each far end, with an order about one of its directories.
func (p *program) open(far []farEnd, proto string, dir int) (streams []*transport.Stream, err error) {
	shard := erasure.MaxStripes(p.coder.Required()) * erasure.ChunkSize
	o := order{Dir: uint8(dir), Shard: uint32(shard)}
	for _, f := range far {
		s, err := f.open(proto)
		if err != nil {
			resetAll(streams)
			return nil, err
		}
		streams = append(streams, s)
		if err := binary.Write(s, binary.BigEndian, o); err != nil {
			resetAll(streams)
			return nil, err
		}
	}
	return streams, nil
}

func resetAll(streams []*transport.Stream) {
	for _, s := range streams {
		s.Reset()
	}
}

// answered waits for the byte by which a far end says that it is done.
func answered(s *transport.Stream) error {
	var done [1]byte
	_, err := io.ReadFull(s, done[:])
	return err
}
