package liar

import (
	"context"
	"time"

	"github.com/minio/sha256-simd"

	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
)

// serveAudits is one audit stream.
func (l *Liar) serveAudits(ctx context.Context, s *transport.Stream) {
	defer s.Reset()
	r, w := wire.NewReader(s), wire.NewWriter(s)
	for {
		h, err := r.Next()
		if err != nil {
			return
		}
		if l.how().Silent {
			l.note(func(t *Told) { t.Silences++ })
			<-ctx.Done()
			return
		}
		switch h.Type {
		case wire.TypeAudit:
			var m pb.Audit
			if r.ReadControl(&m) != nil || !l.audit(w, &m) {
				return
			}
		case wire.TypeInventory:
			var m pb.Inventory
			if r.ReadControl(&m) != nil || w.WriteControl(wire.TypeInventoryPage, l.inventory(&m)) != nil {
				return
			}
		default:
			return
		}
	}
}

func (l *Liar) audit(w *wire.Writer, m *pb.Audit) bool {
	a, err := order.AuditFrom(m)
	if err != nil {
		return false
	}
	var hashes []merkle.Hash
	for i := range a.Challenges {
		answer := l.answer(&a.Challenges[i])
		hashes = append(hashes, answer.Hash())
		if w.WriteControl(wire.TypeAuditAnswer, answer.Message()) != nil {
			return false
		}
	}
	report, err := order.SignReport(l.c.Key, &order.Report{
		Node: l.ID(), Satellite: l.c.Satellite.ID, Request: order.RequestHash(a.Nonce, a.Issued, a.Hashes()),
		Answers: order.AnswersHash(hashes), Answered: time.Now(),
	})
	return err == nil && w.WriteControl(wire.TypeAuditDone, &pb.AuditDone{Report: report}) == nil
}

// answer answers a challenge: with a proof if it has one or makes things up.
func (l *Liar) answer(c *order.Challenge) order.Answer {
	s := l.find(c.Group, c.Segment[:])
	if s == nil && l.how().FalseProof { // it never got the shard
		l.note(func(t *Told) { t.Proofs++ })
		return order.Answer{Status: order.Proved, Leaf: make([]byte, merkle.LeafSize), Proof: merkle.Proof{Path: make([]merkle.Hash, 3)}}
	}
	if s != nil {
		offset, length, err := merkle.LeafRange(c.Layout, c.Leaf, 1)
		if err == nil {
			if proof, leaf := l.proof(s, c.Leaf, 1, offset, length); leaf != nil {
				l.countFalse(s)
				return order.Answer{Status: order.Proved, Leaf: leaf, Proof: proof}
			}
		}
	}
	return order.Answer{Status: order.Missing, Claim: l.claimOn(c)}
}

func (l *Liar) countFalse(s *shard) {
	if s.data == nil || l.how().WrongBytes {
		l.note(func(t *Told) { t.Proofs++ })
	}
}

// claimOn is the digest of the newest claim on the group, if the challenge is on
// an entry that is live as far as the journal was followed.
func (l *Liar) claimOn(c *order.Challenge) merkle.Hash {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.groups[c.Group]
	if g == nil || g.claim == nil || g.live[c.Seq] != c.Segment {
		return merkle.Hash{}
	}
	return sha256.Sum256(g.claim.Body)
}

// inventory lists what the liar claims to hold, in no pages: tests are small.
func (l *Liar) inventory(m *pb.Inventory) *pb.InventoryPage {
	page := &pb.InventoryPage{}
	if len(m.After) > 0 {
		return page
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.groups[m.Group]
	for k, s := range l.shards {
		if k.group == m.Group && g != nil && (s.data != nil || l.faults.Claim) {
			page.Shards = append(page.Shards, &pb.HeldShard{
				Segment: k.segment[:], Root: s.root[:], Seq: g.numbers[k.segment], Stored: time.Now().Unix(),
			})
		}
	}
	return page
}
