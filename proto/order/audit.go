package order

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/minio/sha256-simd"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/pb"
)

// MaxChallenges is the most leaves that one audit asks for.
const MaxChallenges = 512

// Challenge asks for one leaf of the shard in a slot. It holds all that is
// needed to judge the answer.
type Challenge struct {
	Group   uint32
	Slot    int
	Seq     uint64 // of the segment's live entry
	Segment SegmentID
	Root    merkle.Hash // segment root
	Layout  erasure.Layout
	Leaf    int
}

// Hash stands for the challenge in an audit that was signed.
func (c *Challenge) Hash() merkle.Hash {
	b := make([]byte, 0, 96)
	b = binary.BigEndian.AppendUint32(b, c.Group)
	b = binary.BigEndian.AppendUint32(b, uint32(c.Slot))
	b = binary.BigEndian.AppendUint64(b, c.Seq)
	b = append(b, c.Segment[:]...)
	b = append(b, c.Root[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(c.Layout.Required))
	b = binary.BigEndian.AppendUint16(b, uint16(c.Layout.Total))
	b = binary.BigEndian.AppendUint64(b, uint64(c.Layout.Size))
	b = binary.BigEndian.AppendUint32(b, uint32(c.Leaf))
	return sha256.Sum256(b)
}

// Validate returns an error wrapping ErrMalformed when there is no such leaf.
func (c *Challenge) Validate() error {
	switch {
	case c.Group == 0 || c.Seq == 0:
		return refuse(ErrMalformed, "challenge on entry %d of group %d: both count from 1", c.Seq, c.Group)
	case c.Segment.IsZero():
		return refuse(ErrMalformed, "challenge names no segment")
	case c.Slot < 0 || c.Slot >= c.Layout.Total:
		return refuse(ErrMalformed, "challenge on slot %d of %d", c.Slot, c.Layout.Total)
	}
	if _, _, err := merkle.LeafRange(c.Layout, c.Leaf, 1); err != nil {
		return refuse(ErrMalformed, "challenge: %v", err)
	}
	return nil
}

// Verify checks the proof in an answer to a valid challenge, against the root
// alone. Error: merkle.ErrProof.
func (c *Challenge) Verify(a *Answer) error {
	return merkle.VerifyProof(c.Root, c.Layout, c.Slot, c.Leaf, 1, a.Leaf, a.Proof)
}

// Message is the challenge as it travels.
func (c *Challenge) Message() *pb.Challenge {
	return &pb.Challenge{
		Group: c.Group, Slot: uint32(c.Slot), Seq: c.Seq, Segment: c.Segment[:], Root: c.Root[:],
		Required: uint32(c.Layout.Required), Total: uint32(c.Layout.Total), Size: uint64(c.Layout.Size), Leaf: uint32(c.Leaf),
	}
}

// ChallengeFrom reads what Message makes. Errors wrap ErrMalformed.
func ChallengeFrom(m *pb.Challenge) (c Challenge, err error) {
	const most = erasure.MaxTotal + 1 // what is above is refused all the same
	c = Challenge{Group: m.GetGroup(), Seq: m.GetSeq(), Slot: int(min(m.GetSlot(), most)), Leaf: int(m.GetLeaf() & (1<<31 - 1))}
	if m.GetLeaf() > 1<<31-1 {
		return c, refuse(ErrMalformed, "challenge on leaf %d", m.GetLeaf())
	}
	c.Layout.Required, c.Layout.Total = int(min(m.GetRequired(), most)), int(min(m.GetTotal(), most))
	if c.Layout.Size, err = int64Field(m.GetSize(), "size"); err != nil {
		return c, err
	}
	if c.Segment, err = SegmentIDFromBytes(m.GetSegment()); err != nil {
		return c, err
	}
	if c.Root, err = hashField(m.GetRoot(), "root"); err != nil {
		return c, err
	}
	return c, c.Validate()
}

// Audit is what a satellite asks of a node in one go.
type Audit struct {
	Nonce      [16]byte
	Issued     time.Time // whole seconds
	Challenges []Challenge
}

// Validate returns an error wrapping ErrMalformed when a cannot be an audit.
func (a *Audit) Validate() error {
	if n := len(a.Challenges); n == 0 || n > MaxChallenges {
		return refuse(ErrMalformed, "audit with %d challenges, not 1 to %d", n, MaxChallenges)
	}
	for i := range a.Challenges {
		if err := a.Challenges[i].Validate(); err != nil {
			return err
		}
	}
	_, err := timeField(a.Issued.Unix(), "issued")
	return err
}

// Hashes stand for the challenges, in order.
func (a *Audit) Hashes() []merkle.Hash {
	hashes := make([]merkle.Hash, len(a.Challenges))
	for i := range a.Challenges {
		hashes[i] = a.Challenges[i].Hash()
	}
	return hashes
}

// RequestHash stands for an audit with these challenges.
func RequestHash(nonce [16]byte, issued time.Time, challenges []merkle.Hash) merkle.Hash {
	h := sha256.New()
	h.Write(nonce[:])
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(issued.Unix())))
	h.Write(merkle.JoinHashes(challenges))
	return merkle.Hash(h.Sum(nil))
}

// Message is the audit as it travels.
func (a *Audit) Message() *pb.Audit {
	m := &pb.Audit{Nonce: a.Nonce[:], Issued: a.Issued.Unix()}
	for i := range a.Challenges {
		m.Challenges = append(m.Challenges, a.Challenges[i].Message())
	}
	return m
}

// AuditFrom reads what Message makes. Errors wrap ErrMalformed.
func AuditFrom(m *pb.Audit) (*Audit, error) {
	a := &Audit{}
	if len(m.Nonce) != len(a.Nonce) {
		return nil, refuse(ErrMalformed, "nonce has %d bytes instead of %d", len(m.Nonce), len(a.Nonce))
	}
	copy(a.Nonce[:], m.Nonce)
	if len(m.Challenges) > MaxChallenges {
		return nil, refuse(ErrMalformed, "audit with %d challenges, at most %d", len(m.Challenges), MaxChallenges)
	}
	var err error
	if a.Issued, err = timeField(m.Issued, "issued"); err != nil {
		return nil, err
	}
	for i, c := range m.Challenges {
		challenge, err := ChallengeFrom(c)
		if err != nil {
			return nil, fmt.Errorf("challenge %d: %w", i, err)
		}
		a.Challenges = append(a.Challenges, challenge)
	}
	return a, a.Validate()
}
