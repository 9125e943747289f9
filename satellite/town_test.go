package satellite

import (
	"bytes"
	"crypto/rand"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/memkv"
	"github.com/cairnstorage/cairn/satellite/meta"
)

// town is a satellite without a network, on a store in memory and by a clock,
// with storage nodes that only check in and claim.
type town struct {
	*Satellite
	t    *testing.T
	kv   kv.Store
	time time.Time
	logs bytes.Buffer
	keys []ident.Key
	away map[int]bool // nodes that do not check in
	free map[int]uint64
	// have holds what of a journal nodes have by group and node, if that is not
	// all of it.
	have map[townSlot]seqset.Set
}

type townSlot struct {
	group uint32
	node  int
}

func newTown(t *testing.T, nodes int) *town {
	t.Helper()
	w := &town{
		t: t, kv: memkv.New(), time: time.Unix(1_800_000_000, 0), keys: newKeys(t, nodes),
		away: map[int]bool{}, free: map[int]uint64{}, have: map[townSlot]seqset.Set{},
	}
	w.restart(newKey(t))
	w.pass(maxSettling)
	must(t, w.groups.plan(t.Context()))
	return w
}

// restart forgets what is in memory only.
func (w *town) restart(key ident.Key) {
	w.t.Helper()
	c, err := Config{
		Dir: "none", Scheme: testScheme, OfflineGrace: time.Hour, Vetting: -1,
		Now: func() time.Time { return w.time }, Rand: rand.Reader, Logger: slog.New(slog.NewTextHandler(&w.logs, nil)),
	}.withDefaults()
	must(w.t, err)
	w.Satellite = &Satellite{config: c, key: key, kv: w.kv, now: c.Now, rand: c.Rand, log: c.Logger, started: w.time}
	w.meta, err = meta.Open(w.t.Context(), w.kv, meta.Config{Satellite: key.ID(), Now: c.Now})
	must(w.t, err)
	must(w.t, w.recall(w.t.Context()))
	w.settling.end()
}

// stop stores what an orderly end does.
func (w *town) stop() {
	w.t.Helper()
	for _, err := range []error{
		w.registry.store(w.t.Context(), true), w.registry.storeStandings(w.t.Context(), true), w.storeClaims(w.t.Context()),
	} {
		must(w.t, err)
	}
}

// pass lets time go by, in which nodes check in and claim.
func (w *town) pass(d time.Duration) {
	w.t.Helper()
	for end := w.time.Add(d); ; {
		w.round()
		if !w.time.Before(end) {
			break
		}
		w.time = w.time.Add(min(w.config.CheckIn, end.Sub(w.time)))
	}
	must(w.t, w.keepStandings(w.t.Context()))
}

func (w *town) round() {
	w.t.Helper()
	for i, key := range w.keys {
		if w.away[i] {
			continue
		}
		free := uint64(roomy)
		if f, set := w.free[i]; set {
			free = f
		}
		must(w.t, w.registry.checkIn(w.t.Context(), key.ID(), checkInOf(free), true))
	}
}

// claim has all nodes that are there claim what they have.
func (w *town) claim() {
	w.t.Helper()
	w.time = w.time.Add(time.Second)
	w.round()
	for i, key := range w.keys {
		if w.away[i] || !w.registry.online(key.ID()) {
			continue
		}
		for _, g := range w.groups.of(key.ID()) {
			slot, _, _ := g.slotOf(key.ID())
			j := w.journal(g.ID)
			c := order.Claim{
				Node: key.ID(), Satellite: w.key.ID(), Group: g.ID, Epoch: g.Epoch, Slot: slot, Seq: j.Head, Issued: w.time.Truncate(time.Second),
			}
			if has, some := w.have[townSlot{g.ID, i}]; some && j.Head > 0 {
				c.Missing = seqset.Set{{First: 1, Last: j.Head}}.Subtract(has)
			}
			must(w.t, w.takeClaim(w.t.Context(), key.ID(), signClaim(w.t, key, c)))
		}
	}
}

func (w *town) journal(group uint32) meta.Journal {
	w.t.Helper()
	all, err := w.meta.Journals(w.t.Context(), []uint32{group})
	must(w.t, err)
	return all[group]
}

// fill commits segments to all groups until their journals have this length.
func (w *town) fill(length uint64) {
	w.t.Helper()
	for _, g := range w.groups.all() {
		fillJournal(w.t, w.meta, g, length)
	}
}

func (w *town) repair() {
	w.t.Helper()
	must(w.t, w.repairer.repairOnce(w.t.Context()))
}

func (w *town) group(id uint32) *group {
	w.t.Helper()
	g, err := w.groups.get(id)
	must(w.t, err)
	return g
}

// index is the number of a node.
func (w *town) index(id ident.ID) int {
	for i, key := range w.keys {
		if key.ID() == id {
			return i
		}
	}
	w.t.Fatalf("no node %s", id)
	return 0
}

// holders returns the nodes of a group by slot, by their numbers.
func (w *town) holders(id uint32) (list []int) {
	for _, node := range w.group(id).Nodes {
		list = append(list, w.index(node))
	}
	return list
}

func (w *town) logged(words ...string) bool {
	for _, line := range strings.Split(w.logs.String(), "\n") {
		all := true
		for _, word := range words {
			all = all && strings.Contains(line, word)
		}
		if all {
			return true
		}
	}
	return false
}

// urgent is what a node is told to heal at once.
func (w *town) urgent(group uint32, node int) (list []repairStretch) {
	w.t.Helper()
	for _, u := range w.newsOf(w.keys[node].ID(), w.group(group)).Urgent {
		numbers, err := seqset.Decode(u.Numbers, maxUrgentRuns)
		must(w.t, err)
		list = append(list, repairStretch{int(u.Coverage), numbers})
	}
	return list
}

type repairStretch struct {
	coverage int
	numbers  seqset.Set
}
