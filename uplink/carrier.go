package uplink

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	// maxGroups is how many groups a segment is tried in.
	maxGroups = 3
	// minLinger and maxLinger bound how long a commit waits for slots beyond
	// those it needs.
	minLinger = 50 * time.Millisecond
	maxLinger = 2 * time.Second
)

// A placement is a segment with the delivery that stored it, or that is to.
type placement struct {
	segment  *segmentWriter
	delivery *delivery     // the last one; final when stored is closed
	stored   chan struct{} // closed when the segment is
}

// A carrier brings segments to placement groups: those of an object, one after
// another, or a pack.
type carrier struct {
	p      *Project
	t      *transfers
	ctx    context.Context // ends with the transfer or, before, with its failure
	coding chan struct{}   // holds a token for each batch being filled or coded

	placing sync.Mutex
	session *putSession // where new segments go
}

// newCoding makes the coding of a carrier.
func newCoding() chan struct{} { return make(chan struct{}, runtime.GOMAXPROCS(0)+1) }

// take returns a session that can take a segment.
func (c *carrier) take() (*putSession, error) {
	c.placing.Lock()
	defer c.placing.Unlock()
	return c.exchange(nil)
}

// exchange returns the session in use, or one that replaces it if its lease
// has run out or its group is excluded. The caller holds the lock.
func (c *carrier) exchange(exclude []uint32) (*putSession, error) {
	if c.session != nil && c.t.usable(c.session, exclude) {
		return c.session, nil
	}
	session, err := c.t.takePut(c.ctx, exclude)
	if err != nil {
		return nil, err
	}
	if c.session != nil {
		c.t.parkPut(c.session)
	}
	c.session = session
	return session, nil
}

// replace returns a session to deliver to after one has failed.
func (c *carrier) replace(failed *putSession, exclude []uint32) (*putSession, error) {
	c.placing.Lock()
	defer c.placing.Unlock()
	if c.session == failed {
		c.t.dropPut(failed)
		c.session = nil
	}
	return c.exchange(exclude)
}

// turn waits until a core is likely to be free to code another batch.
func (c *carrier) turn() error {
	select {
	case c.coding <- struct{}{}:
		return nil
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}

// gather waits for the memory of a batch. When that takes long, a slot that
// keeps memory by being behind is given up, and what else short may do is done.
func (c *carrier) gather(memory *share, session *putSession, short func()) ([]*buffer, error) {
	for {
		ctx, cancel := context.WithTimeout(c.ctx, session.tolerate.shortage)
		buffers, err := memory.take(ctx, session.scheme().Total)
		cancel()
		if err == nil || c.ctx.Err() != nil {
			return buffers, err
		}
		session.relieve()
		short()
	}
}

// park keeps the session in use for the next transfer.
func (c *carrier) park() {
	if c.session != nil {
		c.t.parkPut(c.session)
	}
}

// place delivers a segment to one group after another until one stores it.
func (c *carrier) place(o *placement) error {
	var exclude []uint32
	for try := 1; ; try++ {
		failure := o.delivery.wait(c.ctx)
		if failure == nil || c.ctx.Err() != nil || try == maxGroups {
			return failure
		}
		c.p.log.Warn("a segment has to go to another group", "segment", o.segment.id, "try", try, "error", failure)
		failed := o.delivery.session
		if o.delivery.leaseFailure() == nil {
			exclude = append(exclude, failed.lease.group.ID)
		}
		session, err := c.replace(failed, exclude)
		if err != nil {
			return fmt.Errorf("%w; and there is no other group: %w", failure, err)
		}
		if err := c.redeliver(o, session); err != nil {
			return err
		}
	}
}

func (c *carrier) redeliver(o *placement, session *putSession) error {
	if s := session.scheme(); s.Required != o.segment.scheme.Required || s.Total != o.segment.scheme.Total {
		return fmt.Errorf("%w: the other group has another scheme, %s", ErrTooFewNodes, s)
	}
	memory := c.t.put.share()
	defer memory.close()
	memory.promise(session.scheme().Total)
	d, err := o.segment.redeliver(c.ctx, session, memory)
	if d != nil {
		c.placing.Lock()
		o.delivery = d
		c.placing.Unlock()
	}
	return err
}

// linger waits a little for slots beyond those that were needed: a shard that
// the satellite learns of now need not be healed.
func (c *carrier) linger(placed []*placement) {
	last := placed[len(placed)-1]
	timer := time.NewTimer(min(max(time.Since(last.delivery.began)/2, minLinger), maxLinger))
	defer timer.Stop()
	for _, o := range slices.Backward(placed) {
		select {
		case <-o.delivery.settled:
		case <-timer.C:
			return
		case <-c.ctx.Done():
			return
		}
	}
}
