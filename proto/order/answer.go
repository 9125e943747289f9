package order

import (
	"encoding/binary"
	"fmt"

	"github.com/minio/sha256-simd"

	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/pb"
)

// Status says how a challenge was answered.
type Status int32

// The ways to answer.
const (
	Proved      = Status(pb.AnswerStatus_ANSWER_STATUS_PROVED)
	Missing     = Status(pb.AnswerStatus_ANSWER_STATUS_MISSING)
	Corrupt     = Status(pb.AnswerStatus_ANSWER_STATUS_CORRUPT)
	Unavailable = Status(pb.AnswerStatus_ANSWER_STATUS_UNAVAILABLE)
)

// String is the status in a word.
func (s Status) String() string {
	switch s {
	case Proved:
		return "proved"
	case Missing:
		return "missing"
	case Corrupt:
		return "corrupt"
	case Unavailable:
		return "unavailable"
	default:
		return fmt.Sprintf("status %d", int32(s))
	}
}

// maxPath is the most hashes of a path: no shard and no list of slots has a
// higher tree.
const maxPath = 32

// Answer is what a node says to a challenge. Leaf and Proof are there when it is
// Proved; whether they prove anything is for the judge.
type Answer struct {
	Status Status
	Leaf   []byte
	Proof  merkle.Proof
	// Claim is the Digest of the node's newest claim on the group. A node gives
	// it when it is Missing or Corrupt what it, too, knows as a live entry, with
	// the number and the root in the challenge. Otherwise it is zero.
	Claim merkle.Hash
}

// Hash stands for the answer in a report that was signed.
func (a *Answer) Hash() merkle.Hash {
	b := make([]byte, 0, 16+merkle.HashSize*(len(a.Proof.Path)+len(a.Proof.SlotPath))+len(a.Leaf))
	b = append(b, byte(a.Status))
	b = binary.BigEndian.AppendUint16(b, uint16(len(a.Proof.Path)))
	b = append(b, merkle.JoinHashes(a.Proof.Path)...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(a.Proof.SlotPath)))
	b = append(b, merkle.JoinHashes(a.Proof.SlotPath)...)
	b = append(b, a.Leaf...)
	return sha256.Sum256(append(b, a.claim()...))
}

// claim is the bytes of a.Claim, if there is one.
func (a *Answer) claim() []byte {
	if a.Claim == (merkle.Hash{}) {
		return nil
	}
	return a.Claim[:]
}

// AnswersHash stands for answers with these hashes, in order.
func AnswersHash(answers []merkle.Hash) merkle.Hash {
	return sha256.Sum256(merkle.JoinHashes(answers))
}

// Message is the answer as it travels.
func (a *Answer) Message() *pb.AuditAnswer {
	return &pb.AuditAnswer{
		Status: pb.AnswerStatus(a.Status), Leaf: a.Leaf,
		Path: merkle.JoinHashes(a.Proof.Path), SlotPath: merkle.JoinHashes(a.Proof.SlotPath), Claim: a.claim(),
	}
}

// AnswerFrom reads what Message makes. Errors wrap ErrMalformed.
func AnswerFrom(m *pb.AuditAnswer) (a Answer, err error) {
	a = Answer{Status: Status(m.Status), Leaf: m.Leaf}
	switch {
	case a.Status < Proved || a.Status > Unavailable:
		return a, refuse(ErrMalformed, "answer of unknown status %d", m.Status)
	case a.Status != Proved && len(m.Leaf)+len(m.Path)+len(m.SlotPath) > 0:
		return a, refuse(ErrMalformed, "answer %s comes with a proof", a.Status)
	case len(m.Leaf) > merkle.LeafSize || len(m.Path) > maxPath*merkle.HashSize || len(m.SlotPath) > maxPath*merkle.HashSize:
		return a, refuse(ErrMalformed, "answer is longer than any proof of a leaf")
	}
	if a.Proof.Path, err = merkle.SplitHashes(m.Path); err != nil {
		return a, refuse(ErrMalformed, "path: %v", err)
	}
	if a.Proof.SlotPath, err = merkle.SplitHashes(m.SlotPath); err != nil {
		return a, refuse(ErrMalformed, "slot path: %v", err)
	}
	return a, a.readClaim(m.Claim)
}

// readClaim takes the hash of a claim, where one may be.
func (a *Answer) readClaim(raw []byte) (err error) {
	if len(raw) == 0 {
		return nil
	}
	if a.Status != Missing && a.Status != Corrupt {
		return refuse(ErrMalformed, "answer %s names a claim", a.Status)
	}
	if a.Claim, err = hashField(raw, "claim"); err == nil && a.Claim == (merkle.Hash{}) {
		err = refuse(ErrMalformed, "answer names a claim of zeros")
	}
	return err
}
