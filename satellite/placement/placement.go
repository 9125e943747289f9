// Package placement decides which storage nodes hold what: which nodes form
// placement groups, which group an upload goes to, and who takes over a slot of
// a group. It only computes: the same values in give the same values out.
package placement

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
)

// Node is a storage node that may be given slots: online, with room.
type Node struct {
	ID       ident.ID
	Subnets  []string // that it lies in, see Subnets
	Operator string   // "" is nobody in particular
	Vetting  bool     // too new to be relied upon

	// Plan goes by these.
	Slots int // that it holds in groups of the scheme planned for
	Data  int // those of them that hold data shards

	// A Pool goes by these.
	Free    int64         // bytes that may still be put
	Success float64       // share of challenges it answered well, above 0 to 1; 0: not known
	Latency time.Duration // of a typical answer; 0: not known
}

// Rule says what a plan aims at.
type Rule struct {
	// Distinct keeps nodes of one subnet or one operator out of one group, so
	// that they count as one failure.
	Distinct bool
	// PerNode is in how many groups each node should be. Fewer node sets make
	// losing some segment less likely, more spread the load of repair.
	PerNode int
}

// vettingLimit is how many slots of a group nodes in vetting may hold: an upload
// succeeds without them, should all of them fail.
func vettingLimit(scheme erasure.Scheme) int {
	return max(1, scheme.Total-scheme.Success)
}

// Plan returns new groups, as nodes by slot, that bring every node to
// rule.PerNode groups as far as there are enough nodes to go with it. Nodes
// that are in enough groups may be taken into as many again to go with new
// ones, and a node without any group is given one whatever others have. But when
// nodes have rule.PerNode more in the mean than in any network that grows node by
// node, scheme.Total, there are no new groups: nodes that come and go would make
// them for ever. They wait for slots to fall vacant. At most
// Total − Success slots of a group, at least one, go to nodes in vetting, unless
// the vetted nodes are too few to fill the rest of one, as in a network that
// begins.
func Plan(scheme erasure.Scheme, rule Rule, nodes []Node) [][]ident.ID {
	if scheme.Total <= 0 || len(nodes) < scheme.Total {
		return nil
	}
	p := planner{scheme: scheme, rule: rule, nodes: slices.Clone(nodes), vetting: scheme.Total}
	slices.SortFunc(p.nodes, func(a, b Node) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	if limit := vettingLimit(scheme); p.vetted() >= scheme.Total-limit {
		p.vetting = limit
	}
	var groups [][]ident.ID
	for {
		members := p.members()
		if members == nil {
			return groups
		}
		groups = append(groups, p.seat(members))
	}
}

type planner struct {
	scheme  erasure.Scheme
	rule    Rule
	nodes   []Node
	vetting int // slots of a group that may go to nodes in vetting
	round   uint32
	stuck   map[ident.ID]bool // no group can be formed around these
}

// vetted is how many vetted nodes could be in one group.
func (p *planner) vetted() (n int) {
	taken := apart{distinct: p.rule.Distinct}
	for i := range p.nodes {
		if !p.nodes[i].Vetting && taken.add(&p.nodes[i]) {
			n++
		}
	}
	return n
}

// members chooses the nodes of one more group, or returns nil when none is
// needed or possible.
func (p *planner) members() []*Node {
	for {
		first := p.neediest()
		if first == nil {
			return nil
		}
		if members := p.around(first); members != nil {
			return members
		}
		if p.stuck == nil {
			p.stuck = make(map[ident.ID]bool)
		}
		p.stuck[first.ID] = true
	}
}

// neediest returns the node with the fewest slots that should have another.
func (p *planner) neediest() (least *Node) {
	for i := range p.nodes {
		n := &p.nodes[i]
		if n.Slots < p.rule.PerNode && !p.stuck[n.ID] && (least == nil || n.Slots < least.Slots) {
			least = n
		}
	}
	return least
}

// around chooses companions for a node: those with the fewest slots, in an
// order that differs from round to round, so that the same ones do not always
// meet.
func (p *planner) around(first *Node) []*Node {
	p.round++
	if p.crowded() {
		return nil
	}
	candidates := make([]*Node, 0, len(p.nodes))
	for i := range p.nodes {
		n := &p.nodes[i]
		if n != first && (n.Slots < 2*p.rule.PerNode || first.Slots == 0) {
			candidates = append(candidates, n)
		}
	}
	rank := make(map[ident.ID]uint64, len(candidates))
	for _, n := range candidates {
		rank[n.ID] = mix(n.ID, p.round)
	}
	slices.SortFunc(candidates, func(a, b *Node) int {
		return cmp.Or(cmp.Compare(a.Slots, b.Slots), cmp.Compare(rank[a.ID], rank[b.ID]))
	})
	return p.gather(first, candidates)
}

// crowded says whether there are as many groups as there may be.
func (p *planner) crowded() bool {
	slots := p.scheme.Total // of one more
	for i := range p.nodes {
		slots += p.nodes[i].Slots
	}
	return slots > (p.scheme.Total+p.rule.PerNode)*len(p.nodes)
}

// gather makes a group of first and the earliest candidates that may join it; it
// returns nil when they are too few.
func (p *planner) gather(first *Node, candidates []*Node) []*Node {
	taken := apart{distinct: p.rule.Distinct}
	taken.add(first)
	members := []*Node{first}
	vetting := 0
	if first.Vetting {
		vetting++
	}
	for _, n := range candidates {
		switch {
		case len(members) == p.scheme.Total:
			return members
		case n.Vetting && vetting == p.vetting || !taken.add(n):
			continue
		case n.Vetting:
			vetting++
		}
		members = append(members, n)
	}
	if len(members) < p.scheme.Total {
		return nil
	}
	return members
}

// seat gives the members their slots: data shards, which are read most, go to
// those that hold the fewest.
func (p *planner) seat(members []*Node) []ident.ID {
	slices.SortFunc(members, func(a, b *Node) int {
		return cmp.Or(
			cmp.Compare(a.Data*max(b.Slots, 1), b.Data*max(a.Slots, 1)), // Data per slot
			cmp.Compare(a.Data, b.Data),
			cmp.Compare(mix(a.ID, p.round), mix(b.ID, p.round)))
	})
	group := make([]ident.ID, len(members))
	for slot, n := range members {
		group[slot] = n.ID
		n.Slots++
		if slot < p.scheme.Required {
			n.Data++
		}
	}
	return group
}

// mix makes an order of nodes that is different for each round.
func mix(id ident.ID, round uint32) uint64 {
	h := fnv.New64a()
	h.Write(binary.BigEndian.AppendUint32(nil, round))
	h.Write(id[:])
	return h.Sum64()
}

// apart keeps nodes that would fail together out of one group.
type apart struct {
	distinct  bool
	subnets   map[string]bool
	operators map[string]bool
}

// add adds n if it may join those added before, and reports whether it may.
func (a *apart) add(n *Node) bool {
	if !a.allows(n) {
		return false
	}
	a.put(n)
	return true
}

// allows reports whether n may join those added before.
func (a *apart) allows(n *Node) bool {
	if !a.distinct {
		return true
	}
	if n.Operator != "" && a.operators[n.Operator] {
		return false
	}
	return !slices.ContainsFunc(n.Subnets, func(s string) bool { return a.subnets[s] })
}

// put adds n whether or not it may join.
func (a *apart) put(n *Node) {
	if !a.distinct {
		return
	}
	if a.subnets == nil {
		a.subnets, a.operators = make(map[string]bool), make(map[string]bool)
	}
	if n.Operator != "" {
		a.operators[n.Operator] = true
	}
	for _, s := range n.Subnets {
		a.subnets[s] = true
	}
}
