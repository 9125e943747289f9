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
	// patienceShare times the time it took to use patience brings it back.
	patienceShare = 10
)

// A putSession sends segments to the nodes of one group: a sender for each
// slot, with its stream. One upload uses it at a time, and hands it to the next.
type putSession struct {
	lease    *lease
	coder    *erasure.Coder
	peers    *peers
	tolerate tolerances
	open     func(context.Context, transport.Address) (putStream, error)

	ctx    context.Context // ends the opening of streams
	cancel context.CancelFunc
	slots  []*slotSender
	tasks  sync.WaitGroup
	moved  chan struct{} // holds a token when a slot has got on

	patient time.Duration // what is left of patience
	paced   time.Time     // when that was counted

	mu     sync.Mutex // held while a delivery is enqueued: the order is the same at all slots
	parted bool
}

func newPutSession(l *lease, coder *erasure.Coder, peers *peers, tolerate tolerances, open func(context.Context, transport.Address) (putStream, error)) *putSession {
	s := &putSession{lease: l, coder: coder, peers: peers, tolerate: tolerate, open: open, moved: make(chan struct{}, 1)}
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

// behind tells whether the slot has so much to do still that it would only get
// further behind with more.
func (s *slotSender) behind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given = slices.DeleteFunc(s.given, func(sh *shard) bool { return sh.delivery.done(s.slot) })
	if len(s.given) > 0 && s.given[0].delivery.storedFor() > s.session.tolerate.overdue {
		return true
	}
	return s.left && s.backlog > maxLag
}

// pace waits until the slots have sent most of what they were given.
func (s *putSession) pace(ctx context.Context) error {
	s.patient = min(s.patient+time.Since(s.paced)/patienceShare, s.tolerate.patience)
	defer func() { s.paced = time.Now() }()
	for {
		active, lagging := s.standing()
		if len(lagging) == 0 || active < s.scheme().Success {
			return ctx.Err()
		}
		var timer <-chan time.Time
		enough := active-len(lagging) >= s.scheme().Success
		if enough {
			timer = time.After(s.patient)
		}
		begun := time.Now()
		select {
		case <-s.moved:
		case <-timer:
			for _, slot := range lagging {
				slot.leave()
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if enough {
			s.patient = max(s.patient-time.Since(begun), 0)
		}
	}
}

// standing counts the slots that take part in the segment begun last, and lists
// those of them that the upload waits for. Those that were left behind are not
// among them, unless there are too few others.
func (s *putSession) standing() (active int, lagging []*slotSender) {
	var left []*slotSender
	for _, slot := range s.slots {
		switch taking, isLeft, backlog := slot.standing(); {
		case !taking:
		case isLeft:
			left = append(left, slot)
		default:
			active++
			if backlog > maxLag {
				lagging = append(lagging, slot)
			}
		}
	}
	if active < s.scheme().Success {
		active += len(left)
		lagging = append(lagging, left...)
	}
	return active, lagging
}

// standing tells whether the slot takes part in the segment begun last, whether
// it was left behind, and how much it has to send.
func (s *slotSender) standing() (taking, left bool, backlog int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.queue)
	return n > 0 && s.queue[n-1].over == nil, s.left, s.backlog
}

func (s *slotSender) leave() {
	s.mu.Lock()
	s.left = s.backlog > maxLag
	s.mu.Unlock()
}

// relieve gives up the slot with the most waiting for it, if it is behind while
// enough others are not. It is called when memory is short.
func (s *putSession) relieve() {
	var slowest *slotSender
	most, keeping := maxLag, 0
	for _, slot := range s.slots {
		switch taking, _, backlog := slot.standing(); {
		case backlog > most:
			slowest, most = slot, backlog
		case taking && backlog <= maxLag:
			keeping++
		}
	}
	if slowest == nil || keeping < s.scheme().Success {
		return
	}
	s.peers.failed(slowest.node.address.ID)
	for _, sh := range slowest.shards() {
		sh.delivery.cutSlot(slowest.slot, errSlow)
	}
}

// shards lists what waits to be sent.
func (s *slotSender) shards() []*shard {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queue)
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

// closeSoon is close that does not wait for nodes that could not be reached yet.
func (s *putSession) closeSoon() {
	s.close()
	for _, slot := range s.slots {
		slot.mu.Lock()
		stop := slot.dialling
		slot.mu.Unlock()
		if stop != nil {
			s.giveUp(slot)
			stop()
		}
	}
}

// giveUp gives up all that a slot has to send.
func (s *putSession) giveUp(slot *slotSender) {
	for _, sh := range slot.shards() {
		sh.delivery.cutShard(slot.slot, ErrClosed)
	}
}

// abandon gives up all that is not sent.
func (s *putSession) abandon() {
	s.close()
	s.cancel()
	for _, slot := range s.slots {
		s.giveUp(slot)
	}
}
