package uplink

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
)

var (
	errSlow    = errors.New("was too slow")
	errLeftOut = errors.New("was left out because it failed or was too slow before")
	errNoUse   = errors.New("too few other nodes took their shards")
)

// A delivery is one segment on its way to one group. It has stored the segment
// once Success slots gave receipts, and has failed once that cannot be any more.
type delivery struct {
	segment *segmentWriter
	session *putSession
	shards  []*shard // by slot; nil for those left out
	began   time.Time
	stored  chan struct{} // closed at Success receipts
	lost    chan struct{} // closed when there cannot be that many
	settled chan struct{} // closed when every slot is done, one way or the other

	mu       sync.Mutex
	pending  int // slots without a verdict: neither held nor failed
	held     int
	answered []bool       // by slot: a receipt came, or none will
	doubtful []doubtful   // receipts that came and are yet to be verified
	receipts []*pb.Signed // by slot, verified
	causes   []error      // by slot
	timer    *time.Timer  // cuts the stragglers
	doubt    *time.Timer  // verifies what is doubtful
	storedAt time.Time
}

// A doubtful receipt is one whose signature is yet to be verified.
type doubtful struct {
	from    *answering
	receipt nodeclient.Unverified
	wrong   error // the verdict, if it is
}

func newDelivery(segment *segmentWriter, session *putSession) *delivery {
	n := len(session.slots)
	return &delivery{
		segment: segment, session: session,
		shards: make([]*shard, n), answered: make([]bool, n), receipts: make([]*pb.Signed, n), causes: make([]error, n),
		began: time.Now(), stored: make(chan struct{}), lost: make(chan struct{}), settled: make(chan struct{}),
	}
}

// send gives each slot its chunks of a batch, of which the last completes the
// shards.
func (d *delivery) send(buffers []*buffer, size int, last bool) {
	if last {
		d.session.lease.used.Add(d.segment.layout.ShardSize())
	}
	for slot, sh := range d.shards {
		if sh != nil {
			d.session.slots[slot].push(sh, part{buffers[slot], size, last})
		}
	}
}

// end tells each slot that its shard is complete, when that became known only
// after the last batch.
func (d *delivery) end() {
	d.session.lease.used.Add(d.segment.layout.ShardSize())
	for slot, sh := range d.shards {
		if sh != nil {
			d.session.slots[slot].finish(sh)
		}
	}
}

// receipt takes in a slot's receipt. It is verified together with others as soon as
// they can decide something: when there are as many as are still needed, or no
// more will come. A node may have to wait for that, but not for long.
func (d *delivery) receipt(from *answering, receipt nodeclient.Unverified) {
	d.mu.Lock()
	slot := from.sender.slot
	if d.answered[slot] {
		d.mu.Unlock()
		return
	}
	d.answered[slot] = true
	d.doubtful = append(d.doubtful, doubtful{from: from, receipt: receipt})
	if len(d.doubtful) == 1 && d.held < d.session.scheme().Success {
		d.doubt = time.AfterFunc(d.session.tolerate.doubt, d.clear)
	}
	d.conclude(d.isDue())
}

// failed takes in that a slot will not give a receipt.
func (d *delivery) failed(slot int, err error) {
	d.blame(slot, err)
	d.mu.Lock()
	if d.answered[slot] {
		d.mu.Unlock()
		return
	}
	d.answered[slot] = true
	d.causes[slot] = err
	d.pending--
	d.conclude(d.isDue())
}

// blame draws the conclusions from a failure that are not of this segment. If it is
// for the lease, what comes next needs another one; if not for what others did,
// the node is left alone for a while.
func (d *delivery) blame(slot int, err error) {
	switch {
	case leaseError(err) != nil:
		d.session.lease.use(d.session.lease.limit.MaxBytes)
	case !errors.Is(err, errNoUse) && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrAborted):
		d.session.peers.failed(d.session.slots[slot].node.address.ID)
	}
}

// isDue tells whether what is doubtful can decide something. The caller holds the
// lock.
func (d *delivery) isDue() bool {
	n, success := len(d.doubtful), d.session.scheme().Success
	return n == d.pending || d.held < success && d.held+n >= success
}

// clear verifies all that is doubtful.
func (d *delivery) clear() {
	d.mu.Lock()
	d.conclude(true)
}

// conclude verifies what is doubtful, if that is due, and does what follows from
// the verdicts there are. The caller holds the lock, which is let go.
func (d *delivery) conclude(due bool) {
	var wrong []doubtful
	if due && len(d.doubtful) > 0 {
		wrong = d.verify()
	}
	lost := d.held+d.pending < d.session.scheme().Success && !isClosed(d.lost)
	if lost {
		close(d.lost)
	}
	if d.pending == 0 && !isClosed(d.settled) {
		close(d.settled)
		if d.timer != nil {
			d.timer.Stop()
		}
	}
	d.mu.Unlock()
	for _, w := range wrong {
		w.from.broken(w.wrong)
		d.blame(w.from.sender.slot, w.wrong)
	}
	if lost {
		d.cut(errNoUse)
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// verify gives each doubtful receipt its verdict and returns those that are wrong.
// The caller holds the lock.
func (d *delivery) verify() (wrong []doubtful) {
	if d.doubt != nil {
		d.doubt.Stop()
	}
	all := make([]nodeclient.Unverified, len(d.doubtful))
	for i := range all {
		all[i] = d.doubtful[i].receipt
	}
	for i, err := range nodeclient.Verify(all...) {
		r := d.doubtful[i]
		if err != nil {
			d.causes[r.from.sender.slot] = err
			r.wrong = err
			wrong = append(wrong, r)
		} else {
			d.hold(r.from.sender.slot, r.receipt.Signed)
		}
		d.pending--
	}
	d.doubtful = nil
	return wrong
}

// hold takes down a receipt that is right. The caller holds the lock.
func (d *delivery) hold(slot int, signed *pb.Signed) {
	d.session.peers.worked(d.session.slots[slot].node.address.ID)
	d.receipts[slot] = signed
	if d.held++; d.held == d.session.scheme().Success {
		close(d.stored)
		d.storedAt = time.Now()
		d.timer = time.AfterFunc(max(d.session.tolerate.straggle, time.Since(d.began)/2), func() { d.cut(errSlow) })
	}
}

// done tells whether a slot is, one way or the other.
func (d *delivery) done(slot int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.answered[slot]
}

// storedFor is how long the segment has been stored.
func (d *delivery) storedFor() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.storedAt.IsZero() {
		return 0
	}
	return time.Since(d.storedAt)
}

// cut gives up every slot that is not done.
func (d *delivery) cut(reason error) {
	for slot := range d.shards {
		d.cutShard(slot, reason)
	}
}

// cutSlot gives up one slot if the segment can do without it.
func (d *delivery) cutSlot(slot int, reason error) {
	d.mu.Lock()
	spare := d.held+d.pending > d.session.scheme().Success
	d.mu.Unlock()
	if spare {
		d.cutShard(slot, reason)
	}
}

func (d *delivery) cutShard(slot int, reason error) {
	if d.shards[slot] != nil && !d.done(slot) {
		d.session.slots[slot].cut(d.shards[slot], reason)
		d.failed(slot, reason)
	}
}

// wait returns once the segment is stored, or the error that says why it cannot
// be in this group.
func (d *delivery) wait(ctx context.Context) error {
	select {
	case <-d.stored:
		return nil
	case <-d.lost:
		return d.failure()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// failure names the nodes that did not take their shards and says why.
func (d *delivery) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var nodes []string
	for slot, cause := range d.causes {
		switch {
		case d.shards[slot] == nil:
			cause = errLeftOut
		case cause == nil || errors.Is(cause, errNoUse):
			continue
		}
		nodes = append(nodes, fmt.Sprintf("node %s: %v", d.session.slots[slot].node.address.ID.Short(), cause))
	}
	scheme := d.session.scheme()
	return fmt.Errorf("%w: group %d can store no segment, of its %d nodes %d failed and %d have to work: %s", ErrTooFewNodes,
		d.session.lease.group.ID, scheme.Total, len(nodes), scheme.Success, strings.Join(nodes, "; "))
}

// leaseFailure is the error of a slot that says that not the node but the lease
// is at fault, if enough of them say so.
func (d *delivery) leaseFailure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, cause := range d.causes {
		if err := leaseError(cause); err != nil {
			return err
		}
	}
	return nil
}

// leaseError is err if a new lease is likely to cure it.
func leaseError(err error) error {
	for _, cause := range []error{order.ErrExpired, order.ErrAmount, order.ErrEpoch} {
		if errors.Is(err, cause) {
			return err
		}
	}
	return nil
}

// message is the segment as it is committed, with the receipts there are.
func (d *delivery) message() *pb.Segment {
	d.clear()
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.segment
	m := &pb.Segment{
		Id: s.id[:], Size: uint64(s.layout.Size), Root: s.root[:],
		Group: d.session.lease.group.ID, Epoch: d.session.lease.group.Epoch,
	}
	for _, signed := range d.receipts {
		if signed != nil {
			m.Receipts = append(m.Receipts, signed)
		}
	}
	return m
}
