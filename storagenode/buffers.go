package storagenode

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/wire"
)

// bufferPool is a bounded number of buffers, each with room for a data frame, of
// which no peer gets more than an eighth: a peer can hold on to what it has, by
// sending a frame slowly or not taking one, and must not keep all others out.
type bufferPool struct {
	tokens  chan struct{}
	free    chan []byte
	patient time.Duration // how long a request may wait for others to make room

	mu     sync.Mutex
	shares map[ident.ID]*share
}

// A share is what one peer may have of the pool, in all its streams together.
type share struct {
	pool    *bufferPool
	tokens  chan struct{}
	streams int // that use it; guarded by pool.mu
}

const (
	bufferSize = wire.HeaderSize + wire.MaxData
	peersPart  = 8 // one of how many is a peer's share
	bufferWait = 10 * time.Second
	maxProofs  = 8 // proofs being made at a time, each in up to 6 MiB
)

func newBufferPool(n int) *bufferPool {
	return &bufferPool{
		tokens: make(chan struct{}, n), free: make(chan []byte, n), patient: bufferWait,
		shares: make(map[ident.ID]*share),
	}
}

// join gives a stream the share of its peer. leave has to follow.
func (p *bufferPool) join(peer ident.ID) *share {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shares[peer]
	if s == nil {
		s = &share{pool: p, tokens: make(chan struct{}, max(1, cap(p.tokens)/peersPart))}
		p.shares[peer] = s
	}
	s.streams++
	return s
}

func (p *bufferPool) leave(peer ident.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shares[peer]
	if s.streams--; s.streams == 0 {
		delete(p.shares, peer)
	}
}

// get waits for a buffer for a while, then fails as busy.
func (s *share) get(ctx context.Context) ([]byte, error) {
	// The peer waits for itself before it may wait in line with others.
	if err := s.pool.take(ctx, s.tokens); err != nil {
		return nil, err
	}
	if err := s.pool.take(ctx, s.pool.tokens); err != nil {
		<-s.tokens
		return nil, err
	}
	select {
	case buffer := <-s.pool.free:
		return buffer, nil
	default:
		return make([]byte, bufferSize), nil
	}
}

func (s *share) put(buffer []byte) {
	s.pool.free <- buffer
	<-s.pool.tokens
	<-s.tokens
}

// take waits until there is room for another token.
func (p *bufferPool) take(ctx context.Context, tokens chan struct{}) error {
	select {
	case tokens <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(p.patient)
	defer timer.Stop()
	select {
	case tokens <- struct{}{}:
		return nil
	case <-timer.C:
		return wire.Errorf(pb.Code_CODE_BUSY, "too much is on its way")
	case <-ctx.Done():
		return fmt.Errorf("node stops: %w", ctx.Err())
	}
}
