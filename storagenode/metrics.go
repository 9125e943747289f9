package storagenode

import (
	"strconv"
	"strings"

	"github.com/cairnstorage/cairn/proto/observe"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/storagenode/heal"
	"github.com/cairnstorage/cairn/storagenode/scrub"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// maxGroupSeries bounds the groups that are shown one by one. A satellite gives
// a node few; the rest of what another one says is added up.
const maxGroupSeries = 256

// MetricsAddress is the host:port at which metrics are served, or "".
func (n *Node) MetricsAddress() string { return n.watched.Address() }

// watch begins to listen for those who watch, if it should.
func (n *Node) watch() (err error) {
	n.watched, err = observe.Listen(observe.Config{Address: n.config.Metrics, Profiles: n.config.Profiles, Logger: n.log})
	return err
}

// metrics is all that can be watched of a node. docs/metrics.md lists it. A
// subsystem that has something to show gives it by a plain struct, and gets a
// line here.
func (n *Node) metrics() []*observe.Collector {
	return []*observe.Collector{
		n.ownMetrics(),
		storeMetrics(n.store),
		journalMetrics(n.followed),
		standingMetrics(&n.view),
		serverMetrics(n.server),
		healMetrics(n.healer.Progress),
		scrubMetrics(n.scrubber.Progress),
		ledgerMetrics(n.ledger),
		observe.Network("cairn_node", n.host.Stats),
	}
}

func (n *Node) ownMetrics() *observe.Collector {
	return observe.Of(observe.Always(func() *Node { return n }),
		observe.Gauges("cairn_node_info", "Always 1; which node this is.", []string{"id", "version"},
			func(n *Node, emit func(int, ...string)) { emit(1, n.ID().String(), n.config.Version) }),
		observe.Gauge("cairn_node_troubles", "Things that are wrong, which `storagenode info` names; those of data directories are not among them.",
			func(n *Node) int { return len(n.troubles()) }),
	)
}

func storeMetrics(s *shardstore.Store) *observe.Collector {
	type state struct {
		shardstore.Usage
		shardstore.Stats
	}
	each := func(value func(d shardstore.DirUsage) int64) func(state, func(int64, ...string)) {
		return func(st state, emit func(int64, ...string)) {
			for _, d := range st.Dirs {
				emit(value(d), d.Path)
			}
		}
	}
	dir := []string{"dir"}
	return observe.Of(func() (state, error) { return state{s.Usage(), s.Stats()}, nil },
		observe.Gauge("cairn_node_shards", "Shards held.", func(st state) int { return st.Usage.Shards }),
		observe.Gauge("cairn_node_shards_staged", "Shards held that no journal has confirmed yet.", func(st state) int { return st.Staged }),
		observe.Gauge("cairn_node_shards_missing", "Shards that journals say should be held, and are not: to be healed.", func(st state) int { return st.Missing }),
		observe.Gauge("cairn_node_capacity_bytes", "What shards may take up in all.", func(st state) int64 { return st.Capacity }),
		observe.Gauge("cairn_node_used_bytes", "What shards take up.", func(st state) int64 { return st.Used }),
		observe.Gauge("cairn_node_free_bytes", "What may still be put.", func(st state) int64 { return st.Free }),
		observe.Gauges("cairn_node_data_used_bytes", "What shards take up, by data directory.", dir, each(func(d shardstore.DirUsage) int64 { return d.Used })),
		observe.Gauges("cairn_node_data_free_bytes", "What may still be put, by data directory, if the capacity allows it.", dir, each(func(d shardstore.DirUsage) int64 { return d.Free })),
		observe.Gauges("cairn_node_data_shards", "Shards held, by data directory.", dir, each(func(d shardstore.DirUsage) int64 { return int64(d.Shards) })),
		observe.Gauges("cairn_node_data_usable", "1, or 0 for a data directory that has failed or cannot be opened.", dir, each(func(d shardstore.DirUsage) int64 {
			if d.Trouble != "" {
				return 0
			}
			return 1
		})),
		observe.Counter("cairn_node_syncs_total", "Syncs of volumes, each of which serves all shards that wait.", func(st state) uint64 { return st.Syncs }),
		observe.Counter("cairn_node_synced_shards_total", "Shards made durable by syncs of volumes.", func(st state) uint64 { return st.Stats.Shards }),
	)
}

// followed is a group's journal and how far it was followed.
type followed struct {
	label        string
	groups       int // 1, or how many are added up
	cursor, head uint64
}

// followed are the journals of the node's groups.
func (n *Node) followed() ([]followed, error) {
	var list []followed
	for _, p := range n.parts() {
		cursor, err := n.store.Cursor(p.group.ID)
		if err != nil {
			return nil, err
		}
		f := followed{groups: 1, label: strconv.FormatUint(uint64(p.group.ID), 10), cursor: cursor, head: max(cursor, p.end)}
		if p.head != nil {
			f.head = max(f.head, p.head.Seq)
		}
		list = append(list, f)
	}
	return bounded(list), nil
}

// bounded adds up what is too much to be shown one by one.
func bounded(list []followed) []followed {
	if len(list) <= maxGroupSeries {
		return list
	}
	others := followed{label: "others"}
	for _, f := range list[maxGroupSeries-1:] {
		others.groups += f.groups
		others.cursor += f.cursor
		others.head += f.head
	}
	return append(list[:maxGroupSeries-1], others)
}

func journalMetrics(read func() ([]followed, error)) *observe.Collector {
	each := func(value func(followed) uint64) func([]followed, func(uint64, ...string)) {
		return func(all []followed, emit func(uint64, ...string)) {
			for _, f := range all {
				emit(value(f), f.label)
			}
		}
	}
	group := []string{"group"}
	return observe.Of(read,
		observe.Gauge("cairn_node_groups", "Placement groups that the node has a part in.", func(all []followed) (n int) {
			for _, f := range all {
				n += f.groups
			}
			return n
		}),
		observe.Gauges("cairn_node_journal_cursor", "Number of the journal entry followed last.", group, each(func(f followed) uint64 { return f.cursor })),
		observe.Gauges("cairn_node_journal_head", "Number of the newest journal entry that is known.", group, each(func(f followed) uint64 { return f.head })),
		observe.Gauges("cairn_node_journal_behind_entries", "Journal entries not followed yet.", group, each(func(f followed) uint64 { return f.head - f.cursor })),
	)
}

// standing is how the satellite sees the node.
type standing struct {
	checkIn int64        // Unix seconds of the last that succeeded; 0: none has
	seen    *pb.Standing // nil: it did not say
}

func (v *view) standingNow() standing {
	at, seen := v.last()
	return standing{checkIn: unixOrZero(at), seen: seen}
}

func standingMetrics(v *view) *observe.Collector {
	// Nothing is shown of what the satellite did not say.
	said := func(value func(*pb.Standing) float64) func(standing, func(float64, ...string)) {
		return func(s standing, emit func(float64, ...string)) {
			if s.seen != nil {
				emit(value(s.seen))
			}
		}
	}
	return observe.Of(observe.Always(v.standingNow),
		observe.Gauge("cairn_node_last_check_in_timestamp_seconds", "When the node checked in last; 0: not since it was started.", func(s standing) int64 { return s.checkIn }),
		observe.Gauges("cairn_node_standing", "1 for the state that the satellite has the node in (`vetting`, `online`, `suspended`, `disqualified`, `exiting` or `gone`), 0 for the others.",
			[]string{"state"}, func(s standing, emit func(int, ...string)) {
				for state := pb.NodeState_NODE_STATE_VETTING; s.seen != nil && state <= pb.NodeState_NODE_STATE_GONE; state++ {
					emit(boolNumber(s.seen.State == state), strings.ToLower(strings.TrimPrefix(state.String(), "NODE_STATE_")))
				}
			}),
		observe.Counters("cairn_node_challenges_total", "Challenges that the satellite has judged, `proved` or `failed`, since it met the node.", []string{"verdict"},
			func(s standing, emit func(uint64, ...string)) {
				if s.seen != nil {
					emit(s.seen.Proved, "proved")
					emit(s.seen.Failed, "failed")
				}
			}),
		observe.Gauges("cairn_node_suspicion_ratio", "How far audits have gone towards disqualifying the node: at 1 it is.", nil, said((*pb.Standing).GetSuspicion)),
		observe.Gauges("cairn_node_presence_ratio", "How much of the time the node was there of late, as the satellite sees it.", nil, said((*pb.Standing).GetPresence)),
		observe.Gauges("cairn_node_slots", "Slots of placement groups that the node holds.", nil, said(func(s *pb.Standing) float64 { return float64(s.Slots) })),
		observe.Gauges("cairn_node_slots_leaving", "Slots that a node which is exiting has still to hand over.", nil, said(func(s *pb.Standing) float64 { return float64(s.Leaving) })),
		observe.Gauges("cairn_node_data_withheld", "1 while the satellite gives the node no new data because of what it lost, until that is healed; else 0.", nil,
			said(func(s *pb.Standing) float64 { return float64(boolNumber(s.Full)) })),
	)
}

func boolNumber(b bool) int {
	if b {
		return 1
	}
	return 0
}

func serverMetrics(v *Server) *observe.Collector {
	return observe.Of(observe.Always(func() *Server { return v }),
		observe.Counter("cairn_node_put_bytes_total", "Bytes of shards taken in, those that came to nothing included.", func(v *Server) uint64 { return v.counts.put.Load() }),
		observe.Counter("cairn_node_get_bytes_total", "Bytes of shards given out, leaves that were asked to be proved included.", func(v *Server) uint64 { return v.counts.got.Load() }),
		observe.Counters("cairn_node_requests_total", "Requests on shard streams, by what they are and how they ended: `ok`, `cancelled`, `broken` (the peer went away or stalled) or the code of a failure. Of `open` only failures are counted.",
			[]string{"request", "outcome"}, func(v *Server, emit func(uint64, ...string)) {
				for kind := range v.counts.requests {
					for how := range v.counts.requests[kind] {
						n := v.counts.requests[kind][how].Load()
						if n > 0 || outcome(how) == outcomeOK && request(kind) != requestOpen {
							emit(n, requestNames[kind], outcome(how).String())
						}
					}
				}
			}),
		observe.Counter("cairn_node_audits_total", "Audits answered to their end.", func(v *Server) uint64 { return v.counts.audits.Load() }),
		observe.Counters("cairn_node_audit_answers_total", "Answers to single challenges, by what they say.", []string{"status"}, func(v *Server, emit func(uint64, ...string)) {
			for s := order.Proved; s <= order.Unavailable; s++ {
				emit(v.counts.challenges[s].Load(), s.String())
			}
		}),
		observe.Gauge("cairn_node_buffers", "Buffers that shard streams use now.", func(v *Server) int { return len(v.buffers.tokens) }),
		observe.Gauge("cairn_node_buffers_limit", "Buffers that shard streams may use.", func(v *Server) int { return cap(v.buffers.tokens) }),
	)
}

func healMetrics(read func() heal.Progress) *observe.Collector {
	return observe.Of(observe.Always(read),
		observe.Gauge("cairn_node_healing_shards", "Shards being made again now.", func(p heal.Progress) int64 { return p.Active }),
		observe.Counter("cairn_node_healed_shards_total", "Shards made again.", func(p heal.Progress) int64 { return p.Shards }),
		observe.Counter("cairn_node_healed_bytes_total", "Bytes of shards made again.", func(p heal.Progress) int64 { return p.Written }),
		observe.Counter("cairn_node_heal_read_bytes_total", "Bytes read from other nodes to make shards again.", func(p heal.Progress) int64 { return p.Read }),
		observe.Counter("cairn_node_heal_failures_total", "Attempts to make a shard again that failed.", func(p heal.Progress) int64 { return p.Failed }),
		observe.Counter("cairn_node_bad_segments_total", "Segments found to be encoded wrong by their uplinks.", func(p heal.Progress) int64 { return p.Bad }),
	)
}

func scrubMetrics(read func() scrub.Progress) *observe.Collector {
	return observe.Of(observe.Always(read),
		observe.Counter("cairn_node_scrubbed_shards_total", "Shards read to find damage.", func(p scrub.Progress) int64 { return p.Shards }),
		observe.Counter("cairn_node_scrubbed_bytes_total", "Bytes of shards read to find damage.", func(p scrub.Progress) int64 { return p.Bytes }),
		observe.Counter("cairn_node_scrub_damaged_shards_total", "Shards found damaged.", func(p scrub.Progress) int64 { return p.Damaged }),
		observe.Counter("cairn_node_scrub_read_failures_total", "Times that a disk failed to read a shard.", func(p scrub.Progress) int64 { return p.Unreadable }),
		observe.Gauge("cairn_node_scrub_finished_timestamp_seconds", "When all shards were last gone through; 0: never.", func(p scrub.Progress) int64 { return unixOrZero(p.Finished) }),
	)
}

func ledgerMetrics(l *Ledger) *observe.Collector {
	return observe.Of(observe.Always(l.size),
		observe.Gauge("cairn_node_order_limits", "Order limits whose use is remembered, until some time after they expire.", func(n int) int { return n }))
}

func (l *Ledger) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}
