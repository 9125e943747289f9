package nodeclient

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
)

// MaxUnanswered is how many shards of one stream may await their answers.
const MaxUnanswered = 64

// Put is a stream of shards to a node, one after another. One goroutine may send
// with Begin, Data, Last and End while another takes the Answers. After an error the
// stream is over and every call returns that error.
type Put struct {
	s     *transport.Stream
	w     *wire.Writer
	lease Lease
	node  ident.ID
	idle  time.Duration

	lastWord time.Duration // how long a node has to say why it cut the stream

	room    chan struct{} // a token for every shard ended and not yet answered for
	answers chan Unverified
	over    chan struct{} // closed when err is set

	mu      sync.Mutex
	segment order.SegmentID // of the shard being sent
	pending []order.Stored  // ended, not yet answered
	cut     bool            // by the node, as a write has shown
	err     error
}

// Unverified is a receipt of which all was checked but the signature. It is worth
// nothing before Verify.
type Unverified struct {
	Signed  *pb.Signed
	Receipt *order.Receipt
}

// Verify returns for each receipt nil or, if the node it is of has not signed it,
// ErrWrongReceipt. Receipts may be of different nodes. To verify many together
// costs less.
func Verify(all ...Unverified) []error {
	signed, receipts := make([]*pb.Signed, len(all)), make([]*order.Receipt, len(all))
	for i, u := range all {
		signed[i], receipts[i] = u.Signed, u.Receipt
	}
	verdicts := make([]error, len(all))
	for first := 0; first < len(all); {
		i, err := order.VerifyReceipts(signed[first:], receipts[first:])
		if i < 0 {
			break
		}
		verdicts[first+i] = wrongReceipt(receipts[first+i].Node, err)
		first += i + 1
	}
	return verdicts
}

func wrongReceipt(node ident.ID, err error) error {
	return fmt.Errorf("peer %s: %w: %w", node.Short(), ErrWrongReceipt, err)
}

// OpenPut opens a stream to put shards under the lease. ctx bounds the opening alone.
func (d Dialer) OpenPut(ctx context.Context, addr transport.Address, lease Lease) (*Put, error) {
	s, w, err := d.open(ctx, addr, lease)
	if err != nil {
		return nil, err
	}
	p := &Put{
		s: s, w: w, lease: lease, node: addr.ID, idle: d.idle(), lastWord: 2 * time.Second,
		room:    make(chan struct{}, MaxUnanswered),
		answers: make(chan Unverified, MaxUnanswered),
		over:    make(chan struct{}),
	}
	s.SetReadIdle(0) // End and the answers set the deadline
	go p.receive()
	return p, nil
}

// Begin starts a shard of at most maxSize bytes.
func (p *Put) Begin(segment order.SegmentID, maxSize int64) error {
	p.mu.Lock()
	p.segment = segment
	err := p.err
	p.mu.Unlock()
	if err != nil {
		return err
	}
	return p.sent(p.w.Queue(wire.TypePutBegin, &pb.PutBegin{Segment: segment[:], MaxSize: uint64(maxSize)}))
}

// Data sends the next bytes of the shard, which begin at buf[wire.HeaderSize];
// the bytes before are overwritten.
func (p *Put) Data(buf []byte) error {
	return p.sent(p.w.WriteData(buf))
}

// Last is Data for the last bytes of the shard. If they are few, they go out with
// what End sends.
func (p *Put) Last(buf []byte) error {
	return p.sent(p.w.QueueData(buf))
}

// End ends the shard, which is that of the node's slot in a segment with this
// layout, segment root and shard roots. Its answer comes with Answer. End waits
// while MaxUnanswered shards await that.
func (p *Put) End(layout erasure.Layout, root merkle.Hash, shardRoots []merkle.Hash) error {
	select {
	case p.room <- struct{}{}:
	case <-p.over:
		return p.err
	}
	p.mu.Lock()
	p.pending = append(p.pending, order.Stored{
		Segment: p.segment, Root: root, Size: layout.Size, Group: p.lease.Group, Serial: p.lease.Limit.Serial,
	})
	if len(p.pending) == 1 {
		p.await()
	}
	p.mu.Unlock()
	return p.sent(p.w.WriteControl(wire.TypePutEnd, &pb.PutEnd{
		Size: uint64(layout.Size), Root: root[:], ShardRoots: merkle.JoinHashes(shardRoots),
	}))
}

// Cancel gives up the shard that was begun; there is no answer to it.
func (p *Put) Cancel() error {
	return p.sent(p.w.WriteControl(wire.TypePutCancel, &pb.PutCancel{}))
}

// Answer returns the node's receipt for the next shard, in the order of End, once
// the shard is durable there. The receipt is signed by the node and says what was
// put. If the node refuses, the error is what it said (see package wire).
func (p *Put) Answer() (*pb.Signed, *order.Receipt, error) {
	u, err := p.Unverified()
	if err != nil {
		return nil, nil, err
	}
	if err := Verify(u)[0]; err != nil {
		p.fail(err)
		return nil, nil, err
	}
	return u.Signed, u.Receipt, nil
}

// Unverified is Answer for those who verify several receipts together. One that
// turns out to be wrong is to end the stream, by Reset.
func (p *Put) Unverified() (Unverified, error) {
	select {
	case u := <-p.answers:
		<-p.room
		return u, nil
	case <-p.over:
	}
	select { // what came before the end still counts
	case u := <-p.answers:
		<-p.room
		return u, nil
	default:
		return Unverified{}, p.err
	}
}

// Close ends the stream after the last answer.
func (p *Put) Close() error {
	p.mu.Lock()
	unanswered := len(p.pending)
	p.mu.Unlock()
	p.end(fmt.Errorf("peer %s: %w", p.node.Short(), ErrOver))
	err := p.s.CloseWrite()
	p.s.Reset()
	if unanswered > 0 {
		return fmt.Errorf("peer %s: %d shards are unanswered: %w", p.node.Short(), unanswered, ErrOver)
	}
	return err
}

// Reset cuts the stream. It may be called from anywhere, at any time.
func (p *Put) Reset() { p.fail(fmt.Errorf("peer %s: %w", p.node.Short(), ErrOver)) }

// receive takes what the node says, also while a shard is being sent: a node that
// refuses must not be sent the rest.
func (p *Put) receive() {
	r := wire.NewReader(p.s)
	for {
		u, err := p.receiveOne(r)
		if err != nil {
			p.fail(err)
			return
		}
		p.answers <- u // has room for all that can be pending
	}
}

func (p *Put) receiveOne(r *wire.Reader) (Unverified, error) {
	h, err := r.Next()
	switch {
	case err != nil:
		return Unverified{}, fault(p.node, err)
	case h.Type == wire.TypeFail:
		return Unverified{}, fault(p.node, readFail(r))
	case h.Type != wire.TypePutDone:
		return Unverified{}, fault(p.node, wire.Unexpected(h, "as an answer to PutEnd"))
	}
	var done pb.PutDone
	if err := r.ReadControl(&done); err != nil {
		return Unverified{}, fault(p.node, err)
	}
	want, err := p.next()
	if err != nil {
		return Unverified{}, err
	}
	receipt, err := order.ReadReceipt(done.GetReceipt(), p.node)
	if err == nil {
		p.lease.judge(&want, receipt.Stored)
		err = receipt.Check(want)
	}
	if err != nil {
		return Unverified{}, wrongReceipt(p.node, err)
	}
	return Unverified{done.Receipt, receipt}, nil
}

// next is what the next receipt has to say.
func (p *Put) next() (order.Stored, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pending) == 0 {
		return order.Stored{}, fmt.Errorf("peer %s: %w: an answer to nothing", p.node.Short(), ErrMisbehaved)
	}
	want := p.pending[0]
	p.pending = p.pending[1:]
	p.await()
	return want, nil
}

// await gives the node time for its next answer, or endless time if it owes none.
// What was sent may still be on its way, so there is twice the usual patience.
// The caller holds the lock.
func (p *Put) await() {
	switch {
	case p.cut:
		p.s.SetReadDeadline(time.Now().Add(p.lastWord))
	case len(p.pending) == 0:
		p.s.SetReadDeadline(time.Time{})
	default:
		p.s.SetReadDeadline(time.Now().Add(2 * p.idle))
	}
}

// sent turns the error of a write into that of the stream: a node that refuses
// says why before it cuts the stream, and receive hears it.
func (p *Put) sent(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, transport.ErrReset) {
		p.mu.Lock()
		p.cut = true
		p.await()
		p.mu.Unlock()
		// Each answer gives the node more time; the sender need not wait for all.
		timer := time.NewTimer(p.lastWord)
		defer timer.Stop()
		select {
		case <-p.over:
		case <-timer.C:
		}
	}
	return p.fail(err)
}

// fail cuts the stream, which ends with its first error, and returns that.
func (p *Put) fail(err error) error {
	err = p.end(err)
	p.s.Reset()
	return err
}

// end notes the error that the stream ends with, unless there is one, and returns it.
func (p *Put) end(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
		close(p.over)
	}
	return p.err
}
