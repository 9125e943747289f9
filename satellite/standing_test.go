package satellite

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// repeat is n times the same verdict.
func repeat(n int, v audit.Verdict) []audit.Verdict {
	list := make([]audit.Verdict, n)
	for i := range list {
		list[i] = v
	}
	return list
}

// standing checks what is thought of node 0, now and after a restart.
func (f *fleet) standing(when string, want audit.State, words string, online, takes bool) {
	f.t.Helper()
	id := nodeNumber(0)
	got := f.registry.standing(id)
	if got.State != want || !strings.Contains(got.Reason, words) {
		f.t.Errorf("%s: %v because %q, want %v because %q", when, got.State, got.Reason, want, words)
	}
	ids := []ident.ID{id}
	if f.registry.online(id) != online || f.registry.addresses(ids, false)[0].Online != online || (f.registry.free(ids)[0] >= 0) != online {
		f.t.Errorf("%s: online %v, want %v", when, !online, online)
	}
	if put := f.registry.addresses(ids, true)[0].Online; put != takes || (f.registry.free(ids)[0] > 0) != takes || f.registry.view()[0].takes != takes {
		f.t.Errorf("%s: takes data: %v, want %v", when, put, takes)
	}
	must(f.t, f.registry.storeStandings(f.t.Context(), true))
	kept, err := f.meta.Standings(f.t.Context())
	must(f.t, err)
	got.Presence.Time.At, got.Presence.Answers.At = kept[0].Presence.Time.At, kept[0].Presence.Answers.At // to the second
	if len(kept) != 1 || !sameStanding(&kept[0].Standing, &got.Standing) || !kept[0].Owed.Equal(got.Owed) {
		f.t.Errorf("%s: stored %+v, want %+v", when, kept, got)
	}
}

func sameStanding(a, b *audit.Standing) bool {
	x, y := *a, *b
	x.Since, y.Since, x.Silences.Last, y.Silences.Last = x.Since.UTC(), y.Since.UTC(), x.Silences.Last.UTC(), y.Silences.Last.UTC()
	return reflect.DeepEqual(x, y)
}

// TestTransitions takes a node through every state.
func TestTransitions(t *testing.T) {
	f := newFleet(t)
	f.registry.rule.Vetting = 20
	id := nodeNumber(0)
	pass := func(d time.Duration) { // with another node there, so that the satellite is not deaf
		for end := f.time.Add(d); f.time.Before(end); {
			f.time = f.time.Add(min(f.registry.interval, end.Sub(f.time)))
			f.registry.mu.Lock()
			f.registry.hear(f.time)
			f.registry.mu.Unlock()
		}
		f.registry.watch()
	}
	f.checkIn(1, roomy)
	f.standing("new", audit.Vetting, "new", true, true)
	f.registry.judged(id, time.Time{}, repeat(19, audit.Proved)...)
	f.standing("almost vetted", audit.Vetting, "new", true, true)
	f.registry.judged(id, time.Time{}, audit.Proved, audit.Late)
	f.standing("vetted", audit.Online, "20 challenges proved", true, true)

	f.registry.rule.Grace = time.Second
	f.time = f.time.Add(minLapse)
	f.registry.watch()
	f.standing("late, and who is late is not away", audit.Online, "", true, true)
	f.registry.rule.Grace = testRule.Grace

	f.checkIn(1, roomy)
	pass(testRule.Grace)
	f.standing("away", audit.Online, "", false, false)
	pass(time.Second)
	f.standing("away for too long", audit.Suspended, "away for 1h0m1s", false, false)
	f.checkIn(1, roomy)
	f.standing("back", audit.Online, "back after", true, true)

	owed := f.time
	f.registry.judged(id, owed, audit.Unavailable)
	for range 4 {
		pass(testRule.Grace / 4)
		f.checkIn(1, roomy)
	}
	f.standing("owing", audit.Online, "back after", true, true)
	pass(time.Second)
	f.standing("owing for too long", audit.Suspended, "owed answers", true, false)
	f.restart(f.key)
	f.registry.rule.Vetting = 20
	f.checkIn(1, roomy) // this process does not know what it owes
	f.standing("owing after a restart", audit.Suspended, "owed answers", true, false)
	f.registry.judged(id, time.Time{})
	f.standing("owing nothing any more", audit.Suspended, "owed answers", true, false)
	f.registry.answered(id)
	f.registry.judged(id, time.Time{}, audit.Proved)
	f.standing("and answering", audit.Online, "back after", true, true)

	f.registry.judged(id, time.Time{}, repeat(4, audit.Wrong)...)
	f.standing("lost data", audit.Disqualified, "got a wrong proof", false, false)
	f.checkIn(1, roomy)
	f.standing("there all the same", audit.Disqualified, "lost data", false, false)
	f.restart(f.key)
	f.registry.rule.Vetting = 20
	f.checkIn(1, roomy)
	f.standing("after a restart", audit.Disqualified, "lost data", false, false)
	reinstate := func(s audit.Standing) (audit.Standing, error) { return s.Reinstate(f.time) }
	must(t, f.registry.decide(t.Context(), id, reinstate))
	f.standing("reinstated", audit.Vetting, "reinstated by the operator", true, true)
	wantError(t, "again", f.registry.decide(t.Context(), id, reinstate), audit.ErrNotDisqualified)
	wantError(t, "again", f.registry.decide(t.Context(), id, reinstate), satclient.ErrBadRequest)
	bar := func(s audit.Standing) (audit.Standing, error) { return s.Disqualify("sold", f.time) }
	must(t, f.registry.decide(t.Context(), id, bar))
	f.standing("barred", audit.Disqualified, "by the operator: sold", false, false)
	wantError(t, "again", f.registry.decide(t.Context(), id, bar), audit.ErrOver)
	wantError(t, "a stranger", f.registry.decide(t.Context(), nodeNumber(7), bar), satclient.ErrBadRequest)
	f.registry.judged(nodeNumber(7), f.time, audit.Wrong) // nobody
}

// TestStandingsAreKept stores changes of state soon, and mere counts seldom.
func TestStandingsAreKept(t *testing.T) {
	f := newFleet(t)
	id := nodeNumber(0)
	stored := func() uint64 {
		t.Helper()
		must(t, f.registry.storeStandings(t.Context(), false))
		kept, err := f.meta.Standings(t.Context())
		must(t, err)
		return kept[0].Score.Proved
	}
	f.checkIn(1, roomy)
	stored()
	f.registry.judged(id, time.Time{}, audit.Proved)
	if n := stored(); n != 0 {
		t.Errorf("%d proofs are stored at once", n)
	}
	f.time = f.time.Add(keepEvery)
	if n := stored(); n != 1 {
		t.Errorf("%d proofs are stored after a time", n)
	}
	f.registry.judged(id, time.Time{}, repeat(9, audit.Proved)...)
	f.registry.judged(id, time.Time{}, repeat(9, audit.Wrong)...)
	if n := stored(); n != 10 {
		t.Errorf("%d proofs are stored with the state", n)
	}
	f.time = f.time.Add(forgetAfter + time.Hour)
	nobody := func(ident.ID) bool { return false }
	must(t, f.registry.forget(t.Context(), nobody))
	if f.registry.standing(id).State != audit.Disqualified {
		t.Error("a disqualified node was forgotten soon")
	}
	f.time = f.time.Add(forgetBadAfter)
	must(t, f.registry.forget(t.Context(), nobody))
	kept, err := f.meta.Standings(t.Context())
	must(t, err)
	if known, _ := f.registry.counts(); known != 0 || len(kept) != 0 {
		t.Errorf("%d nodes are known, standings %v", known, kept)
	}
}

// TestDeafSatellite blames nobody for what it could not hear.
func TestDeafSatellite(t *testing.T) {
	f := newFleet(t)
	f.checkIn(3, roomy)
	f.time = f.time.Add(10 * testRule.Grace)
	f.checkIn(1, roomy)
	f.registry.watch()
	states := func(want ...audit.State) {
		t.Helper()
		for i, state := range want {
			if got := f.registry.standing(nodeNumber(i)); got.State != state {
				t.Errorf("node %d is %v: %s", i, got.State, got.Reason)
			}
		}
	}
	states(audit.Online, audit.Online, audit.Online)
	for range 2 * int(testRule.Grace/f.registry.interval) {
		f.time = f.time.Add(f.registry.interval)
		f.checkIn(1, roomy)
	}
	f.registry.watch()
	states(audit.Online, audit.Suspended, audit.Suspended)
	if p := f.registry.standing(nodeNumber(1)).Presence.Value(); p > 0.01 {
		t.Errorf("a node that was never there since then has presence %g", p)
	}
	if p := f.registry.standing(nodeNumber(0)).Presence.Value(); p < 0.99 {
		t.Errorf("a node that was always there has presence %g", p)
	}
}

// TestPlansWithout plans groups of nodes that take data only.
func TestPlansWithout(t *testing.T) {
	f := newFleet(t)
	f.checkIn(13, roomy)
	f.registry.judged(nodeNumber(3), time.Time{}, repeat(9, audit.Wrong)...)
	m := checkInOf(roomy)
	m.Impaired = true
	must(t, f.registry.checkIn(t.Context(), nodeNumber(4), m, true))
	f.registry.note(nodeNumber(5), 0, audit.Loss{Held: 100, Lost: 3})
	must(t, f.plan(t.Context()))
	for i := range 13 {
		if n := f.held(nodeNumber(i)); (n == 0) != (i >= 3 && i <= 5) {
			t.Errorf("node %d has %d slots", i, n)
		}
	}
	if g, err := f.forPut(nil); err != nil || g == nil {
		t.Errorf("no group can be put to: %v", err)
	}
	for i, want := range map[int]bool{0: true, 3: false, 4: true, 5: true} {
		if f.registry.online(nodeNumber(i)) != want {
			t.Errorf("node %d is online: %v", i, !want)
		}
	}
}

// TestStandingIsTold tells nodes over the network how they stand.
func TestStandingIsTold(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	keys := newKeys(t, 10)
	nodes := s.formGroups(keys)
	s.fill(1, 100)
	m := checkInOf(roomy)
	told := func(i int) *pb.Standing {
		t.Helper()
		res, err := nodes[i].CheckIn(t.Context(), m)
		must(t, err)
		return res.Standing
	}
	if got := told(4); got.State != pb.NodeState_NODE_STATE_VETTING || got.Slots != 4 || got.Since == 0 || got.Reason != "new" || got.Leaving != 0 {
		t.Errorf("a new node is told %+v", got)
	}
	m.Impaired = true
	told(4)
	if s.registry.free([]ident.ID{keys[4].ID()})[0] != 0 {
		t.Error("an impaired node is put to")
	}
	m.Impaired = false
	s.registry.judged(keys[4].ID(), time.Time{}, append(repeat(120, audit.Proved), repeat(5, audit.Missing)...)...)
	if got := told(4); got.State != pb.NodeState_NODE_STATE_ONLINE || got.Proved != 120 || got.Failed != 5 || got.Suspicion <= 0 || got.Suspicion >= 1 {
		t.Errorf("a vetted node is told %+v", got)
	}
	s.registry.judged(keys[4].ID(), time.Time{}, repeat(2, audit.Wrong)...)
	if got := told(4); got.State != pb.NodeState_NODE_STATE_DISQUALIFIED || got.Suspicion != 1 || !strings.Contains(got.Reason, "lost data") {
		t.Errorf("a disqualified node is told %+v", got)
	}
	_, err := nodes[4].Peers(t.Context(), &pb.PeersRequest{Group: 1})
	wantError(t, "lease of a disqualified node", err, satclient.ErrDenied)
	s.checkPeers(nodes[5], 1)
}

// TestLossIsTold keeps a node that says itself what it lost from being given
// more, until it has healed.
func TestLossIsTold(t *testing.T) {
	b := newBench(t)
	b.project, _ = b.newProject("loss")
	s := &Satellite{meta: b.meta, now: func() time.Time { return b.now }}
	var err error
	s.claims, err = openClaims(t.Context(), b.meta, &groups{byID: b.nodes.groups}, s.now, noLog)
	must(t, err)
	g, err := b.nodes.get(1)
	must(t, err)
	id := g.Nodes[2]
	claimed := func(missing seqset.Set) {
		b.now = b.now.Add(time.Second)
		c := order.Claim{Node: id, Satellite: b.key.ID(), Group: 1, Epoch: 1, Slot: 2, Seq: 100, Missing: missing, Issued: b.now}
		s.claims.take(newClaim(&c, signClaim(t, b.keys[id], c)))
	}
	for _, c := range []struct {
		missing seqset.Set
		live    uint64
		after   time.Duration
		want    audit.Loss
	}{
		{nil, 90, 0, audit.Loss{Held: 90}},
		{seqset.Set{{First: 5, Last: 9}}, 90, 0, audit.Loss{Held: 90, Lost: 5}},
		{seqset.Set{{First: 5, Last: 9}}, 3, 0, audit.Loss{Held: 3, Lost: 3}},
		{seqset.Set{{First: 9, Last: 9}}, 90, 0, audit.Loss{Held: 90, Lost: 1}},
		{seqset.Set{{First: 9, Last: 9}}, 90, audit.LossWindow, audit.Loss{Held: 90}},
	} {
		claimed(c.missing)
		b.now = b.now.Add(c.after)
		journals := map[uint32]meta.Journal{1: {Head: 100, Segments: c.live}}
		if got := s.lossOf(id, []*group{g}, journals); got != c.want {
			t.Errorf("missing %v of %d: %+v, want %+v", c.missing, c.live, got, c.want)
		}
	}
}
