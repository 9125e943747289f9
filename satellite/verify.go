package satellite

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

const (
	// looks is how often a slot is looked at before a difference counts: the
	// network moves on meanwhile. Between two of them lie lookApart check-ins.
	looks     = 4
	lookApart = 2
	// verifyAtOnce bounds the nodes that are being compared at a time.
	verifyAtOnce = 16
	// maxDoubts bounds the differences that are kept of one slot.
	maxDoubts = 1000
	// maxProveShards bounds the shards of a slot that are proved whole.
	maxProveShards = 1000
	// formerEpochs is in how many epochs before the newest it is looked who has
	// left a group.
	formerEpochs = 64
	// tellEvery is how often it is told how far a verification has come.
	tellEvery = time.Second
)

// verification compares the metadata with what nodes claim, hold and can prove,
// in either direction.
type verification struct {
	*Satellite
	proveEach   bool
	proveShards int
	apart       time.Duration // of two looks

	mu     sync.Mutex
	tally  tally
	random *rand.Rand
}

// tally is how far a verification has come; see pb.VerifyEvent.
type tally struct {
	slots, slotsDone, looks         uint32
	shards, staged, lacking, leaves uint64
	doubts                          uint64
}

// seat is a slot with the node that is asked about it, or a group with a node
// that has left it.
type seat struct {
	node  ident.ID
	group uint32
	slot  int // noSlot: the node has left the group
}

const noSlot = -1

// doubt is a difference that may be gone soon.
type doubt struct {
	seat
	kind    pb.DifferenceKind
	segment order.SegmentID
	leaf    int // of a proof
}

// finding is what can be said of a doubt.
type finding struct {
	seq       uint64
	detail    string
	challenge *order.Challenge // of a proof that failed
}

type doubts map[doubt]finding

// Verify implements pb.AdminServer.
func (s *adminServer) Verify(m *pb.VerifyRequest, stream pb.Admin_VerifyServer) error {
	if m.ProveShards > maxProveShards {
		return satclient.ToStatus(fmt.Errorf("%w: all leaves of at most %d shards in each slot are proved", satclient.ErrBadRequest, maxProveShards))
	}
	v := &verification{
		Satellite: s.Satellite, proveEach: m.ProveEach, proveShards: int(m.ProveShards),
		apart: lookApart * s.config.CheckIn, random: s.auditor.newRand(),
	}
	err := v.run(stream.Context(), stream.Send)
	if err == nil {
		return nil
	}
	told := fault(err)
	if !satclient.Known(told) && stream.Context().Err() == nil {
		s.log.Error("cannot verify", "error", err)
	}
	return satclient.ToStatus(told)
}

// run looks at all slots, and then again at those in doubt, and sends the
// outcome at last.
func (v *verification) run(ctx context.Context, send func(*pb.VerifyEvent) error) error {
	if err := v.ready(ctx); err != nil {
		return err
	}
	tellCtx, stop := context.WithCancel(ctx)
	told := make(chan error, 1)
	go func() { told <- v.keepTelling(tellCtx, send) }()
	found, err := v.lookAtAll(ctx)
	stop()
	if err := cmp.Or(err, <-told); err != nil {
		return err
	}
	last := v.event()
	last.Done, last.Differences = true, found.messages()
	return send(last)
}

// lookAtAll returns the differences that were there whenever it was looked.
func (v *verification) lookAtAll(ctx context.Context) (doubts, error) {
	seats, err := v.seats(ctx)
	if err != nil {
		return nil, err
	}
	v.count(func(t *tally) { t.slots = uint32(len(seats)) })
	left, err := v.look(ctx, seats, nil)
	for i := 1; err == nil && i < looks && len(left) > 0; i++ {
		v.count(func(t *tally) { t.doubts = uint64(len(left)) })
		if err = pause(ctx, v.apart); err == nil {
			err = v.lookAgain(ctx, left)
		}
	}
	v.count(func(t *tally) { t.doubts = 0 })
	return left, err
}

// lookAgain takes out of doubts those that are gone. A slot that could not be
// compared before is looked at as if for the first time; one that cannot be now
// stays as it was.
func (v *verification) lookAgain(ctx context.Context, left doubts) error {
	seats := make(map[seat]bool)
	for d := range left {
		seats[d.seat] = true
	}
	before := v.tallied()
	again, err := v.look(ctx, slices.Collect(maps.Keys(seats)), left)
	v.count(func(t *tally) { // what was counted of these slots before stands
		t.shards, t.staged, t.lacking, t.slotsDone = before.shards, before.staged, before.lacking, before.slotsDone
	})
	isNew, isOut := left.unreachable(), again.unreachable()
	maps.DeleteFunc(left, func(d doubt, _ finding) bool {
		_, still := again[d]
		return !still && !isOut[d.seat]
	})
	for d, f := range again {
		if isNew[d.seat] {
			left[d] = f
		}
	}
	return err
}

// unreachable returns the seats that could not be compared.
func (d doubts) unreachable() map[seat]bool {
	seats := make(map[seat]bool)
	for k := range d {
		if k.kind == pb.DifferenceKind_DIFFERENCE_KIND_UNREACHABLE {
			seats[k.seat] = true
		}
	}
	return seats
}

// seats returns every slot with its holder, and the nodes that are there and
// have left groups.
func (v *verification) seats(ctx context.Context) (all []seat, err error) {
	there := make(map[ident.ID]bool)
	for _, n := range v.registry.there() {
		there[n.id] = true
	}
	for _, g := range v.groups.all() {
		for slot, id := range g.Nodes {
			all = append(all, seat{id, g.ID, slot})
		}
		former := make(map[ident.ID]bool)
		for epoch := g.Epoch - 1; epoch > 0 && g.Epoch-epoch <= formerEpochs; epoch-- {
			past, err := v.meta.GroupAt(ctx, g.ID, epoch)
			if err != nil {
				return nil, err
			}
			record, err := order.OpenGroup(past.Record, v.key.ID())
			if err != nil {
				return nil, fmt.Errorf("group %d at epoch %d: %w", g.ID, epoch, err)
			}
			for _, id := range record.Nodes {
				if there[id] && !g.concerns(id) && !former[id] {
					former[id] = true
					all = append(all, seat{id, g.ID, noSlot})
				}
			}
		}
	}
	return all, nil
}

// look compares seats and returns what is in doubt. Of proofs only those are
// tried again that failed before, if there was a look before.
func (v *verification) look(ctx context.Context, seats []seat, before doubts) (doubts, error) {
	byNode := make(map[ident.ID][]seat)
	for _, s := range seats {
		byNode[s.node] = append(byNode[s.node], s)
	}
	v.count(func(t *tally) { t.looks++ })
	var mu sync.Mutex
	found := make(doubts)
	var work errgroup.Group
	work.SetLimit(verifyAtOnce)
	for id, seats := range byNode {
		work.Go(func() error {
			l := &nodeLook{verification: v, node: id, before: before, isNew: before.unreachable(), found: make(doubts)}
			err := l.all(ctx, seats)
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(found, l.found)
			return err
		})
	}
	return found, cmp.Or(work.Wait(), ctx.Err())
}

func (v *verification) count(change func(*tally)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(&v.tally)
}

func (v *verification) tallied() tally {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.tally
}

// below draws a number less than n.
func (v *verification) below(n int) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.random.IntN(n)
}

func (v *verification) event() *pb.VerifyEvent {
	t := v.tallied()
	return &pb.VerifyEvent{
		Slots: t.slots, SlotsDone: t.slotsDone, Looks: t.looks, Shards: t.shards, Staged: t.staged,
		Lacking: t.lacking, Leaves: t.leaves, Doubts: t.doubts,
	}
}

// keepTelling sends how far it has come, until ctx ends.
func (v *verification) keepTelling(ctx context.Context, send func(*pb.VerifyEvent) error) error {
	for pause(ctx, tellEvery) == nil {
		if err := send(v.event()); err != nil {
			return err
		}
	}
	return nil
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// messages returns doubts as differences, by group, slot, node and segment.
func (d doubts) messages() (list []*pb.Difference) {
	sorted := slices.SortedFunc(maps.Keys(d), func(a, b doubt) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.slot, b.slot), bytes.Compare(a.node[:], b.node[:]),
			bytes.Compare(a.segment[:], b.segment[:]), cmp.Compare(a.kind, b.kind), cmp.Compare(a.leaf, b.leaf))
	})
	for _, k := range sorted {
		m := &pb.Difference{
			Kind: k.kind, Node: k.node[:], Group: k.group, Slot: uint32(max(k.slot, 0)), Seq: d[k].seq, Detail: d[k].detail,
		}
		if !k.segment.IsZero() {
			m.Segment = k.segment[:]
		}
		list = append(list, m)
	}
	return list
}

// errRefused marks what a node does that keeps it from being compared.
var errRefused = errors.New("the node cannot be compared")

// claimOf is the newest claim on a seat; one of nothing when there is none.
func (v *verification) claimOf(s seat) order.Claim {
	if c := v.claims.get(meta.ClaimKey{Group: s.group, Slot: s.slot, Node: s.node}); c != nil {
		return c.Claim
	}
	return order.Claim{}
}
