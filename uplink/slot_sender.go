package uplink

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
)

// idleStream is how long a stream without work is kept. Nodes end theirs
// later, so that a stream is never found dead when it is wanted.
const idleStream = 20 * time.Second

// putStream is what a slotSender needs of nodeclient.Put. Unverified may run beside
// the others, and Reset at any time.
type putStream interface {
	Begin(id order.SegmentID, maxSize int64) error
	Data(frame []byte) error
	Last(frame []byte) error
	End(layout erasure.Layout, root merkle.Hash, shardRoots []merkle.Hash) error
	Unverified() (nodeclient.Unverified, error)
	Close() error
	Reset()
}

// A shard is one slot's part of a segment on its way. Its fields belong to its
// sender.
type shard struct {
	delivery *delivery
	parts    []part     // not yet sent
	begun    bool       // something of it is on the stream
	complete bool       // no further parts will come
	over     error      // why it is not sent, when it is not
	asked    *answering // the stream that is to bring its receipt, once all is sent
}

// A part is one slot's chunks of a batch.
type part struct {
	buffer *buffer
	size   int
	last   bool // of its shard, as far as that was known when it was pushed
}

// A slotSender sends shards to the holder of one slot, one after another over
// one stream, in a goroutine of its own. What it could not send yet waits with it.
type slotSender struct {
	session *putSession
	slot    int
	node    leaseNode
	wake    chan struct{} // holds a token when there may be something to do
	idle    *time.Timer   // of the stream, while there is nothing to send

	mu       sync.Mutex
	given    []*shard   // in order; those that are settled go at the next one
	queue    []*shard   // the first is being sent
	backlog  int        // parts in queue
	stream   *answering // nil when there is none
	dialling func()     // cancels the opening of a stream that is going on
	parted   bool       // the session is over
	left     bool       // behind the others, who no longer wait for it
}

func newSlotSender(session *putSession, slot int, node leaseNode) *slotSender {
	return &slotSender{session: session, slot: slot, node: node, wake: make(chan struct{}, 1), idle: time.NewTimer(idleStream)}
}

func (s *slotSender) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// enqueue appends a shard.
func (s *slotSender) enqueue(sh *shard) {
	s.mu.Lock()
	s.given = append(s.given, sh)
	s.queue = append(s.queue, sh)
	ready := s.ready()
	s.mu.Unlock()
	if !ready { // else there is nothing to do before the first part
		s.nudge()
	}
}

// push appends a part to a shard, unless the shard is over, and becomes an
// owner of the buffer. After the last one nothing follows.
func (s *slotSender) push(sh *shard, p part) {
	s.mu.Lock()
	if sh.over == nil {
		p.buffer.hold()
		sh.parts = append(sh.parts, p)
		s.backlog++
	}
	sh.complete = p.last
	s.mu.Unlock()
	s.nudge()
}

// finish says that all parts of a shard were pushed, after all.
func (s *slotSender) finish(sh *shard) {
	s.mu.Lock()
	sh.complete = true
	s.mu.Unlock()
	s.nudge()
}

// cut gives a shard up, wherever it is on its way. The stream that has a part of
// it cannot be used for others, and one that owes its receipt is not.
func (s *slotSender) cut(sh *shard, reason error) {
	s.mu.Lock()
	s.drop(sh, reason)
	var stop func()
	switch {
	case len(s.queue) == 0 || s.queue[0] != sh:
	case s.dialling != nil:
		stop = s.dialling
	case sh.begun:
		stop = s.stream.put.Reset
	}
	if sh.asked != nil {
		sh.asked.overdue()
	}
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
	s.nudge()
}

// drop marks a shard over and releases its parts. The caller holds the lock.
func (s *slotSender) drop(sh *shard, reason error) {
	if sh.over != nil {
		return
	}
	sh.over = reason
	for _, p := range sh.parts {
		p.buffer.release()
	}
	s.backlog -= len(sh.parts)
	sh.parts = nil
}

// close ends the sender once its queue is empty.
func (s *slotSender) close() {
	s.mu.Lock()
	s.parted = true
	s.mu.Unlock()
	s.nudge()
}

// run sends what is enqueued until the session is over. It connects at once, for
// there will be something to send soon.
func (s *slotSender) run() {
	if s.session.peers.usable(s.node.address.ID) {
		if _, err := s.open(new(shard)); err != nil && s.session.ctx.Err() == nil {
			s.session.peers.failed(s.node.address.ID)
		}
	}
	for {
		sh := s.current()
		if sh == nil {
			s.hangUp()
			return
		}
		if err := s.send(sh); err != nil {
			s.failed(sh, err)
		}
		s.done()
	}
}

// current waits for the shard to be sent next; nil means that there will be
// none.
func (s *slotSender) current() *shard {
	s.idle.Reset(idleStream)
	for {
		s.mu.Lock()
		if len(s.queue) > 0 {
			sh := s.queue[0]
			s.mu.Unlock()
			return sh
		}
		parted := s.parted
		s.mu.Unlock()
		if parted {
			return nil
		}
		select {
		case <-s.wake:
		case <-s.idle.C:
			s.hangUp()
		}
	}
}

// done takes the shard that was sent, or given up, out of the queue.
func (s *slotSender) done() {
	s.mu.Lock()
	s.queue = s.queue[1:]
	s.caughtUp()
	s.mu.Unlock()
	s.session.advanced()
}

// caughtUp lets the others wait again for a slot that is no longer behind. The
// caller holds the lock.
func (s *slotSender) caughtUp() {
	if s.backlog <= 1 {
		s.left = false
	}
}

// send is the way of one shard to its node.
func (s *slotSender) send(sh *shard) error {
	stream, err := s.open(sh)
	if err != nil {
		return err
	}
	for {
		p, more, err := s.next(sh)
		if err != nil {
			return err
		}
		if !more {
			return s.end(sh, stream)
		}
		if err := s.sendPart(sh, stream.put, p); err != nil {
			return err
		}
	}
}

// sendPart sends a part, before the first of them the announcement of the shard
// with the room it takes at most.
func (s *slotSender) sendPart(sh *shard, put putStream, p part) error {
	defer s.sent(p)
	if !sh.begun {
		s.mu.Lock()
		sh.begun = true
		s.mu.Unlock()
		segment := sh.delivery.segment
		if err := put.Begin(segment.id, segment.shardLimit()); err != nil {
			return err
		}
	}
	if p.last {
		return put.Last(p.buffer.frame(p.size))
	}
	return put.Data(p.buffer.frame(p.size))
}

// sent counts a part as sent, well or not.
func (s *slotSender) sent(p part) {
	p.buffer.release()
	s.mu.Lock()
	s.backlog--
	s.caughtUp()
	s.mu.Unlock()
	s.session.advanced()
}

// end closes a shard on the stream and leaves the rest to its receiver.
func (s *slotSender) end(sh *shard, stream *answering) error {
	segment := sh.delivery.segment
	if err := stream.put.End(segment.layout, segment.root, segment.shardRoots); err != nil {
		return err
	}
	s.mu.Lock()
	sh.begun = false // from here on nothing hurts the stream
	sh.asked = stream
	s.mu.Unlock()
	stream.ended <- sh
	return nil
}

// ready tells whether there is a stream that can be used. The caller holds the lock.
func (s *slotSender) ready() bool {
	return s.stream != nil && s.stream.err == nil && !s.stream.late
}

// open returns the stream there is or a new one.
func (s *slotSender) open(sh *shard) (*answering, error) {
	s.mu.Lock()
	stream, over := s.stream, sh.over
	if s.ready() || over != nil {
		s.mu.Unlock()
		return stream, over
	}
	ctx, cancel := context.WithTimeout(s.session.ctx, s.session.tolerate.opening(s.node))
	defer cancel()
	s.dialling = cancel
	s.mu.Unlock()
	s.hangUp()

	put, err := s.session.open(ctx, s.node.address)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialling = nil
	if err == nil {
		s.node.online = true
		s.stream = newAnswering(s, put)
	}
	if sh.over != nil {
		err = sh.over
	}
	return s.stream, err
}

// next waits for the next part of a shard. Without more there is none.
func (s *slotSender) next(sh *shard) (p part, more bool, err error) {
	for {
		s.mu.Lock()
		switch {
		case sh.over != nil:
			err = sh.over
		case s.stream.err != nil:
			err = s.stream.err
		case len(sh.parts) > 0:
			p, more = sh.parts[0], true
			sh.parts = sh.parts[1:]
		case !sh.complete:
			s.mu.Unlock()
			<-s.wake
			continue
		}
		s.mu.Unlock()
		return p, more, err
	}
}

// failed gives a shard up, and with it the stream if that has a part of it.
func (s *slotSender) failed(sh *shard, err error) {
	s.mu.Lock()
	s.drop(sh, err)
	err = sh.over // the first reason there was
	stream, hurt := s.stream, sh.begun
	sh.begun = false
	if hurt && stream.err != nil && errors.Is(err, transport.ErrReset) {
		err = stream.err // says more
	}
	s.mu.Unlock()
	if hurt {
		stream.put.Reset()
		s.hangUp()
	}
	sh.delivery.failed(s.slot, err)
}

// hangUp parts with the stream there may be. What it still has to answer is
// waited for.
func (s *slotSender) hangUp() {
	s.mu.Lock()
	stream := s.stream
	s.stream = nil
	s.mu.Unlock()
	if stream != nil {
		close(stream.ended)
	}
}
