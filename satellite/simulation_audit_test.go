package satellite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/satellite/audit"
)

// errSilent is what the satellite sees of a node that cannot be asked, or does
// not answer.
var errSilent = errors.New("the node does not answer")

// answer has a node answer an audit.
func (w *network) answer(_ context.Context, to transport.Address, asked *order.Audit) ([]order.Answer, *pb.Signed, error) {
	n := w.byID[to.ID]
	w.add("challenges", len(asked.Challenges))
	if n == nil || !n.up || n.lie.silent() {
		w.add("challenges unanswered", len(asked.Challenges))
		return nil, nil, fmt.Errorf("%v: %w", n, errSilent)
	}
	n.loseWhenAsked(&asked.Challenges[0])
	answers := make([]order.Answer, len(asked.Challenges))
	hashes := make([]merkle.Hash, len(answers))
	for i := range answers {
		answers[i] = n.answerOne(&asked.Challenges[i])
		hashes[i] = answers[i].Hash()
	}
	report, err := order.SignReport(n.key, &order.Report{
		Node: n.id, Satellite: w.key.ID(), Request: order.RequestHash(asked.Nonce, asked.Issued, asked.Hashes()),
		Answers: order.AnswersHash(hashes), Answered: n.now().Truncate(time.Second),
	})
	must(w.t, err)
	return answers, report, nil
}

// loseWhenAsked has a node find out that it lacks a shard just as it is asked for
// it, and tell so before it answers: which is forgiven once in a while.
func (n *simNode) loseWhenAsked(c *order.Challenge) {
	if !n.isHonest() || n.calm || n.rots == 0 || n.dice.IntN(10) > 0 || n.time.Sub(n.toldLate) <= audit.LossWindow {
		return
	}
	p := n.parts[c.Group]
	if p == nil || p.claim == nil || !p.claim.taken || p.drop(func(s *simShard) bool { return s == p.shards[c.Segment] && s.live && !s.away }) == 0 {
		return
	}
	n.count("shards lost while an audit asked for them")
	n.toldLate = n.time
	n.lost()
}

// answerOne answers a challenge as SPEC.md, "Audits", says.
func (n *simNode) answerOne(c *order.Challenge) order.Answer {
	p := n.parts[c.Group]
	if p == nil || p.claim == nil || !p.claim.taken {
		return order.Answer{Status: order.Unavailable}
	}
	s := p.shards[c.Segment]
	switch {
	case s != nil && s.away, s == nil && n.impaired:
		return order.Answer{Status: order.Unavailable}
	case s == nil || s.root != c.Root || s.slot != c.Slot:
		return n.lie.lacking(n.lacking(p, c, order.Missing))
	}
	answer, err := s.prove(c)
	if err != nil {
		lacking := n.lacking(p, c, order.Corrupt)
		n.count("damage found by audits")
		n.damaged++
		p.drop(func(other *simShard) bool { return other == s })
		n.after(0, n.lost)
		return n.lie.lacking(lacking)
	}
	return answer
}

// lacking owns up to what the node lacks.
func (n *simNode) lacking(p *part, c *order.Challenge, how order.Status) order.Answer {
	a := order.Answer{Status: how}
	if e := p.live[c.Segment]; e != nil && e.Seq == c.Seq && bytes.Equal(e.Root, c.Root[:]) {
		a.Claim = p.claim.digest
	}
	return a
}

// prove makes the proof that a challenge asks for, and checks it.
func (s *simShard) prove(c *order.Challenge) (order.Answer, error) {
	offset, size, err := merkle.Window(s.layout, c.Leaf, 1)
	if err != nil {
		return order.Answer{}, err
	}
	h := merkle.NewHasher(int64(len(s.data)))
	h.Write(s.data)
	proof, err := merkle.Prove(s.layout, s.slot, s.roots, h.Subtrees(), c.Leaf, 1, s.data[offset:offset+size])
	if err != nil {
		return order.Answer{}, err
	}
	offset, size, err = merkle.LeafRange(s.layout, c.Leaf, 1)
	if err != nil {
		return order.Answer{}, err
	}
	a := order.Answer{Status: order.Proved, Leaf: s.data[offset : offset+size], Proof: proof}
	return a, c.Verify(&a)
}

// kind is how a node lies. The kinds are those of deploy/liar, and some that
// keep away.
type kind int

const (
	honest     kind = iota
	forgetful       // has dropped shards, claims them, and owns up when asked
	inventive       // has dropped shards, claims them, and makes proofs up
	evasive         // has dropped shards, claims them, and cannot look just now when asked
	silent          // checks in and answers nothing
	occasional      // has dropped shards, claims them, and is there now and then
	falsifying      // sends wrong bytes to whom it serves, though it proves well
	kinds
)

func (k kind) String() string {
	return [...]string{"honest", "forgetful", "inventive", "evasive", "silent", "occasional", "falsifying"}[k]
}

// lie is how a node misbehaves; the zero value is an honest one.
type lie struct {
	kind
	share   float64 // of its shards that it drops
	dropped int     // so many
	before  uint64  // challenges it was scored for before it turned
	since   time.Time
}

// claims says whether everything is claimed, held or not.
func (l lie) claims() bool { return l.drops() }

// drops says whether shards are dropped.
func (l lie) drops() bool {
	return l.kind == forgetful || l.kind == inventive || l.kind == evasive || l.kind == occasional
}

// idle says whether it makes nothing again.
func (l lie) idle() bool { return l.drops() || l.kind == silent }

func (l lie) silent() bool { return l.kind == silent }

// served is what is sent of a shard.
func (l lie) served(s *simShard) *simShard {
	if l.kind != falsifying {
		return s
	}
	wrong := *s
	wrong.data = bytes.Clone(s.data)
	wrong.data[len(wrong.data)-1] ^= 1
	return &wrong
}

// lacking is the answer instead of the one that owns up.
func (l lie) lacking(a order.Answer) order.Answer {
	switch l.kind {
	case inventive:
		return order.Answer{Status: order.Proved, Leaf: make([]byte, 64), Proof: merkle.Proof{SlotPath: make([]merkle.Hash, 3)}}
	case evasive:
		return order.Answer{Status: order.Unavailable}
	}
	return a
}
