package heal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// openTimeout bounds reaching a peer.
const openTimeout = 5 * time.Second

var (
	// errTooFew says that not enough peers can be read from.
	errTooFew = errors.New("too few peers have their shards of the segment")
	// errBadSegment says that a shard does not match its root although those it
	// was made from match theirs.
	errBadSegment = errors.New("segment was encoded wrong by its uplink")
	// errLease says that peers do not honour the lease any more.
	errLease = errors.New("lease is not honoured any more")
	// errLater says that too few peers have nothing else to do.
	errLater = errors.New("peers serve others first")
)

// A session reads from the peers of one group, for one worker.
type session struct {
	*Healer
	lease   nodeclient.Lease
	slot    int // of this node
	coder   *erasure.Coder
	patient bool
	peers   []*peer // those that may be read from, the best first
	over    bool    // another lease is needed
}

// A peer is another holder of the group.
type peer struct {
	slot    int
	address transport.Address
	stream  Stream // nil: not open
	busy    bool   // serves others first
}

// openSession leases the group of a job.
func (h *Healer) openSession(ctx context.Context, j *job) (*session, error) {
	m, err := h.c.Lease(ctx, j.need.Group)
	if err != nil {
		return nil, fmt.Errorf("lease of group %d: %w", j.need.Group, err)
	}
	lease, err := nodeclient.OpenLease(m.GetGroup(), m.GetLimit(), h.c.Satellite)
	switch {
	case err != nil:
		return nil, err
	case lease.Group.ID != j.need.Group || len(m.Nodes) != len(lease.Group.Nodes):
		return nil, fmt.Errorf("lease of group %d does not fit what was asked for", j.need.Group)
	case j.need.Slot < 0 || j.need.Slot >= len(lease.Group.Nodes):
		return nil, fmt.Errorf("group %d has no slot %d", j.need.Group, j.need.Slot)
	}
	s := &session{Healer: h, lease: lease, slot: j.need.Slot, patient: j.patient}
	if s.coder, err = erasure.NewCoder(lease.Group.Scheme.Required, lease.Group.Scheme.Total); err != nil {
		return nil, err
	}
	var present, away []*peer
	for _, slot := range h.shuffled(len(m.Nodes)) {
		id := lease.Group.Nodes[slot]
		if id == h.c.Node || h.avoids(id) {
			continue
		}
		p := &peer{slot: slot, address: transport.Address{ID: id, Addrs: m.Nodes[slot].Addresses}}
		if m.Nodes[slot].Online {
			present = append(present, p)
		} else {
			away = append(away, p)
		}
	}
	s.peers = append(present, away...)
	return s, nil
}

// shuffled is the numbers below n in any order, so that nodes that heal at the
// same time read from different peers.
func (h *Healer) shuffled(n int) []int {
	order := make([]int, n)
	for i := range order {
		j := h.c.Random(i + 1)
		order[i], order[j] = order[j], i
	}
	return order
}

func (s *session) group() uint32 { return s.lease.Group.ID }

// layoutOf is the layout of a segment. Its size was checked when the journal was
// read; one that is none shows when it is used.
func (s *session) layoutOf(m shardstore.Missing) erasure.Layout {
	scheme := s.lease.Group.Scheme
	return erasure.Layout{Required: scheme.Required, Total: scheme.Total, Size: m.Size}
}

func (s *session) close() {
	for _, p := range s.peers {
		p.hangUp()
	}
}

func (p *peer) hangUp() {
	if p.stream != nil {
		p.stream.Reset()
		p.stream = nil
	}
}

// open opens the stream to a peer unless it is open.
func (s *session) open(ctx context.Context, p *peer) error {
	if p.stream != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	stream, err := s.c.Open(ctx, p.address, s.lease, s.patient)
	if err == nil {
		p.stream = stream
	}
	return err
}

// failed takes in what a peer's error means: for the session, for the peer, or
// for one shard alone.
func (s *session) failed(ctx context.Context, p *peer, err error) {
	switch {
	case ctx.Err() != nil:
		p.hangUp()
	case errors.Is(err, wire.ErrNotFound), errors.Is(err, wire.ErrCorrupt):
		p.hangUp() // requests sent ahead are still to be answered
	case s.patient && errors.Is(err, wire.ErrBusy):
		p.hangUp()
		p.busy = true
	case errors.Is(err, order.ErrExpired), errors.Is(err, order.ErrAmount), errors.Is(err, order.ErrEpoch):
		p.hangUp()
		s.over = true
	default:
		p.hangUp()
		s.avoid(p.address.ID, deadPause)
		s.c.Logger.Debug("cannot read from a peer for now", "peer", p.address.ID.Short(), "error", err)
	}
}

// roots asks peers, one after another, for the shard roots of a segment.
func (s *session) roots(ctx context.Context, m shardstore.Missing, without map[ident.ID]bool) ([]merkle.Hash, error) {
	for _, p := range s.peers {
		if without[p.address.ID] || !s.usable(p) {
			continue
		}
		err := s.open(ctx, p)
		if err == nil {
			var roots []merkle.Hash
			if roots, err = p.stream.Roots(m.Segment, s.layoutOf(m), m.Root); err == nil {
				return roots, nil
			}
		}
		without[p.address.ID] = true
		s.failed(ctx, p, err)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if s.over {
			return nil, fmt.Errorf("%w: %w", errLease, err)
		}
	}
	return nil, s.tooFew()
}

// usable tells whether a peer may be read from.
func (s *session) usable(p *peer) bool { return !p.busy && !s.avoids(p.address.ID) }

// tooFew is why there are too few peers: those that are busy would do later on.
func (s *session) tooFew() error {
	if slices.ContainsFunc(s.peers, func(p *peer) bool { return p.busy }) {
		return errLater
	}
	return errTooFew
}
