// Package evidence shows anybody, offline, that a storage node signed a false
// proof, or that it lacked what it had claimed to hold.
//
// It rests on what the node alone can make: its signature over an audit and its
// answers, and its signed claim. Neither the satellite that asked nor other nodes
// have to be believed, and what a node signs never convicts it that holds what it
// claims and tells of a loss before it owns up to it.
package evidence

import (
	"errors"
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
)

// ErrNothing is returned for evidence that proves nothing.
var ErrNothing = errors.New("the evidence proves nothing")

// Evidence is one answer to an audit, with what is needed to judge it.
type Evidence struct {
	Node       ident.ID   // accused
	Report     *pb.Signed // its word on all answers
	Nonce      [16]byte   // of the audit
	Issued     time.Time  // of the audit; whole seconds
	Challenges []merkle.Hash
	Answers    []merkle.Hash
	Index      int // of Challenge and Answer among them
	Challenge  order.Challenge
	Answer     order.Answer
	Claim      *pb.Signed // that the answer names; nil for a false proof
}

// New puts together what speaks against a node in its answer number index to an
// audit. claim is the one that the answer names, if any. Whether it convicts is
// for Check to say.
func New(node ident.ID, audit *order.Audit, answers []order.Answer, index int, report, claim *pb.Signed) *Evidence {
	e := &Evidence{
		Node: node, Report: report, Nonce: audit.Nonce, Issued: audit.Issued,
		Challenges: audit.Hashes(), Index: index,
		Challenge: audit.Challenges[index], Answer: answers[index], Claim: claim,
	}
	for i := range answers {
		e.Answers = append(e.Answers, answers[i].Hash())
	}
	return e
}

// Guilt is what a node is convicted of.
type Guilt uint8

const (
	// FalseProof: the node signed that a leaf is proved, and its proof does not
	// lead to the segment root it was asked about.
	FalseProof Guilt = 1
	// Lacking: the node signed that it lacks a shard, or has only a damaged
	// one, which a claim that it held to at that time says it holds.
	Lacking Guilt = 2
)

// String says it in words that follow the name of the node.
func (g Guilt) String() string {
	switch g {
	case FalseProof:
		return "signed a false proof"
	case Lacking:
		return "lacked a shard that it claimed to hold"
	default:
		return fmt.Sprintf("guilt %d", uint8(g))
	}
}

// Finding is who is guilty of what.
type Finding struct {
	Node      ident.ID
	Satellite ident.ID // that asked
	Guilt     Guilt
	Challenge order.Challenge
	Status    order.Status // of the answer
	Asked     time.Time
	Answered  time.Time    // by the node's word
	Claim     *order.Claim // that the node broke; nil for a false proof
}

// Check decides whether the evidence convicts, and of what. Errors wrap
// ErrNothing and say why not.
func (e *Evidence) Check() (*Finding, error) {
	f, err := e.check()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNothing, err)
	}
	return f, nil
}

func (e *Evidence) check() (*Finding, error) {
	report, err := e.openReport()
	if err != nil {
		return nil, err
	}
	if err := e.Challenge.Validate(); err != nil {
		return nil, err
	}
	f := &Finding{
		Node: e.Node, Satellite: report.Satellite, Challenge: e.Challenge, Status: e.Answer.Status,
		Asked: e.Issued, Answered: report.Answered,
	}
	switch e.Answer.Status {
	case order.Proved:
		f.Guilt = FalseProof
		return f, e.checkProof()
	case order.Missing, order.Corrupt:
		f.Guilt = Lacking
		f.Claim, err = e.brokenClaim(report)
		return f, err
	default:
		return nil, fmt.Errorf("the answer, %s, says nothing of the shard", e.Answer.Status)
	}
}

// openReport opens the node's report and holds against it all that it is to
// have signed.
func (e *Evidence) openReport() (*order.Report, error) {
	report, err := order.OpenReport(e.Report, e.Node)
	if err != nil {
		return nil, err
	}
	switch {
	case len(e.Challenges) != len(e.Answers) || len(e.Challenges) > order.MaxChallenges:
		return nil, fmt.Errorf("it has %d challenges and %d answers", len(e.Challenges), len(e.Answers))
	case e.Index < 0 || e.Index >= len(e.Challenges):
		return nil, fmt.Errorf("it has no answer %d, of %d", e.Index, len(e.Challenges))
	case order.RequestHash(e.Nonce, e.Issued, e.Challenges) != report.Request:
		return nil, errors.New("the node answered another audit than this one")
	case order.AnswersHash(e.Answers) != report.Answers:
		return nil, errors.New("the node gave other answers than these")
	case e.Challenge.Hash() != e.Challenges[e.Index]:
		return nil, fmt.Errorf("the challenge is not number %d of the audit", e.Index)
	case e.Answer.Hash() != e.Answers[e.Index]:
		return nil, fmt.Errorf("the answer is not number %d of the audit", e.Index)
	}
	return report, nil
}

// checkProof returns nil when the proof is false.
func (e *Evidence) checkProof() error {
	if e.Claim != nil {
		return errors.New("a claim comes with the proof, where none is needed")
	}
	if e.Challenge.Verify(&e.Answer) == nil {
		return errors.New("the proof is right")
	}
	return nil
}

// brokenClaim returns the claim that the node named in its answer and that
// covers the challenge. An honest node names one only for an entry that it knows
// as live, and it keeps its claims ahead of its losses. That it was the newest
// claim is the node's own word: an older one, withdrawn since, convicts nobody.
func (e *Evidence) brokenClaim(report *order.Report) (*order.Claim, error) {
	if e.Answer.Claim == (merkle.Hash{}) {
		return nil, fmt.Errorf("the shard is %s, and the node names no claim that it should be there", e.Answer.Status)
	}
	claim, err := order.OpenClaim(e.Claim, e.Node)
	if err != nil {
		return nil, err
	}
	c := &e.Challenge
	switch {
	case order.Digest(e.Claim) != e.Answer.Claim:
		return nil, errors.New("the claim is another than the node names")
	case claim.Satellite != report.Satellite:
		return nil, errors.New("the claim was made to another satellite")
	case claim.Group != c.Group || claim.Slot != c.Slot:
		return nil, fmt.Errorf("the claim is on slot %d of group %d, the challenge on slot %d of group %d",
			claim.Slot, claim.Group, c.Slot, c.Group)
	case !claim.Covers(c.Seq):
		return nil, fmt.Errorf("the claim leaves out entry %d", c.Seq)
	}
	return claim, nil
}
