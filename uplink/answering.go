package uplink

import (
	"context"
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/storagenode/nodeclient"
)

// answering is a put stream with the shards that wait for their receipts.
type answering struct {
	sender *slotSender
	put    putStream
	ended  chan *shard // closed by the sender when it parts with the stream

	// Guarded by sender.mu.
	err  error // of the first answer that was none, or was wrong
	late bool  // has not answered for long, so that others should not wait behind
}

// maxUnanswered is how many shards of one stream may wait for receipts.
const maxUnanswered = 16

func newAnswering(s *slotSender, put putStream) *answering {
	a := &answering{sender: s, put: put, ended: make(chan *shard, maxUnanswered)}
	stop := context.AfterFunc(s.session.ctx, put.Reset)
	s.session.tasks.Go(func() {
		a.run()
		stop()
	})
	return a
}

// run receives the answers, in the order in which the shards ended. After an
// error the rest fails too.
func (a *answering) run() {
	defer a.put.Close()
	var failure error
	for sh := range a.ended {
		var receipt nodeclient.Unverified
		if failure == nil {
			receipt, failure = a.answer(sh)
		}
		if failure == nil {
			sh.delivery.receipt(a, receipt)
			continue
		}
		failure = a.broken(failure)
		sh.delivery.failed(a.sender.slot, failure)
	}
}

// broken tells the sender that the stream is of no more use, and returns the first
// reason there was.
func (a *answering) broken(err error) error {
	a.sender.mu.Lock()
	if a.err == nil {
		a.err = err
	}
	err = a.err
	a.sender.mu.Unlock()
	a.put.Reset()
	a.sender.nudge()
	return err
}

// overdue says that an answer was waited for in vain. Others take a new stream
// from now on. The caller holds the sender's lock.
func (a *answering) overdue() {
	if !a.late {
		a.late = true
		time.AfterFunc(a.sender.session.tolerate.late, a.put.Reset)
	}
}

func (a *answering) answer(sh *shard) (nodeclient.Unverified, error) {
	u, err := a.put.Unverified()
	if err != nil {
		return u, err
	}
	if r := u.Receipt; r.Slot != a.sender.slot || r.Segment != sh.delivery.segment.id {
		return u, fmt.Errorf("the receipt is for slot %d of segment %s", r.Slot, r.Segment)
	}
	return u, nil
}
