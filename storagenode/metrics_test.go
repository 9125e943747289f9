package storagenode

import (
	"errors"
	"flag"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/observe/observetest"
	"github.com/cairnstorage/cairn/proto/observe/scrape"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/wire"
)

var updateDocs = flag.Bool("update", false, "write the table of docs/metrics.md anew instead of checking it")

func TestDocumentedMetrics(t *testing.T) {
	observetest.Document(t, "../docs/metrics.md", "node", *updateDocs, new(Node).metrics())
}

// ended is how many requests of a kind ended in each way.
func (c *serverCounts) ended(r request) map[string]uint64 {
	ways := make(map[string]uint64)
	for how := range c.requests[r] {
		if n := c.requests[r][how].Load(); n > 0 {
			ways[outcome(how).String()] = n
		}
	}
	return ways
}

func TestServerCounts(t *testing.T) {
	v := newServed(t, nil)
	counts := &v.server.counts
	kept, cancelled, bad := newTestShard(t, 300_032), newTestShard(t, 4096), newTestShard(t, 64)

	p := v.openPut(1 << 30)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(cancelled.send(p, wire.MaxData))
	must(p.Cancel())
	must(kept.put(p))
	_, _, err := p.Answer()
	must(err)
	bad.roots[testSlot] = merkle.Hash{1}
	bad.root = merkle.SegmentRoot(bad.layout, bad.roots)
	must(bad.put(p))
	_, _, err = p.Answer()
	wantCode(t, err, pb.Code_CODE_MISMATCH)

	g := v.openGet(1 << 20)
	must(g.Request(kept.id, 0, len(kept.data)))
	must(g.Receive(make([]byte, len(kept.data))))
	must(g.Request(kept.id, 64, 1000))
	must(g.Receive(make([]byte, 1000)))
	must(g.Request(bad.id, 0, 1))
	wantCode(t, g.Receive(make([]byte, 1)), pb.Code_CODE_NOT_FOUND)
	must(g.Request(kept.id, 0, len(kept.data)+1))
	wantCode(t, g.Receive(make([]byte, len(kept.data)+1)), pb.Code_CODE_BAD_REQUEST)
	_, err = g.Prove(kept.id, kept.layout, kept.root, testSlot, 1, 2)
	must(err)
	_, err = g.Roots(kept.id, kept.layout, kept.root)
	must(err)
	late := v.newLimit(order.ActionGet, 1)
	late.Issued = late.Issued.Add(-2 * order.LimitLife)
	late.Expires = late.Issued.Add(order.LimitLife)
	s := v.raw()
	must(s.open(v.lease(v.group, late)))
	wantCode(t, s.answer(), pb.Code_CODE_EXPIRED)

	v.audited(kept.challenge(1, 0), bad.challenge(2, 0))
	for kind, want := range map[request]map[string]uint64{
		requestOpen: {"expired": 1}, requestPut: {"ok": 1, "cancelled": 1, "mismatch": 1},
		requestGet: {"ok": 2, "not_found": 1, "bad_request": 1}, requestProve: {"ok": 1}, requestRoots: {"ok": 1},
	} {
		await(t, requestNames[kind]+" to be counted", func() bool { return maps.Equal(counts.ended(kind), want) })
	}
	if got, want := counts.put.Load(), uint64(len(kept.data)+len(cancelled.data)+len(bad.data)); got != want {
		t.Errorf("%d bytes put, want %d", got, want)
	}
	if got, want := counts.got.Load(), uint64(len(kept.data)+1000+2*merkle.LeafSize); got != want {
		t.Errorf("%d bytes got, want %d", got, want)
	}
	answers := make([]uint64, len(counts.challenges))
	for status := range answers {
		answers[status] = counts.challenges[status].Load()
	}
	if audits := counts.audits.Load(); audits != 1 || answers[order.Proved] != 1 || answers[order.Missing] != 1 {
		t.Errorf("%d audits with answers %v", audits, answers)
	}
	if st := v.store.Stats(); st.Syncs < 1 || st.Shards < st.Syncs {
		t.Errorf("store: %+v", st)
	}
	if n := v.ledger.size(); n != 2 {
		t.Errorf("the ledger has %d order limits, want one to put and one to get", n)
	}
}

// A peer that goes away is no failure of the node.
func TestBrokenStreamsAreCounted(t *testing.T) {
	v := newServed(t, nil)
	p := v.openPut(1 << 30)
	shard := newTestShard(t, 4096)
	if err := errors.Join(p.Begin(shard.id, 4096), p.Data(make([]byte, wire.HeaderSize+1000))); err != nil {
		t.Fatal(err)
	}
	await(t, "the bytes to come", func() bool { return v.server.counts.put.Load() == 1000 })
	p.Reset()
	await(t, "the end to be counted", func() bool {
		return maps.Equal(v.server.counts.ended(requestPut), map[string]uint64{"broken": 1})
	})
}

// Every code that a failure can have has a place of its own among the outcomes.
func TestOutcomes(t *testing.T) {
	names := make(map[string]bool)
	for code := range pb.Code_name {
		if outcome(code) >= outcomeCancelled {
			t.Errorf("code %d is taken for another outcome", code)
		}
	}
	for o := range outcome(outcomes) {
		names[o.String()] = true
	}
	if len(names) != outcomes || !names["ok"] || !names["stale_epoch"] || !names["broken"] {
		t.Errorf("names %v", slices.Sorted(maps.Keys(names)))
	}
}

func TestGroupsAreBounded(t *testing.T) {
	for _, n := range []int{0, 1, maxGroupSeries - 1, maxGroupSeries, maxGroupSeries + 1, 3 * maxGroupSeries} {
		var list []followed
		for i := range n {
			list = append(list, followed{strconv.Itoa(i), 1, 1, 3})
		}
		got := bounded(list)
		var sum followed
		labels := make(map[string]bool)
		for _, f := range got {
			sum.groups += f.groups
			sum.cursor += f.cursor
			sum.head += f.head
			labels[f.label] = true
		}
		if len(got) != min(n, maxGroupSeries) || len(labels) != len(got) || sum != (followed{"", n, uint64(n), 3 * uint64(n)}) {
			t.Errorf("%d groups: %d series with %d labels, in all %+v", n, len(got), len(labels), sum)
		}
		if labels["others"] != (n > maxGroupSeries) {
			t.Errorf("%d groups: others %v", n, labels["others"])
		}
	}
}

func TestNodeMetrics(t *testing.T) {
	satellite := newFakeSatellite(t)
	c := Config{
		Dir: shortDir(t), Satellite: satellite.serve(), Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Reserve: 1 << 20,
		Version: "v1", Logger: testLogger(t), Metrics: "127.0.0.1:0", Capacity: 1 << 30,
	}
	started := time.Now()
	n, stop := runNode(t, c)
	m := func() *scrape.Metrics {
		t.Helper()
		m, err := scrape.Get(t.Context(), n.MetricsAddress())
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	held, lacked := putShard(t, n.store, 7, 1), putShard(t, n.store, 8, 2)
	staged := putShard(t, n.store, 7, 3)
	satellite.live(7, held)
	lacked.Segment[5]++
	satellite.live(7, lacked)
	satellite.change(func() {
		satellite.standing = &pb.Standing{
			State: pb.NodeState_NODE_STATE_SUSPENDED, Proved: 70, Failed: 3, Suspicion: 0.25, Presence: 0.5, Full: true, Slots: 9, Leaving: 4,
		}
	})
	satellite.join(7, 1, n.ID())
	await(t, "the journal to be followed", func() bool {
		return m().Sum("cairn_node_journal_cursor", "group", "7") == 2
	})
	now := m()
	observetest.Lint(t, now, "cairn_node_")
	usage := n.store.Usage()
	for _, w := range []struct {
		name   string
		value  float64
		labels []string
	}{
		{"cairn_node_info", 1, []string{"id", n.ID().String(), "version", "v1"}},
		{"cairn_node_shards", 3, nil},
		{"cairn_node_shards_staged", 2, nil},
		{"cairn_node_shards_missing", 1, nil},
		{"cairn_node_capacity_bytes", 1 << 30, nil},
		{"cairn_node_used_bytes", float64(usage.Used), nil},
		{"cairn_node_data_used_bytes", float64(usage.Used), []string{"dir", usage.Dirs[0].Path}},
		{"cairn_node_data_shards", 3, nil},
		{"cairn_node_data_usable", 1, nil},
		{"cairn_node_synced_shards_total", 3, nil},
		{"cairn_node_groups", 1, nil},
		{"cairn_node_journal_head", 2, []string{"group", "7"}},
		{"cairn_node_journal_behind_entries", 0, []string{"group", "7"}},
		{"cairn_node_troubles", 0, nil},
		{"cairn_node_standing", 1, []string{"state", "suspended"}},
		{"cairn_node_standing", 1, nil},
		{"cairn_node_challenges_total", 70, []string{"verdict", "proved"}},
		{"cairn_node_challenges_total", 3, []string{"verdict", "failed"}},
		{"cairn_node_suspicion_ratio", 0.25, nil},
		{"cairn_node_presence_ratio", 0.5, nil},
		{"cairn_node_slots", 9, nil},
		{"cairn_node_slots_leaving", 4, nil},
		{"cairn_node_data_withheld", 1, nil},
		{"cairn_node_requests_total", 0, []string{"request", "put", "outcome", "ok"}},
		{"cairn_node_buffers", 0, nil},
		{"cairn_node_buffers_limit", 256, nil},
		{"cairn_node_order_limits", 0, nil},
		{"cairn_node_connections", 1, nil},
	} {
		if got := now.Sum(w.name, w.labels...); got != w.value || now.Count(w.name, w.labels...) == 0 {
			t.Errorf("%s %v is %v in %d samples, want %v", w.name, w.labels, got, now.Count(w.name, w.labels...), w.value)
		}
	}
	if at := now.Sum("cairn_node_last_check_in_timestamp_seconds"); at < float64(started.Unix()) || at > float64(time.Now().Unix()) {
		t.Errorf("checked in at %v", at)
	}
	if strings.Contains(now.Text, staged.Segment.String()) {
		t.Error("metrics name a segment")
	}
	satellite.change(func() { satellite.down = true })
	await(t, "trouble to show", func() bool { return m().Sum("cairn_node_troubles") == 1 })
	stop()
	if _, err := scrape.Get(t.Context(), n.MetricsAddress()); err == nil {
		t.Error("metrics outlive the node")
	}
}

// Before the satellite was heard of nothing is made up.
func TestMetricsBeforeCheckIn(t *testing.T) {
	satellite := newFakeSatellite(t)
	satellite.down = true
	c := Config{
		Dir: shortDir(t), Satellite: satellite.serve(), Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Reserve: 1 << 20,
		Logger: testLogger(t), Metrics: "127.0.0.1:0",
	}
	n, _ := runNode(t, c)
	m, err := scrape.Get(t.Context(), n.MetricsAddress())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"standing", "suspicion_ratio", "presence_ratio", "slots", "challenges_total"} {
		if m.Count("cairn_node_"+name) != 0 {
			t.Errorf("%s is shown", name)
		}
	}
	if m.Sum("cairn_node_last_check_in_timestamp_seconds") != 0 || m.Count("cairn_node_last_check_in_timestamp_seconds") != 1 {
		t.Error("a check-in is shown")
	}
}
