package order

import (
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
)

// MaxClaimRuns is the most runs of numbers that a claim may leave out. A node
// that lacks more scattered shards claims less than it has.
const MaxClaimRuns = 2000

// Claim is a node's word that it holds the shard of every live entry of a
// group's journal up to Seq, except of those numbered in Missing.
type Claim struct {
	Node      ident.ID
	Satellite ident.ID
	Group     uint32
	Epoch     uint64 // of the group record the node goes by
	Slot      int
	Seq       uint64
	Missing   seqset.Set // within 1 … Seq
	Issued    time.Time  // whole seconds
}

// Covers reports whether the node claims to hold the shard of an entry.
func (c *Claim) Covers(seq uint64) bool {
	return seq >= 1 && seq <= c.Seq && !c.Missing.Contains(seq)
}

// Validate returns an error wrapping ErrMalformed when c cannot be a claim.
func (c *Claim) Validate() error {
	switch {
	case c.Node.IsZero():
		return refuse(ErrMalformed, "claim has no node")
	case c.Satellite.IsZero():
		return refuse(ErrMalformed, "claim has no satellite")
	case c.Group == 0 || c.Epoch == 0:
		return refuse(ErrMalformed, "claim on group %d epoch %d: both count from 1", c.Group, c.Epoch)
	case c.Slot < 0 || c.Slot >= erasure.MaxTotal:
		return refuse(ErrMalformed, "claim on slot %d", c.Slot)
	case len(c.Missing) > MaxClaimRuns || !c.Missing.Valid():
		return refuse(ErrMalformed, "claim leaves out %d runs, at most %d apart from each other", len(c.Missing), MaxClaimRuns)
	case len(c.Missing) > 0 && (c.Missing[0].First == 0 || c.Missing[len(c.Missing)-1].Last > c.Seq):
		return refuse(ErrMalformed, "claim leaves out numbers that are not within 1 to %d", c.Seq)
	}
	_, err := timeField(c.Issued.Unix(), "issued")
	return err
}

// SignClaim signs c with the node's key.
func SignClaim(key ident.Key, c *Claim) (*pb.Signed, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := ownKey(key, c.Node, "node"); err != nil {
		return nil, err
	}
	return sign(key, contextClaim, &pb.Claim{
		Node:      c.Node[:],
		Satellite: c.Satellite[:],
		Group:     c.Group,
		Epoch:     c.Epoch,
		Slot:      uint32(c.Slot),
		Seq:       c.Seq,
		Missing:   c.Missing.Encode(nil),
		Issued:    c.Issued.Unix(),
	})
}

// OpenClaim returns the claim that node signed. Errors wrap ErrMalformed,
// ErrSignature or, when the record names another node, ErrPeer.
func OpenClaim(signed *pb.Signed, node ident.ID) (*Claim, error) {
	var m pb.Claim
	if err := open(signed, node, contextClaim, &m); err != nil {
		return nil, err
	}
	c := &Claim{Group: m.Group, Epoch: m.Epoch, Slot: int(min(m.Slot, erasure.MaxTotal)), Seq: m.Seq}
	var err error
	if c.Node, err = signerField(m.Node, node, "node"); err != nil {
		return nil, err
	}
	if c.Satellite, err = idField(m.Satellite, "satellite"); err != nil {
		return nil, err
	}
	if c.Missing, err = seqset.Decode(m.Missing, MaxClaimRuns); err != nil {
		return nil, refuse(ErrMalformed, "claim: %v", err)
	}
	if c.Issued, err = timeField(m.Issued, "issued"); err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}
