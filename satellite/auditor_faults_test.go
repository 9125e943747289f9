package satellite

import (
	"context"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/deploy/liar"
	"github.com/cairnstorage/cairn/proto/evidence"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
)

// How the auditor deals with nodes that do not answer, and with liars.

// TestNoAnswer tells apart how nodes do not answer.
func TestNoAnswer(t *testing.T) {
	for _, test := range []struct {
		name  string
		serve func(ctx context.Context, s *transport.Stream)
		want  audit.Verdict
	}{
		{"silent", func(ctx context.Context, _ *transport.Stream) { <-ctx.Done() }, audit.Late},
		{"hangs up", func(context.Context, *transport.Stream) {}, audit.Unreachable},
		{"rubbish", func(_ context.Context, s *transport.Stream) {
			_, _ = s.Write([]byte("what do you want of me?"))
		}, audit.Unreachable},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAudits(t)
			if test.want == audit.Late {
				a.auditor.patience = 300 * time.Millisecond
			}
			a.node.put(1, "a", 10, allOfThem)
			a.node.claim(1)
			a.node.serve(test.serve)
			want := verdicts(test.want, 10)
			want.owed = 10
			a.want(test.name, a.audit(), want)
			s := a.registry.standing(a.node.key.ID())
			if s.Score.Challenges() != 0 || s.Presence.Answers.Kept != 0 || s.Presence.Answers.Due != 10 || s.Owed.IsZero() {
				t.Errorf("standing %+v", s)
			}
			a.auditor.patience = auditPatience
			a.node.serve(a.node.server.ServeAudit)
			a.want("and back", a.audit(), verdicts(audit.Proved, 10))
		})
	}
	t.Run("busy", func(t *testing.T) {
		a := newAudits(t)
		a.node.put(1, "a", 10, allOfThem)
		a.node.claim(1)
		busy := a.occupy()
		want := verdicts(audit.Unavailable, 10)
		want.owed = 10
		a.want("busy", a.audit(), want)
		busy()
	})
	t.Run("gone", func(t *testing.T) {
		a := newAudits(t)
		a.node.put(1, "a", 10, allOfThem)
		a.node.claim(1)
		_ = a.node.host.Close()
		a.await("the node to be gone", func() bool { return !a.registry.online(a.node.key.ID()) })
		a.registry.mu.Lock() // as if that were not known yet
		a.registry.nodes[a.node.key.ID()].connected = true
		a.registry.mu.Unlock()
		a.auditor.patience = time.Second
		got := a.audit()
		if got.verdicts[audit.Unreachable]+got.verdicts[audit.Late] != 10 || got.owed != 10 {
			t.Errorf("gone: %+v", got)
		}
	})
}

// TestAuditsOfLiars has liars of all kinds among honest nodes.
func TestAuditsOfLiars(t *testing.T) {
	c := testConfig(t.TempDir())
	c.CheckIn, c.AuditInterval, c.AuditBatch, c.Vetting = 300*time.Millisecond, time.Millisecond, 32, 0
	s := start(t, c)
	at, err := transport.ParseAddress(s.Address())
	must(t, err)
	var liars []*liar.Liar
	kinds := []liar.Faults{{Claim: true, FalseProof: true}, {Claim: true}, {Claim: true, Silent: true}}
	for _, faults := range append(kinds, make([]liar.Faults, 7)...) {
		l, err := liar.New(liar.Config{Key: newKey(t), Satellite: at, Logger: noLog})
		must(t, err)
		l.Behave(faults)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		liars = append(liars, l)
	}
	s.auditor.patience = time.Second
	s.await("groups", func() bool { return s.status().Groups > 0 })
	s.fill(1, 30)
	guilty := func(l *liar.Liar, want evidence.Guilt) {
		t.Helper()
		s.await("a liar to be found out", func() bool { return s.registry.standing(l.ID()).State == audit.Disqualified })
		files, err := s.meta.Evidence(t.Context(), l.ID())
		must(t, err)
		if len(files) == 0 {
			t.Errorf("no evidence for %q", s.registry.standing(l.ID()).Reason)
		}
		for _, file := range files {
			e, err := evidence.Parse(file)
			must(t, err)
			f, err := e.Check()
			must(t, err)
			if f.Guilt != want || f.Node != l.ID() {
				t.Errorf("evidence that %v %v, want %v", f.Node, f.Guilt, want)
			}
		}
	}
	guilty(liars[0], evidence.FalseProof)
	guilty(liars[1], evidence.Lacking)
	s.await("a silent node to owe answers", func() bool { return !s.registry.standing(liars[2].ID()).Owed.IsZero() })
	for _, l := range liars[2:] { // the honest ones claim nothing, as they have nothing
		if st := s.registry.standing(l.ID()); st.Score.Missing+st.Score.Wrong != 0 || st.State == audit.Disqualified {
			t.Errorf("standing %+v", st)
		}
	}
}

// occupy opens as many streams of audits as the node serves at a time.
func (a *audits) occupy() (free func()) {
	a.t.Helper()
	at := transport.Address{ID: a.node.key.ID(), Addrs: []string{"/ip4/192.0.2.1/tcp/7000"}}
	var open []interface{ Reset() }
	for range 4 {
		stream, err := nodeclient.Dialer{Host: a.host}.OpenAudit(a.t.Context(), at)
		must(a.t, err)
		must(a.t, third(stream.Inventory(1, order.SegmentID{}, 1)))
		open = append(open, stream)
	}
	return func() {
		for _, s := range open {
			s.Reset()
		}
	}
}

func third[A, B any](_ A, _ B, err error) error { return err }
