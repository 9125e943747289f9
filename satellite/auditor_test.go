package satellite

import (
	"context"
	"crypto/rand"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/evidence"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/audit"
)

// audits is a satellite with a node whose server is real, and a clock.
type audits struct {
	*running
	node  *realNode
	nodes []*testNode
	keys  []ident.Key
	ahead atomic.Int64
}

func newAudits(t testing.TB) *audits {
	t.Helper()
	a := &audits{keys: newKeys(t, 11)}
	c := testConfig(t.TempDir())
	c.CheckIn = time.Hour // so that nodes that have checked in are there
	c.AuditInterval = 100 * time.Hour
	c.Vetting, c.Metrics = -1, "127.0.0.1:0"
	c.Now = func() time.Time { return time.Now().Add(time.Duration(a.ahead.Load())) }
	a.running = start(t, c)
	a.nodes = a.formGroups(a.keys[:10])
	a.node = a.realNodeOf(a.nodes[0], a.keys[0])
	return a
}

// pass lets time go by, with all nodes there.
func (a *audits) pass(d time.Duration) {
	a.t.Helper()
	for step := 2 * time.Hour; d > 0; d -= step {
		a.ahead.Add(int64(min(d, step)))
		for _, n := range a.nodes {
			must(a.t, second(n.CheckIn(a.t.Context(), checkInOf(roomy))))
		}
	}
}

// audit audits the node once, and says what that has come to.
func (a *audits) audit() (result auditResult) {
	a.t.Helper()
	before := a.counts()
	a.makeDue()
	a.auditDue()
	after := a.counts()
	for v := range after.verdicts {
		after.verdicts[v] -= before.verdicts[v]
	}
	after.forgiven -= before.forgiven
	return after
}

// auditDue audits the nodes that are due.
func (a *audits) auditDue() {
	a.t.Helper()
	must(a.t, a.auditOnce(a.t.Context()))
	a.audited()
}

// audited waits until no audit is under way.
func (a *audits) audited() {
	a.t.Helper()
	a.await("audits to end", func() bool {
		a.auditor.mu.Lock()
		defer a.auditor.mu.Unlock()
		for _, n := range a.auditor.nodes {
			if n.asking {
				return false
			}
		}
		return true
	})
}

// makeDue has the node audited next time.
func (a *audits) makeDue() {
	a.auditor.mu.Lock()
	defer a.auditor.mu.Unlock()
	id := a.node.key.ID()
	if a.auditor.nodes[id] == nil {
		a.auditor.nodes[id] = &audited{id: id}
	}
	a.auditor.nodes[id].due = time.Time{}
}

type auditResult struct {
	verdicts [audit.Unavailable + 1]uint64
	forgiven uint64
	owed     int
	evidence int
}

func (a *audits) counts() (r auditResult) {
	for v := range r.verdicts {
		r.verdicts[v] = a.auditor.verdicts[v].Load()
	}
	r.forgiven = a.auditor.forgiven.Load()
	if n := a.auditor.nodes[a.node.key.ID()]; n != nil {
		r.owed = len(n.owed)
	}
	r.evidence = len(a.evidence())
	return r
}

// evidence is what is kept against the node: each must convict it.
func (a *audits) evidence() (found []*evidence.Finding) {
	a.t.Helper()
	id := a.node.key.ID()
	m, err := a.admin.NodeEvidence(a.t.Context(), &pb.NodeEvidenceRequest{Node: id[:]})
	must(a.t, err)
	for _, file := range m.Files {
		e, err := evidence.Parse(file)
		must(a.t, err)
		f, err := e.Check()
		must(a.t, err)
		if f.Node != id || f.Satellite != a.ID() {
			a.t.Errorf("evidence convicts %v before %v", f.Node, f.Satellite)
		}
		found = append(found, f)
	}
	return found
}

// want checks what an audit has come to: verdicts by number, and what is left.
func (a *audits) want(what string, got auditResult, want auditResult) {
	a.t.Helper()
	if got != want {
		a.t.Errorf("%s:\ngot  %+v\nwant %+v", what, got, want)
	}
}

func verdicts(v audit.Verdict, n uint64) (r auditResult) {
	r.verdicts[v] = n
	return r
}

func TestAuditProves(t *testing.T) {
	a := newAudits(t)
	a.want("nothing claimed", a.audit(), auditResult{})
	o := a.node.put(1, "a", 30, allBut(3, 4))
	a.node.claim(1, o.numbers[3], o.numbers[4])
	p := a.node.put(2, "b", 9, allOfThem)
	a.node.claim(2)
	a.want("all that is claimed", a.audit(), verdicts(audit.Proved, 37))
	a.deleteObject(p)
	a.want("after a deletion that the node does not know of", a.audit(), verdicts(audit.Proved, 28))
	a.node.put(1, "c", 100, allOfThem)
	a.want("what is not claimed yet is not asked for", a.audit(), verdicts(audit.Proved, 28))
	a.node.claim(1, o.numbers[3], o.numbers[4])
	a.want("a batch", a.audit(), verdicts(audit.Proved, DefaultAuditBatch))
	wantSums(t, a.scrape(), []sum{
		{"cairn_satellite_audit_challenges_total", 37 + 28 + 28 + 64, []string{"verdict", "proved"}},
		{"cairn_satellite_audit_challenges_total", 0, []string{"verdict", "late"}},
		{"cairn_satellite_audit_challenges_void_total", 0, nil},
	})
	s := a.registry.standing(a.node.key.ID())
	if s.Score.Proved != 37+28+28+64 || s.Score.Missing+s.Score.Wrong != 0 || s.State != audit.Online {
		t.Errorf("standing %+v", s)
	}
	if a.auditDue(); a.auditor.verdicts[audit.Proved].Load() != s.Score.Proved {
		t.Errorf("audited again before its time")
	}
	a.pass(200 * time.Hour)
	a.auditDue()
	if got := a.auditor.verdicts[audit.Proved].Load(); got != s.Score.Proved+DefaultAuditBatch {
		t.Errorf("%d proofs after an interval", got)
	}
}

func (a *audits) deleteObject(o *object) { a.node.deleteObject(o) }

// TestAuditFindsLiar audits a node that claims what it never had.
func TestAuditFindsLiar(t *testing.T) {
	a := newAudits(t)
	o := a.node.put(1, "a", 40, allBut(3, 7))
	a.node.claim(1)
	got := a.audit()
	want := verdicts(audit.Proved, 38)
	want.verdicts[audit.Missing], want.evidence = 2, 2
	a.want("two of forty lost", got, want)
	for _, f := range a.evidence() {
		if f.Guilt != evidence.Lacking || f.Status != order.Missing || f.Claim.Seq != o.numbers[39] {
			t.Errorf("evidence %+v", f)
		}
		if n := f.Challenge.Seq; n != o.numbers[3] && n != o.numbers[7] {
			t.Errorf("evidence of entry %d", n)
		}
	}
	a.audit()
	a.audit()
	s := a.registry.standing(a.node.key.ID())
	if s.State != audit.Disqualified || a.registry.online(a.node.key.ID()) {
		t.Errorf("standing %+v", s)
	}
	a.want("a disqualified node", a.audit(), auditResult{evidence: 6})
}

// TestAuditBriefVisits has a node be there for a minute in an hour: it is audited
// about as often as those that stay.
func TestAuditBriefVisits(t *testing.T) {
	w := newTown(t, 10)
	a := newAuditor(w.Satellite)
	a.interval = time.Hour
	times := make(map[ident.ID]int)
	look := func() {
		for _, n := range a.begin() {
			times[n.id]++
			n.due = a.next(n, false, a.newRand())
			a.end(n)
		}
	}
	for range 200 {
		w.round()
		look()
		w.away[0] = true
		w.registry.disconnected(w.keys[0].ID())
		for range 59 {
			w.time = w.time.Add(time.Minute)
			w.round()
			look()
		}
		w.away[0] = false
		w.time = w.time.Add(time.Minute)
	}
	if visitor, other := times[w.keys[0].ID()], times[w.keys[1].ID()]; visitor < other/2 || other < 150 {
		t.Errorf("a node that comes and goes was audited %d times, another one %d", visitor, other)
	}
}

// TestAuditSoonAgain audits a node that has failed before others.
func TestAuditSoonAgain(t *testing.T) {
	a := newAudits(t)
	o := a.node.put(1, "a", 20, allBut(5))
	a.node.claim(1)
	a.audit()
	failed := a.auditor.verdicts[audit.Missing].Load()
	a.pass(99 * time.Minute)
	a.auditDue()
	if n := a.auditor.verdicts[audit.Missing].Load(); n != failed {
		t.Errorf("audited again after 99 of 100 minutes")
	}
	a.pass(time.Minute)
	a.auditDue()
	if n := a.auditor.verdicts[audit.Missing].Load(); n != failed+1 {
		t.Errorf("%d failures, not audited again soon", n)
	}
	a.node.claim(1, o.numbers[5])
	a.pass(100 * time.Minute)
	a.auditDue()
	proved := a.auditor.verdicts[audit.Proved].Load()
	a.pass(40 * time.Hour)
	a.auditDue()
	if n := a.auditor.verdicts[audit.Proved].Load(); n != proved {
		t.Error("a node that is all right again is still audited more often")
	}
}

// TestAuditRaces: what happens between the draw and the answer is never held
// against a node.
func TestAuditRaces(t *testing.T) {
	setup := func(t *testing.T) (*audits, *object) {
		a := newAudits(t)
		o := a.node.put(1, "a", 10, allOfThem)
		a.node.claim(1)
		return a, o
	}
	honest := func(a *audits) {
		a.t.Helper()
		s := a.registry.standing(a.node.key.ID())
		if s.Score.Missing+s.Score.Wrong != 0 || !s.Owed.IsZero() || s.State != audit.Online || len(a.evidence()) != 0 {
			a.t.Errorf("an honest node is blamed: %+v", s)
		}
	}
	t.Run("tombstone", func(t *testing.T) {
		a, o := setup(t)
		a.node.whenAsked(func() {
			a.deleteObject(o)
			a.node.follow(1)
		})
		a.want("deleted meanwhile", a.audit(), auditResult{forgiven: 10})
		honest(a)
	})
	t.Run("half of it deleted, not yet followed", func(t *testing.T) {
		a, o := setup(t)
		p := a.node.put(1, "b", 5, allOfThem)
		a.node.claim(1)
		a.node.whenAsked(func() { a.deleteObject(o) })
		a.want("deleted meanwhile", a.audit(), verdicts(audit.Proved, 15))
		a.node.whenAsked(func() { a.deleteObject(p); a.node.follow(1) })
		a.want("deleted meanwhile", a.audit(), auditResult{forgiven: 5})
		honest(a)
	})
	t.Run("epoch", func(t *testing.T) {
		a, _ := setup(t)
		must(t, second(a.newNode(a.keys[10]).CheckIn(t.Context(), checkInOf(roomy))))
		a.node.whenAsked(func() {
			g, err := a.groups.get(1)
			must(t, err)
			slot, _ := g.SlotOf(a.node.key.ID())
			_, err = a.groups.replace(t.Context(), 1, map[int]handover{slot: {to: a.keys[10].ID()}})
			must(t, err)
			must(t, second(a.node.store.Release(1)))
		})
		a.want("replaced meanwhile", a.audit(), auditResult{forgiven: 10})
		honest(a)
		a.want("afterwards", a.audit(), auditResult{})
	})
	t.Run("loss told", func(t *testing.T) {
		a := newAudits(t)
		o := a.node.put(1, "a", 10, allBut(2, 6))
		a.node.claim(1)
		a.node.whenAsked(func() { a.node.claim(1, o.numbers[2], o.numbers[6]) })
		want := verdicts(audit.Proved, 8)
		want.forgiven = 2
		a.want("told meanwhile", a.audit(), want)
		honest(a)
		a.want("afterwards", a.audit(), verdicts(audit.Proved, 8))
	})
	t.Run("loss told, still on its way", func(t *testing.T) {
		a := newAudits(t)
		o := a.node.put(1, "a", 10, allBut(2, 6))
		a.node.claim(1)
		var told *pb.Signed
		a.node.whenAsked(func() { told = a.node.sign(1, o.numbers[2], o.numbers[6]) })
		want := verdicts(audit.Proved, 8)
		want.verdicts[audit.Unavailable], want.owed = 2, 2
		a.want("told meanwhile", a.audit(), want)
		a.node.hand(told)
		a.want("afterwards", a.audit(), verdicts(audit.Proved, 8))
		honest(a)
	})
	t.Run("loss found, not yet told", func(t *testing.T) {
		a := newAudits(t)
		a.node.honest = true
		o := a.node.put(1, "a", 10, allBut(2, 6))
		a.node.claim(1)
		want := verdicts(audit.Proved, 8)
		want.verdicts[audit.Unavailable], want.owed = 2, 2
		a.want("not yet told", a.audit(), want)
		a.node.claim(1, o.numbers[2], o.numbers[6])
		a.want("afterwards", a.audit(), verdicts(audit.Proved, 8))
		honest(a)
	})
	t.Run("stopped", func(t *testing.T) {
		a, _ := setup(t)
		ctx, cancel := context.WithCancel(t.Context())
		a.node.whenAsked(cancel)
		a.makeDue()
		a.auditor.round(ctx)
		a.audited()
		honest(a)
	})
}

// TestLossesToldWhenAsked: a node that tells of its losses just when it is asked
// for them gets away with it once.
func TestLossesToldWhenAsked(t *testing.T) {
	a := newAudits(t)
	o := a.node.put(1, "a", 12, allBut(1, 2, 3, 4))
	a.node.claim(1)
	a.node.whenAsked(func() { a.node.claim(1, o.numbers[1:3]...) })
	first := a.audit()
	if first.forgiven != 2 || first.verdicts[audit.Missing] != 2 || first.evidence != 2 {
		t.Errorf("told of two of four: %+v", first) // by the later claim it has the others
	}
	a.node.whenAsked(func() { a.node.claim(1, o.numbers[1:5]...) })
	second := a.audit()
	if second.forgiven != 0 || second.verdicts[audit.Missing] != 2 {
		t.Errorf("and of the others when it was asked again: %+v", second)
	}
}

// TestDebts: a challenge that is not answered is put again, until it is.
func TestDebts(t *testing.T) {
	a := newAudits(t)
	o := a.node.put(1, "a", 10, allBut(4))
	a.node.claim(1)
	a.node.setUnable(true)
	want := verdicts(audit.Unavailable, 10)
	want.owed = 10
	a.want("unable", a.audit(), want)
	since := a.registry.standing(a.node.key.ID()).Owed
	if since.IsZero() {
		t.Error("nothing is owed")
	}
	a.node.put(1, "b", 100, allOfThem)
	a.node.claim(1)
	a.pass(time.Hour)
	want = verdicts(audit.Unavailable, DefaultAuditBatch)
	want.owed = DefaultAuditBatch
	a.want("still unable", a.audit(), want)
	if got := a.registry.standing(a.node.key.ID()).Owed; !got.Equal(since) {
		t.Errorf("owed since %v, want %v", got, since)
	}
	for _, d := range a.auditor.nodes[a.node.key.ID()].owed[:10] {
		if !slices.Contains(o.numbers, d.Seq) || !d.since.Equal(since) {
			t.Errorf("debt %+v since %v", d.Challenge, d.since)
		}
	}
	a.pass(4 * time.Hour)
	a.registry.watch()
	if s := a.registry.standing(a.node.key.ID()); s.State != audit.Suspended {
		t.Errorf("a node that owes for five hours is %v", s.State)
	}
	a.node.setUnable(false)
	want = verdicts(audit.Proved, DefaultAuditBatch-1)
	want.verdicts[audit.Missing], want.evidence = 1, 1
	a.want("able again", a.audit(), want)
	if s := a.registry.standing(a.node.key.ID()); !s.Owed.IsZero() || s.State != audit.Online {
		t.Errorf("standing %+v", s)
	}

	a.node.setUnable(true)
	a.audit()
	a.node.setUnable(false)
	journals, err := a.meta.Journals(t.Context(), []uint32{1})
	must(t, err)
	var all []uint64
	for n := range journals[1].Head {
		all = append(all, n+1)
	}
	a.node.claim(1, all...)
	a.want("it claims nothing any more", a.audit(), auditResult{evidence: 1})
	if s := a.registry.standing(a.node.key.ID()); !s.Owed.IsZero() {
		t.Errorf("and owes since %v", s.Owed)
	}
}

// TestCorruptShard: damage that the audit finds is held against the node, even
// though it tells of it at once.
func TestCorruptShard(t *testing.T) {
	a := newAudits(t)
	o := a.node.put(1, "a", 10, allOfThem)
	a.node.claim(1)
	a.node.damage(o.shards[5])
	for range 50 { // until the leaf is asked for
		if got := a.audit(); got.verdicts[audit.Missing] > 0 {
			f := a.evidence()
			if len(f) != 1 || f[0].Status != order.Corrupt || f[0].Challenge.Segment != o.shards[5].id {
				t.Errorf("evidence %+v", f)
			}
			if got.verdicts[audit.Proved] != 9 {
				t.Errorf("%+v", got)
			}
			a.node.claim(1, o.numbers[5])
			want := verdicts(audit.Proved, 9)
			want.evidence = 1
			a.want("afterwards", a.audit(), want)
			return
		}
	}
	t.Error("the damage was not found")
}

// TestAuditSettings bounds them.
func TestAuditSettings(t *testing.T) {
	c := testConfig(t.TempDir())
	c.AuditBatch = MaxAuditBatch + 1
	if _, err := New(t.Context(), c); err == nil {
		t.Error("a batch of 257 is taken")
	}
	c, err := testConfig(t.TempDir()).withDefaults()
	must(t, err)
	if c.AuditBatch != DefaultAuditBatch || c.AuditInterval != DefaultAuditInterval || c.Rand != rand.Reader {
		t.Errorf("defaults %+v", c)
	}
}
