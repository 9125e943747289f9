package satellite

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/cairnstorage/cairn/proto/observe"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/meta"
)

// MetricsAddress is the host:port at which metrics are served, or "".
func (s *Satellite) MetricsAddress() string { return s.watched.Address() }

// watch begins to listen for those who watch, if it should.
func (s *Satellite) watch() (err error) {
	s.watched, err = observe.Listen(observe.Config{Address: s.config.Metrics, Profiles: s.config.Profiles, Logger: s.log})
	return err
}

// metrics is all that can be watched of a satellite, read until ctx ends.
// docs/metrics.md lists it. A subsystem that has something to show gives it by a
// plain struct, and gets a line here.
func (s *Satellite) metrics(ctx context.Context) []*observe.Collector {
	return []*observe.Collector{
		s.ownMetrics(),
		nodeMetrics(s.registry),
		groupMetrics(s.groupStats),
		claimMetrics(s.claims),
		auditMetrics(s.auditor),
		metadataMetrics(func() (meta.Stats, error) { return s.meta.Stats(ctx) }),
		storeMetrics(s.storeStats),
		leaseMetrics(s.leases),
		reportMetrics(s.reports),
		s.requests.metrics(),
		observe.Network("cairn_satellite", s.traffic),
	}
}

func (s *Satellite) ownMetrics() *observe.Collector {
	return observe.Of(observe.Always(func() *Satellite { return s }),
		observe.Gauges("cairn_satellite_info", "Always 1; which satellite this is.", []string{"id", "version"},
			func(s *Satellite, emit func(int, ...string)) { emit(1, s.key.ID().String(), s.config.Version) }),
		observe.Gauge("cairn_satellite_refusing_writes", "1 while writes are refused until the operator decides (`satellite status` says why), else 0.",
			func(s *Satellite) int { return boolNumber(s.trouble.Load() != nil) }),
	)
}

func boolNumber(b bool) int {
	if b {
		return 1
	}
	return 0
}

// traffic is what the transport has moved. Payload is the one thing that a
// satellite never moves, so that is shown, too.
func (s *Satellite) traffic() transport.Stats {
	st := s.host.Stats()
	if !slices.ContainsFunc(st.Traffic, func(t transport.Traffic) bool { return t.Protocol == wire.Protocol }) {
		st.Traffic = append(st.Traffic, transport.Traffic{Protocol: wire.Protocol})
	}
	return st
}

// nodeStats sums up the nodes. Space is that of nodes online; it is as they say,
// which may be any numbers.
type nodeStats struct {
	known                [audit.Gone + 1]struct{ online, offline int }
	takesData            int
	capacity, used, free float64 // bytes
	behind               float64 // journal entries
}

func (r *registry) stats() (st nodeStats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	for _, n := range r.nodes {
		known := &st.known[min(max(n.standing.State, audit.Vetting), audit.Gone)]
		if !r.isThere(n, now) {
			known.offline++
			continue
		}
		known.online++
		if !r.isOnline(n, now) {
			continue
		}
		if r.takes(n, now) {
			st.takesData++
		}
		st.capacity += float64(n.Capacity)
		st.used += float64(n.Used)
		st.free += float64(n.Free)
		st.behind += float64(n.behind)
	}
	return st
}

func nodeMetrics(r *registry) *observe.Collector {
	return observe.Of(observe.Always(r.stats),
		observe.Gauges("cairn_satellite_nodes", "Storage nodes, by what is thought of them, and whether they check in (`online` or `offline`).", []string{"state", "presence"},
			func(st nodeStats, emit func(int, ...string)) {
				for state := audit.Vetting; state <= audit.Gone; state++ {
					emit(st.known[state].online, state.String(), "online")
					emit(st.known[state].offline, state.String(), "offline")
				}
			}),
		observe.Gauge("cairn_satellite_nodes_writable", "Storage nodes that are given new data.", func(st nodeStats) int { return st.takesData }),
		observe.Gauge("cairn_satellite_nodes_capacity_bytes", "Capacity of the nodes online.", func(st nodeStats) float64 { return st.capacity }),
		observe.Gauge("cairn_satellite_nodes_used_bytes", "Space used at the nodes online.", func(st nodeStats) float64 { return st.used }),
		observe.Gauge("cairn_satellite_nodes_free_bytes", "Space free at the nodes online.", func(st nodeStats) float64 { return st.free }),
		observe.Gauge("cairn_satellite_nodes_behind_entries", "Journal entries that the nodes online had not followed when they checked in last.",
			func(st nodeStats) float64 { return st.behind }),
	)
}

// groupStats counts the placement groups.
type groupStats struct {
	byHealth                     map[string]int
	writable                     int
	endangered, unreadable, lost uint64 // segments, about
	healing                      healing
	waiting                      int  // slots that need another holder and get none
	looked                       bool // otherwise health is by who is online
}

func (s *Satellite) groupStats() (st groupStats) {
	st.byHealth = make(map[string]int)
	for _, g := range s.groups.all() {
		c := s.repairer.condition(g.ID)
		st.byHealth[s.healthOf(g, c)]++
		if c != nil {
			endangered, unreadable, lost := c.endangered()
			st.endangered += endangered
			st.unreadable += unreadable
			st.lost += lost
		}
	}
	if _, st.writable = s.groups.counts(); s.refusing() != nil {
		st.writable = 0
	}
	st.healing, st.waiting, st.looked = s.repairer.progressing()
	return st
}

func groupMetrics(read func() groupStats) *observe.Collector {
	return observe.Of(observe.Always(read),
		observe.Gauges("cairn_satellite_groups",
			"Placement groups, by how many of their holders that are online hold what the fewest hold: all (`whole`), at least repair-below (`reduced`), fewer (`endangered`), or fewer than required (`unreadable`).",
			[]string{"health"}, func(st groupStats, emit func(int, ...string)) {
				for _, health := range []string{healthWhole, healthReduced, healthEndangered, healthUnreadable} {
					emit(st.byHealth[health], health)
				}
			}),
		observe.Gauge("cairn_satellite_groups_writable", "Placement groups that can be put to.", func(st groupStats) int { return st.writable }),
		observe.Gauges("cairn_satellite_segments_at_risk",
			"Segments, about, that fewer holders online have than repair-below (`endangered`), of those that fewer have than required (`unreadable`), and of those that nobody could read even if all holders came back (`lost`).",
			[]string{"risk"}, func(st groupStats, emit func(uint64, ...string)) {
				emit(st.endangered, "endangered")
				emit(st.unreadable, "unreadable")
				emit(st.lost, "lost")
			}),
		observe.Gauge("cairn_satellite_healing_left_bytes", "Shards that nodes have to make again.", func(st groupStats) float64 { return st.healing.left }),
		observe.Gauge("cairn_satellite_healing_rate_bytes", "How much of that they make in a second, over the last minutes.", func(st groupStats) float64 { return st.healing.rate }),
		observe.Gauge("cairn_satellite_slots_waiting", "Slots that need another holder and get none.", func(st groupStats) int { return st.waiting }),
	)
}

// claimStats sums up the newest claims.
type claimStats struct {
	claims        int
	missing, lost uint64 // entries
}

func (c *claims) stats() (st claimStats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st.claims = len(c.newest)
	for _, n := range c.newest {
		st.missing += n.Missing.Len()
		st.lost += n.lost.Len()
	}
	return st
}

func claimMetrics(c *claims) *observe.Collector {
	return observe.Of(observe.Always(c.stats),
		observe.Gauge("cairn_satellite_claims", "Slots whose holders or successors have claimed what they hold.", func(st claimStats) int { return st.claims }),
		observe.Gauge("cairn_satellite_claims_missing_entries", "Journal numbers that claims leave out: shards to be healed, and some that count no more.",
			func(st claimStats) uint64 { return st.missing }),
		observe.Gauge("cairn_satellite_claims_lost_entries", "Journal numbers that an earlier claim covered and the newest leaves out: what nodes say themselves that they lost.",
			func(st claimStats) uint64 { return st.lost }),
	)
}

func auditMetrics(a *auditor) *observe.Collector {
	return observe.Of(observe.Always(func() *auditor { return a }),
		observe.Counters("cairn_satellite_audit_challenges_total", "Challenges to nodes, by verdict: `late`, `unreachable` and `unavailable` stay owed and are put again.", []string{"verdict"},
			func(a *auditor, emit func(uint64, ...string)) {
				for v := audit.Proved; v <= audit.Unavailable; v++ {
					emit(a.verdicts[v].Load(), v.String())
				}
			}),
		observe.Counter("cairn_satellite_audit_challenges_void_total", "Challenges on shards that a node lacked and is not blamed for: they were deleted, moved, or told lost while it was asked.",
			func(a *auditor) uint64 { return a.forgiven.Load() }),
	)
}

func reportMetrics(r *reports) *observe.Collector {
	return observe.Of(observe.Always(r.bad),
		observe.Gauge("cairn_satellite_bad_segments", "Segments that their uplinks encoded wrong, as far as nodes have found out; no node is to blame.", func(n uint64) uint64 { return n }))
}

func metadataMetrics(read func() (meta.Stats, error)) *observe.Collector {
	return observe.Of(read,
		observe.Gauge("cairn_satellite_projects", "Projects.", func(st meta.Stats) uint64 { return st.Projects }),
		observe.Gauge("cairn_satellite_objects", "Objects.", func(st meta.Stats) uint64 { return st.Objects }),
		observe.Gauge("cairn_satellite_object_bytes", "Plaintext of all objects.", func(st meta.Stats) uint64 { return st.Bytes }),
		observe.Gauge("cairn_satellite_segments", "Live segments.", func(st meta.Stats) uint64 { return st.Segments }),
		observe.Gauge("cairn_satellite_segment_bytes", "Ciphertext of live segments, before it is expanded to shards.", func(st meta.Stats) uint64 { return st.Stored }),
		observe.Gauge("cairn_satellite_uploads", "Uploads in progress.", func(st meta.Stats) uint64 { return st.Uploads }),
		observe.Counter("cairn_satellite_journal_entries_total", "Entries of all journals: one for every segment committed and one for every segment deleted.",
			func(st meta.Stats) uint64 { return st.Entries }),
	)
}

// storeStats is what the engine below the metadata counts, if it does.
func (s *Satellite) storeStats() (kv.Stats, error) {
	counted, ok := s.kv.(kv.Counted)
	if !ok {
		return kv.Stats{}, nil
	}
	return counted.Stats()
}

func storeMetrics(read func() (kv.Stats, error)) *observe.Collector {
	return observe.Of(read,
		observe.Counter("cairn_satellite_kv_updates_total", "Updates of the metadata store made durable.", func(st kv.Stats) uint64 { return st.Updates }),
		observe.Counter("cairn_satellite_kv_batches_total", "Batches of updates made durable, with one sync each.", func(st kv.Stats) uint64 { return st.Batches }),
		observe.Counter("cairn_satellite_kv_written_bytes_total", "Keys and values in these batches.", func(st kv.Stats) uint64 { return st.Bytes }),
		observe.Counter("cairn_satellite_kv_sync_seconds_total", "Time spent writing and syncing batches.", func(st kv.Stats) float64 { return st.Syncing.Seconds() }),
		observe.Gauge("cairn_satellite_kv_free_bytes", "What may be written before the disk has only its reserve left and writes are refused.",
			func(st kv.Stats) int64 { return st.Free }),
	)
}

// leaseCounts counts the order limits that were signed.
type leaseCounts struct{ put, get atomic.Uint64 }

func (c *leaseCounts) signed(action order.Action) {
	if action == order.ActionPut {
		c.put.Add(1)
		return
	}
	c.get.Add(1)
}

func leaseMetrics(l *leaser) *observe.Collector {
	return observe.Of(observe.Always(func() *leaser { return l }),
		observe.Counters("cairn_satellite_order_limits_total", "Order limits signed for uplinks and for nodes that heal.", []string{"action"},
			func(l *leaser, emit func(uint64, ...string)) {
				emit(l.counts.put.Load(), "put")
				emit(l.counts.get.Load(), "get")
			}),
	)
}
