package placement

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
)

const (
	// vettingShare of the slots that need a new holder go to nodes in vetting,
	// which are known no other way.
	vettingShare = 0.05
	// freeCap is by how much the free space of a node may exceed that of the
	// middle one and still count: a node says itself how much it has.
	freeCap = 8
	// typicalLatency halves the weight of a node against one without any, and is
	// that of a node whose latency is not known.
	typicalLatency = 100 * time.Millisecond
	// draws is how many nodes are drawn for a seat before all are looked through.
	draws = 32
)

// Pool is the nodes that may take over slots: online and in good standing. It
// keeps count of what they were given.
type Pool struct {
	distinct bool
	perNode  int
	nodes    []Node // by id
	busy     []int  // slots the node has to heal
	free     []int64
	seatOf   []int // the last seat, by number, of whose group the node is a member
	seats    int   // asked for so far
	vetted   lottery
	vetting  lottery
}

// lottery draws nodes in proportion to their weights.
type lottery struct {
	nodes   []int // in the pool
	weights []float64
	upTo    []float64 // sums of the weights up to each
}

// NewPool makes a pool. With distinct, a node is given no slot of a group that
// has another of its subnets or its operator. A node that has perNode slots to
// heal is given no more.
func NewPool(nodes []Node, distinct bool, perNode int) *Pool {
	p := &Pool{distinct: distinct, perNode: perNode, nodes: slices.Clone(nodes)}
	slices.SortFunc(p.nodes, func(a, b Node) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	p.busy, p.free, p.seatOf = make([]int, len(nodes)), make([]int64, len(nodes)), make([]int, len(nodes))
	for i := range p.nodes {
		p.free[i] = p.nodes[i].Free
	}
	most := freeCap * float64(median(p.free))
	for i := range p.nodes {
		l := &p.vetted
		if p.nodes[i].Vetting {
			l = &p.vetting
		}
		l.add(i, weight(&p.nodes[i], most))
	}
	return p
}

// median is that of the amounts above 0, in bytes.
func median(amounts []int64) int64 {
	some := slices.DeleteFunc(slices.Clone(amounts), func(a int64) bool { return a <= 0 })
	if len(some) == 0 {
		return 0
	}
	slices.Sort(some)
	return some[len(some)/2]
}

// weight is in proportion to how often a node should be chosen.
func weight(n *Node, most float64) float64 {
	success, latency := n.Success, n.Latency
	if success == 0 {
		success = 1
	}
	if latency == 0 {
		latency = typicalLatency
	}
	free := max(0, min(float64(n.Free), most))
	return free * success * success / (1 + latency.Seconds()/typicalLatency.Seconds())
}

func (l *lottery) add(node int, weight float64) {
	sum := weight
	if len(l.upTo) > 0 {
		sum += l.upTo[len(l.upTo)-1]
	}
	l.nodes, l.weights, l.upTo = append(l.nodes, node), append(l.weights, weight), append(l.upTo, sum)
}

// draw returns a node, and false when none has any weight.
func (l *lottery) draw(roll float64) (node int, ok bool) {
	if len(l.upTo) == 0 {
		return 0, false
	}
	point := roll * l.upTo[len(l.upTo)-1]
	i := sort.Search(len(l.upTo), func(i int) bool { return l.upTo[i] > point })
	if i == len(l.upTo) {
		return 0, false
	}
	return l.nodes[i], true
}

// Occupy notes that a node has one more slot to heal, for which it needs so many
// bytes. Nodes that are not in the pool do not matter.
func (p *Pool) Occupy(id ident.ID, size int64) {
	if i, ok := p.find(id); ok {
		p.busy[i]++
		p.free[i] -= size
	}
}

func (p *Pool) find(id ident.ID) (int, bool) {
	return slices.BinarySearchFunc(p.nodes, id, func(n Node, id ident.ID) int { return bytes.Compare(n.ID[:], id[:]) })
}

// Seat is a slot of a group that needs a new holder.
type Seat struct {
	Scheme erasure.Scheme
	Former []ident.ID // that had it, and shall not again
	Others []*Node    // that hold the other slots, or are going to
	Size   int64      // bytes it takes
}

// Replace chooses a node for a seat, by its free space and by how well and how
// fast it answers, and occupies it. The same pool, seat and random numbers give
// the same node. A few percent of the seats, and no more than an upload can do
// without in one group, go to nodes in vetting; the others go to vetted nodes
// while there are any that would do. An error is a Refusal.
func (p *Pool) Replace(s Seat, random *rand.Rand) (ident.ID, error) {
	f := p.fitting(s)
	limited := f.unvetted >= vettingLimit(s.Scheme)
	order := []*lottery{&p.vetted, &p.vetting}
	if random.Float64() < vettingShare && !limited {
		slices.Reverse(order)
	}
	why := Refusal{Nodes: len(p.nodes)}
	for _, l := range order {
		if l == &p.vetting && limited && why.Busy > 0 {
			why.New = len(l.nodes)
			break // a vetted node will do when it has healed what it has to
		}
		if i, ok := f.choose(l, random, &why); ok {
			p.Occupy(p.nodes[i].ID, s.Size)
			return p.nodes[i].ID, nil
		}
	}
	return ident.ID{}, why
}

// fitting tells which nodes of a pool may take a seat.
type fitting struct {
	*Pool
	seat     Seat
	taken    apart
	unvetted int // seats of the group that nodes in vetting have
}

func (p *Pool) fitting(s Seat) *fitting {
	f := &fitting{Pool: p, seat: s, taken: apart{distinct: p.distinct}}
	p.seats++
	for _, id := range s.Former {
		p.member(id)
	}
	for _, n := range s.Others {
		p.member(n.ID)
		f.taken.put(n)
		if n.Vetting {
			f.unvetted++
		}
	}
	return f
}

func (p *Pool) member(id ident.ID) {
	if i, ok := p.find(id); ok {
		p.seatOf[i] = p.seats
	}
}

// choose draws until a node fits. When none does for long, it chooses among all
// that fit, or counts why none does.
func (f *fitting) choose(l *lottery, random *rand.Rand, why *Refusal) (int, bool) {
	for range draws {
		if i, ok := l.draw(random.Float64()); ok && f.fits(i, &Refusal{}) {
			return i, true
		}
	}
	var sum float64
	for at, i := range l.nodes {
		if f.fits(i, why) {
			sum += l.weights[at]
		}
	}
	if sum == 0 {
		return 0, false
	}
	last := 0
	point := random.Float64() * sum
	for at, i := range l.nodes {
		if f.fits(i, &Refusal{}) {
			last = i
			if point -= l.weights[at]; point < 0 {
				break
			}
		}
	}
	return last, true
}

// fits reports whether a node may take the seat, and counts why not.
func (f *fitting) fits(i int, why *Refusal) bool {
	switch {
	case f.seatOf[i] == f.seats:
		why.Members++
	case f.free[i] < f.seat.Size || f.free[i] <= 0:
		why.Full++
	case !f.taken.allows(&f.nodes[i]):
		why.Shared++
	case f.busy[i] >= f.perNode:
		why.Busy++
	default:
		return true
	}
	return false
}

// Refusal says in words why no node takes a seat: how many there are, and for
// how many of them which reason holds.
type Refusal struct {
	Nodes   int // in the pool
	Members int // hold or had a slot of the group
	Full    int // lack room
	Shared  int // share a subnet or an operator with a holder
	Busy    int // heal as many slots as they may
	New     int // are in vetting, and the group has enough such
}

func (r Refusal) Error() string {
	var reasons []string
	for _, c := range []struct {
		nodes  int
		reason string
	}{
		{r.Members, "hold or had a slot of the group already"},
		{r.Full, "lack room"},
		{r.Shared, "share a subnet or an operator with another holder"},
		{r.Busy, "are healing as many slots as they may"},
		{r.New, "are in vetting, of which the group has enough"},
	} {
		if c.nodes > 0 {
			reasons = append(reasons, fmt.Sprintf("%d %s", c.nodes, c.reason))
		}
	}
	advice := ": start more"
	if r.Busy > 0 {
		advice = ": one will do when it has healed its slots"
	}
	if len(reasons) == 0 {
		return "no storage node is online that could take the slot" + advice
	}
	return fmt.Sprintf("none of the %d storage nodes online in good standing can take the slot: %s%s",
		r.Nodes, strings.Join(reasons, ", "), advice)
}
