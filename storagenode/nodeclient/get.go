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

// Get is a stream of reads from a node. Requests may be sent ahead; they are
// answered in order. One goroutine may Request while another Receives. What a
// node says of one request (see package wire) leaves the stream usable, as far as
// the node goes on; other errors end it.
type Get struct {
	s    *transport.Stream
	w    *wire.Writer
	r    *wire.Reader
	node ident.ID
	idle time.Duration

	requests chan part     // not yet received
	said     error         // by the node of the request that is being received
	over     chan struct{} // closed when err is set

	mu  sync.Mutex
	err error
}

// A part is as much of a request as one Receive takes.
type part struct {
	length int
	first  bool // of its request
	after  int  // bytes of the request behind it
}

// OpenGet opens a stream to get shards under the lease. ctx bounds the opening alone.
func (d Dialer) OpenGet(ctx context.Context, addr transport.Address, lease Lease) (*Get, error) {
	s, w, err := d.open(ctx, addr, lease)
	if err != nil {
		return nil, err
	}
	return &Get{
		s: s, w: w, r: wire.NewReader(s), node: addr.ID, idle: d.idle(),
		requests: make(chan part, wire.MaxPipelined),
		over:     make(chan struct{}),
	}, nil
}

// Request asks for length shard bytes from offset on, between 1 and wire.MaxGet.
// It waits while wire.MaxPipelined requests are out.
func (g *Get) Request(segment order.SegmentID, offset int64, length int) error {
	return g.RequestParts(segment, offset, []int{length})
}

// RequestParts is Request for several lengths, one behind the other, each to be
// received by itself. Together they are one request to the node, and what it says
// of that is said of each part not yet received. There may be wire.MaxPipelined
// parts at most.
func (g *Get) RequestParts(segment order.SegmentID, offset int64, lengths []int) error {
	all := 0
	for _, length := range lengths {
		if length < 1 {
			panic(fmt.Sprintf("nodeclient: request of %d bytes", length))
		}
		all += length
	}
	if offset < 0 || all < 1 || all > wire.MaxGet || len(lengths) > wire.MaxPipelined {
		panic(fmt.Sprintf("nodeclient: request of %d bytes at %d", all, offset))
	}
	after := all
	for i, length := range lengths {
		after -= length
		select {
		case g.requests <- part{length: length, first: i == 0, after: after}:
		case <-g.over:
			return g.err
		}
	}
	return g.sent(g.w.WriteControl(wire.TypeGet, &pb.Get{
		Segment: segment[:], Offset: uint64(offset), Length: uint32(all),
	}))
}

// Receive fills into, which has the length asked for, with the answer to the next
// request or part of one. It waits for a request if there is none. The bytes are
// not verified: decrypting does that, and Prove tells who is at fault.
func (g *Get) Receive(into []byte) error {
	select { // what comes after the end does not count
	case <-g.over:
		return g.err
	default:
	}
	var p part
	select {
	case p = <-g.requests:
	case <-g.over:
		return g.err
	}
	if p.length != len(into) {
		panic(fmt.Sprintf("nodeclient: %d bytes for a request of %d", len(into), p.length))
	}
	if p.first {
		g.said = nil
	} else if g.said != nil {
		return g.said
	}
	g.s.NextMessage(g.idle)
	err := g.received(g.receiveData(into, p.after))
	g.said = err
	return err
}

// receiveData reads the data frames that make up into, of which the last may have
// some of the bytes that are still to come after it.
func (g *Get) receiveData(into []byte, after int) error {
	for filled := 0; filled < len(into); {
		if g.r.Remaining() == 0 {
			if err := g.nextData(len(into) - filled + after); err != nil {
				return err
			}
		}
		n, err := g.r.ReadData(into[filled:])
		filled += n
		if err != nil {
			return err
		}
	}
	return nil
}

// nextData reads the header of a data frame with so many bytes at most.
func (g *Get) nextData(most int) error {
	h, err := g.r.Next()
	switch {
	case err != nil:
		return err
	case h.Type == wire.TypeFail:
		return readFail(g.r)
	case h.Type != wire.TypeData:
		return wire.Unexpected(h, "where data was asked for")
	case h.Length > most:
		return wire.Unexpected(h, "with more bytes than were asked for")
	}
	return nil
}

// Prove has the node prove that it holds the leaves from first on of its shard,
// that of slot in the segment with this layout and root, and returns them
// verified. ErrWrongProof is evidence against the node. All requests have to be
// received before.
func (g *Get) Prove(segment order.SegmentID, layout erasure.Layout, root merkle.Hash, slot, first, count int) ([]byte, error) {
	_, length, err := merkle.LeafRange(layout, first, count)
	if err != nil {
		return nil, fmt.Errorf("peer %s: prove: %w", g.node.Short(), err)
	}
	if len(g.requests) > 0 {
		panic("nodeclient: Prove while requests are out")
	}
	if err := g.sent(g.w.WriteControl(wire.TypeProve, &pb.Prove{
		Segment: segment[:], First: uint64(first), Count: uint32(count),
	})); err != nil {
		return nil, err
	}
	g.s.NextMessage(g.idle)
	leaves := make([]byte, length)
	proof, err := g.receiveProof(layout, leaves)
	if err := g.received(err); err != nil {
		return nil, err
	}
	if err := merkle.VerifyProof(root, layout, slot, first, count, leaves, proof); err != nil {
		return nil, fmt.Errorf("peer %s: %w: %w", g.node.Short(), ErrWrongProof, err)
	}
	return leaves, nil
}

// receiveProof reads a proof and the leaves that come with it.
func (g *Get) receiveProof(layout erasure.Layout, leaves []byte) (merkle.Proof, error) {
	var m pb.Proof
	if err := readReply(g.r, wire.TypeProof, &m); err != nil {
		return merkle.Proof{}, err
	}
	if int64(m.Length) != int64(len(leaves)) {
		return merkle.Proof{}, fmt.Errorf("%w: %d bytes of leaves instead of %d", ErrMisbehaved, m.Length, len(leaves))
	}
	if err := g.receiveData(leaves, 0); err != nil {
		return merkle.Proof{}, err
	}
	path, err := merkle.SplitHashes(m.Path)
	if err != nil {
		return merkle.Proof{}, fmt.Errorf("%w: path: %w", ErrMisbehaved, err)
	}
	slotPath, err := merkle.SplitHashes(m.SlotPath)
	if err != nil {
		return merkle.Proof{}, fmt.Errorf("%w: slot path: %w", ErrMisbehaved, err)
	}
	if m.Size != uint64(layout.Size) {
		// The proof would fail; this says better why.
		return merkle.Proof{}, fmt.Errorf("%w: it is for a segment of %d bytes, not %d", ErrMisbehaved, m.Size, layout.Size)
	}
	return merkle.Proof{Path: path, SlotPath: slotPath}, nil
}

// Roots has the node say the roots of all shards of a segment with this layout
// and root, and returns them verified; ErrWrongProof is the node's fault. All
// requests have to be received before.
func (g *Get) Roots(segment order.SegmentID, layout erasure.Layout, root merkle.Hash) ([]merkle.Hash, error) {
	if err := layout.Validate(); err != nil {
		return nil, fmt.Errorf("peer %s: shard roots: %w", g.node.Short(), err)
	}
	if len(g.requests) > 0 {
		panic("nodeclient: Roots while requests are out")
	}
	if err := g.sent(g.w.WriteControl(wire.TypeRoots, &pb.Roots{Segment: segment[:]})); err != nil {
		return nil, err
	}
	g.s.NextMessage(g.idle)
	roots, err := g.receiveRoots(layout)
	if err := g.received(err); err != nil {
		return nil, err
	}
	if err := merkle.VerifyShardRoots(root, layout, roots); err != nil {
		return nil, fmt.Errorf("peer %s: %w: %w", g.node.Short(), ErrWrongProof, err)
	}
	return roots, nil
}

// receiveRoots reads one shard root for each slot.
func (g *Get) receiveRoots(layout erasure.Layout) ([]merkle.Hash, error) {
	var m pb.SegmentRoots
	if err := readReply(g.r, wire.TypeSegmentRoots, &m); err != nil {
		return nil, err
	}
	if m.Size != uint64(layout.Size) {
		return nil, fmt.Errorf("%w: shard roots of a segment of %d bytes, not %d", ErrMisbehaved, m.Size, layout.Size)
	}
	if len(m.ShardRoots) != layout.Total*merkle.HashSize {
		return nil, fmt.Errorf("%w: %d bytes of roots of %d shards", ErrMisbehaved, len(m.ShardRoots), layout.Total)
	}
	return merkle.SplitHashes(m.ShardRoots)
}

// Close ends the stream.
func (g *Get) Close() error {
	err := g.s.CloseWrite()
	g.Reset()
	return err
}

// Reset cuts the stream. It may be called from anywhere, at any time.
func (g *Get) Reset() { g.fail(fmt.Errorf("peer %s: %w", g.node.Short(), ErrOver)) }

// sent ends the stream if a write failed.
func (g *Get) sent(err error) error {
	if err == nil {
		return nil
	}
	return g.fail(err)
}

// received ends the stream unless err is what the node said of one request.
func (g *Get) received(err error) error {
	var said *wire.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &said):
		return fault(g.node, err)
	default:
		return g.fail(fault(g.node, err))
	}
}

// fail ends the stream with its first error and returns that.
func (g *Get) fail(err error) error {
	g.mu.Lock()
	if g.err == nil {
		g.err = err
		close(g.over)
	}
	err = g.err
	g.mu.Unlock()
	g.s.Reset()
	return err
}
