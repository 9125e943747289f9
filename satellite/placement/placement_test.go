package placement

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
)

var small = erasure.Scheme{Required: 4, RepairBelow: 6, Success: 8, Total: 10}

func id(i int) ident.ID { return ident.ID{byte(i), byte(i >> 8), 1} }

func newNodes(n int) []Node {
	nodes := make([]Node, n)
	for i := range nodes {
		nodes[i] = Node{ID: id(i), Subnets: []string{fmt.Sprintf("10.0.%d.0/24", i)}}
	}
	return nodes
}

// count applies planned groups to nodes.
func count(nodes []Node, groups [][]ident.ID, data int) {
	at := map[ident.ID]*Node{}
	for i := range nodes {
		at[nodes[i].ID] = &nodes[i]
	}
	for _, g := range groups {
		for slot, member := range g {
			at[member].Slots++
			if slot < data {
				at[member].Data++
			}
		}
	}
}

// checkGroups checks what must be true of any plan.
func checkGroups(t *testing.T, scheme erasure.Scheme, nodes []Node, groups [][]ident.ID, distinct bool) {
	t.Helper()
	at := map[ident.ID]Node{}
	for _, n := range nodes {
		at[n.ID] = n
	}
	for _, g := range groups {
		if len(g) != scheme.Total {
			t.Fatalf("group of %d nodes", len(g))
		}
		seen, subnets, operators := map[ident.ID]bool{}, map[string]bool{}, map[string]bool{}
		for _, member := range g {
			n, known := at[member]
			if !known || seen[member] {
				t.Fatalf("group %v has a node twice or a strange one", g)
			}
			seen[member] = true
			if !distinct {
				continue
			}
			for _, s := range n.Subnets {
				if subnets[s] {
					t.Fatalf("two nodes of subnet %s", s)
				}
				subnets[s] = true
			}
			if n.Operator != "" && operators[n.Operator] {
				t.Fatalf("two nodes of operator %s", n.Operator)
			}
			operators[n.Operator] = true
		}
	}
}

func TestPlanAtOnce(t *testing.T) {
	for _, c := range []struct{ nodes, groups, most int }{
		{0, 0, 0}, {9, 0, 0}, {10, 4, 4}, {11, 5, 5}, {20, 8, 4}, {25, 10, 4}, {57, 23, 5}, {200, 80, 4},
	} {
		nodes := newNodes(c.nodes)
		groups := Plan(small, Rule{PerNode: 4}, nodes)
		checkGroups(t, small, nodes, groups, false)
		if len(groups) != c.groups {
			t.Errorf("%d nodes: %d groups, want %d", c.nodes, len(groups), c.groups)
		}
		if len(groups) == 0 {
			continue
		}
		count(nodes, groups, small.Required)
		for _, n := range nodes {
			if n.Slots < 4 || n.Slots > c.most {
				t.Errorf("%d nodes: one has %d slots", c.nodes, n.Slots)
			}
			if n.Data == 0 || n.Data > 3 {
				t.Errorf("%d nodes: one of %d slots has %d of data", c.nodes, n.Slots, n.Data)
			}
		}
	}
}

// TestPlanSpreadsData has as many nodes as slots: data slots must go round.
func TestPlanSpreadsData(t *testing.T) {
	nodes := newNodes(10)
	groups := Plan(small, Rule{PerNode: 4}, nodes)
	count(nodes, groups, small.Required)
	for _, n := range nodes {
		if n.Data < 1 || n.Data > 2 { // 16 data slots of 10 nodes
			t.Errorf("node with %d data slots", n.Data)
		}
	}
}

// TestPlanMeetsDifferentNodes makes sure that not always the same nodes meet.
func TestPlanMeetsDifferentNodes(t *testing.T) {
	nodes := newNodes(100)
	groups := Plan(small, Rule{PerNode: 4}, nodes)
	sets := map[string]bool{}
	met := map[ident.ID]map[ident.ID]bool{}
	for _, g := range groups {
		sorted := slices.Clone(g)
		slices.SortFunc(sorted, func(a, b ident.ID) int { return slices.Compare(a[:], b[:]) })
		sets[fmt.Sprint(sorted)] = true
		for _, a := range g {
			if met[a] == nil {
				met[a] = map[ident.ID]bool{}
			}
			for _, b := range g {
				met[a][b] = true
			}
		}
	}
	if len(sets) != len(groups) {
		t.Errorf("%d groups are %d sets of nodes", len(groups), len(sets))
	}
	for a, others := range met {
		if len(others) < 20 {
			t.Errorf("node %v meets only %d others", a, len(others)-1)
		}
	}
}

// TestPlanJoining adds nodes one by one: each gets into a group at once, and
// none into too many.
func TestPlanJoining(t *testing.T) {
	nodes := newNodes(10)
	count(nodes, Plan(small, Rule{PerNode: 4}, nodes), small.Required)
	for i := 10; i < 60; i++ {
		nodes = append(nodes, Node{ID: id(i)})
		groups := Plan(small, Rule{PerNode: 4}, nodes)
		checkGroups(t, small, nodes, groups, false)
		count(nodes, groups, small.Required)
		if n := nodes[i]; n.Slots == 0 {
			t.Fatalf("node %d got no group", i)
		}
	}
	for i, n := range nodes {
		if n.Slots > small.Total+4 {
			t.Errorf("node %d has %d slots", i, n.Slots)
		}
	}
	if again := Plan(small, Rule{PerNode: 4}, nodes); len(again) != 0 {
		t.Errorf("planning again without news makes %d groups", len(again))
	}
}

// TestPlanChurn has nodes lose all their slots to others and come back, again and
// again: groups must not become more and more.
func TestPlanChurn(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	nodes := newNodes(16)
	groups := 0
	for range 1000 {
		planned := Plan(small, Rule{PerNode: 4}, nodes)
		groups += len(planned)
		count(nodes, planned, small.Required)
		gone := &nodes[random.IntN(len(nodes))]
		for ; gone.Slots > 0; gone.Slots-- {
			nodes[random.IntN(len(nodes))].Slots++
		}
	}
	if most := (small.Total + 4) * len(nodes) / small.Total; groups > most {
		t.Errorf("%d nodes have made %d groups, more than %d", len(nodes), groups, most)
	}
}

func TestPlanSettles(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		nodes := newNodes(10 + random.IntN(60))
		for i := range nodes {
			nodes[i].Slots = random.IntN(7)
			nodes[i].Data = nodes[i].Slots / 2
		}
		count(nodes, Plan(small, Rule{PerNode: 4}, nodes), small.Required)
		if more := Plan(small, Rule{PerNode: 4}, nodes); len(more) != 0 {
			t.Fatalf("%d nodes: a second plan makes %d groups more", len(nodes), len(more))
		}
	}
}

func TestPlanDistinct(t *testing.T) {
	rule := Rule{Distinct: true, PerNode: 4}
	nodes := newNodes(30)
	for i := range nodes {
		nodes[i].Subnets = []string{fmt.Sprintf("10.0.%d.0/24", i/2)}
	}
	groups := Plan(small, rule, nodes)
	checkGroups(t, small, nodes, groups, true)
	count(nodes, groups, small.Required)
	for _, n := range nodes {
		if n.Slots < 4 {
			t.Errorf("node with %d slots", n.Slots)
		}
	}
	for i := range nodes {
		nodes[i].Slots, nodes[i].Data = 0, 0
		nodes[i].Subnets = nil
		nodes[i].Operator = fmt.Sprint("operator ", i%9)
	}
	if groups := Plan(small, rule, nodes); len(groups) != 0 {
		t.Errorf("9 operators make %d groups of 10", len(groups))
	}
	for i := range nodes {
		nodes[i].Operator = fmt.Sprint("operator ", i%10)
	}
	checkGroups(t, small, nodes, Plan(small, rule, nodes), true)
	// The rule off, all may meet.
	if groups := Plan(small, Rule{PerNode: 4}, nodes); len(groups) != 12 {
		t.Errorf("%d groups, want 12", len(groups))
	}
}

// TestPlanIsPure plans twice, from shuffled input.
func TestPlanIsPure(t *testing.T) {
	nodes := newNodes(33)
	before := slices.Clone(nodes)
	first := Plan(small, Rule{PerNode: 4}, nodes)
	if !reflect.DeepEqual(nodes, before) {
		t.Error("the input was changed")
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	if second := Plan(small, Rule{PerNode: 4}, nodes); !reflect.DeepEqual(first, second) {
		t.Error("the order of nodes matters")
	}
}

func TestSubnets(t *testing.T) {
	for _, c := range []struct {
		remote string
		addrs  string
		want   string
	}{
		{"", "/ip4/192.0.2.77/tcp/7000", "192.0.2.0/24"},
		{"", "/ip4/10.1.2.3/udp/1/quic-v1", "10.1.2.0/24"},
		{"", "/ip6/2001:db8:1:2::5/tcp/1", "2001:db8:1::/48"},
		{"", "/ip6/::ffff:192.0.2.77/tcp/1", "192.0.2.0/24"},
		{"", "/dns4/node.example.org/tcp/7000 /ip4/nonsense/tcp/1 /unix/x 192.0.2.1 /", ""},
		{"", "/ip4/192.0.2.1/tcp/1 /ip4/192.0.2.9/udp/1/quic-v1 x /ip4/10.0.0.1/tcp/1", "10.0.0.0/24 192.0.2.0/24"},
		// What it claims does not hide where it comes from.
		{"192.0.2.5", "/ip4/198.51.100.1/tcp/1", "192.0.2.0/24 198.51.100.0/24"},
		{"192.0.2.5", "/dns/a.example/tcp/1 /ip4/192.0.2.9/tcp/1", "192.0.2.0/24"},
		{"::ffff:192.0.2.5", "", "192.0.2.0/24"},
		{"2001:db8:1:2::5", "", "2001:db8:1::/48"},
		// Two sites may number their private networks alike.
		{"192.0.2.5", "/ip4/192.168.1.1/tcp/1 /ip4/127.0.0.1/tcp/1 /ip6/fe80::1/tcp/1", "192.0.2.0/24"},
		// On one site, or one machine, claims are all there is.
		{"127.0.0.1", "/ip4/192.0.2.9/tcp/1", "192.0.2.0/24"},
		{"192.168.7.1", "/ip4/192.168.1.1/tcp/1 /ip4/127.0.0.1/tcp/1", "127.0.0.0/24 192.168.1.0/24"},
	} {
		remote, _ := netip.ParseAddr(c.remote)
		if got := strings.Join(Subnets(remote, strings.Fields(c.addrs)), " "); got != c.want {
			t.Errorf("from %s, claiming %s: %q, want %q", c.remote, c.addrs, got, c.want)
		}
	}
}

func TestPlanVetting(t *testing.T) {
	of := func(vetted, inVetting int) []Node {
		nodes := newNodes(vetted + inVetting)
		for i := range nodes {
			nodes[i].Vetting = i >= vetted
		}
		return nodes
	}
	sameSubnet := of(12, 12)
	for i := range 12 {
		sameSubnet[i].Subnets = sameSubnet[i%7].Subnets
	}
	for name, c := range map[string]struct {
		nodes []Node
		most  int // in vetting, in one group
		none  bool
	}{
		"a network that begins":    {of(0, 20), 10, false},
		"too few vetted ones":      {of(7, 20), 10, false},
		"just enough vetted ones":  {of(8, 20), 2, false},
		"many vetted ones":         {of(60, 20), 2, false},
		"none in vetting":          {of(20, 0), 0, false},
		"too few apart":            {sameSubnet, 10, false},
		"just enough, and too few": {of(8, 1), 2, true},
	} {
		rule := Rule{Distinct: true, PerNode: 4}
		groups := Plan(small, rule, c.nodes)
		checkGroups(t, small, c.nodes, groups, true)
		inVetting := map[ident.ID]bool{}
		for _, n := range c.nodes {
			inVetting[n.ID] = n.Vetting
		}
		most := 0
		for _, g := range groups {
			n := 0
			for _, member := range g {
				if inVetting[member] {
					n++
				}
			}
			most = max(most, n)
		}
		if (len(groups) == 0) != c.none || most > c.most || c.most == 10 && most <= 2 {
			t.Errorf("%s: %d groups, with up to %d nodes in vetting", name, len(groups), most)
		}
	}
}

// TestPlanVettingDoesNotCrowd has vetted nodes that are in as many groups as they
// may be: no group is formed of nodes in vetting alone.
func TestPlanVettingDoesNotCrowd(t *testing.T) {
	nodes := newNodes(60)
	for i := range nodes {
		nodes[i].Vetting = i >= 20
		nodes[i].Slots = 1
		if !nodes[i].Vetting {
			nodes[i].Slots = 8
		}
	}
	if groups := Plan(small, Rule{PerNode: 4}, nodes); len(groups) != 0 {
		t.Errorf("%d groups", len(groups))
	}
}
