package nodeclient

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
)

// newAudited starts a node that does as told with every audit; the uplink is its
// satellite.
func newAudited(t testing.TB, behave func(n *node, s nodeStream, m *pb.Audit)) *node {
	t.Helper()
	n := newNode(t, func(*node, nodeStream) {})
	n.host.Handle(wire.AuditProtocol, func(_ context.Context, s *transport.Stream) {
		stream := nodeStream{Stream: s, w: wire.NewWriter(s), r: wire.NewReader(s)}
		stream.SetIdle(0)
		for {
			var m pb.Audit
			h, err := stream.r.Next()
			if err != nil || h.Type != wire.TypeAudit || stream.r.ReadControl(&m) != nil {
				return
			}
			behave(n, stream, &m)
		}
	})
	return n
}

func (n *node) openAudit(idle time.Duration) *Audit {
	n.t.Helper()
	a, err := Dialer{Host: n.uplink, Idle: idle}.OpenAudit(context.Background(), n.address)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(a.Reset)
	return a
}

// audit asks for two leaves of the node's shard.
func (n *node) audit() *order.Audit {
	c := order.Challenge{Group: 1, Slot: slot, Seq: 5, Segment: n.shard.id, Root: n.shard.root, Layout: n.shard.layout, Leaf: 3}
	other := c
	other.Leaf = 4
	return &order.Audit{Nonce: [16]byte{1}, Issued: time.Unix(1e9, 0).UTC(), Challenges: []order.Challenge{c, other}}
}

// honest are two answers and the report on them.
func (n *node) honest(m *pb.Audit) (answers []order.Answer, report *order.Report) {
	audit, err := order.AuditFrom(m)
	if err != nil {
		n.t.Error(err)
	}
	answers = []order.Answer{
		{Status: order.Proved, Leaf: bytes.Repeat([]byte{7}, merkle.LeafSize), Proof: merkle.Proof{Path: []merkle.Hash{{1}}, SlotPath: []merkle.Hash{{2}, {3}}}},
		{Status: order.Missing},
	}
	return answers, &order.Report{
		Node: n.key.ID(), Satellite: n.uplink.ID(), Answered: time.Unix(1e9+1, 0),
		Request: order.RequestHash(audit.Nonce, audit.Issued, audit.Hashes()), Answers: answersHash(answers),
	}
}

func answersHash(answers []order.Answer) merkle.Hash {
	var hashes []merkle.Hash
	for i := range answers {
		hashes = append(hashes, answers[i].Hash())
	}
	return order.AnswersHash(hashes)
}

func (s nodeStream) answer(answers []order.Answer) {
	for i := range answers {
		s.w.WriteControl(wire.TypeAuditAnswer, answers[i].Message())
	}
}

func (n *node) report(s nodeStream, key ident.Key, r *order.Report) {
	signed, err := order.SignReport(key, r)
	if err != nil {
		n.t.Error(err)
	}
	s.w.WriteControl(wire.TypeAuditDone, &pb.AuditDone{Report: signed})
}

// auditCases is what a node may answer with, and what the satellite makes of it.
var auditCases = map[string]struct {
	answer func(n *node, s nodeStream, m *pb.Audit)
	want   error
}{
	"honest": {func(n *node, s nodeStream, m *pb.Audit) {
		answers, r := n.honest(m)
		s.answer(answers)
		n.report(s, n.key, r)
	}, nil},
	"one answer too few": {func(n *node, s nodeStream, m *pb.Audit) {
		answers, r := n.honest(m)
		s.answer(answers[:1])
		n.report(s, n.key, r)
	}, ErrMisbehaved},
	"one answer too many": {func(n *node, s nodeStream, m *pb.Audit) {
		answers, r := n.honest(m)
		s.answer(append(answers, answers[1]))
		n.report(s, n.key, r)
	}, ErrMisbehaved},
	"swapped": {func(n *node, s nodeStream, m *pb.Audit) {
		answers, r := n.honest(m)
		slices.Reverse(answers)
		s.answer(answers)
		n.report(s, n.key, r)
	}, ErrMisbehaved},
	"other answers than signed": {func(n *node, s nodeStream, m *pb.Audit) {
		answers, r := n.honest(m)
		answers[0].Leaf[9] ^= 1
		s.answer(answers)
		n.report(s, n.key, r)
	}, ErrMisbehaved},
	"another audit's report": {func(n *node, s nodeStream, m *pb.Audit) {
		answers, _ := n.honest(m)
		m.Nonce[3] ^= 1
		_, r := n.honest(m)
		s.answer(answers)
		n.report(s, n.key, r)
	}, ErrMisbehaved},
	"a report on fewer challenges": {func(n *node, s nodeStream, m *pb.Audit) {
		answers, _ := n.honest(m)
		m.Challenges = m.Challenges[:1]
		_, r := n.honest(m)
		s.answer(answers)
		n.report(s, n.key, r)
	}, ErrMisbehaved},
	"another satellite's report": {func(n *node, s nodeStream, m *pb.Audit) {
		answers, r := n.honest(m)
		r.Satellite = newKey(n.t).ID()
		s.answer(answers)
		n.report(s, n.key, r)
	}, ErrMisbehaved},
	"another node's report": {func(n *node, s nodeStream, m *pb.Audit) {
		answers, r := n.honest(m)
		key := newKey(n.t)
		r.Node = key.ID()
		s.answer(answers)
		n.report(s, key, r)
	}, ErrMisbehaved},
	"forged report": {func(n *node, s nodeStream, m *pb.Audit) {
		answers, r := n.honest(m)
		s.answer(answers)
		signed, _ := order.SignReport(n.key, r)
		signed.Signature[5] ^= 1
		s.w.WriteControl(wire.TypeAuditDone, &pb.AuditDone{Report: signed})
	}, ErrMisbehaved},
	"no report": {func(n *node, s nodeStream, m *pb.Audit) {
		answers, _ := n.honest(m)
		s.answer(answers)
		s.w.WriteControl(wire.TypeAuditDone, &pb.AuditDone{})
	}, ErrMisbehaved},
	"unknown status": {func(n *node, s nodeStream, m *pb.Audit) {
		s.w.WriteControl(wire.TypeAuditAnswer, &pb.AuditAnswer{Status: 9})
	}, ErrMisbehaved},
	"a proof of what is missing": {func(n *node, s nodeStream, m *pb.Audit) {
		s.w.WriteControl(wire.TypeAuditAnswer, &pb.AuditAnswer{Status: pb.AnswerStatus_ANSWER_STATUS_MISSING, Leaf: []byte{1}})
	}, ErrMisbehaved},
	"leaf too long": {func(n *node, s nodeStream, m *pb.Audit) {
		s.w.WriteControl(wire.TypeAuditAnswer, &pb.AuditAnswer{Status: pb.AnswerStatus_ANSWER_STATUS_PROVED, Leaf: make([]byte, merkle.LeafSize+1)})
	}, ErrMisbehaved},
	"oversized": {func(n *node, s nodeStream, m *pb.Audit) {
		s.Write([]byte{byte(wire.TypeAuditAnswer), 0, 1, 0, 1})
	}, ErrMisbehaved},
	"torn path": {func(n *node, s nodeStream, m *pb.Audit) {
		s.w.WriteControl(wire.TypeAuditAnswer, &pb.AuditAnswer{Status: pb.AnswerStatus_ANSWER_STATUS_PROVED, Path: make([]byte, 33)})
	}, ErrMisbehaved},
	"data": {func(n *node, s nodeStream, m *pb.Audit) { s.w.WriteData(frame([]byte{1})) }, ErrMisbehaved},
	"cut frame": {func(n *node, s nodeStream, m *pb.Audit) {
		s.Write([]byte{byte(wire.TypeAuditAnswer), 0, 0, 0, 9, 1})
		s.Close()
	}, ErrMisbehaved},
	"busy": {func(n *node, s nodeStream, m *pb.Audit) {
		s.w.WriteControl(wire.TypeFail, wire.ToFail(wire.ErrBusy))
	}, wire.ErrBusy},
	"fails midway": {func(n *node, s nodeStream, m *pb.Audit) {
		answers, _ := n.honest(m)
		s.answer(answers[:1])
		s.w.WriteControl(wire.TypeFail, wire.ToFail(wire.ErrInternal))
	}, wire.ErrInternal},
	"closes": {func(n *node, s nodeStream, m *pb.Audit) { s.Close() }, transport.ErrReset},
	"resets": {func(n *node, s nodeStream, m *pb.Audit) { s.Reset() }, transport.ErrReset},
	"stalls": {func(n *node, s nodeStream, m *pb.Audit) {}, transport.ErrStalled},
	"stalls midway": {func(n *node, s nodeStream, m *pb.Audit) {
		answers, _ := n.honest(m)
		s.answer(answers)
	}, transport.ErrStalled},
}

func TestAuditAnswers(t *testing.T) {
	for name, c := range auditCases {
		t.Run(name, func(t *testing.T) {
			n := newAudited(t, c.answer)
			var idle time.Duration
			if c.want == transport.ErrStalled {
				idle = 50 * time.Millisecond
			}
			a, audit := n.openAudit(idle), n.audit()
			answers, report, err := a.Ask(audit)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if (err == nil) != (answers != nil) || (err == nil) != (report != nil) {
				t.Error("answers were given that are not signed")
			}
			if err != nil && (len(err.Error()) > 300 || !strings.Contains(err.Error(), n.key.ID().Short())) {
				t.Errorf("%q", err)
			}
			_, _, again := a.Ask(audit)
			if (again == nil) != (c.want == nil) || err != nil && again != err {
				t.Errorf("and then %v", again)
			}
			if err == nil {
				n.isEvidence(audit, answers, report)
			}
		})
	}
}

// isEvidence checks that what Ask returned speaks for itself.
func (n *node) isEvidence(audit *order.Audit, answers []order.Answer, signed *pb.Signed) {
	n.t.Helper()
	want, _ := n.honest(audit.Message())
	report, err := order.OpenReport(signed, n.key.ID())
	if err != nil || len(answers) != 2 || report.Answers != answersHash(want) || report.Answers != answersHash(answers) {
		n.t.Errorf("report %+v, %v", report, err)
	}
}

func TestAuditIsValidated(t *testing.T) {
	n := newAudited(t, func(*node, nodeStream, *pb.Audit) {})
	a := n.openAudit(0)
	for _, audit := range []*order.Audit{{}, {Issued: time.Unix(1, 0), Challenges: []order.Challenge{{Group: 1}}}} {
		if _, _, err := a.Ask(audit); !errors.Is(err, order.ErrMalformed) {
			t.Errorf("%+v: %v", audit, err)
		}
	}
	a.Reset()
	if _, _, err := a.Ask(n.audit()); !errors.Is(err, ErrOver) {
		t.Errorf("after Reset: %v", err)
	}
	if _, _, err := a.Inventory(1, order.SegmentID{}, 1); !errors.Is(err, ErrOver) {
		t.Errorf("after Reset: %v", err)
	}
}

func TestInventoryPages(t *testing.T) {
	held := func(ids ...byte) (shards []*pb.HeldShard) {
		for _, id := range ids {
			shards = append(shards, &pb.HeldShard{Segment: append(make([]byte, 15), id), Root: make([]byte, 32), Seq: uint64(id), Stored: 1e9})
		}
		return shards
	}
	spoil := func(change func(m *pb.HeldShard)) *pb.InventoryPage {
		shards := held(6, 7)
		change(shards[1])
		return &pb.InventoryPage{Shards: shards}
	}
	cases := map[string]struct {
		page *pb.InventoryPage
		want error
	}{
		"empty":             {&pb.InventoryPage{}, nil},
		"two":               {&pb.InventoryPage{Shards: held(6, 7)}, nil},
		"full, more":        {&pb.InventoryPage{Shards: held(6, 7, 9), More: true}, nil},
		"too many":          {&pb.InventoryPage{Shards: held(6, 7, 8, 9)}, ErrMisbehaved},
		"empty, more":       {&pb.InventoryPage{More: true}, ErrMisbehaved},
		"not after":         {&pb.InventoryPage{Shards: held(5, 6)}, ErrMisbehaved},
		"before":            {&pb.InventoryPage{Shards: held(1)}, ErrMisbehaved},
		"out of order":      {&pb.InventoryPage{Shards: held(7, 6)}, ErrMisbehaved},
		"twice":             {&pb.InventoryPage{Shards: held(6, 6)}, ErrMisbehaved},
		"no segment":        {spoil(func(m *pb.HeldShard) { m.Segment = nil }), ErrMisbehaved},
		"no root":           {spoil(func(m *pb.HeldShard) { m.Root = nil }), ErrMisbehaved},
		"long root":         {spoil(func(m *pb.HeldShard) { m.Root = make([]byte, 33) }), ErrMisbehaved},
		"segment is no id":  {spoil(func(m *pb.HeldShard) { m.Segment = make([]byte, 16) }), ErrMisbehaved},
		"segment is longer": {spoil(func(m *pb.HeldShard) { m.Segment = make([]byte, 17) }), ErrMisbehaved},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, func(*node, nodeStream) {})
			n.host.Handle(wire.AuditProtocol, func(_ context.Context, s *transport.Stream) {
				var m pb.Inventory
				stream := nodeStream{Stream: s, w: wire.NewWriter(s), r: wire.NewReader(s)}
				for {
					if h, err := stream.r.Next(); err != nil || h.Type != wire.TypeInventory || stream.r.ReadControl(&m) != nil {
						return
					}
					if m.Group != 1 || m.Limit != 3 || !bytes.Equal(m.After, append(make([]byte, 15), 5)) {
						t.Errorf("the node was asked for %v", &m)
					}
					stream.w.WriteControl(wire.TypeInventoryPage, c.page)
				}
			})
			shards, more, err := n.openAudit(0).Inventory(1, order.SegmentID{15: 5}, 3)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil && (len(shards) != len(c.page.Shards) || more != c.page.More) {
				t.Errorf("got %v, %v", shards, more)
			}
			for i, h := range shards {
				if h.Seq != uint64(h.Segment[15]) || h.Seq != c.page.Shards[i].Seq || h.Stored.Unix() != 1e9 {
					t.Errorf("shard %d: %+v", i, h)
				}
			}
		})
	}
}

// FuzzAuditAnswers reads what a hostile node answers. Whatever it is, it ends in
// as many valid answers as there are challenges, or in an error; answers that
// were taken say the same when they travel again.
func FuzzAuditAnswers(f *testing.F) {
	var raw bytes.Buffer
	w := wire.NewWriter(&raw)
	for _, a := range []order.Answer{
		{Status: order.Proved, Leaf: []byte{1}, Proof: merkle.Proof{Path: []merkle.Hash{{1}}}}, {Status: order.Corrupt},
	} {
		w.Queue(wire.TypeAuditAnswer, a.Message())
	}
	w.WriteControl(wire.TypeAuditDone, &pb.AuditDone{Report: &pb.Signed{Body: []byte{1}, Signature: make([]byte, 64)}})
	f.Add(raw.Bytes())
	f.Add(raw.Bytes()[:20])
	f.Add([]byte{byte(wire.TypeFail), 0, 0, 0, 0})
	layout := erasure.Layout{Required: 2, Total: 4, Size: 256 << 10}
	challenge := order.Challenge{Group: 1, Seq: 1, Segment: order.SegmentID{1}, Layout: layout}
	audit := &order.Audit{Issued: time.Unix(1e9, 0), Challenges: []order.Challenge{challenge, challenge}}
	a := &Audit{node: ident.ID{1}, satellite: ident.ID{2}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		answers, report, err := readAnswers(wire.NewReader(bytes.NewReader(raw)), 2)
		if err != nil {
			return
		}
		if len(answers) != 2 {
			t.Fatalf("%d answers", len(answers))
		}
		for _, answer := range answers {
			if again, err := order.AnswerFrom(answer.Message()); err != nil || again.Hash() != answer.Hash() {
				t.Fatalf("%+v became %+v, %v", answer, again, err)
			}
		}
		if a.check(audit, answers, report) == nil {
			t.Fatal("a report was taken that nobody can have signed")
		}
	})
}

// FuzzInventoryPage reads hostile pages. What is taken is in order and within
// the limit.
func FuzzInventoryPage(f *testing.F) {
	page, err := proto.Marshal(&pb.InventoryPage{More: true, Shards: []*pb.HeldShard{
		{Segment: append(make([]byte, 15), 9), Root: make([]byte, 32), Seq: 1, Stored: 2},
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(page)
	f.Add(append(page, page...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, page []byte) {
		raw := append([]byte{byte(wire.TypeInventoryPage), 0, 0, byte(len(page) >> 8), byte(len(page))}, page...)
		after := order.SegmentID{15: 3}
		held, more, err := readInventory(wire.NewReader(bytes.NewReader(raw)), after, 5)
		if err != nil {
			return
		}
		if len(held) > 5 || more && len(held) == 0 {
			t.Fatalf("%d shards, more: %v", len(held), more)
		}
		for _, h := range held {
			if bytes.Compare(h.Segment[:], after[:]) <= 0 {
				t.Fatalf("%s comes after %s", h.Segment, after)
			}
			after = h.Segment
		}
	})
}
