package uplink

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/transport"
)

const (
	// maxLag is how many parts may wait for a slot before the upload waits for
	// it: enough to keep its stream busy.
	maxLag = 4
	// patience is how long an upload waits for slots that are behind while
	// enough others are not. From then on they are on their own until they have
	// caught up.
	patience = 100 * time.Millisecond
)

// A putSession sends segments to the nodes of one group: a sender for each
// slot, with its stream. One upload uses it at a time, and hands it to the next.
type putSession struct {
	lease *lease
	coder *erasure.Coder
	peers *peers
	open  func(context.Context, transport.Address) (putStream, error)

	ctx    context.Context // ends the opening of streams
	cancel context.CancelFunc
	slots  []*slotSender
	tasks  sync.WaitGroup
	moved  chan struct{} // holds a token when a slot has got on

	mu     sync.Mutex // held while a delivery is enqueued: the order is the same at all slots
	parted bool
}

func newPutSession(l *lease, coder *erasure.Coder, peers *peers, open func(context.Context, transport.Address) (putStream, error)) *putSession {
	s := &putSession{lease: l, coder: coder, peers: peers, open: open, moved: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for slot, node := range l.nodes {
		if !node.online {
			peers.failed(node.address.ID)
		}
		sender := newSlotSender(s, slot, node)
		s.slots = append(s.slots, sender)
		s.tasks.Go(sender.run)
	}
	return s
}

func (s *putSession) scheme() erasure.Scheme { return s.lease.group.Scheme }

func (s *putSession) advanced() {
	select {
	case s.moved <- struct{}{}:
	default:
	}
}

// deliver begins to send a segment. A slot that is too far behind, or whose
// node failed lately, is left out if there are enough without it.
func (s *putSession) deliver(segment *segmentWriter) *delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := newDelivery(segment, s)
	var able, doubtful []*slotSender
	for _, slot := range s.slots {
		if s.peers.usable(slot.node.address.ID) && !slot.behind() {
			able = append(able, slot)
		} else {
			doubtful = append(doubtful, slot)
		}
	}
	if len(able) < s.scheme().Success {
		able = append(able, doubtful...)
	}
	for _, slot := range able {
		d.shards[slot.slot] = &shard{delivery: d}
	}
	d.pending = len(able)
	for _, slot := range able {
		slot.enqueue(d.shards[slot.slot])
	}
	if s.parted {
		d.cut(ErrClosed)
	}
	return d
}

// overdue is how long after a segment was stored the slots that are not done are
// given no further ones.
const overdue = 500 * time.Millisecond

// behind tells whether the slot has so much to do still that it would only get
// further behind with more.
func (s *slotSender) behind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given = slices.DeleteFunc(s.given, func(sh *shard) bool { return sh.delivery.done(s.slot) })
	if len(s.given) > 0 && s.given[0].delivery.storedFor() > overdue {
		return true
	}
	return s.left && s.backlog > maxLag
}

// pace waits until the slots have sent most of what they were given.
func (s *putSession) pace(ctx context.Context) error {
	var timer <-chan time.Time
	for {
		active, lagging := s.standing()
		enough := active-len(lagging) >= s.scheme().Success
		switch {
		case len(lagging) == 0 || active < s.scheme().Success:
			return ctx.Err()
		case !enough:
			timer = nil
		case timer == nil:
			timer = time.After(patience)
		}
		select {
		case <-s.moved:
		case <-timer:
			for _, slot := range lagging {
				slot.leave()
			}
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// standing counts the slots that take part in the segment begun last, and lists
// those of them that the upload waits for.
func (s *putSession) standing() (active int, lagging []*slotSender) {
	for _, slot := range s.slots {
		slot.mu.Lock()
		if n := len(slot.queue); n > 0 && slot.queue[n-1].over == nil {
			if slot.left {
				slot.mu.Unlock()
				continue
			}
			active++
			if slot.backlog > maxLag {
				lagging = append(lagging, slot)
			}
		}
		slot.mu.Unlock()
	}
	return active, lagging
}

func (s *slotSender) leave() {
	s.mu.Lock()
	s.left = s.backlog > maxLag
	s.mu.Unlock()
}

// relieve gives up the slot with the most waiting for it, if it is behind while
// enough others are not. It is called when memory is short.
func (s *putSession) relieve() {
	most, backlog, keeping := (*slotSender)(nil), maxLag, 0
	for _, slot := range s.slots {
		slot.mu.Lock()
		switch n := len(slot.queue); {
		case slot.backlog > backlog:
			most, backlog = slot, slot.backlog
		case n > 0 && slot.backlog <= maxLag && slot.queue[n-1].over == nil:
			keeping++
		}
		slot.mu.Unlock()
	}
	if most == nil || keeping < s.scheme().Success {
		return
	}
	s.peers.failed(most.node.address.ID)
	most.mu.Lock()
	queue := slices.Clone(most.queue)
	most.mu.Unlock()
	for _, sh := range queue {
		sh.delivery.cutSlot(most.slot, errSlow)
	}
}

// close lets the senders finish what they have and end.
func (s *putSession) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parted = true
	for _, slot := range s.slots {
		slot.close()
	}
}

// abandon gives up all that is not sent.
func (s *putSession) abandon() {
	s.close()
	s.cancel()
	for _, slot := range s.slots {
		slot.mu.Lock()
		queue := slices.Clone(slot.queue)
		slot.mu.Unlock()
		for _, sh := range queue {
			sh.delivery.cutShard(slot.slot, ErrClosed)
		}
	}
}
