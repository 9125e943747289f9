package storagenode

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

const (
	// maxAudits is how many audit streams are served at a time.
	maxAudits = 4

	// auditBlock is how many challenges are answered before the answers are
	// sent: some, so that those on one shard are answered together, but no more
	// than a slow disk manages while the satellite is patient.
	auditBlock = 64
)

// auditTalk is a stream of audits.
type auditTalk struct {
	talk
	prover prover
}

// ServeAudit serves one stream of audits, by the node's own satellite alone. It
// is to be given to the transport as the handler of wire.AuditProtocol.
func (v *Server) ServeAudit(ctx context.Context, s *transport.Stream) {
	c := &auditTalk{talk: v.newTalk(s), prover: prover{Server: v}}
	if s.Remote() != v.c.Satellite {
		c.refuse(wire.Errorf(pb.Code_CODE_DENIED, "this node is audited by its satellite alone"))
		return
	}
	select {
	case v.audits <- struct{}{}:
		defer func() { <-v.audits }()
	default:
		c.refuse(wire.Errorf(pb.Code_CODE_BUSY, "%d audits are under way", cap(v.audits)))
		return
	}
	for {
		err := c.serveRequest(ctx)
		if err == io.EOF {
			return
		}
		if err != nil {
			c.refuse(err)
			return
		}
		c.s.NextMessage(betweenMessages)
	}
}

// serveRequest answers the next request. It returns io.EOF at the end of the stream.
func (c *auditTalk) serveRequest(ctx context.Context) error {
	audit, inventory, err := readAuditRequest(c.r)
	switch {
	case err != nil:
		return err
	case audit != nil:
		return c.audit(ctx, audit)
	default:
		return c.inventory(inventory)
	}
}

// inventoryRequest asks for the shards of a group that come after one.
type inventoryRequest struct {
	group uint32
	after order.SegmentID // zero: from the beginning
	limit int
}

// readAuditRequest reads the next request, one of the two there are.
func readAuditRequest(r *wire.Reader) (*order.Audit, *inventoryRequest, error) {
	h, err := r.Next()
	if err != nil {
		return nil, nil, err
	}
	switch h.Type {
	case wire.TypeAudit:
		var m pb.Audit
		if err := r.ReadControl(&m); err != nil {
			return nil, nil, err
		}
		audit, err := order.AuditFrom(&m)
		return audit, nil, err
	case wire.TypeInventory:
		var m pb.Inventory
		if err := r.ReadControl(&m); err != nil {
			return nil, nil, err
		}
		inventory, err := inventoryFrom(&m)
		return nil, inventory, err
	default:
		return nil, nil, wire.Unexpected(h, "where Audit or Inventory was expected")
	}
}

func inventoryFrom(m *pb.Inventory) (*inventoryRequest, error) {
	q := &inventoryRequest{group: m.Group, limit: int(min(m.Limit, wire.MaxInventory))}
	if m.Group == 0 || m.Limit == 0 {
		return nil, wire.Errorf(pb.Code_CODE_BAD_REQUEST, "inventory of %d shards of group %d", m.Limit, m.Group)
	}
	if len(m.After) > 0 {
		var err error
		if q.after, err = segmentID(m.After); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// audit answers all challenges, in order, and signs that these were the answers.
func (c *auditTalk) audit(ctx context.Context, audit *order.Audit) error {
	hashes := make([]merkle.Hash, 0, len(audit.Challenges))
	for block := range slices.Chunk(audit.Challenges, auditBlock) {
		answers, err := c.prover.answerAll(ctx, block)
		if err != nil {
			return err
		}
		for i := range answers {
			hashes = append(hashes, answers[i].Hash())
			c.counts.challenges[answers[i].Status].Add(1)
			if err := c.w.Queue(wire.TypeAuditAnswer, answers[i].Message()); err != nil {
				return err
			}
		}
	}
	c.prover.complain()
	report, err := order.SignReport(c.c.Key, &order.Report{
		Node: c.c.Key.ID(), Satellite: c.c.Satellite,
		Request:  order.RequestHash(audit.Nonce, audit.Issued, audit.Hashes()),
		Answers:  order.AnswersHash(hashes),
		Answered: c.c.Now().Truncate(time.Second),
	})
	if err != nil {
		return fmt.Errorf("sign the report on an audit: %w", err)
	}
	c.counts.audits.Add(1)
	return c.w.WriteControl(wire.TypeAuditDone, &pb.AuditDone{Report: report})
}

// inventory tells what is held of a group, a page at a time.
func (c *auditTalk) inventory(q *inventoryRequest) error {
	held, err := c.c.Store.Inventory(q.group, q.after, q.limit+1)
	if err != nil {
		return fmt.Errorf("inventory of group %d: %w", q.group, err)
	}
	page := &pb.InventoryPage{More: len(held) > q.limit}
	for _, h := range held[:min(len(held), q.limit)] {
		page.Shards = append(page.Shards, &pb.HeldShard{
			Segment: h.Segment[:], Root: h.Root[:], Seq: h.Seq, Stored: h.Created.Unix(),
		})
	}
	return c.w.WriteControl(wire.TypeInventoryPage, page)
}

// A prover answers challenges. It keeps the shard open that it was asked for
// last, until close, and the room that proofs are made in.
type prover struct {
	*Server
	key   shardstore.Key
	shard *shardstore.Shard // nil: none is open
	room  []byte

	unanswered int   // since the last complaint
	why        error // of the first of them
}

// answerAll answers challenges in their order, but looks at each shard once.
func (p *prover) answerAll(ctx context.Context, challenges []order.Challenge) ([]order.Answer, error) {
	defer p.close()
	turns := make([]int, len(challenges))
	for i := range turns {
		turns[i] = i
	}
	slices.SortFunc(turns, func(i, j int) int {
		a, b := &challenges[i], &challenges[j]
		return cmp.Or(cmp.Compare(a.Group, b.Group), bytes.Compare(a.Segment[:], b.Segment[:]), cmp.Compare(a.Leaf, b.Leaf))
	})
	answers := make([]order.Answer, len(challenges))
	for _, i := range turns {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		answers[i] = p.answer(ctx, &challenges[i])
	}
	return answers, nil
}

// answer answers one challenge as SPEC.md, "Audits", says.
func (p *prover) answer(ctx context.Context, c *order.Challenge) order.Answer {
	claim, ok := p.c.Claim(c.Group)
	if !ok { // the satellite would judge by what was claimed before a restart
		return order.Answer{Status: order.Unavailable}
	}
	answer, err := p.prove(c)
	if errors.Is(err, shardstore.ErrCorrupt) {
		p.close()
		if err = p.verify(ctx, c); err == nil { // another copy is sound
			answer, err = p.prove(c)
		} else if errors.Is(err, shardstore.ErrCorrupt) {
			return p.lacking(c, order.Corrupt, claim)
		}
	}
	switch {
	case err == nil:
		return answer
	case errors.Is(err, shardstore.ErrNotFound) && p.c.Store.Whole():
		return p.lacking(c, order.Missing, claim)
	}
	return p.unable(c, err)
}

// errUntold is why the node cannot own up yet to what it lacks.
var errUntold = errors.New("that it is lost was found out just now, and a claim without it is on its way")

// lacking owns up to what the node lacks. It names the claim that the satellite
// may hold it against only for a live entry of the journal: a satellite might ask
// for what was deleted or never was. What was found missing a moment ago and is
// still claimed has to be told first: by this answer the node would convict
// itself of what it is about to tell.
func (p *prover) lacking(c *order.Challenge, how order.Status, claim NamedClaim) order.Answer {
	m, ok, err := p.c.Store.MissingOf(shardstore.Key{Segment: c.Segment, Group: c.Group})
	if err != nil {
		return p.unable(c, err)
	}
	if !ok || m.Seq != c.Seq || m.Root != c.Root {
		return order.Answer{Status: how}
	}
	if how == order.Missing && claim.Covers(c.Seq) {
		return p.unable(c, errUntold)
	}
	return order.Answer{Status: how, Claim: claim.Digest}
}

// unable is the answer when the node cannot tell now.
func (p *prover) unable(c *order.Challenge, why error) order.Answer {
	if p.unanswered++; p.unanswered == 1 {
		p.why = fmt.Errorf("segment %s, group %d: %w", c.Segment, c.Group, why)
	}
	return order.Answer{Status: order.Unavailable}
}

// complain logs that challenges could not be answered.
func (p *prover) complain() {
	if p.unanswered > 0 {
		p.c.Logger.Warn("could not answer all of an audit", "unanswered", p.unanswered, "error", p.why)
	}
	p.unanswered, p.why = 0, nil
}

// verify has the store look at the whole of a shard that seems to be damaged. If
// it is, it is dropped, and the claim on it has to be taken back.
func (p *prover) verify(ctx context.Context, c *order.Challenge) error {
	err := p.c.Store.Verify(ctx, shardstore.Key{Segment: c.Segment, Group: c.Group})
	if errors.Is(err, shardstore.ErrCorrupt) {
		p.c.Lost()
	}
	return err
}

// errOtherLayout tells a challenge that contradicts the root it names.
var errOtherLayout = errors.New("challenge has another layout than its segment root")

// prove makes the proof asked for and checks it as the satellite will.
func (p *prover) prove(c *order.Challenge) (order.Answer, error) {
	if err := p.open(shardstore.Key{Segment: c.Segment, Group: c.Group}); err != nil {
		return order.Answer{}, err
	}
	switch held := p.shard.Info(); {
	case held.Root != c.Root || held.Slot != c.Slot:
		return order.Answer{}, shardstore.ErrNotFound
	case held.Layout != c.Layout:
		return order.Answer{}, errOtherLayout
	}
	proof, leaf, err := p.shard.ProveIn(p.room, c.Leaf, 1)
	if err != nil {
		return order.Answer{}, err
	}
	answer := order.Answer{Status: order.Proved, Leaf: slices.Clone(leaf), Proof: proof}
	if err := c.Verify(&answer); err != nil {
		return order.Answer{}, fmt.Errorf("%w: %w", shardstore.ErrCorrupt, err)
	}
	return answer, nil
}

// open makes p.shard the one of key.
func (p *prover) open(key shardstore.Key) (err error) {
	if p.shard != nil && p.key == key {
		return nil
	}
	p.close()
	if p.room == nil {
		p.room = make([]byte, merkle.SubtreeSize)
	}
	p.key = key
	p.shard, err = p.c.Store.Open(key)
	return err
}

func (p *prover) close() {
	if p.shard != nil {
		p.shard.Close()
		p.shard = nil
	}
}
