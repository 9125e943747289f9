package satellite

import (
	"bytes"
	"slices"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
)

// rules say what befalls a network.
type rules struct {
	seed    uint64
	nodes   int // there are, in the mean
	scheme  erasure.Scheme
	perNode int // groups of a node
	vetting int

	checkIn    time.Duration // between check-ins
	chore      time.Duration // between chores of the satellite
	auditing   time.Duration // between audits of a node
	batch      int           // challenges of an audit
	grace      time.Duration
	staging    time.Duration
	tombstones time.Duration
	scrubbing  time.Duration // all of a node's shards

	uploads float64 // a day; as often objects are deleted, a few at once
	reads   float64 // a day
	keeping int     // objects
	badly   float64 // share of segments that are encoded wrong

	fails    float64 // share of the nodes that fail for good in a year
	leaves   float64 // that exit
	outages  float64 // of a node in a month
	rots     float64 // shards of a node that rot in a month
	breaks   float64 // data directories of a node that go away in a year
	skews    float64 // clocks that go wrong, in a month
	restarts float64 // of the satellite in a month
	floods   float64 // outages of a fifth of all nodes at once, in a year
	liars    float64 // share of the nodes that turn, over the length of the run
	length   time.Duration
}

// begin makes the first nodes and plans what befalls them.
func (w *network) begin() {
	for range w.rules.nodes {
		w.join()
	}
	year, month := 1/365.0, 1/30.0
	each := float64(w.rules.nodes)
	w.often(each*w.fails*year, w.failOne)
	w.often(each*w.leaves*year, w.exitOne)
	w.often(each*w.outages*month, w.outOne)
	w.often(each*w.rots*month, w.rotOne)
	w.often(each*w.breaks*year, w.breakOne)
	w.often(each*w.skews*month, w.skewOne)
	w.often(w.restarts*month, w.restart)
	w.often(w.floods*year, w.flood)
	if w.liars > 0 {
		w.often(each*w.liars/(w.length.Hours()/24), w.turnOne)
	}
}

// pick draws one of the nodes that are such; nil when there is none.
func (w *network) pick(such func(*simNode) bool) *simNode {
	var fit []*simNode
	for _, n := range w.members() {
		if such(n) {
			fit = append(fit, n)
		}
	}
	if len(fit) == 0 {
		return nil
	}
	return fit[w.chance.IntN(len(fit))]
}

// members are the nodes that are still part of it.
func (w *network) members() (list []*simNode) {
	for _, n := range w.all {
		if n.alive() {
			list = append(list, n)
		}
	}
	return list
}

func (n *simNode) isUp() bool     { return n.up }
func (n *simNode) isHonest() bool { return n.lie.kind == honest }

// failOne has a node fail for good. Another one joins some time later.
func (w *network) failOne() {
	if n := w.pick((*simNode).alive); n != nil {
		w.failNode(n)
	}
}

func (w *network) failNode(n *simNode) {
	w.count("failures")
	w.tell("%v fails for good", n)
	n.fall(w.chance.IntN(2) == 0)
	n.dead, n.parts = true, nil
	w.hurt(n)
	w.after(w.wait(days(1)), func() { w.join() })
}

// exitOne has a node leave in good order. Another one joins before.
func (w *network) exitOne() {
	n := w.pick(func(n *simNode) bool { return n.up && n.isHonest() && n.asked.IsZero() && n.checkIns > 0 })
	if n == nil || !w.settled() {
		return
	}
	if _, err := n.sat.nodes.Exit(n.ctx, &pb.ExitRequest{}); err != nil {
		w.fail("%v cannot ask to leave: %v", n, err)
		return
	}
	w.count("exits asked for")
	w.tell("%v asks to leave %d groups", n, len(n.parts))
	n.asked = w.time
	w.join()
}

// outOne has a node be away for a while: mostly for minutes, sometimes for days.
func (w *network) outOne() {
	n := w.pick((*simNode).isUp)
	if n == nil {
		return
	}
	d := w.between(5*time.Minute, 2*time.Hour)
	switch r := w.chance.Float64(); {
	case r < 0.05:
		d = w.between(days(1), days(5))
	case r < 0.3:
		d = w.between(2*time.Hour, 12*time.Hour)
	}
	w.count("outages")
	w.out(n, d)
}

func (w *network) out(n *simNode, d time.Duration) {
	w.tell("%v is away for %v", n, d.Round(time.Minute))
	n.fall(w.chance.IntN(2) == 0)
	w.hurt(n)
	w.after(d, n.rise)
}

// flood has a fifth of all nodes be away at once, for an hour.
func (w *network) flood() {
	w.count("correlated outages")
	w.tell("a fifth of all nodes go away")
	for _, n := range w.members() {
		if n.up && w.chance.IntN(5) == 0 {
			w.out(n, time.Hour)
		}
	}
}

// rotOne has a byte of a shard go wrong, which nobody notices yet.
func (w *network) rotOne() {
	n := w.pick(func(n *simNode) bool { return n.isHonest() && len(n.parts) > 0 })
	if n == nil {
		return
	}
	parts := n.inParts()
	p := parts[w.chance.IntN(len(parts))]
	ids := p.ids(func(s *simShard) bool { return s.live && !s.rotten })
	if len(ids) == 0 {
		return
	}
	id := ids[w.chance.IntN(len(ids))]
	s := *p.shards[id]
	s.data, s.rotten = bytes.Clone(s.data), true
	s.data[w.chance.IntN(len(s.data))] ^= 0x10
	p.shards[id] = &s
	w.count("shards rotten")
	w.hurt(n)
}

// ids are those of the shards that are such, in order.
func (p *part) ids(such func(*simShard) bool) (ids []order.SegmentID) {
	for id, s := range p.shards {
		if such(s) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b order.SegmentID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}

// scrub has a node look at all its shards, and drop what is rotten.
func (n *simNode) scrub() {
	if !n.alive() {
		return
	}
	if n.up && n.isHonest() {
		for _, p := range n.inParts() {
			if p.drop(func(s *simShard) bool { return s.rotten }) > 0 {
				n.count("rotten shards found by scrub")
			}
		}
		n.lost()
	}
	n.after(n.scrubbing, n.scrub)
}

// breakOne has a data directory go away, with half of the shards. It comes back
// after some hours, or is given up.
func (w *network) breakOne() {
	n := w.pick(func(n *simNode) bool { return n.up && n.isHonest() && !n.impaired && n.checkIns > 0 })
	if n == nil {
		return
	}
	w.count("data directories away")
	w.tell("%v misses a data directory", n)
	n.impaired = true
	for _, p := range n.parts {
		for id, s := range p.shards {
			s.away = id[0]%2 == 0
		}
	}
	gone := w.chance.IntN(2) == 0
	w.hurt(n)
	w.after(w.between(time.Hour, 8*time.Hour), func() { n.mend(gone) })
}

// mend ends what breakOne began.
func (n *simNode) mend(gone bool) {
	if !n.alive() {
		return
	}
	n.impaired, n.wronged = false, n.time
	for _, p := range n.parts {
		if gone {
			n.add("shards lost with their directory", p.drop(func(s *simShard) bool { return s.away }))
		}
		for _, s := range p.shards {
			s.away = false
		}
	}
	if gone {
		n.lost()
	}
}

// skewOne has a clock go wrong: by seconds mostly, by minutes now and then,
// which is set right within a day.
func (w *network) skewOne() {
	n := w.pick((*simNode).alive)
	if n == nil {
		return
	}
	n.ahead = w.between(-90*time.Second, 90*time.Second)
	if w.chance.IntN(10) == 0 {
		n.ahead = w.between(-10*time.Minute, 10*time.Minute)
		w.tell("the clock of %v goes wrong by %v", n, n.ahead.Round(time.Second))
		w.count("clocks gone wrong")
		n.wronged = w.time
		w.after(w.between(time.Hour, days(1)), func() { n.ahead, n.wronged = 0, w.time })
	}
}

// restart has the satellite be away: for minutes mostly, for hours now and then,
// also longer than grace.
func (w *network) restart() {
	if !w.sat.up {
		return
	}
	d := w.between(time.Minute, 20*time.Minute)
	if w.chance.IntN(6) == 0 {
		d = w.between(time.Hour, 2*w.grace)
	}
	w.stopFor(d, w.chance.IntN(2) == 0)
}

// stopFor has the satellite be away for a while.
func (w *network) stopFor(d time.Duration, killed bool) {
	w.tell("the satellite is away for %v, killed: %v", d.Round(time.Second), killed)
	w.count("restarts of the satellite")
	w.stop(killed)
	w.after(d, func() {
		w.skew = w.between(-20*time.Second, 20*time.Second)
		w.start()
		w.tell("the satellite is back")
	})
}

// turnOne has a node turn into a liar, unless as many of some group have as the
// scheme is made for. It has lost 5 % to all of what it held.
func (w *network) turnOne() {
	n := w.pick(func(n *simNode) bool {
		return n.up && n.isHonest() && n.asked.IsZero() && len(n.parts) > 0 && n.checkIns > 10 && w.bears(n)
	})
	if n == nil {
		w.count("liars that would have been too many")
		return
	}
	n.turn(1+kind(w.chance.IntN(int(kinds)-1)), 0.05+0.95*w.chance.Float64()*w.chance.Float64())
}

// turn has a node become a liar, who has lost a share of what it held.
func (n *simNode) turn(how kind, share float64) {
	w := n.network
	n.lie = lie{kind: how, share: share, since: w.time}
	if n.lie.drops() {
		n.forget()
	}
	w.count("liars: " + n.lie.kind.String())
	w.tell("%v turns %v and forgets %d shards", n, n.lie.kind, n.lie.dropped)
	w.hurt(n)
	w.expectOut(n)
	if n.lie.kind == occasional {
		n.comeAndGo()
	}
}

// hang has a node check in and answer nothing for a while, though it is honest.
func (n *simNode) hang(d time.Duration) {
	n.lie = lie{kind: silent, since: n.time}
	n.count("nodes hung")
	n.tell("%v hangs for %v", n, d)
	n.after(d, func() {
		n.lie, n.wronged = lie{}, n.time
		n.tell("%v answers again", n)
	})
}

// bears says whether all groups of a node can have one more liar: if no more than
// half of what may be lost were to lie.
func (w *network) bears(n *simNode) bool {
	for _, g := range w.sat.groups.of(n.id) {
		liars := 1
		for _, id := range g.Nodes {
			if other := w.byID[id]; !other.isHonest() && other != n {
				liars++
			}
		}
		if 2*liars > w.scheme.Total-w.scheme.Required {
			return false
		}
	}
	return true
}

// forget drops the liar's share of the shards.
func (n *simNode) forget() {
	for _, p := range n.inParts() {
		ids := p.ids(func(s *simShard) bool { return s.live })
		for i, id := range ids {
			if n.dice.Float64() < n.lie.share || n.lie.dropped == 0 && i == len(ids)-1 {
				n.lie.dropped++
				p.missing[p.live[id].Seq] = id
				delete(p.shards, id)
			}
		}
	}
}

// comeAndGo has a liar be there for a short while, and away for just shorter than
// grace.
func (n *simNode) comeAndGo() {
	if !n.alive() {
		return
	}
	if n.up {
		n.fall(true)
		n.after(n.grace-n.network.checkIn, n.comeAndGo)
		return
	}
	n.rise()
	n.after(n.network.checkIn/2, n.comeAndGo)
}
