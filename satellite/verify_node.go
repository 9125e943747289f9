package satellite

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
)

// How one node is compared with the metadata.

const (
	// stagedMargin is how much longer than the staging time a shard may be
	// staged: clocks differ, and nodes look for old ones every now and then.
	stagedMargin = 5 * time.Minute
	// verifyPatience is for how long a node may keep one request waiting.
	verifyPatience = time.Minute
)

// nodeLook is one look at a node.
type nodeLook struct {
	*verification
	node   ident.ID
	before doubts        // of the look before; nil: this is the first
	isNew  map[seat]bool // seats that could not be compared then
	found  doubts
	stream *nodeclient.Audit
}

// all looks at seats of the node, over one stream. What the node does wrong is in
// doubt, and no error.
func (l *nodeLook) all(ctx context.Context, seats []seat) error {
	err := l.open(ctx)
	if err == nil {
		defer l.stream.Close()
		defer context.AfterFunc(ctx, l.stream.Reset)()
	}
	for _, s := range seats {
		if err == nil {
			slot := slotLook{nodeLook: l, seat: s}
			failed := slot.look(ctx)
			if failed != nil && slot.refused == nil {
				return failed
			}
			err = slot.refused
		}
		if err != nil { // this one, and all that follow
			l.found[doubt{seat: s, kind: pb.DifferenceKind_DIFFERENCE_KIND_UNREACHABLE}] = finding{detail: err.Error()}
		}
		l.count(func(t *tally) { t.slotsDone++ })
	}
	return nil
}

func (l *nodeLook) open(ctx context.Context) error {
	if !l.registry.online(l.node) {
		return fmt.Errorf("node %s is %v and not online", l.node.Short(), l.registry.standing(l.node).State)
	}
	at := l.registry.addresses([]ident.ID{l.node}, false)[0]
	address, err := transport.JoinAddress(l.node, at.Addresses)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, verifyPatience)
	defer cancel()
	dialer := nodeclient.Dialer{Host: l.host, Idle: verifyPatience}
	l.stream, err = dialer.OpenAudit(ctx, address)
	return err
}

// slotLook is one look at a slot.
type slotLook struct {
	*nodeLook
	seat
	claim   order.Claim
	scheme  erasure.Scheme
	held    bitset // numbers of live entries whose shards the node holds
	whole   []order.Challenge
	seen    int   // shards that could be proved whole
	doubted int   // differences
	refused error // what the node did that ended the look
}

// look compares a slot with the journal, in either direction. The claim is read
// first, then what is held, then the journal: so what is claimed should be held
// unless the journal has moved on, and whatever has is gone at the next look.
func (s *slotLook) look(ctx context.Context) error {
	g, err := s.groups.get(s.seat.group)
	if err != nil {
		return nil // it was there a moment ago
	}
	s.claim, s.scheme = s.claimOf(s.seat), g.Scheme
	if s.slot == noSlot {
		return s.left()
	}
	if err := s.inventory(ctx); err != nil {
		return err
	}
	if err := s.journal(ctx); err != nil {
		return err
	}
	return s.prove(ctx)
}

// isFirst says whether the slot is looked at for the first time.
func (s *slotLook) isFirst() bool { return s.before == nil || s.isNew[s.seat] }

func (s *slotLook) refuse(err error) error {
	s.refused = err
	return fmt.Errorf("%w: %w", errRefused, err)
}

// doubtful notes a difference.
func (s *slotLook) doubtful(kind pb.DifferenceKind, segment order.SegmentID, f finding) {
	if s.doubted++; s.doubted > maxDoubts {
		return
	}
	d := doubt{seat: s.seat, kind: kind, segment: segment}
	if f.challenge != nil {
		d.leaf = f.challenge.Leaf
	}
	s.found[d] = f
}

// left looks at a node that has left the group: it should have deleted all, unless
// it is on its way out of the network.
func (s *slotLook) left() error {
	if s.registry.standing(s.nodeLook.node).State == audit.Exiting {
		return nil
	}
	held, more, err := s.stream.Inventory(s.group, order.SegmentID{}, wire.MaxInventory)
	if err != nil {
		return s.refuse(err)
	}
	if len(held) > 0 {
		s.doubtful(pb.DifferenceKind_DIFFERENCE_KIND_LEFT, order.SegmentID{},
			finding{detail: fmt.Sprintf("%d shards or more of a group that the node has left: %v", len(held), more)})
	}
	return nil
}

// inventory looks up all that is held in the journal.
func (s *slotLook) inventory(ctx context.Context) error {
	var after order.SegmentID
	for more := true; more; {
		var held []nodeclient.HeldShard
		var err error
		if held, more, err = s.stream.Inventory(s.group, after, wire.MaxInventory); err != nil {
			return s.refuse(err)
		}
		ids := make([]order.SegmentID, len(held))
		for i := range held {
			ids[i] = held[i].Segment
		}
		said, err := s.meta.Whereabouts(ctx, s.group, ids)
		if err != nil {
			return err
		}
		var ask []order.Challenge
		for i := range held {
			if s.compare(&held[i], &said[i]) {
				ask = append(ask, s.choose(&held[i], &said[i])...)
			}
			after = held[i].Segment
		}
		if err := s.ask(ctx, ask); err != nil {
			return err
		}
	}
	return nil
}

// compare compares a shard with what the journal says of its segment, and
// returns whether it is one that the node should be able to prove.
func (s *slotLook) compare(h *nodeclient.HeldShard, said *meta.Whereabouts) bool {
	switch {
	case !said.Live && h.Seq > 0:
		s.doubtful(pb.DifferenceKind_DIFFERENCE_KIND_SURPLUS, h.Segment,
			finding{detail: fmt.Sprintf("held as entry %d, and no such segment is live", h.Seq)})
		return false
	case !said.Live:
		s.count(func(t *tally) { t.staged++ })
		if age := s.now().Sub(h.Stored); age > s.config.Staging+stagedMargin {
			s.doubtful(pb.DifferenceKind_DIFFERENCE_KIND_OLD, h.Segment,
				finding{detail: fmt.Sprintf("staged for %v, and to be kept for %v", age.Round(time.Second), s.config.Staging)})
		}
		return false
	case h.Root != said.Root:
		s.doubtful(pb.DifferenceKind_DIFFERENCE_KIND_ROOT, h.Segment,
			finding{seq: said.Seq, detail: fmt.Sprintf("held with root %s, and its root is %s", h.Root, said.Root)})
		return false
	}
	s.held.set(said.Seq)
	s.count(func(t *tally) { t.shards++ })
	if h.Seq != said.Seq && s.claim.Covers(said.Seq) {
		s.doubtful(pb.DifferenceKind_DIFFERENCE_KIND_NUMBER, h.Segment,
			finding{seq: said.Seq, detail: fmt.Sprintf("held as entry %d", h.Seq)})
	}
	return true
}

// choose returns the challenges for a shard that is held: one, if each is to be
// proved, and it may be among those to be proved whole. Later looks have those
// that failed before.
func (s *slotLook) choose(h *nodeclient.HeldShard, said *meta.Whereabouts) []order.Challenge {
	layout, err := s.scheme.Layout(said.Size)
	if err != nil || !s.isFirst() || !s.proveEach && s.proveShards == 0 {
		return nil
	}
	c := order.Challenge{
		Group: s.group, Slot: s.slot, Seq: said.Seq, Segment: h.Segment, Root: said.Root, Layout: layout,
		Leaf: s.below(merkle.LeafCount(layout.ShardSize())),
	}
	if s.proveShards > 0 { // any shard is among them with the same probability
		s.seen++
		if len(s.whole) < s.proveShards {
			s.whole = append(s.whole, c)
		} else if i := s.below(s.seen); i < s.proveShards {
			s.whole[i] = c
		}
	}
	if s.proveEach {
		return []order.Challenge{c}
	}
	return nil
}

// journal looks for live entries that the node claims and does not hold.
func (s *slotLook) journal(ctx context.Context) error {
	const page = 4096
	for after := uint64(0); ; {
		live, through, err := s.meta.LiveAfter(ctx, s.group, after, s.claim.Seq, page)
		if err != nil {
			return err
		}
		for i := range live {
			e := &live[i]
			switch {
			case !s.claim.Covers(e.Seq):
				s.count(func(t *tally) { t.lacking++ })
			case !s.held.has(e.Seq):
				s.doubtful(pb.DifferenceKind_DIFFERENCE_KIND_ABSENT, e.Segment, finding{seq: e.Seq, detail: "claimed, and not held"})
			}
		}
		if after = through; after >= s.claim.Seq {
			return nil
		}
	}
}

// prove has the shards proved that are to be proved whole, and what failed
// before.
func (s *slotLook) prove(ctx context.Context) error {
	for i := range s.whole {
		c := s.whole[i]
		var all []order.Challenge
		for c.Leaf = range merkle.LeafCount(c.Layout.ShardSize()) {
			all = append(all, c)
		}
		if err := s.ask(ctx, all); err != nil {
			return err
		}
	}
	var again []order.Challenge
	for d, f := range s.before {
		if d.seat == s.seat && f.challenge != nil {
			again = append(again, *f.challenge)
		}
	}
	return s.ask(ctx, again)
}

// ask has the node prove leaves. It need not prove what was deleted meanwhile, or
// what it does not claim.
func (s *slotLook) ask(ctx context.Context, challenges []order.Challenge) error {
	for some := range slices.Chunk(challenges, MaxAuditBatch) {
		a := &order.Audit{Issued: s.now().Truncate(time.Second), Challenges: some}
		s.mu.Lock()
		a.Nonce = newNonce(s.random)
		s.mu.Unlock()
		answers, _, err := s.stream.Ask(a)
		if err != nil {
			return s.refuse(err)
		}
		for i := range some {
			v := audit.Judge(some[i], answers[i])
			if v == audit.Proved {
				s.count(func(t *tally) { t.leaves++ })
				continue
			}
			c := some[i]
			counts, err := s.meta.Counts(ctx, c.Group, c.Seq, c.Segment)
			if err != nil {
				return err
			}
			if claim := s.claimOf(s.seat); !counts || !claim.Covers(c.Seq) {
				continue
			}
			s.doubtful(pb.DifferenceKind_DIFFERENCE_KIND_UNPROVED, c.Segment, finding{
				seq: c.Seq, challenge: &c, detail: fmt.Sprintf("leaf %d: %s, %s", c.Leaf, v, answers[i].Status),
			})
		}
	}
	return nil
}

// bitset is a set of numbers, of which most from 1 on are in it.
type bitset []uint64

func (b *bitset) set(n uint64) {
	for uint64(len(*b)) <= n/64 {
		*b = append(*b, 0)
	}
	(*b)[n/64] |= 1 << (n % 64)
}

func (b bitset) has(n uint64) bool {
	return n/64 < uint64(len(b)) && b[n/64]&(1<<(n%64)) != 0
}
