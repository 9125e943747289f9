package order

import (
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/pb"
)

// Receipt is a node's word that it holds the shard of one slot durably.
type Receipt struct {
	Node    ident.ID
	Segment SegmentID
	Root    merkle.Hash // segment root
	Size    int64       // ciphertext bytes of the segment
	Group   uint32
	Epoch   uint64
	Slot    int
	Serial  Serial    // of the order limit the shard came in under
	Stored  time.Time // whole seconds
}

// Stored is what a receipt has to say to be of use.
type Stored struct {
	Segment SegmentID
	Root    merkle.Hash
	Size    int64
	Group   *Group
	Serial  Serial    // zero: any
	Oldest  time.Time // zero: any; receipts from before are refused
	Now     time.Time
}

// Check says whether the receipt shows that a slot of want.Group holds its
// shard of the segment. Errors wrap ErrGroup, ErrEpoch, ErrPeer (the node does
// not hold the slot, or the order limit was another), ErrSegment or
// ErrExpired, in this order of precedence.
func (r *Receipt) Check(want Stored) error {
	g := want.Group
	switch {
	case r.Group != g.ID:
		return refuse(ErrGroup, "receipt of %s is for group %d, not %d", r.Node, r.Group, g.ID)
	case r.Epoch != g.Epoch:
		return refuse(ErrEpoch, "receipt of %s is for epoch %d of group %d, not %d", r.Node, r.Epoch, g.ID, g.Epoch)
	case r.Slot >= len(g.Nodes) || g.Nodes[r.Slot] != r.Node:
		return refuse(ErrPeer, "receipt of %s is for slot %d of group %d, which it does not hold", r.Node, r.Slot, g.ID)
	case want.Serial != Serial{} && r.Serial != want.Serial:
		return refuse(ErrPeer, "receipt of %s is for order limit %s, not %s", r.Node, r.Serial, want.Serial)
	case r.Segment != want.Segment:
		return refuse(ErrSegment, "receipt of %s is for segment %s, not %s", r.Node, r.Segment, want.Segment)
	case r.Root != want.Root || r.Size != want.Size:
		return refuse(ErrSegment, "receipt of %s is for another root or size of segment %s", r.Node, r.Segment)
	case r.Stored.Before(want.Oldest):
		return refuse(ErrExpired, "receipt of %s is dated %s, which is too long ago", r.Node, stamp(r.Stored))
	}
	return fresh(r.Stored, want.Now, "receipt of %s", r.Node)
}

// Validate returns an error wrapping ErrMalformed when r cannot be a receipt.
func (r *Receipt) Validate() error {
	switch {
	case r.Node.IsZero():
		return refuse(ErrMalformed, "receipt has no node")
	case r.Segment.IsZero():
		return refuse(ErrMalformed, "receipt has no segment")
	case r.Size <= 0 || r.Size > erasure.MaxSegment:
		return refuse(ErrMalformed, "receipt for a segment of %d bytes", r.Size)
	case r.Group == 0 || r.Epoch == 0:
		return refuse(ErrMalformed, "receipt for group %d epoch %d: both count from 1", r.Group, r.Epoch)
	case r.Slot < 0 || r.Slot >= erasure.MaxTotal:
		return refuse(ErrMalformed, "receipt for slot %d", r.Slot)
	case r.Serial == Serial{}:
		return refuse(ErrMalformed, "receipt has no serial")
	}
	_, err := timeField(r.Stored.Unix(), "stored")
	return err
}

// SignReceipt signs r with the node's key.
func SignReceipt(key ident.Key, r *Receipt) (*pb.Signed, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	if err := ownKey(key, r.Node, "node"); err != nil {
		return nil, err
	}
	return sign(key, contextReceipt, &pb.Receipt{
		Node:    r.Node[:],
		Segment: r.Segment[:],
		Root:    r.Root[:],
		Size:    uint64(r.Size),
		Group:   r.Group,
		Epoch:   r.Epoch,
		Slot:    uint32(r.Slot),
		Serial:  r.Serial[:],
		Stored:  r.Stored.Unix(),
	})
}

// OpenReceipt returns the receipt that node signed. Errors wrap ErrMalformed,
// ErrSignature or, when the record names another node, ErrPeer. What it is
// worth is for Check.
func OpenReceipt(signed *pb.Signed, node ident.ID) (*Receipt, error) {
	var m pb.Receipt
	if err := open(signed, node, contextReceipt, &m); err != nil {
		return nil, err
	}
	return receiptOf(&m, node)
}

// ReadReceipt is OpenReceipt but for the signature, which is for VerifyReceipts:
// until then nobody knows whether node has said this.
func ReadReceipt(signed *pb.Signed, node ident.ID) (*Receipt, error) {
	if err := bound(signed, contextReceipt); err != nil {
		return nil, err
	}
	var m pb.Receipt
	if err := parse(signed.Body, contextReceipt, &m); err != nil {
		return nil, err
	}
	return receiptOf(&m, node)
}

// VerifyReceipts verifies what ReadReceipt made receipts of, together, which costs
// less. It returns the index of the first that its node has not signed and an
// error that wraps ErrSignature, or -1.
func VerifyReceipts(signed []*pb.Signed, receipts []*Receipt) (wrong int, err error) {
	statements := make([]ident.Statement, len(receipts))
	for i, r := range receipts {
		statements[i] = statement(signed[i], r.Node)
	}
	return verify(statements)
}

func statement(signed *pb.Signed, node ident.ID) ident.Statement {
	return ident.Statement{ID: node, Context: contextReceipt, Body: signed.Body, Signature: signed.Signature}
}

func verify(statements []ident.Statement) (wrong int, err error) {
	if wrong = ident.VerifyAll(statements); wrong >= 0 {
		err = refuse(ErrSignature, "%s is not signed by %s", contextReceipt, statements[wrong].ID)
	}
	return wrong, err
}

// OpenReceipts returns receipts in their order, each signed by whichever node of
// the group it says it is from. Signatures are verified together, which costs
// less. The error is that of OpenReceipt for one of them, or ErrPeer when its node
// holds no slot of the group.
func OpenReceipts(all []*pb.Signed, group *Group) ([]*Receipt, error) {
	messages := make([]pb.Receipt, len(all))
	statements := make([]ident.Statement, len(all))
	for i, signed := range all {
		node, err := parseReceipt(signed, group, &messages[i])
		if err != nil {
			return nil, err
		}
		statements[i] = statement(signed, node)
	}
	if _, err := verify(statements); err != nil {
		return nil, err
	}
	receipts := make([]*Receipt, len(all))
	for i := range receipts {
		var err error
		if receipts[i], err = receiptOf(&messages[i], statements[i].ID); err != nil {
			return nil, err
		}
	}
	return receipts, nil
}

// parseReceipt parses a body that is not to be trusted yet. It only says whose
// key to try.
func parseReceipt(signed *pb.Signed, group *Group, m *pb.Receipt) (node ident.ID, err error) {
	if err := bound(signed, contextReceipt); err != nil {
		return node, err
	}
	if err := parse(signed.Body, contextReceipt, m); err != nil {
		return node, err
	}
	if node, err = idField(m.Node, "node"); err != nil {
		return node, err
	}
	if _, ok := group.SlotOf(node); !ok {
		return node, refuse(ErrPeer, "receipt is of %s, which holds no slot of group %d epoch %d",
			node, group.ID, group.Epoch)
	}
	return node, nil
}

func receiptOf(m *pb.Receipt, node ident.ID) (*Receipt, error) {
	r := &Receipt{Group: m.Group, Epoch: m.Epoch, Slot: int(min(m.Slot, erasure.MaxTotal))}
	var err error
	if r.Node, err = signerField(m.Node, node, "node"); err != nil {
		return nil, err
	}
	if r.Segment, err = SegmentIDFromBytes(m.Segment); err != nil {
		return nil, err
	}
	if r.Root, err = hashField(m.Root, "root"); err != nil {
		return nil, err
	}
	if r.Size, err = int64Field(m.Size, "size"); err != nil {
		return nil, err
	}
	if r.Serial, err = serialField(m.Serial); err != nil {
		return nil, err
	}
	if r.Stored, err = timeField(m.Stored, "stored"); err != nil {
		return nil, err
	}
	if err := r.Validate(); err != nil {
		return nil, err
	}
	return r, nil
}
