package satellite

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// proposal is a segment that an uplink says is stored, and what to judge it by.
type proposal struct {
	segment *pb.Segment
	then    *order.Group // at the epoch the segment was put at
	current *order.Group // at its newest epoch
}

// judgement is when receipts are good.
type judgement struct {
	now    time.Time
	oldest time.Time // a node may have dropped what it staged before
}

// judge verifies the receipts of all proposals, on all processors. Errors wrap
// satclient.ErrReceipts or, when a proposal makes no sense in itself,
// satclient.ErrBadRequest.
func (j judgement) judge(proposals []proposal) ([]meta.NewSegment, error) {
	segments := make([]meta.NewSegment, len(proposals))
	if len(proposals) == 1 { // the processors have other requests
		var err error
		segments[0], err = j.judgeOne(&proposals[0])
		return segments, err
	}
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	for i := range proposals {
		work.Go(func() (err error) {
			segments[i], err = j.judgeOne(&proposals[i])
			return err
		})
	}
	return segments, work.Wait()
}

// judgeOne verifies the receipts of one proposal. Success of them are needed at
// the epoch of the put. Should nodes have left the group since, RepairBelow
// must still hold their slots.
func (j judgement) judgeOne(p *proposal) (meta.NewSegment, error) {
	n, err := newSegment(p)
	if err != nil {
		return meta.NewSegment{}, err
	}
	scheme := p.then.Scheme
	if got := len(p.segment.Receipts); got < scheme.Success || got > scheme.Total {
		return meta.NewSegment{}, fmt.Errorf("%w: segment %s has %d receipts, and group %d needs %d to %d",
			satclient.ErrReceipts, n.ID, got, n.Group, scheme.Success, scheme.Total)
	}
	want := order.Stored{Segment: n.ID, Root: n.Root, Size: n.Size, Group: p.then, Oldest: j.oldest, Now: j.now}
	receipts, err := order.OpenReceipts(p.segment.Receipts, p.then)
	if err != nil {
		return meta.NewSegment{}, fmt.Errorf("%w: segment %s: %w", satclient.ErrReceipts, n.ID, err)
	}
	seen := make([]bool, scheme.Total)
	for _, r := range receipts {
		if err := r.Check(want); err != nil {
			return meta.NewSegment{}, fmt.Errorf("%w: segment %s: %w", satclient.ErrReceipts, n.ID, err)
		}
		if seen[r.Slot] {
			return meta.NewSegment{}, fmt.Errorf("%w: segment %s has two receipts for slot %d",
				satclient.ErrReceipts, n.ID, r.Slot)
		}
		seen[r.Slot] = true
	}
	held := 0
	for slot := range seen {
		if seen[slot] && p.then.Nodes[slot] == p.current.Nodes[slot] {
			n.Held[slot/8] |= 1 << (slot % 8)
			held++
		}
	}
	if held < scheme.RepairBelow {
		return meta.NewSegment{}, fmt.Errorf("%w: group %d changed and only %d of the nodes are left; upload segment %s again",
			satclient.ErrReceipts, n.Group, held, n.ID)
	}
	return n, nil
}

// newSegment checks what a proposal says of its segment, receipts apart.
func newSegment(p *proposal) (n meta.NewSegment, err error) {
	s := p.segment
	if n.ID, err = order.SegmentIDFromBytes(s.Id); err != nil {
		return n, fmt.Errorf("%w: segment id: %w", satclient.ErrBadRequest, err)
	}
	if len(s.Root) != len(merkle.Hash{}) {
		return n, fmt.Errorf("%w: segment %s has a root of %d bytes", satclient.ErrBadRequest, n.ID, len(s.Root))
	}
	if s.Size > erasure.MaxSegment {
		return n, fmt.Errorf("%w: segment %s has %d bytes", satclient.ErrBadRequest, n.ID, s.Size)
	}
	if _, err := erasure.NewLayout(p.then.Scheme.Required, p.then.Scheme.Total, int64(s.Size)); err != nil {
		return n, fmt.Errorf("%w: segment %s: %w", satclient.ErrBadRequest, n.ID, err)
	}
	if p.current.Scheme != p.then.Scheme {
		return n, fmt.Errorf("%w: group %d has another scheme now; upload segment %s again", satclient.ErrReceipts, s.Group, n.ID)
	}
	n.Group, n.Epoch, n.Size, n.Root = s.Group, p.current.Epoch, int64(s.Size), merkle.Hash(s.Root)
	n.Held = make([]byte, (p.then.Scheme.Total+7)/8)
	return n, nil
}
