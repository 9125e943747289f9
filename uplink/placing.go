package uplink

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
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

// lease returns the session that takes the next batch: that of the open
// segment, else one whose lease is good for another segment.
func (u *Upload) lease() (*putSession, error) {
	u.opening.Lock()
	open := u.open
	u.opening.Unlock()
	if open != nil {
		return open.first.session, nil
	}
	u.placing.Lock()
	defer u.placing.Unlock()
	return u.exchange(nil)
}

// exchange returns the upload's session, or one that replaces it if its lease
// has run out or its group is excluded. The caller holds the lock.
func (u *Upload) exchange(exclude []uint32) (*putSession, error) {
	if u.session != nil && u.t.usable(u.session, exclude) {
		return u.session, nil
	}
	session, err := u.t.takePut(u.ctx, exclude)
	if err != nil {
		return nil, err
	}
	if u.session != nil {
		u.t.parkPut(u.session)
	}
	u.session = session
	return session, nil
}

// replace returns a session to deliver to after one has failed.
func (u *Upload) replace(failed *putSession, exclude []uint32) (*putSession, error) {
	u.placing.Lock()
	defer u.placing.Unlock()
	if u.session == failed {
		u.t.dropPut(failed)
		u.session = nil
	}
	return u.exchange(exclude)
}

// turn waits until a core is likely to be free to code another batch.
func (u *Upload) turn() error {
	select {
	case u.coding <- struct{}{}:
		return nil
	case <-u.ctx.Done():
		return context.Cause(u.ctx)
	}
}

// gather waits for the memory of a batch. When that takes long, a slot that
// keeps memory by being behind is given up; and if other uploads have it, the
// open segment is ended so that none waits for another in a circle.
func (u *Upload) gather(session *putSession) ([]*buffer, error) {
	scheme := session.scheme()
	u.memory.promise(2 * scheme.Total)
	for {
		ctx, cancel := context.WithTimeout(u.ctx, session.tolerate.shortage)
		buffers, err := u.memory.take(ctx, scheme.Total)
		cancel()
		if err == nil || u.ctx.Err() != nil {
			return buffers, err
		}
		session.relieve()
		if u.memory.shared() {
			u.opening.Lock()
			u.closeSegment()
			u.opening.Unlock()
		}
	}
}

// newBatch makes a batch that fits into the open segment or begins a new one.
func (u *Upload) newBatch(session *putSession, buffers []*buffer) *batch {
	limit := u.stripes(session.scheme(), u.size-int64(len(u.small)))
	u.opening.Lock()
	if u.open != nil {
		limit = u.open.stripes - u.open.next()
	}
	u.opening.Unlock()
	b := newBatch(session.scheme().Required, limit, buffers)
	if len(u.small) > 0 { // it is not going to be an inline object
		b.write(u.small)
		u.small = nil
	}
	return b
}

// stripes is how many a segment that starts at this offset of the object has at
// most: as many as there can be, are expected, and fit into a fair share of
// memory.
func (u *Upload) stripes(scheme erasure.Scheme, start int64) int {
	most := erasure.MaxStripes(scheme.Required)
	if limit := u.t.maxStripes; limit > 0 {
		most = min(most, limit)
	}
	if left := u.options.Size - start; left > 0 {
		stripe := int64(scheme.Required) * seal.ChunkPlain
		most = int(min(int64(most), (left+stripe-1)/stripe))
	}
	fair := u.memory.fair() / scheme.Total * batchStripes
	return min(most, max(fair, batchStripes))
}

// begin opens a segment of at least so many stripes whose plaintext starts at
// this offset of the object, and follows it until it is stored.
func (u *Upload) begin(session *putSession, start int64, least int) *segmentWriter {
	id, err := order.NewSegmentID(u.p.rand)
	if err != nil {
		u.fail(err)
	}
	cipher := seal.NewSegment(u.content, id, uint64(start))
	s := newSegmentWriter(id, session, cipher, max(u.stripes(session.scheme(), start), least))
	o := &placement{segment: s, delivery: s.first, stored: make(chan struct{})}
	u.placing.Lock()
	u.placed = append(u.placed, o)
	u.placing.Unlock()
	u.tasks.Go(func() { u.store(o) })
	if len(u.placed) == 2 {
		u.tasks.Go(u.checkBucket)
	}
	return s
}

// closeSegment says that the open segment, if any, is to have no further
// batches. The caller holds the lock.
func (u *Upload) closeSegment() {
	if u.open != nil {
		u.open.close()
		u.open = nil
		u.idle.Stop()
	}
}

// watch has the open segment closed if no batch comes for some time: its nodes
// would take the silence for a stall. The caller holds the lock.
func (u *Upload) watch() {
	if u.idle != nil {
		u.idle.Stop()
	}
	s := u.open
	u.idle = time.AfterFunc(u.t.idlePause, func() {
		u.opening.Lock()
		defer u.opening.Unlock()
		if u.open == s {
			u.closeSegment()
		}
	})
}

// dropSegment forgets the open segment, if any, of an upload that is over.
func (u *Upload) dropSegment() {
	u.opening.Lock()
	defer u.opening.Unlock()
	if u.open != nil {
		u.open = nil
		u.idle.Stop()
	}
}

// store sees a segment through: until enough nodes of one group have given
// receipts for it, and the satellite was told if it is one of many.
func (u *Upload) store(o *placement) {
	if err := u.place(o); err != nil {
		u.fail(err)
		return
	}
	o.segment.release()
	close(o.stored)
	select {
	case <-o.delivery.settled:
	case <-u.ctx.Done():
		return
	}
	if err := u.register(); err != nil {
		u.fail(err)
	}
}

// place delivers a segment to one group after another until one stores it.
func (u *Upload) place(o *placement) error {
	var exclude []uint32
	for try := 1; ; try++ {
		failure := o.delivery.wait(u.ctx)
		if failure == nil || u.ctx.Err() != nil || try == maxGroups {
			return failure
		}
		u.p.log.Warn("a segment has to go to another group", "segment", o.segment.id, "try", try, "error", failure)
		failed := o.delivery.session
		if o.delivery.leaseFailure() == nil {
			exclude = append(exclude, failed.lease.group.ID)
		}
		session, err := u.replace(failed, exclude)
		if err != nil {
			return fmt.Errorf("%w; and there is no other group: %w", failure, err)
		}
		if err := u.redeliver(o, session); err != nil {
			return err
		}
	}
}

func (u *Upload) redeliver(o *placement, session *putSession) error {
	if s := session.scheme(); s.Required != o.segment.scheme.Required || s.Total != o.segment.scheme.Total {
		return fmt.Errorf("%w: the other group has another scheme, %s", ErrTooFewNodes, s)
	}
	memory := u.t.put.share()
	defer memory.close()
	memory.promise(session.scheme().Total)
	d, err := o.segment.redeliver(u.ctx, session, memory)
	if d != nil {
		u.placing.Lock()
		o.delivery = d
		u.placing.Unlock()
	}
	return err
}

// await waits until every segment is stored.
func (u *Upload) await() error {
	for _, o := range u.placed {
		select {
		case <-o.stored:
		case <-u.ctx.Done():
			return context.Cause(u.ctx)
		}
	}
	return nil
}

// linger waits a little for slots beyond those that were needed: a shard that
// the satellite learns of now need not be healed.
func (u *Upload) linger() {
	last := u.placed[len(u.placed)-1]
	timer := time.NewTimer(min(max(time.Since(last.delivery.began)/2, minLinger), maxLinger))
	defer timer.Stop()
	for _, o := range slices.Backward(u.placed) {
		select {
		case <-o.delivery.settled:
		case <-timer.C:
			return
		case <-u.ctx.Done():
			return
		}
	}
}
