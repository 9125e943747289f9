package satellite

import (
	"context"
	"errors"
	"flag"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairnstorage/cairn/proto/observe/observetest"
	"github.com/cairnstorage/cairn/proto/observe/scrape"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/memkv"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

var updateDocs = flag.Bool("update", false, "write the table of docs/metrics.md anew instead of checking it")

func TestDocumentedMetrics(t *testing.T) {
	s := &Satellite{requests: newRequests()}
	observetest.Document(t, "../docs/metrics.md", "satellite", *updateDocs, s.metrics(t.Context()))
}

func (r *running) scrape() *scrape.Metrics {
	r.t.Helper()
	m, err := scrape.Get(r.t.Context(), r.MetricsAddress())
	must(r.t, err)
	return m
}

// wantSums compares metrics with what they should be, by name and labels.
func wantSums(t *testing.T, m *scrape.Metrics, want []sum) {
	t.Helper()
	for _, w := range want {
		if got := m.Sum(w.name, w.labels...); got != w.value {
			t.Errorf("%s %v is %v, want %v", w.name, w.labels, got, w.value)
		}
		if m.Count(w.name, w.labels...) == 0 {
			t.Errorf("%s %v is not there", w.name, w.labels)
		}
	}
}

type sum struct {
	name   string
	value  float64
	labels []string
}

func TestMetrics(t *testing.T) {
	c := testConfig(t.TempDir())
	c.Metrics, c.CheckIn, c.Vetting = "127.0.0.1:0", time.Minute, -1
	s := start(t, c)
	keys := newKeys(t, testScheme.Total)
	nodes := s.formGroups(keys)
	s.fill(1, 20)
	claim := s.claimFor(keys[0], 1, 20)
	claim.Missing = seqset.Set{{First: 3, Last: 7}}
	_, err := nodes[0].Claim(t.Context(), &pb.ClaimRequest{Claims: []*pb.Signed{signClaim(t, keys[0], claim)}})
	must(t, err)
	claim.Missing, claim.Issued = seqset.Set{{First: 3, Last: 9}}, claim.Issued.Add(time.Second)
	_, err = nodes[0].Claim(t.Context(), &pb.ClaimRequest{Claims: []*pb.Signed{signClaim(t, keys[0], claim)}})
	must(t, err)
	_, err = nodes[1].Journal(t.Context(), &pb.JournalRequest{Group: 4711})
	wantError(t, "unknown group", err, satclient.ErrGroupNotFound)
	_, err = nodes[2].Peers(t.Context(), &pb.PeersRequest{Group: 1})
	must(t, err)
	_, err = s.admin.CreateProject(t.Context(), &pb.CreateProjectRequest{Name: "demo", Salt: make([]byte, 16), KeyCheck: make([]byte, 16)})
	must(t, err)
	at, err := transport.ParseAddress(s.Address())
	must(t, err)
	stranger, err := satclient.New(nodes[0].host, at, satclient.Options{APIKey: []byte("none")})
	must(t, err)
	defer stranger.Close()
	_, err = stranger.ListBuckets(t.Context(), &pb.ListBucketsRequest{})
	wantError(t, "no API key", err, satclient.ErrDenied)
	must(t, nodes[9].host.Close())
	s.await("a node to be offline", func() bool { return s.status().NodesOnline == 9 })

	must(t, s.registry.decide(t.Context(), keys[8].ID(), func(now audit.Standing) (audit.Standing, error) {
		now.State = audit.Disqualified
		return now, nil
	}))
	status := s.status()
	if status.Projects == 0 || status.NodesOnline != 8 {
		t.Errorf("status %v", status)
	}

	m := s.scrape()
	observetest.Lint(t, m, "cairn_satellite_")
	of := func(method, code string) []string { return []string{"method", method, "code", code} }
	wantSums(t, m, []sum{
		{"cairn_satellite_info", 1, []string{"id", s.ID().String(), "version", "test"}},
		{"cairn_satellite_refusing_writes", 0, nil},
		{"cairn_satellite_nodes", 8, []string{"state", "online", "presence", "online"}},
		{"cairn_satellite_nodes", 1, []string{"state", "online", "presence", "offline"}},
		{"cairn_satellite_nodes", 1, []string{"state", "disqualified", "presence", "online"}},
		{"cairn_satellite_nodes", 10, nil},
		{"cairn_satellite_nodes_writable", 8, nil},
		{"cairn_satellite_nodes_capacity_bytes", 8 << 40, nil},
		{"cairn_satellite_nodes_used_bytes", 8 * 5, nil},
		{"cairn_satellite_nodes_free_bytes", 8 * roomy, nil},
		{"cairn_satellite_groups", 4, []string{"health", "reduced"}},
		{"cairn_satellite_groups", 4, nil},
		{"cairn_satellite_groups_writable", 4, nil},
		{"cairn_satellite_segments_at_risk", 0, []string{"risk", "endangered"}},
		{"cairn_satellite_segments_at_risk", 0, []string{"risk", "unreadable"}},
		{"cairn_satellite_segments_at_risk", 0, []string{"risk", "lost"}},
		{"cairn_satellite_healing_left_bytes", 0, nil},
		{"cairn_satellite_healing_rate_bytes", 0, nil},
		{"cairn_satellite_slots_waiting", 0, nil},
		{"cairn_satellite_claims", 1, nil},
		{"cairn_satellite_claims_missing_entries", 7, nil},
		{"cairn_satellite_claims_lost_entries", 2, nil},
		{"cairn_satellite_projects", float64(status.Projects), nil},
		{"cairn_satellite_objects", float64(status.Objects), nil},
		{"cairn_satellite_object_bytes", float64(status.Bytes), nil},
		{"cairn_satellite_segments", float64(status.Segments), nil},
		{"cairn_satellite_journal_entries_total", 20, nil},
		{"cairn_satellite_order_limits_total", 1, []string{"action", "get"}},
		{"cairn_satellite_order_limits_total", 0, []string{"action", "put"}},
		{"cairn_satellite_requests_total", 10, of("CheckIn", "OK")},
		{"cairn_satellite_requests_total", 2, of("Claim", "OK")},
		{"cairn_satellite_requests_total", 1, of("Journal", "NotFound")},
		{"cairn_satellite_requests_total", 0, of("Journal", "OK")},
		{"cairn_satellite_requests_total", 1, of("CreateProject", "OK")},
		{"cairn_satellite_requests_total", 1, of("ListBuckets", "PermissionDenied")},
		{"cairn_satellite_request_duration_seconds", 10, []string{"service", "Nodes", "method", "CheckIn"}},
		{"cairn_satellite_request_duration_seconds", 0, []string{"service", "Metadata", "method", "ListBuckets"}},
		{"cairn_satellite_network_bytes_total", 0, []string{"protocol", wire.Protocol}},
	})
	for _, name := range []string{"kv_updates_total", "kv_batches_total", "kv_written_bytes_total", "kv_sync_seconds_total", "kv_free_bytes", "connections", "streams"} {
		if m.Sum("cairn_satellite_"+name) <= 0 {
			t.Errorf("%s is %v", name, m.Sum("cairn_satellite_"+name))
		}
	}
	if updates, batches := m.Sum("cairn_satellite_kv_updates_total"), m.Sum("cairn_satellite_kv_batches_total"); updates < batches {
		t.Errorf("%v updates in %v batches", updates, batches)
	}

	s.trouble.Store(&meta.Trouble{Text: "rolled back"})
	wantSums(t, s.scrape(), []sum{{"cairn_satellite_refusing_writes", 1, nil}, {"cairn_satellite_groups_writable", 0, nil}})
}

func TestHealth(t *testing.T) {
	for online, want := range []string{0: healthUnreadable, 3: healthUnreadable, 4: healthEndangered, 5: healthEndangered,
		6: healthReduced, 9: healthReduced, 10: healthWhole} {
		if want == "" {
			continue
		}
		if got := healthAt(testScheme, online); got != want {
			t.Errorf("%d online: %s, want %s", online, got, want)
		}
	}
}

// Callers choose what they ask for, so what is not known is not counted.
func TestRequestsAreBounded(t *testing.T) {
	r := newRequests()
	before := len(r.methods)
	count := func(name string, err error) {
		_, got := r.count(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: name}, func(context.Context, any) (any, error) { return nil, err })
		if got != err {
			t.Errorf("%s: %v, want %v", name, got, err)
		}
	}
	const known = pb.Metadata_CommitObject_FullMethodName
	for range 3 {
		count("/made.up/Method", nil)
		count(known, nil)
	}
	count(known, status.Error(codes.Unauthenticated, ""))
	count(known, status.Error(codes.Unauthenticated+1, "no code that there is"))
	count(known, errors.New("no status"))
	if len(r.methods) != before {
		t.Errorf("%d methods, were %d", len(r.methods), before)
	}
	m := r.byName[known]
	for code, want := range map[codes.Code]uint64{codes.OK: 3, codes.Unauthenticated: 1, codes.Unknown: 2, codes.Internal: 0} {
		if got := m.answers[code].Load(); got != want {
			t.Errorf("%v: %d, want %d", code, got, want)
		}
	}
	if h := m.took.Histogram(); h.Count() != 6 {
		t.Errorf("%d were timed, want 6", h.Count())
	}
}

// A satellite on another engine shows what that counts, if it does.
func TestStoreWithoutStats(t *testing.T) {
	s := &Satellite{kv: memkv.New()}
	if st, err := s.storeStats(); err != nil || st != (kv.Stats{}) {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestLeaseCounts(t *testing.T) {
	b := newBench(t)
	g, err := b.nodes.get(1)
	must(t, err)
	u := use{project: b.project.Number, uplink: newKey(t).ID(), group: g.ID, epoch: g.Epoch, action: order.ActionPut}
	for range 3 { // signed once
		_, err := b.service.leases.limit(u)
		must(t, err)
	}
	u.action = order.ActionGet
	_, err = b.service.leases.limit(u)
	must(t, err)
	if c := &b.service.leases.counts; c.put.Load() != 1 || c.get.Load() != 1 {
		t.Errorf("%d to put, %d to get", c.put.Load(), c.get.Load())
	}
}
