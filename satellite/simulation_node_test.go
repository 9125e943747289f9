package satellite

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
)

// simNode is a storage node: an honest one, until it turns (simulation_liar_test.go).
// It keeps its shards in memory and does all that SPEC.md asks of nodes, in the
// order in which storagenode does it. It draws no chance of its own but from its
// own dice, so that what one node does changes nothing of another's.
type simNode struct {
	*network
	number int
	key    ident.Key
	id     ident.ID
	ctx    context.Context // of its calls
	dice   *rand.Rand
	parts  map[uint32]*part

	up         bool
	dead       bool // for good, with all it had
	life       int  // counts how often it came up
	checkIns   int
	seen       time.Time // last check-in that succeeded
	risen      time.Time // when it came up
	wronged    time.Time // when its clock, or a disk, was not as it should be
	ahead      time.Duration
	standing   *pb.Standing
	impaired   bool // a data directory is away
	asked      time.Time
	left       bool // has its Departure
	avoided    map[ident.ID]time.Time
	doomed     []doom
	toldLate   time.Time // when it lost a shard while it was asked for it
	damaged    int       // shards that an audit found damaged
	lie        lie
	slow       bool
	caught     time.Time // when it was first out, as a liar
	muted      bool      // it has lost its slots for its silence
	again      int       // how often it was given slots after that
	silentFrom time.Time // when it first had
}

// part is what a node has to do with one group: it holds a slot, or is to take
// it over, or did.
type part struct {
	group     *order.Group // the newest it knows
	slot      int
	successor bool
	told      bool // at the last check-in; otherwise it is over
	over      int  // check-ins since it is over
	cursor    uint64
	end       uint64                        // of the journal, as it was told
	live      map[order.SegmentID]*pb.Entry // by the journal as far as it was followed
	missing   map[uint64]order.SegmentID    // of them, not held
	shards    map[order.SegmentID]*simShard
	urgent    []urgency
	pauses    map[uint64]time.Time // until then a shard is not tried
	claim     *simClaim            // the newest
	changes   int                  // counts what changes claims
}

// urgency is journal numbers that are to be healed at once.
type urgency struct {
	coverage int
	numbers  seqset.Set
}

// simShard is one shard that is held.
type simShard struct {
	layout erasure.Layout
	root   merkle.Hash
	roots  []merkle.Hash
	slot   int
	data   []byte
	live   bool      // a journal entry claims it
	stored time.Time // by the node's clock
	rotten bool
	away   bool // in a data directory that is away
}

// join has a new node come.
func (w *network) join() *simNode {
	n := &simNode{
		network: w, number: len(w.all), key: w.newKey(), parts: make(map[uint32]*part), avoided: make(map[ident.ID]time.Time),
	}
	n.id = n.key.ID()
	n.ctx = w.as(n.id, n.number)
	n.dice = rand.New(rand.NewPCG(w.seed, 1000+uint64(n.number)))
	w.all = append(w.all, n)
	w.byID[n.id] = n
	w.tell("%v joins", n)
	w.after(w.between(0, w.checkIn), n.rise)
	w.after(w.between(0, w.scrubbing), n.scrub)
	return n
}

func (n *simNode) String() string { return fmt.Sprintf("node %d", n.number) }

// now is what the node's clock shows.
func (n *simNode) now() time.Time { return n.time.Add(n.ahead) }

// error is by how much that is ahead of the satellite's.
func (n *simNode) error() time.Duration { return n.now().Sub(n.clock()) }

// alive says whether what the node holds is there at all.
func (n *simNode) alive() bool { return !n.dead && !n.left }

// rise has the node come up, as after a restart.
func (n *simNode) rise() {
	if n.up || !n.alive() {
		return
	}
	n.up, n.risen = true, n.time
	n.life++
	for _, p := range n.parts {
		if p.claim != nil {
			p.claim.taken = false
		}
	}
	n.tick(n.life)
}

// fall has the node be away. The satellite may notice at once, or not.
func (n *simNode) fall(noticed bool) {
	n.up = false
	if noticed && n.sat.up {
		n.sat.registry.disconnected(n.id)
	}
}

// tick checks in, again and again, until the node is away.
func (n *simNode) tick(life int) {
	if !n.up || n.life != life {
		return
	}
	if !n.sat.up {
		n.after(min(n.checkInEvery(), 5*time.Minute), func() { n.tick(life) })
		return
	}
	n.checkIn()
	if n.left {
		n.fall(true)
		return
	}
	n.after(n.checkInEvery(), func() { n.tick(life) })
}

// checkInEvery is not quite the interval that the satellite asks for.
func (n *simNode) checkInEvery() time.Duration {
	return n.network.checkIn - time.Duration(n.dice.Int64N(int64(n.network.checkIn/20)))
}

// checkIn checks in and does what follows.
func (n *simNode) checkIn() {
	asked := n.now()
	res, err := n.sat.nodes.CheckIn(n.ctx, n.report())
	if err != nil {
		n.fail("%v cannot check in: %v", n, err)
		return
	}
	n.count("check-ins")
	n.checkIns++
	n.seen, n.standing = n.time, res.Standing
	for _, p := range n.parts {
		p.told = false
	}
	for _, news := range res.Groups {
		n.take(news)
	}
	dated := asked.Sub(time.Unix(res.Now, 0)).Abs() <= 5*time.Minute
	for _, p := range n.inParts() {
		if p.told && n.follow(p) && dated {
			n.expire(p, asked.Add(-time.Duration(res.Staging)*time.Second))
		}
	}
	n.leave()
	n.heal()
	n.claimAll()
	n.depart(res.Departure)
	n.checkDoomed()
}

// report is what a check-in says.
func (n *simNode) report() *pb.CheckInRequest {
	m := &pb.CheckInRequest{
		Addresses: []string{fmt.Sprintf("/ip4/10.%d.%d.1/tcp/7777", n.number>>8, n.number&255)},
		Capacity:  1 << 40, Free: 1 << 39, Version: "simulated", Impaired: n.impaired,
	}
	for _, p := range n.inParts() {
		m.Cursors = append(m.Cursors, &pb.Cursor{Group: p.group.ID, Epoch: p.group.Epoch, Seq: p.cursor})
	}
	return m
}

// inParts are the node's parts by group.
func (n *simNode) inParts() []*part {
	list := make([]*part, 0, len(n.parts))
	for _, id := range slices.Sorted(maps.Keys(n.parts)) {
		list = append(list, n.parts[id])
	}
	return list
}

// take takes in the news of one group.
func (n *simNode) take(news *pb.GroupNews) {
	if news.Record != nil {
		n.learn(n.openGroup(news.Record))
	}
	p := n.parts[news.Group]
	if p == nil {
		return
	}
	slot, holds := p.group.SlotOf(n.id)
	p.successor = news.Successor && !holds
	if p.successor {
		slot = int(news.Slot)
	}
	if p.told = holds || p.successor; p.told {
		n.holdSlot(p, slot)
	}
	p.end = news.Head
	p.urgent = p.urgent[:0]
	for _, u := range news.Urgent {
		numbers, err := seqset.Decode(u.Numbers, len(u.Numbers))
		must(n.t, err)
		p.urgent = append(p.urgent, urgency{int(u.Coverage), numbers})
	}
	if c := p.claim; c != nil {
		if c.known = string(news.Claim) == string(c.digest[:8]); c.known {
			c.taken, c.latest = true, c.Issued
		}
	}
}

// learn notes a group's record, if it is newer.
func (n *simNode) learn(record *order.Group) {
	p := n.parts[record.ID]
	if p == nil {
		p = &part{
			live: make(map[order.SegmentID]*pb.Entry), missing: make(map[uint64]order.SegmentID),
			shards: make(map[order.SegmentID]*simShard), pauses: make(map[uint64]time.Time), slot: -1,
		}
		n.parts[record.ID] = p
	}
	if p.group == nil || record.Epoch > p.group.Epoch {
		p.group = record
	}
}

// holdSlot has the node hold a slot of a group. Shards for another one are of no
// use any more.
func (n *simNode) holdSlot(p *part, slot int) {
	if p.slot != slot {
		p.drop(func(*simShard) bool { return true })
		p.slot = slot
	}
}

// leave deletes what the node holds of groups that it has no part in any more,
// when it has been told so for the second time.
func (n *simNode) leave() {
	for _, p := range n.inParts() {
		if p.told {
			p.over = 0
			continue
		}
		if p.over++; p.over >= 2 {
			delete(n.parts, p.group.ID)
		}
	}
}

// drop deletes shards; those of live entries are missing then.
func (p *part) drop(which func(*simShard) bool) (dropped int) {
	for id, s := range p.shards {
		if which(s) {
			delete(p.shards, id)
			dropped++
			if e := p.live[id]; e != nil {
				p.missing[e.Seq] = id
			}
		}
	}
	p.changes++
	return dropped
}

// holds says whether a node has a sound shard of a segment for a slot.
func (n *simNode) holds(group uint32, slot int, id order.SegmentID) bool {
	p := n.parts[group]
	if p == nil || p.slot != slot {
		return false
	}
	s := p.shards[id]
	return s != nil && !s.rotten
}

func segmentOf(b []byte) order.SegmentID { return order.SegmentID(b) }

// journalOf reads from the store what counts of a journal, by segment.
func (w *network) journalOf(group uint32) map[order.SegmentID]uint64 {
	live := make(map[order.SegmentID]uint64)
	for after := uint64(0); ; {
		page, err := w.sat.meta.Entries(w.ctx, group, after, maxJournalPage)
		must(w.t, err)
		for _, e := range page.Entries {
			if e.Kind == pb.EntryKind_ENTRY_KIND_LIVE {
				live[e.Segment] = e.Seq
			} else {
				delete(live, e.Segment)
			}
		}
		if after = page.Through; after >= page.Head {
			return live
		}
	}
}
