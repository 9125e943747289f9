package uplink

import (
	"context"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// lease returns the session that takes the next batch: that of the open
// segment, else one whose lease is good for another segment.
func (u *Upload) lease() (*putSession, error) {
	u.opening.Lock()
	open := u.open
	u.opening.Unlock()
	if open != nil {
		return open.first.session, nil
	}
	return u.take()
}

// gather waits for the memory of a batch. If other uploads have it, the open
// segment is ended so that none waits for another in a circle.
func (u *Upload) gather(session *putSession) ([]*buffer, error) {
	u.memory.promise(2 * session.scheme().Total)
	return u.carrier.gather(u.memory, session, func() {
		if u.memory.shared() {
			u.opening.Lock()
			u.closeSegment()
			u.opening.Unlock()
		}
	})
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
	s := newSegmentWriter(id, session, sealer(cipher), max(u.stripes(session.scheme(), start), least))
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
