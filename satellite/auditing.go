package satellite

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/evidence"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/meta"
)

// How one node is audited: draw, ask, judge, and what follows.

// inquiry is one audit of one node.
type inquiry struct {
	*auditor
	node     *audited
	random   *rand.Rand
	asked    []asked
	old      int // of asked: debts, which come first
	numbers  int // of journals that were drawn
	audit    *order.Audit
	answers  []order.Answer // none when the node gave none
	report   *pb.Signed
	verdicts []audit.Verdict
	owed     []debt
	files    [][]byte // evidence
	forgave  bool
	answered bool // something, be it that it lacks what was asked for
}

// audit audits a node and has its standing follow from that. What the node does
// wrong is no error.
func (a *auditor) audit(ctx context.Context, n *audited) error {
	q := &inquiry{auditor: a, node: n, random: a.newRand()}
	if err := q.draw(ctx); err != nil {
		return err
	}
	probing := len(q.asked) == 0 // it claims nothing, and owes nothing any more
	if probing {
		if !a.registry.standing(n.id).MustAnswer() {
			return q.settle(ctx)
		}
		q.probe()
	}
	failed := q.ask(ctx)
	if failed != 0 && ctx.Err() != nil {
		return nil // the satellite is stopped; the node is not to blame
	}
	n.mute = failed != 0
	switch {
	case probing:
		q.answered = failed == 0
	case failed != 0:
		q.unanswered(failed)
	default:
		if err := q.judge(ctx); err != nil {
			return err
		}
	}
	return q.settle(ctx)
}

// probe asks for a shard that nobody has. A node that was suspended for its
// silence may have lost all its slots since: if it is there again, it says as much.
func (q *inquiry) probe() {
	c := order.Challenge{Group: math.MaxUint32, Seq: 1, Layout: probeLayout}
	binary.BigEndian.PutUint64(c.Segment[:], q.random.Uint64()|1)
	q.asked = append(q.asked, asked{Challenge: c})
}

// probeLayout is that of the smallest of segments.
var probeLayout = erasure.Layout{Required: 1, Total: 2, Size: erasure.ChunkAlign}

// draw draws the challenges: debts first.
func (q *inquiry) draw(ctx context.Context) error {
	if err := q.recall(ctx); err != nil {
		return err
	}
	slots, claims, err := q.claimed(ctx)
	if err != nil {
		return err
	}
	urn := audit.NewUrn(slots)
	seen := make(map[order.SegmentID]bool, q.batch)
	for i := range q.asked {
		seen[q.asked[i].Segment] = true
	}
	for tries := 0; q.goesOn(tries); tries++ {
		slot, ok := urn.Slot(q.random.Uint64())
		if !ok {
			return nil
		}
		e, ok, err := q.meta.Pick(ctx, slots[slot].Group,
			func() uint64 { q.numbers++; return urn.Number(slot, q.random.Uint64()) }, claims[slot].Covers)
		if err != nil {
			return err
		}
		if ok && !seen[e.Segment] {
			seen[e.Segment] = true
			if err := q.challenge(claims[slot], &e); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxNumbers is how many numbers an audit draws for each challenge of a batch, at
// most. Where fewer of them than one in so many are live, it has fewer challenges.
const maxNumbers = 128

// goesOn tells whether to draw once more after so many tries. A node may hold less
// than a batch, or hardly anything of all that there has been.
func (q *inquiry) goesOn(tries int) bool {
	return len(q.asked) < q.batch && tries < 8*q.batch && q.numbers < maxNumbers*q.batch
}

// recall puts those debts again that are still to be answered.
func (q *inquiry) recall(ctx context.Context) error {
	var owed []debt
	for _, d := range q.node.owed {
		key := d.claimKey(q.node.id)
		d.claim = q.claims.get(key)
		if d.claim == nil || !d.claim.Covers(d.Seq) || !q.groups.entitled(key) {
			continue
		}
		counts, err := q.meta.Counts(ctx, d.Group, d.Seq, d.Segment)
		if err != nil {
			return err
		}
		if counts && len(q.asked) < q.batch {
			owed = append(owed, d)
			q.asked = append(q.asked, d.asked)
		}
	}
	q.node.owed, q.old = owed, len(owed)
	return nil
}

// claimed returns what the node claims, for the urn, and the claims.
func (q *inquiry) claimed(ctx context.Context) (slots []audit.Slot, claims []*claim, err error) {
	mine := q.groups.of(q.node.id)
	journals, err := q.meta.Journals(ctx, groupsOf(mine, nil))
	if err != nil {
		return nil, nil, err
	}
	for _, g := range mine {
		slot, _, ok := g.slotOf(q.node.id)
		c := q.claims.get(meta.ClaimKey{Group: g.ID, Slot: slot, Node: q.node.id})
		j := journals[g.ID]
		if !ok || c == nil || c.Seq < j.Base || j.Segments == 0 {
			continue
		}
		first, err := q.meta.First(ctx, g.ID)
		if err != nil {
			return nil, nil, err
		}
		// How many live segments there are up to Seq nobody has counted.
		followed := float64(c.Seq-min(first, c.Seq)+1) / float64(j.Head-min(first, j.Head)+1)
		live := max(uint64(float64(j.Segments)*min(followed, 1)), 1)
		slots = append(slots, audit.Slot{Group: g.ID, First: first, Seq: c.Seq, Missing: c.Missing, Live: live})
		claims = append(claims, c)
	}
	return slots, claims, nil
}

// challenge asks for a leaf of the shard of an entry.
func (q *inquiry) challenge(c *claim, e *meta.Entry) error {
	g, err := q.groups.get(c.Group)
	if err != nil {
		return err
	}
	layout, err := erasure.NewLayout(g.Scheme.Required, g.Scheme.Total, e.Size)
	if err != nil {
		return fmt.Errorf("segment %s: %w", e.Segment, err)
	}
	q.asked = append(q.asked, asked{claim: c, Challenge: order.Challenge{
		Group: c.Group, Slot: c.Slot, Seq: e.Seq, Segment: e.Segment, Root: e.Root, Layout: layout,
		Leaf: audit.DrawLeaf(layout.ShardSize(), q.random.Uint64()),
	}})
	return nil
}

// ask has the node answer. It returns what is said of the node that does not:
// Late, Unreachable or Unavailable; 0 when it has answered.
func (q *inquiry) ask(ctx context.Context) (failed audit.Verdict) {
	q.audit = &order.Audit{Nonce: newNonce(q.random), Issued: q.now().Truncate(time.Second)}
	for i := range q.asked {
		q.audit.Challenges = append(q.audit.Challenges, q.asked[i].Challenge)
	}
	limited, cancel := context.WithTimeout(ctx, q.patience)
	defer cancel()
	to, err := q.address()
	if err == nil {
		q.answers, q.report, err = q.talk(limited, to, q.audit)
	}
	if err == nil {
		return 0
	}
	var said *wire.Error
	switch {
	case errors.As(err, &said) && said.Code == pb.Code_CODE_BUSY, errors.Is(err, transport.ErrBusy):
		failed = audit.Unavailable
	case limited.Err() != nil, errors.Is(err, transport.ErrStalled):
		failed = audit.Late
	default:
		failed = audit.Unreachable
	}
	if ctx.Err() == nil {
		q.log.Info("a node did not answer an audit", "node", q.node.id, "verdict", failed, "challenges", len(q.asked), "error", err)
	}
	return failed
}

// address is where the node is reached.
func (q *inquiry) address() (transport.Address, error) {
	at := q.registry.addresses([]ident.ID{q.node.id}, false)[0]
	return transport.JoinAddress(q.node.id, at.Addresses)
}

// unanswered gives the same verdict on all challenges, which stay owed.
func (q *inquiry) unanswered(v audit.Verdict) {
	for i := range q.asked {
		q.verdicts = append(q.verdicts, v)
		q.owe(i)
	}
}

// owe keeps a challenge in mind as not answered.
func (q *inquiry) owe(i int) {
	d := debt{asked: q.asked[i], since: q.audit.Issued}
	if i < q.old {
		d.since = q.node.owed[i].since
	}
	q.owed = append(q.owed, d)
}

// judge reaches a verdict on every answer.
func (q *inquiry) judge(ctx context.Context) error {
	for i := range q.asked {
		v := audit.Judge(q.asked[i].Challenge, q.answers[i])
		q.answered = q.answered || v != audit.Unavailable
		switch v {
		case audit.Missing:
			if err := q.hear(ctx, i); err != nil {
				return err
			}
		case audit.Wrong:
			q.verdicts = append(q.verdicts, v)
			q.accuse(i, nil)
		case audit.Unavailable:
			q.verdicts = append(q.verdicts, v)
			q.owe(i)
		default:
			q.verdicts = append(q.verdicts, v)
		}
	}
	return nil
}

// hear decides on an answer that says that a shard is not there, by how things
// stand now.
func (q *inquiry) hear(ctx context.Context, i int) error {
	c, key := &q.asked[i], q.asked[i].claimKey(q.node.id)
	counts, err := q.meta.Counts(ctx, c.Group, c.Seq, c.Segment)
	if err != nil {
		return err
	}
	newest := q.claims.get(key) // read last: what came before the answer is in it
	plea := audit.Plea{
		Holds: q.groups.entitled(key), Counts: counts,
		Named:   named(q.answers[i].Claim, c.claim, newest),
		Covers:  newest != nil && newest.Covers(c.Seq),
		Excused: !q.node.forgave.IsZero() && q.now().Sub(q.node.forgave) <= audit.LossWindow,
	}
	switch plea.Judge() {
	case audit.Guilty:
		q.verdicts = append(q.verdicts, audit.Missing)
		broken := c.claim
		if plea.Named == audit.NamedNewest {
			broken = newest
		}
		q.accuse(i, broken)
	case audit.Unclear:
		q.verdicts = append(q.verdicts, audit.Unavailable)
		q.owe(i)
	case audit.ToldLate:
		q.forgave = true
		q.forgiven.Add(1)
	case audit.Innocent:
		q.forgiven.Add(1)
	}
	return nil
}

// named says which claim an answer names.
func named(digest merkle.Hash, drawn, newest *claim) audit.Named {
	switch {
	case digest == merkle.Hash{}:
		return audit.NamedNone
	case digest == order.Digest(drawn.signed):
		return audit.NamedDrawn
	case newest != nil && digest == order.Digest(newest.signed):
		return audit.NamedNewest
	default:
		return audit.NamedUnknown
	}
}

// accuse keeps an answer as evidence, if it is any: a node that lacks something
// need not help to prove it.
func (q *inquiry) accuse(i int, broken *claim) {
	if len(q.files) == evidenceAtOnce {
		return
	}
	var signed *pb.Signed
	if broken != nil {
		signed = broken.signed
	}
	e := evidence.New(q.node.id, q.audit, q.answers, i, q.report, signed)
	if _, err := e.Check(); err == nil {
		q.files = append(q.files, e.Marshal())
	}
}

// settle has the node's standing follow from the verdicts, and keeps the
// evidence.
func (q *inquiry) settle(ctx context.Context) error {
	failures := 0
	for _, v := range q.verdicts {
		q.auditor.verdicts[v].Add(1)
		if v == audit.Wrong || v == audit.Missing {
			failures++
		}
	}
	if failures > 0 {
		q.log.Warn("a node lacks what it claims, or made proofs up", "node", q.node.id,
			"failures", failures, "challenges", len(q.asked), "evidence", len(q.files))
	}
	var err error
	if len(q.files) > 0 { // before anything follows from it
		err = q.meta.AddEvidence(ctx, q.node.id, q.files...)
	}
	q.node.owed = q.owed
	if q.forgave {
		q.node.forgave = q.now()
	}
	var since time.Time // of the oldest debt
	if len(q.owed) > 0 {
		since = q.owed[0].since
	}
	if q.answered {
		q.registry.answered(q.node.id)
	}
	q.registry.judged(q.node.id, since, q.verdicts...)
	q.node.due = q.next(q.node, failures > 0, q.random)
	return err
}
