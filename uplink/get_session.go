package uplink

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/transport"
)

// A getSession reads from the nodes of one group: a reader for each slot, with
// its stream. All downloads share it.
type getSession struct {
	lease    *lease
	coder    *erasure.Coder
	peers    *peers
	tolerate tolerances
	open     func(context.Context, transport.Address) (getStream, error)
	prove    func(context.Context, transport.Address, proofRequest) ([]byte, error)

	ctx     context.Context // ends the opening of streams
	cancel  context.CancelFunc
	slots   []*slotReader
	tasks   sync.WaitGroup
	typical typical
	holds   atomic.Int32 // see hold
}

// proofRequest names leaves of a shard and what they have to be proved against.
type proofRequest struct {
	segment      order.SegmentID
	layout       erasure.Layout
	root         merkle.Hash
	slot         int
	first, count int
}

func (t *transfers) newGetSession(l *lease, coder *erasure.Coder) *getSession {
	s := &getSession{lease: l, coder: coder, peers: t.peers, tolerate: t.tolerate}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	shown := l.shown()
	s.open = func(ctx context.Context, to transport.Address) (getStream, error) {
		get, err := t.dialer.OpenGet(ctx, to, shown)
		if err != nil {
			return nil, err
		}
		return get, nil
	}
	s.prove = func(ctx context.Context, to transport.Address, r proofRequest) ([]byte, error) {
		get, err := t.dialer.OpenGet(ctx, to, shown)
		if err != nil {
			return nil, err
		}
		defer get.Close()
		defer context.AfterFunc(ctx, get.Reset)()
		return get.Prove(r.segment, r.layout, r.root, r.slot, r.first, r.count)
	}
	for slot, node := range l.nodes {
		s.slots = append(s.slots, &slotReader{session: s, slot: slot, node: node, wake: make(chan struct{}, 1)})
	}
	return s
}

// getFrom returns the session to read from a group.
func (t *transfers) getFrom(ctx context.Context, group uint32) (*getSession, error) {
	t.mu.Lock()
	s := t.getting[group]
	t.mu.Unlock()
	if s != nil && s.lease.fresh(t.peers.now()) {
		return s, nil
	}
	l, err := t.leases.forGet(ctx, group)
	if err != nil {
		return nil, err
	}
	coder, err := t.coder(l.group.Scheme)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch was := t.getting[group]; {
	case t.closed:
		return nil, ErrClosed
	case was != nil && was != s:
		return was, nil // somebody else was faster
	case was != nil:
		was.close()
	}
	if len(t.getting) == maxGetting {
		t.dropSome()
	}
	s = t.newGetSession(l, coder)
	t.getting[group] = s
	return s, nil
}

// maxGetting is how many groups streams are kept to.
const maxGetting = 64

// dropSome ends one session, any. The caller holds the lock.
func (t *transfers) dropSome() {
	for group, s := range t.getting {
		s.close()
		delete(t.getting, group)
		return
	}
}

// dropGet gives up a session whose lease the nodes do not honour any more.
func (t *transfers) dropGet(s *getSession) {
	t.leases.drop(s.lease)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.getting[s.lease.group.ID] == s {
		delete(t.getting, s.lease.group.ID)
		s.close()
	}
}

// hold keeps the slots from sending what they are asked for until letGo, so that
// requests that continue one another go out as one.
func (s *getSession) hold() { s.holds.Add(1) }

func (s *getSession) held() bool { return s.holds.Load() > 0 }

// letGo ends what hold began.
func (s *getSession) letGo() {
	if s.holds.Add(-1) > 0 {
		return
	}
	for _, r := range s.slots {
		if r.asked() {
			r.nudge()
		}
	}
}

// close ends the streams once what was asked for has come.
func (s *getSession) close() {
	for _, r := range s.slots {
		r.close()
	}
}

// abandon ends the streams at once.
func (s *getSession) abandon() {
	s.close()
	s.cancel()
	for _, r := range s.slots {
		r.mu.Lock()
		stream := r.stream
		r.mu.Unlock()
		if stream != nil {
			stream.get.Reset()
		}
	}
	s.tasks.Wait()
}

// pace is what usually lies between two answers of a slot: the median of slots
// where that is known.
func (s *getSession) pace() time.Duration {
	var paces []time.Duration
	for _, r := range s.slots {
		r.mu.Lock()
		if r.pace > 0 {
			paces = append(paces, r.pace)
		}
		r.mu.Unlock()
	}
	if len(paces) == 0 {
		return 0
	}
	slices.Sort(paces)
	return paces[len(paces)/2]
}

// rank orders the slots by how likely they are to answer soon: data before
// parity, those that were slow after both, those that failed lately at the end.
func (s *getSession) rank() []int {
	var good, slow, bad []int
	for slot, r := range s.slots {
		switch {
		case !s.peers.usable(r.node.address.ID):
			bad = append(bad, slot)
		case !r.quick() || !r.node.online:
			slow = append(slow, slot)
		default:
			good = append(good, slot)
		}
	}
	return append(append(good, slow...), bad...)
}
