package heal

import (
	"maps"
	"slices"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// A Need is what is wanted of one group of the node's.
type Need struct {
	Group  uint32
	Slot   int      // of the node, also if it is yet to take it over
	Urgent []Urgent // as the satellite sees it
	// Successor says that the node is to take the slot over from a holder that
	// is leaving, and all of it is urgent.
	Successor bool
}

// Urgent is journal entries whose shards as many slots hold.
type Urgent struct {
	Coverage int
	Numbers  seqset.Set
}

// A job is shards of one group to be made again.
type job struct {
	need    Need
	urgent  bool
	patient bool // everybody else comes first
	shards  []shardstore.Missing
}

// A candidate is shards of one group that could be made, as journal numbers.
type candidate struct {
	need     Need
	coverage int // of urgent ones
	numbers  seqset.Set
}

// allUrgent ranks what a successor lacks behind everything that is endangered.
const allUrgent = 1 << 20

// rank lists what is urgent of what the node lacks, the most endangered first.
// Of what is equally endangered the larger part comes first.
func rank(needs []Need, missing map[uint32]seqset.Set) []candidate {
	var all []candidate
	for _, n := range needs {
		lacking := missing[n.Group]
		add := func(coverage int, numbers seqset.Set) {
			if both := lacking.Intersect(numbers); len(both) > 0 {
				all = append(all, candidate{n, coverage, both})
			}
		}
		for _, u := range n.Urgent {
			add(u.Coverage, u.Numbers)
		}
		if n.Successor {
			add(allUrgent, lacking)
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int {
		if a.coverage != b.coverage {
			return a.coverage - b.coverage
		}
		switch x, y := a.numbers.Len(), b.numbers.Len(); {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	return all
}

// choose finds the work that is most needed: nil when there is none that can be
// done now.
func (h *Healer) choose() (*job, error) {
	needs := h.c.Needs()
	missing := make(map[uint32]seqset.Set, len(needs))
	for _, n := range needs {
		runs, _, err := h.c.Store.MissingRuns(n.Group)
		if err != nil {
			return nil, err
		}
		missing[n.Group] = runs
	}
	h.forgetWaits(missing)
	for _, c := range rank(needs, missing) {
		if j, err := h.collect(c, true); err != nil || j != nil {
			return j, err
		}
	}
	for _, n := range needs {
		j, err := h.collect(candidate{need: n, numbers: missing[n.Group]}, false)
		if err != nil {
			return nil, err
		}
		if j == nil {
			h.waitNoMore(n.Group)
			continue
		}
		j.patient = h.isPatient(n.Group)
		if !j.patient || h.c.Idle() && !h.asksLater(n.Group) {
			return j, nil
		}
	}
	return nil, nil
}

// isPatient tells whether what is not urgent of a group, of which there is some, is
// yet to wait for everybody else.
func (h *Healer) isPatient(group uint32) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.waits[group]
	if w.since.IsZero() {
		w.since = h.c.Now()
		h.waits[group] = w
	}
	return h.c.Now().Sub(w.since) < patience
}

// askLater says that too few of a group's peers have nothing else to do now.
func (h *Healer) askLater(group uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.waits[group]
	w.until = h.c.Now().Add(busyPause)
	h.waits[group] = w
}

// asksLater tells whether it was just so.
func (h *Healer) asksLater(group uint32) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.c.Now().Before(h.waits[group].until)
}

// waitNoMore says that nothing of a group waits for others, or that it had its turn.
func (h *Healer) waitNoMore(group uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waits, group)
}

// forgetWaits drops those of groups that are not the node's any more.
func (h *Healer) forgetWaits(groups map[uint32]seqset.Set) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.waits, func(group uint32, _ wait) bool {
		_, ours := groups[group]
		return !ours
	})
}

// collect lists shards of a candidate that can be tried now: nil if there are
// none.
func (h *Healer) collect(c candidate, urgent bool) (*job, error) {
	if len(c.numbers) == 0 {
		return nil, nil
	}
	j := &job{need: c.need, urgent: urgent}
	now := h.c.Now()
	err := h.c.Store.Missing(c.need.Group, func(m shardstore.Missing) bool {
		if c.numbers.Contains(m.Seq) && h.due(shardstore.Key{Segment: m.Segment, Group: c.need.Group}, now) {
			j.shards = append(j.shards, m)
		}
		return len(j.shards) < maxBatch
	})
	if err != nil || len(j.shards) == 0 {
		return nil, err
	}
	return j, nil
}

// due reports whether a shard may be tried.
func (h *Healer) due(key shardstore.Key, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !now.Before(h.retries[key].at)
}

// putOff has a shard tried again after some time, or, without one, after longer
// for each time.
func (h *Healer) putOff(key shardstore.Key, pause time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.retries[key]
	if pause == 0 {
		pause = min(minRetry<<min(r.tries, 16), maxRetry)
	}
	if len(h.retries) >= maxRetries {
		clear(h.retries)
	}
	h.retries[key] = retry{at: h.c.Now().Add(pause), tries: r.tries + 1}
}

func (h *Healer) forgive(key shardstore.Key) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.retries, key)
}

// avoid keeps a node from being read from for some time.
func (h *Healer) avoid(node ident.ID, pause time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.c.Now()
	for id, until := range h.avoided {
		if !now.Before(until) {
			delete(h.avoided, id)
		}
	}
	h.avoided[node] = now.Add(pause)
}

func (h *Healer) avoids(node ident.ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.c.Now().Before(h.avoided[node])
}
