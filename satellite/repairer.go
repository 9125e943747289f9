package satellite

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"math"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/placement"
	"github.com/cairnstorage/cairn/satellite/repair"
)

const (
	// repairEvery is the time between two looks at all groups, unless they take
	// longer than repairShare of it.
	repairEvery = 3 * time.Second
	repairShare = 10 // one in so many seconds
	// stallAfter is how long a node may rebuild nothing of a slot it was given, and
	// stallLapses how many check-ins: with every tenth it may tell of what it did.
	stallAfter  = time.Hour
	stallLapses = 20
	// rebuildsPerNode is how many slots a node is given at a time to rebuild, and
	// rebuilds how many may be at least, over all nodes. More are, by one for
	// every node online.
	rebuildsPerNode = 4
	rebuilds        = 16
	// maxUrgentRuns bounds what a node is told of one rank of urgency.
	maxUrgentRuns = 64
	// claimLapses is how many check-ins a node may take to claim what it has
	// followed: claims come every ten at the most.
	claimLapses = 40
	// successorLapses is the same for a successor, who claims with every check-in.
	// It is not in the record and gets no shards put: what uploads add while it
	// takes over it has to heal.
	successorLapses = 4
)

// condition is how a group was found at the last look.
type condition struct {
	repair.Health
	of       *group
	journal  meta.Journal
	presence []repair.Presence // of holders
	slotSize int64             // bytes that a holder of one slot needs
	left     float64           // bytes that holders have to heal
}

// repairer looks after the health of all groups: what is to be healed at once,
// and which slots get other holders. Package repair decides. One goroutine runs
// it; what it found may be read by others.
type repairer struct {
	*Satellite
	rising   map[uint32]*pastHeads      // for holders, by group
	newest   map[uint32]*pastHeads      // for successors
	progress map[meta.ClaimKey]progress // of who rebuilds a slot
	told     map[delayed]bool           // that was logged

	mu      sync.Mutex
	found   map[uint32]*condition // by group; nil before the first look
	delays  []repair.Delay
	healing healing
}

func newRepairer(s *Satellite) *repairer {
	return &repairer{
		Satellite: s,
		rising:    make(map[uint32]*pastHeads),
		newest:    make(map[uint32]*pastHeads),
		progress:  make(map[meta.ClaimKey]progress),
		told:      make(map[delayed]bool),
	}
}

// pastHeads is how long a journal was in the last time.
type pastHeads struct {
	times []time.Time
	heads []uint64
}

// due notes the present length and returns that of age ago, if it is known.
func (p *pastHeads) due(now time.Time, head uint64, age time.Duration) (due uint64, known bool) {
	n := len(p.times)
	if n == 0 || head > p.heads[n-1] && now.Sub(p.times[n-1]) >= age/8 {
		p.times, p.heads = append(p.times, now), append(p.heads, head)
	}
	for len(p.times) > 1 && now.Sub(p.times[1]) >= age {
		p.times, p.heads = p.times[1:], p.heads[1:]
	}
	if now.Sub(p.times[0]) < age {
		return 0, false
	}
	return p.heads[0], true
}

// progress is how much of a slot was left when that became less.
type progress struct {
	lacks uint64
	since time.Time
}

// idle notes how much of a slot a node lacks, and returns for how long that has
// not become less.
func (r *repairer) idle(k meta.ClaimKey, lacks uint64, now time.Time) time.Duration {
	p, known := r.progress[k]
	if !known || lacks < p.lacks {
		p = progress{lacks, now}
	}
	p.lacks = max(p.lacks, lacks)
	r.progress[k] = p
	return now.Sub(p.since)
}

// repairOnce looks at all groups once, and has slots change hands where that is
// due.
func (r *repairer) repairOnce(ctx context.Context) error {
	now := r.now()
	if r.refusing() != nil || !r.settling.done() || !r.registry.heardOut(now) {
		return nil
	}
	all := r.groups.all()
	l, err := r.newLook(ctx, now, all)
	if err != nil {
		return err
	}
	found := make(map[uint32]*condition, len(all))
	groups := make([]repair.Group, len(all))
	for i, g := range all {
		c, seats := l.examine(g)
		found[g.ID] = c
		groups[i] = repair.Group{ID: g.ID, Scheme: g.Scheme, Size: c.slotSize, Seats: seats, Health: c.Health}
	}
	rebuilt := r.rebuilt(l)
	maps.DeleteFunc(r.progress, func(k meta.ClaimKey, _ progress) bool { return !l.rebuilding[k] })
	decision, err := r.decide(groups, l.nodes)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.found, r.delays, r.healing = found, decision.Delays, r.healing.next(now, l.lacks)
	r.mu.Unlock()
	r.tellDelays(decision.Delays)
	return errors.Join(r.act(ctx, all, decision.Replacements), r.depart(ctx), r.meta.AddCensus(ctx, rebuilt))
}

func (r *repairer) newLook(ctx context.Context, now time.Time, all []*group) (*look, error) {
	l := &look{
		repairer: r, now: now, nodes: r.repairNodes(),
		rebuilding: make(map[meta.ClaimKey]bool), lacks: make(map[meta.ClaimKey]lack),
	}
	ids := make([]uint32, len(all))
	for i, g := range all {
		ids[i] = g.ID
	}
	var err error
	l.journals, err = r.meta.Journals(ctx, ids)
	return l, err
}

// repairNodes is what package repair is told of the nodes, by id.
func (r *repairer) repairNodes() map[ident.ID]repair.Node {
	view := r.registry.all()
	nodes := make(map[ident.ID]repair.Node, len(view))
	for i := range view {
		v := &view[i]
		n := repair.Node{
			Node: placement.Node{
				ID: v.ID, Subnets: placement.Subnets(v.Remote, v.Addresses), Operator: v.Operator,
				Success: max(v.standing.Presence.Value(), 0.01),
			},
			State: v.standing.State, Away: v.away,
		}
		if v.takes && v.Free >= minRoom {
			n.Free = int64(v.Free)
		}
		nodes[v.ID] = n
	}
	return nodes
}

// look is one look at all groups.
type look struct {
	*repairer
	now        time.Time
	nodes      map[ident.ID]repair.Node
	journals   map[uint32]meta.Journal
	rebuilding map[meta.ClaimKey]bool // who rebuilds which slot
	lacks      map[meta.ClaimKey]lack
}

// examine finds how a group is, and its seats for a plan.
func (l *look) examine(g *group) (*condition, []repair.Seat) {
	journal := l.journals[g.ID]
	due, _ := l.due(l.rising, g.ID, claimLapses)
	claims := l.claims.of(g)
	head := journal.Head
	if journal.Segments == 0 {
		head = 0 // nothing that it lists counts any more
	}
	slots := make([]repair.Slot, len(g.Nodes))
	for slot, id := range g.Nodes {
		slots[slot] = l.slot(g, id, claims[slot], due)
		slots[slot].Given = g.seat(slot).Given
	}
	c := &condition{Health: repair.Examine(g.Scheme, head, slots), of: g, journal: journal}
	c.slotSize = int64(journal.Bytes) / int64(g.Scheme.Required)
	for slot := range slots {
		c.presence = append(c.presence, slots[slot].Presence)
	}
	l.lacking(c)
	due, known := l.due(l.newest, g.ID, successorLapses)
	if !known {
		due = journal.Head // successors take nothing over on trust
	}
	seats := make([]repair.Seat, len(slots))
	for slot := range slots {
		seats[slot] = l.seat(g, slot, &slots[slot], c.Slots[slot].Rebuild, due)
	}
	return c, seats
}

// due is how long a group's journal was so many check-ins ago, if that is known.
func (l *look) due(heads map[uint32]*pastHeads, group uint32, lapses int) (due uint64, known bool) {
	past := heads[group]
	if past == nil {
		past = &pastHeads{}
		heads[group] = past
	}
	return past.due(l.now, l.journals[group].Head, time.Duration(lapses)*l.config.CheckIn)
}

// seat is who has a slot, of which the holder has so much to rebuild.
func (l *look) seat(g *group, slot int, holder *repair.Slot, rebuild, due uint64) repair.Seat {
	s := repair.Seat{Holder: g.Nodes[slot], Successor: g.seat(slot).Successor}
	k := meta.ClaimKey{Group: g.ID, Slot: slot, Node: s.Holder}
	if !s.Successor.IsZero() {
		k.Node = s.Successor
		head := l.journals[g.ID].Head
		successor := l.slot(g, s.Successor, l.claims.get(k), due)
		leaving := *holder
		if leaving.Claim.Seq == 0 {
			leaving.Claim.Seq = head // it has not told, and perhaps holds everything
		}
		s.Ready = repair.Ready(head, &leaving, &successor)
		rebuild = successor.Rebuilds(head).Len()
	}
	if rebuild > 0 {
		l.rebuilding[k] = true
		s.Idle = l.idle(k, rebuild, l.now)
	}
	return s
}

// slot is what package repair is told of a slot.
func (l *look) slot(g *group, id ident.ID, c *claim, due uint64) repair.Slot {
	s := repair.Slot{Presence: repair.Gone, Due: due, Bad: l.reports.excuse(g.ID, id)}
	if n, known := l.nodes[id]; known {
		s.Presence = n.Presence(l.config.OfflineGrace)
	}
	if c != nil {
		s.Claim = repair.Claim{Seq: c.Seq, Missing: c.Missing}
	}
	return s
}

// decide has package repair decide.
func (r *repairer) decide(groups []repair.Group, nodes map[ident.ID]repair.Node) (repair.Decision, error) {
	var seed [8]byte
	if _, err := io.ReadFull(r.rand, seed[:]); err != nil {
		return repair.Decision{}, err
	}
	limits := repair.Limits{
		Grace: r.config.OfflineGrace, Stall: max(stallAfter, stallLapses*r.config.CheckIn),
		Total: rebuilds, PerNode: rebuildsPerNode, Distinct: r.config.Distinct,
	}
	list := make([]repair.Node, 0, len(nodes))
	for _, n := range nodes {
		list = append(list, n)
		if n.Away == 0 && n.State.Counts() {
			limits.Total++
		}
	}
	return repair.Plan(groups, list, limits, binary.BigEndian.Uint64(seed[:])), nil
}

// keepRepairing looks at all groups again and again.
func (r *repairer) keepRepairing(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		begin := time.Now()
		if err := r.repairOnce(ctx); err != nil && ctx.Err() == nil {
			r.log.Error("cannot look after the groups; trying again", "error", err)
		}
		took := time.Since(begin)
		pause.Reset(max(min(repairEvery, r.config.OfflineGrace/4), repairShare*took))
	}
}

// condition is how a group was found; nil for one not looked at yet.
func (r *repairer) condition(group uint32) *condition {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.found[group]
}

// progressing is how healing goes, and how many slots wait for another holder,
// if there was a look already.
func (r *repairer) progressing() (h healing, waiting int, looked bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.healing, len(r.delays), r.found != nil
}

// urgent is what a node should heal at once for its slot of a group, the most
// endangered first.
func (r *repairer) urgent(g *group, id ident.ID, successor bool, c *claim) []*pb.Urgent {
	found := r.condition(g.ID)
	if found == nil || len(found.Urgent) == 0 && !successor {
		return nil
	}
	lacks := seqset.Set{{First: 1, Last: math.MaxUint64}}
	if c != nil {
		lacks = c.Missing.Union(seqset.Of(seqset.Run{First: c.Seq + 1, Last: math.MaxUint64}))
	}
	lacks = lacks.Subtract(r.reports.by(g.ID, id))
	var list []*pb.Urgent
	add := func(coverage int, numbers seqset.Set) {
		if len(numbers) > 0 {
			list = append(list, &pb.Urgent{Coverage: uint32(coverage), Numbers: numbers.Encode(nil)})
		}
	}
	for _, s := range found.Urgent {
		add(s.Coverage, s.Numbers.Intersect(lacks).Coarsen(maxUrgentRuns))
	}
	if head := found.journal.Head; successor && head > 0 {
		// Only the node that wants to leave waits for it, so it comes last.
		all := lacks.Intersect(seqset.Set{{First: 1, Last: head}})
		add(found.Present, all.Coarsen(maxUrgentRuns))
	}
	return list
}
