package nodeclient

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
)

// Audit is a stream of audits of a node, opened by its satellite. It is for one
// goroutine at a time, but for Reset. Every error ends the stream.
type Audit struct {
	s         *transport.Stream
	w         *wire.Writer
	r         *wire.Reader
	node      ident.ID
	satellite ident.ID
	idle      time.Duration

	mu  sync.Mutex
	err error
}

// OpenAudit opens a stream to audit a node, whose satellite d.Host has to be. ctx
// bounds the opening alone.
func (d Dialer) OpenAudit(ctx context.Context, addr transport.Address) (*Audit, error) {
	s, err := d.Host.Open(ctx, addr, wire.AuditProtocol)
	if err != nil {
		return nil, err
	}
	s.SetIdle(d.idle())
	return &Audit{
		s: s, w: wire.NewWriter(s), r: wire.NewReader(s),
		node: addr.ID, satellite: d.Host.ID(), idle: d.idle(),
	}, nil
}

// Ask has the node answer an audit and returns its answers, one for each
// challenge, with the report it signed on all of them. The report is checked: it
// is the node's word on these answers to this audit. What the answers prove is
// not: that is for the judge.
func (a *Audit) Ask(audit *order.Audit) ([]order.Answer, *pb.Signed, error) {
	if err := audit.Validate(); err != nil {
		return nil, nil, fmt.Errorf("peer %s: %w", a.node.Short(), err)
	}
	if err := a.request(wire.TypeAudit, audit.Message()); err != nil {
		return nil, nil, err
	}
	answers, report, err := readAnswers(a.r, len(audit.Challenges))
	if err == nil {
		err = a.check(audit, answers, report)
	}
	if err != nil {
		return nil, nil, a.fail(fault(a.node, err))
	}
	return answers, report, nil
}

// request sends a request, unless the stream is over.
func (a *Audit) request(t wire.Type, m proto.Message) error {
	a.mu.Lock()
	err := a.err
	a.mu.Unlock()
	if err != nil {
		return err
	}
	if err := a.w.WriteControl(t, m); err != nil {
		return a.fail(err)
	}
	a.s.NextMessage(a.idle)
	return nil
}

// readAnswers reads the answers to so many challenges and the report.
func readAnswers(r *wire.Reader, challenges int) ([]order.Answer, *pb.Signed, error) {
	answers := make([]order.Answer, 0, challenges)
	for len(answers) < challenges {
		var m pb.AuditAnswer
		if err := readReply(r, wire.TypeAuditAnswer, &m); err != nil {
			return nil, nil, err
		}
		answer, err := order.AnswerFrom(&m)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: answer %d: %w", ErrMisbehaved, len(answers), err)
		}
		answers = append(answers, answer)
	}
	var done pb.AuditDone
	if err := readReply(r, wire.TypeAuditDone, &done); err != nil {
		return nil, nil, err
	}
	return answers, done.Report, nil
}

// check makes sure that the node has signed these answers to this audit.
func (a *Audit) check(audit *order.Audit, answers []order.Answer, signed *pb.Signed) error {
	report, err := order.OpenReport(signed, a.node)
	if err != nil {
		return fmt.Errorf("%w: report: %w", ErrMisbehaved, err)
	}
	hashes := make([]merkle.Hash, len(answers))
	for i := range answers {
		hashes[i] = answers[i].Hash()
	}
	switch {
	case report.Satellite != a.satellite:
		return fmt.Errorf("%w: report is for satellite %s", ErrMisbehaved, report.Satellite)
	case report.Request != order.RequestHash(audit.Nonce, audit.Issued, audit.Hashes()):
		return fmt.Errorf("%w: report is on another audit", ErrMisbehaved)
	case report.Answers != order.AnswersHash(hashes):
		return fmt.Errorf("%w: report is on other answers", ErrMisbehaved)
	}
	return nil
}

// HeldShard is a shard that a node says it holds.
type HeldShard struct {
	Segment order.SegmentID
	Root    merkle.Hash // of the segment
	Seq     uint64      // of its live entry; 0: it is staged
	Stored  time.Time   // whole seconds
}

// Inventory asks which shards of a group the node holds, in the order of segment
// ids from the one behind after on (the zero id: from the beginning), at most
// limit of them, 1 to wire.MaxInventory. more says that there are further ones.
// Whether it is true, audits tell.
func (a *Audit) Inventory(group uint32, after order.SegmentID, limit int) (held []HeldShard, more bool, err error) {
	if group == 0 || limit < 1 || limit > wire.MaxInventory {
		panic(fmt.Sprintf("nodeclient: inventory of %d shards of group %d", limit, group))
	}
	m := &pb.Inventory{Group: group, Limit: uint32(limit)}
	if !after.IsZero() {
		m.After = after[:]
	}
	if err := a.request(wire.TypeInventory, m); err != nil {
		return nil, false, err
	}
	if held, more, err = readInventory(a.r, after, limit); err != nil {
		return nil, false, a.fail(fault(a.node, err))
	}
	return held, more, nil
}

// readInventory reads a page of at most limit shards that come after one.
func readInventory(r *wire.Reader, after order.SegmentID, limit int) ([]HeldShard, bool, error) {
	var page pb.InventoryPage
	if err := readReply(r, wire.TypeInventoryPage, &page); err != nil {
		return nil, false, err
	}
	if len(page.Shards) > limit || page.More && len(page.Shards) == 0 {
		return nil, false, fmt.Errorf("%w: a page of %d shards instead of %d, more: %v", ErrMisbehaved, len(page.Shards), limit, page.More)
	}
	held := make([]HeldShard, len(page.Shards))
	for i, m := range page.Shards {
		h, err := heldShard(m)
		if err == nil && bytes.Compare(h.Segment[:], after[:]) <= 0 {
			err = fmt.Errorf("segment %s comes after %s", h.Segment, after)
		}
		if err != nil {
			return nil, false, fmt.Errorf("%w: inventory: %w", ErrMisbehaved, err)
		}
		held[i], after = h, h.Segment
	}
	return held, page.More, nil
}

func heldShard(m *pb.HeldShard) (h HeldShard, err error) {
	if h.Segment, err = order.SegmentIDFromBytes(m.GetSegment()); err != nil {
		return h, err
	}
	if h.Root, err = merkle.HashFromBytes(m.Root); err != nil {
		return h, err
	}
	h.Seq, h.Stored = m.Seq, time.Unix(m.Stored, 0)
	return h, nil
}

// Close ends the stream.
func (a *Audit) Close() error {
	err := a.s.CloseWrite()
	a.Reset()
	return err
}

// Reset cuts the stream. It may be called from anywhere, at any time.
func (a *Audit) Reset() { a.fail(fmt.Errorf("peer %s: %w", a.node.Short(), ErrOver)) }

// fail ends the stream with its first error and returns that.
func (a *Audit) fail(err error) error {
	a.mu.Lock()
	if a.err == nil {
		a.err = err
	}
	err = a.err
	a.mu.Unlock()
	a.s.Reset()
	return err
}
