package satellite

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

func (w *town) status() *pb.StatusResponse {
	w.t.Helper()
	m, err := (&adminServer{Satellite: w.Satellite}).Status(w.t.Context(), &pb.StatusRequest{})
	must(w.t, err)
	return m
}

func (w *town) node(i int) *pb.NodeInfo {
	w.t.Helper()
	m, err := (&adminServer{Satellite: w.Satellite}).ListNodes(w.t.Context(), &pb.ListNodesRequest{})
	must(w.t, err)
	for _, n := range m.Nodes {
		if bytes.Equal(n.Id, idBytes(w.keys[i].ID())) {
			return n
		}
	}
	w.t.Fatalf("node %d is not listed", i)
	return nil
}

func (w *town) info(group uint32) *pb.GroupInfo {
	w.t.Helper()
	m, err := (&adminServer{Satellite: w.Satellite}).ListGroups(w.t.Context(), &pb.ListGroupsRequest{})
	must(w.t, err)
	return m.Groups[group-1]
}

// TestShown follows what an operator is shown while a network loses nodes and
// gets over it.
func TestShown(t *testing.T) {
	w := newTown(t, 10)
	if st := w.status(); st.Looked || st.GroupsWhole != 4 || st.Groups != 4 {
		t.Errorf("before the first look: %+v", st)
	}
	if g := w.info(1); g.Found != nil || g.Health != healthWhole || g.Slots[0].Holder != "" {
		t.Errorf("before the first look: %+v", g)
	}
	w.fill(100)
	w.claim()
	w.repair()
	if st := w.status(); !st.Looked || st.GroupsWhole != 4 || st.HealingLeft != 0 || st.SlotsWaiting != 0 || len(st.NodesByState) != 1 ||
		st.NodesByState[0].State != pb.NodeState_NODE_STATE_ONLINE || st.NodesByState[0].Nodes != 10 {
		t.Errorf("all well: %+v", st)
	}

	w.away[2] = true
	w.pass(w.config.OfflineGrace / 2)
	w.repair()
	if g := w.info(1); g.Health != healthReduced || g.Found.Lowest != 9 || g.Online != 9 {
		t.Errorf("one is away: %+v", g)
	}
	w.pass(w.config.OfflineGrace)
	w.claim()
	w.repair()
	st := w.status()
	if st.SlotsWaiting != 4 || st.GroupsReduced != 4 || st.NodesOnline != 9 {
		t.Errorf("one is gone: %+v", st)
	}
	slot, _ := w.group(1).SlotOf(w.keys[2].ID())
	if s := w.info(1).Slots[slot]; s.Holder != "gone" || !strings.Contains(s.Waiting, "away for too long: ") || s.Claimed != 100 {
		t.Errorf("its slot: %+v", s)
	}
	if n := w.node(2); n.Online || n.State != pb.NodeState_NODE_STATE_SUSPENDED || !strings.Contains(n.Reason, "away for") || n.Groups != 4 || n.TakesData {
		t.Errorf("the node: %+v", n)
	}

	w.keys = append(w.keys, newKey(t))
	w.pass(time.Minute)
	w.repair()
	shard := uint64(segmentSize / testScheme.Required)
	for group := range uint32(4) {
		w.have[townSlot{group + 1, 10}] = nil
	}
	w.claim()
	w.repair()
	if st := w.status(); st.SlotsWaiting != 0 || st.HealingLeft != 400*shard || st.HealingSeconds != 0 {
		t.Errorf("another node has the slots: %+v, want %d bytes to heal", st, 400*shard)
	}
	if n := w.node(10); n.Missing != 400 || n.Groups != 4 {
		t.Errorf("the new node: %+v", n)
	}
	if g := w.info(1); g.Epoch != 2 || g.Found.Left != 100*shard || g.Found.Missing != 100 || g.Slots[slot].Missing != 100 || g.Slots[slot].Holder != "present" {
		t.Errorf("its group: %+v", g)
	}
	for done := uint64(10); done <= 100; done += 10 {
		for group := range uint32(4) {
			w.have[townSlot{group + 1, 10}] = seqset.Set{{First: 1, Last: done}}
		}
		w.pass(10 * time.Second)
		w.claim()
		w.repair()
	}
	if st := w.status(); st.HealingLeft != 0 || st.GroupsWhole != 4 || st.HealingRate < 4*shard/2 || st.HealingRate > 4*shard {
		t.Errorf("healed 40 shards of %d bytes every 11 s: %+v", shard, st)
	}
}

// TestEndangered counts segments that few hold.
func TestEndangered(t *testing.T) {
	w := newTown(t, 10)
	w.fill(100)
	for slot, node := range w.holders(1) {
		has := seqset.Set{{First: 1, Last: 50}}
		if slot < 5 {
			has = has.Union(seqset.Set{{First: 51, Last: 70}})
		}
		if slot < 3 {
			has = has.Union(seqset.Set{{First: 71, Last: 75}})
		}
		w.have[townSlot{1, node}] = has
	}
	w.claim()
	w.repair()
	st := w.status()
	if st.SegmentsEndangered != 50 || st.SegmentsUnreadable != 30 || st.SegmentsLost != 30 || st.GroupsUnreadable != 1 || st.GroupsWhole != 3 {
		t.Errorf("status %+v", st)
	}
	if f := w.info(1).Found; f.Endangered != 50 || f.Unreadable != 30 || f.Lost != 30 || f.Lowest != 0 {
		t.Errorf("found %+v", f)
	}
}

func TestHealingRate(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	k := meta.ClaimKey{Group: 1}
	var h healing
	step := func(d time.Duration, entries uint64) {
		now = now.Add(d)
		h = h.next(now, map[meta.ClaimKey]lack{k: {entries, 1000}})
	}
	step(0, 2000)
	if h.left != 2_000_000 || h.rate != 0 || h.seconds() != 0 {
		t.Fatalf("at first: %+v", h)
	}
	for left := uint64(1990); left > 0; left -= 10 {
		step(10*time.Second, left)
	}
	if h.left != 10_000 || h.rate < 990 || h.rate > 1000.1 || h.seconds() != 11 && h.seconds() != 10 {
		t.Errorf("steady: %+v, %d s", h, h.seconds())
	}
	step(10*time.Second, 500) // lost more
	if h.left != 500_000 || h.rate > 1000 || h.rate < 900 {
		t.Errorf("after a loss: %+v", h)
	}
	step(time.Hour, 500)
	if h.rate > 1 || h.seconds() != 0 {
		t.Errorf("when nothing goes on: %+v", h)
	}
}

// TestAdminOfNodes disqualifies nodes and takes them back.
func TestAdminOfNodes(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	keys := newKeys(t, 10)
	s.formGroups(keys)
	id := keys[3].ID()
	bar := func(raw []byte, reason string) error {
		_, err := s.admin.DisqualifyNode(t.Context(), &pb.DisqualifyNodeRequest{Id: raw, Reason: reason})
		return satclient.FromStatus(err)
	}
	reinstate := func(raw []byte) error {
		_, err := s.admin.ReinstateNode(t.Context(), &pb.ReinstateNodeRequest{Id: raw})
		return satclient.FromStatus(err)
	}
	for name, err := range map[string]error{
		"no id":         bar(nil, "sold"),
		"no reason":     bar(id[:], ""),
		"long reason":   bar(id[:], strings.Repeat("r", maxReason+1)),
		"control":       bar(id[:], "a\x1b[2J"),
		"a stranger":    bar(idBytes(newKey(t).ID()), "sold"),
		"no id again":   reinstate([]byte{1}),
		"well standing": reinstate(id[:]),
	} {
		wantError(t, name, err, satclient.ErrBadRequest)
	}
	must(t, bar(id[:], "sold"))
	if got := s.registry.standing(id); got.State != audit.Disqualified || got.Reason != "by the operator: sold" {
		t.Errorf("standing %+v", got)
	}
	wantError(t, "again", bar(id[:], "sold"), satclient.ErrBadRequest)
	must(t, reinstate(id[:]))
	if got := s.registry.standing(id); got.State != audit.Vetting {
		t.Errorf("standing %+v", got)
	}
	kept, err := s.meta.Standings(t.Context())
	must(t, err)
	for i := range kept {
		if kept[i].Node == id && kept[i].State != audit.Vetting {
			t.Errorf("stored %+v", kept[i])
		}
	}
}
