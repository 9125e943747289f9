// Package nodeclient is the other end of storagenode's shard streams: what
// uplinks, satellites and other nodes use to put shards on a node, to get them
// back and to have it prove that it holds them. Nothing a node says is handed on
// before it was checked, with the one exception of what is called Unverified.
package nodeclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
)

var (
	// ErrWrongProof is returned for a proof, or shard roots, that do not lead to
	// the segment root. It is the fault of the node.
	ErrWrongProof = errors.New("node gave a wrong proof")
	// ErrWrongReceipt is returned for a receipt that is forged or says something
	// else than what was put.
	ErrWrongReceipt = errors.New("node gave a wrong receipt")
	// ErrMisbehaved is returned when a node breaks the rules of the stream: it
	// sends too much, too little, or what was not asked for.
	ErrMisbehaved = errors.New("node broke the protocol")
	// ErrOver is returned by calls on a stream that was closed or reset on this side.
	ErrOver = errors.New("stream is over")
)

// DefaultIdle is how long a node may keep its client waiting.
const DefaultIdle = 30 * time.Second

// A Dialer opens shard streams. It holds no state.
type Dialer struct {
	Host    *transport.Host
	Idle    time.Duration // patience with a node that stalls; 0: DefaultIdle
	Patient bool          // nodes may serve others first, and say wire.ErrBusy meanwhile
}

// A Lease is permission to use one placement group in one way, as shown to nodes.
type Lease struct {
	Group       *order.Group
	SignedGroup *pb.Signed
	Limit       *order.Limit
	SignedLimit *pb.Signed
	// Opened is when the limit came from the satellite. From it follows what time
	// it is there; zero leaves the time of receipts unjudged.
	Opened time.Time
}

// judge has a receipt judged by the time it gives as the satellite will: one that
// the satellite refuses is of no use and must not be counted on.
func (l Lease) judge(want *order.Stored, stored time.Time) {
	if l.Opened.IsZero() {
		want.Now = stored
		return
	}
	// The monotonic clock stands still while a machine sleeps.
	elapsed := max(time.Since(l.Opened), time.Since(l.Opened.Round(0)))
	want.Now = l.Limit.Issued.Add(elapsed)
	want.Oldest = l.Limit.Issued.Add(-order.Skew)
}

// OpenLease checks the signatures of a group record and an order limit and that
// they belong together. Errors are those of package order.
func OpenLease(group, limit *pb.Signed, satellite ident.ID) (Lease, error) {
	g, err := order.OpenGroup(group, satellite)
	if err != nil {
		return Lease{}, fmt.Errorf("lease: %w", err)
	}
	l, err := order.OpenLimit(limit, satellite)
	if err != nil {
		return Lease{}, fmt.Errorf("lease: %w", err)
	}
	if l.Group != g.ID || l.Epoch != g.Epoch {
		return Lease{}, fmt.Errorf("lease: order limit for epoch %d of group %d came with epoch %d of group %d: %w",
			l.Epoch, l.Group, g.Epoch, g.ID, order.ErrGroup)
	}
	return Lease{Group: g, SignedGroup: group, Limit: l, SignedLimit: limit, Opened: time.Now()}, nil
}

// idle is d.Idle or its default.
func (d Dialer) idle() time.Duration {
	if d.Idle > 0 {
		return d.Idle
	}
	return DefaultIdle
}

// open opens a stream and queues its first frame.
func (d Dialer) open(ctx context.Context, addr transport.Address, lease Lease) (*transport.Stream, *wire.Writer, error) {
	s, err := d.Host.Open(ctx, addr, wire.Protocol)
	if err != nil {
		return nil, nil, err
	}
	s.SetIdle(d.idle())
	w := wire.NewWriter(s)
	if err := w.Queue(wire.TypeOpen, &pb.Open{Group: lease.SignedGroup, Limit: lease.SignedLimit, Patient: d.Patient}); err != nil {
		s.Reset()
		return nil, nil, fmt.Errorf("peer %s: %w", addr.ID.Short(), err)
	}
	return s, w, nil
}

// readReply reads the frame that a request is to be answered with.
func readReply(r *wire.Reader, want wire.Type, m proto.Message) error {
	h, err := r.Next()
	switch {
	case err != nil:
		return err
	case h.Type == wire.TypeFail:
		return readFail(r)
	case h.Type != want:
		return wire.Unexpected(h, fmt.Sprintf("where %s was expected", want))
	}
	return r.ReadControl(m)
}

// readFail reads the frame in which a node says why it did not do as asked.
func readFail(r *wire.Reader) error {
	var fail pb.Fail
	if err := r.ReadControl(&fail); err != nil {
		return err
	}
	return wire.FromFail(&fail)
}

// fault tells a node that breaks the protocol from a stream that broke, which
// transport has put in words.
func fault(node ident.ID, err error) error {
	switch {
	case err == io.EOF:
		return fmt.Errorf("peer %s: it closed the stream: %w", node.Short(), transport.ErrReset)
	case errors.Is(err, transport.ErrReset), errors.Is(err, transport.ErrStalled), errors.Is(err, transport.ErrBusy), errors.Is(err, transport.ErrProtocol):
		return err
	case errors.Is(err, wire.ErrFrame):
		return fmt.Errorf("peer %s: %w: %w", node.Short(), ErrMisbehaved, err)
	default:
		return fmt.Errorf("peer %s: %w", node.Short(), err)
	}
}
