package placement

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
)

const gib = 1 << 30

// roomy makes nodes with so much free space each.
func roomy(free ...int64) []Node {
	nodes := newNodes(len(free))
	for i := range nodes {
		nodes[i].Free = free[i]
	}
	return nodes
}

func alike(n int, free int64) []Node { return roomy(slices.Repeat([]int64{free}, n)...) }

func vetting(nodes []Node) []Node {
	for i := range nodes {
		nodes[i].Vetting = true
	}
	return nodes
}

// members are nodes that no pool has, of which so many are in vetting.
func members(n, inVetting int) []*Node {
	list := make([]*Node, n)
	for i := range list {
		list[i] = &Node{ID: id(1000 + i), Subnets: []string{fmt.Sprintf("10.9.%d.0/24", i)}, Vetting: i < inVetting}
	}
	return list
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 5)) }

// hits counts which of the nodes are chosen for a seat, each time from a new pool.
func hits(t *testing.T, nodes []Node, s Seat, rolls int) []float64 {
	t.Helper()
	random := seeded(1)
	count := make([]float64, len(nodes))
	p := NewPool(nodes, true, math.MaxInt)
	for range rolls {
		got, err := p.Replace(s, random)
		if err != nil {
			t.Fatal(err)
		}
		p.Occupy(got, -s.Size)
		count[slices.IndexFunc(nodes, func(n Node) bool { return n.ID == got })]++
	}
	return count
}

// TestReplaceIsFair checks that nodes are chosen in proportion to their weights.
func TestReplaceIsFair(t *testing.T) {
	seat := Seat{Scheme: small, Others: members(9, 0)}
	known := roomy(gib, gib, gib, gib, gib)
	known[0].Success, known[1].Success, known[2].Success = 1, 0.5, 0.1
	known[3].Latency, known[4].Latency = 300*time.Millisecond, time.Millisecond
	for name, c := range map[string]struct {
		nodes []Node
		want  []float64
	}{
		"free space":       {roomy(gib, 2*gib, 0, 5*gib), []float64{1, 2, 0, 5}},
		"a liar":           {roomy(gib, gib, math.MaxInt64), []float64{1, 1, freeCap}},
		"liars":            {roomy(gib, math.MaxInt64, math.MaxInt64), []float64{0, 1, 1}},
		"success, latency": {known, []float64{1, 0.25, 0.01, 0.5, 2 / 1.01}},
		"few with room":    {roomy(append(make([]int64, 40), gib, 3*gib)...), append(make([]float64, 40), 1, 3)},
	} {
		const rolls = 20_000
		sum := 0.0
		for _, w := range c.want {
			sum += w
		}
		for i, n := range hits(t, c.nodes, seat, rolls) {
			if want := c.want[i] / sum; math.Abs(n/rolls-want) > 0.015 {
				t.Errorf("%s: node %d was chosen %.3f of the times, want %.3f", name, i, n/rolls, want)
			}
		}
	}
}

// TestReplaceIsFairWhenFewFit has draws fail so often that all nodes are looked
// through.
func TestReplaceIsFairWhenFewFit(t *testing.T) {
	nodes := alike(400, 8*gib)
	for i := range nodes {
		if i > 1 {
			nodes[i].Operator = "one"
		}
	}
	nodes[1].Free = 24 * gib
	seat := Seat{Scheme: small, Others: append(members(8, 0), &Node{ID: id(2000), Operator: "one"})}
	const rolls = 4000
	count := hits(t, nodes, seat, rolls)
	if count[0]+count[1] != rolls || math.Abs(count[1]/rolls-0.75) > 0.03 {
		t.Errorf("chosen %v and %v times of %d", count[0], count[1], rolls)
	}
}

func TestReplaceVetting(t *testing.T) {
	vetted := alike(20, gib)
	novices := vetting(alike(40, 2*gib))[20:]
	share := func(nodes []Node, inGroup int) float64 {
		const rolls = 20_000
		n := 0.0
		for i, count := range hits(t, nodes, Seat{Scheme: small, Others: members(9, inGroup)}, rolls) {
			if nodes[i].Vetting {
				n += count
			}
		}
		return n / rolls
	}
	for _, c := range []struct {
		name    string
		nodes   []Node
		inGroup int
		want    float64
	}{
		{"a few percent", slices.Concat(vetted, novices), 0, vettingShare},
		{"of few as well", slices.Concat(vetted, novices[:1]), 1, vettingShare},
		{"a group with enough", slices.Concat(vetted, novices), 2, 0},
		{"a network that begins", novices, 9, 1},
		{"none in vetting", vetted, 9, 0},
	} {
		if got := share(c.nodes, c.inGroup); math.Abs(got-c.want) > 0.005 {
			t.Errorf("%s: %.4f of the seats went to nodes in vetting, want %.2f", c.name, got, c.want)
		}
	}
}

// TestReplaceVettingWaits has vetted nodes that are only busy: they are waited
// for rather than have too many nodes in vetting in a group.
func TestReplaceVettingWaits(t *testing.T) {
	nodes := append(alike(2, gib), vetting(alike(4, gib))[2:]...)
	p := NewPool(nodes, false, 1)
	for i := range 2 {
		p.Occupy(id(i), 1)
	}
	_, err := p.Replace(Seat{Scheme: small, Others: members(9, 2)}, seeded(1))
	if err == nil || !strings.Contains(err.Error(), "2 are in vetting, of which the group has enough") {
		t.Errorf("too many in vetting: %v", err)
	}
	if got, err := p.Replace(Seat{Scheme: small, Others: members(9, 1)}, seeded(1)); err != nil || got != id(2) && got != id(3) {
		t.Errorf("room for one in vetting: %v %v", got, err)
	}
}

func TestRefusal(t *testing.T) {
	others := members(9, 0)
	others[0].Operator = "one"
	for name, c := range map[string]struct {
		change func(nodes []Node, p *Pool, s *Seat) []Node
		want   string
	}{
		"no nodes":      {func([]Node, *Pool, *Seat) []Node { return nil }, "no storage node is online that could take the slot: start more"},
		"full":          {func(nodes []Node, _ *Pool, s *Seat) []Node { s.Size = gib + 1; return nodes }, "3 lack room: start more"},
		"no room":       {func([]Node, *Pool, *Seat) []Node { return alike(2, 0) }, "2 lack room: start more"},
		"same operator": {func(nodes []Node, _ *Pool, _ *Seat) []Node { nodes[0].Operator = "one"; return nodes[:1] }, "1 share a subnet or an operator with another holder: start more"},
		"same subnet":   {func(nodes []Node, _ *Pool, s *Seat) []Node { nodes[0].Subnets = s.Others[4].Subnets; return nodes[:1] }, "1 share a subnet"},
		"members": {func(nodes []Node, _ *Pool, s *Seat) []Node {
			s.Others = append(s.Others, &nodes[0], &nodes[1])
			s.Former = []ident.ID{{}, nodes[2].ID}
			return nodes
		}, "none of the 3 storage nodes online in good standing can take the slot: 3 hold or had a slot of the group already: start more"},
	} {
		s := Seat{Scheme: small, Others: slices.Clone(others)}
		p := NewPool(c.change(alike(3, gib), nil, &s), true, 1)
		got, err := p.Replace(s, seeded(1))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v %v, want %q", name, got, err, c.want)
		}
	}
	p := NewPool(alike(2, gib), true, 2)
	for range 2 {
		p.Occupy(id(0), 1)
		p.Occupy(id(1), 1)
		p.Occupy(id(99), 1)
	}
	if _, err := p.Replace(Seat{Scheme: small}, seeded(1)); err == nil ||
		!strings.Contains(err.Error(), "2 are healing as many slots as they may: one will do when it has healed its slots") {
		t.Errorf("busy: %v", err)
	}
}

// TestReplaceTakesCount gives nodes no more than they have room and time for.
func TestReplaceTakesCount(t *testing.T) {
	p := NewPool(roomy(4*gib, 10*gib), true, 6)
	got := map[ident.ID]int{}
	for random := seeded(3); ; {
		chosen, err := p.Replace(Seat{Scheme: small, Size: gib}, random)
		if err != nil {
			if why := err.(Refusal); why.Full != 1 || why.Busy != 1 {
				t.Errorf("%v", err)
			}
			break
		}
		got[chosen]++
	}
	if got[id(0)] != 4 || got[id(1)] != 6 {
		t.Errorf("nodes were given %d and %d slots", got[id(0)], got[id(1)])
	}
}

// TestReplaceHoldsRules fills seats of random groups and checks what must be
// true of each choice, and that the order of nodes does not matter.
func TestReplaceHoldsRules(t *testing.T) {
	random := seeded(11)
	for range 300 {
		nodes := newNodes(5 + random.IntN(40))
		for i := range nodes {
			n := &nodes[i]
			n.Free = int64(random.IntN(5)) * gib
			n.Vetting = random.IntN(3) == 0
			n.Subnets = []string{fmt.Sprint("net ", random.IntN(30))}
			n.Operator = []string{"", "", "a", "b", fmt.Sprint(i)}[random.IntN(5)]
		}
		shuffled := slices.Clone(nodes)
		random.Shuffle(len(nodes), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		distinct := random.IntN(2) == 0
		p, again := NewPool(nodes, distinct, 2), NewPool(shuffled, distinct, 2)
		given := map[ident.ID]int{}
		for seed := range uint64(30) {
			s := Seat{Scheme: small, Size: gib}
			for _, i := range random.Perm(len(nodes))[:random.IntN(min(9, len(nodes)))] {
				s.Others = append(s.Others, &nodes[i])
			}
			s.Former = []ident.ID{nodes[random.IntN(len(nodes))].ID}
			chosen, err := p.Replace(s, seeded(seed))
			if other, otherErr := again.Replace(s, seeded(seed)); other != chosen || fmt.Sprint(err) != fmt.Sprint(otherErr) {
				t.Fatalf("%v, but from shuffled nodes %v (%v, %v)", chosen, other, err, otherErr)
			}
			checkChoice(t, nodes, given, s, distinct, chosen, err)
		}
	}
}

// checkChoice checks that the chosen node may take the seat, or that none may.
func checkChoice(t *testing.T, nodes []Node, given map[ident.ID]int, s Seat, distinct bool, chosen ident.ID, err error) {
	t.Helper()
	may := func(n *Node) bool {
		for _, o := range s.Others {
			sameNet := slices.ContainsFunc(o.Subnets, func(net string) bool { return slices.Contains(n.Subnets, net) })
			if o.ID == n.ID || distinct && (sameNet || n.Operator != "" && n.Operator == o.Operator) {
				return false
			}
		}
		return !slices.Contains(s.Former, n.ID) && given[n.ID] < 2 && n.Free >= gib*int64(given[n.ID]+1)
	}
	vettedFits, anyVetted := false, false
	for i := range nodes {
		n := &nodes[i]
		if fits := may(n); n.ID == chosen && !fits {
			t.Fatalf("%+v was chosen for %+v", n, s)
		} else if fits && err != nil && (!n.Vetting || err.(Refusal).New == 0) {
			t.Fatalf("%+v could take %+v: %v", n, s, err)
		} else if fits && !n.Vetting {
			vettedFits = true
		}
		anyVetted = anyVetted || !n.Vetting
	}
	inVetting := 0
	for _, o := range s.Others {
		if o.Vetting {
			inVetting++
		}
	}
	for i := range nodes {
		if n := &nodes[i]; n.ID == chosen && n.Vetting && vettedFits && inVetting >= 2 {
			t.Fatalf("%+v was chosen for a group with %d in vetting", n, inVetting)
		}
	}
	given[chosen]++
}
