package durability

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairnstorage/cairn/proto/erasure"
)

// Every way to lose some of a dozen nodes is counted.
func TestHypergeometricByEnumeration(t *testing.T) {
	const total, n = 12, 5 // the slots are with nodes 0 to 4
	for marked := range total + 1 {
		var hits [n + 1]float64
		var all float64
		for set := range uint(1) << total {
			if bits.OnesCount(set) == marked {
				all++
				hits[bits.OnesCount(set&(1<<n-1))]++
			}
		}
		for j, hit := range hits {
			if got := math.Exp(logHypergeometric(total, marked, n, j)); math.Abs(got-hit/all) > 1e-12 {
				t.Errorf("%d of %d lost, %d of %d slots: %g, want %g", marked, total, j, n, got, hit/all)
			}
		}
	}
}

func TestHypergeometricIsExactFarOut(t *testing.T) {
	for _, c := range []struct{ total, marked, n, j int }{
		{100, 30, 40, 21}, {1000, 100, 40, 40}, {1000, 999, 255, 255}, {100_000, 10_000, 110, 82}, {1_000_000, 300, 40, 21},
	} {
		p := new(big.Rat).SetFrac(
			new(big.Int).Mul(choose(c.n, c.j), choose(c.total-c.n, c.marked-c.j)), choose(c.total, c.marked))
		near(t, fmt.Sprint(c), logHypergeometric(c.total, c.marked, c.n, c.j), logRat(p), 1e-7)
	}
}

func choose(n, k int) *big.Int {
	return new(big.Int).Binomial(int64(n), int64(k))
}

func scheme(t *testing.T, text string) erasure.Scheme {
	t.Helper()
	s, err := erasure.ParseScheme(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What a shock does is put together from exact parts: how many slots it takes,
// by counting, and what then happens, by solving the chain.
func TestShockLossIsExact(t *testing.T) {
	in := Inputs{Scheme: scheme(t, "3/4/5/6"), Nodes: 20, Groups: 10, SlotBytes: 5e12, FailureRate: 2, Shocks: []Shock{{0.4, 1}}}
	m := newModel(in)
	const nodes = 8
	if load := m.load(nodes); load != 2 { // 24 of the 60 slots are lost, 12 nodes are left
		t.Fatalf("each node left rebuilds %g slots", load)
	}
	for _, slots := range []int{6, 5} {
		ruin := newChain(slots, 3, 2, m.detect, 2*m.rebuild).logRuin()
		want := new(big.Float)
		for lost := range slots + 1 {
			p, _ := new(big.Rat).SetFrac(
				new(big.Int).Mul(choose(slots, lost), choose(20-slots, nodes-lost)), choose(20, nodes)).Float64()
			want.Add(want, big.NewFloat(p*math.Exp(ruin[min(lost, len(ruin)-1)])))
		}
		w, _ := want.Float64()
		near(t, fmt.Sprintf("%d slots", slots), m.shockLoss(slots, nodes), math.Log(w), 1e-9)
	}
	if f := m.shock(nodes); f.whole != m.shockLoss(6, nodes) || f.short != m.shockLoss(5, nodes) || f.short <= f.whole {
		t.Errorf("with all shards e^%g, with fewer e^%g", f.whole, f.short)
	}
	if got := m.shockLoss(6, 20); got != 0 {
		t.Errorf("without any node left, data is lost with e^%g", got)
	}
}

// many is how many shocks are simulated.
const many = 20_000

// Groups dealt to nodes share some, which the model leaves out.
func TestAnyGroupAgreesWithSimulation(t *testing.T) {
	const nodes, lost, slots, required, rounds = 60, 30, 10, 3, 4
	random := rand.New(rand.NewPCG(5, 6))
	var groups [][]int
	for range rounds {
		deal := random.Perm(nodes)
		groups = slices.AppendSeq(groups, slices.Chunk(deal, slots))
	}
	one := math.Inf(-1)
	for j := slots - required + 1; j <= slots; j++ {
		one = logAdd(one, logHypergeometric(nodes, lost, slots, j))
	}
	anyLost, groupsLost := 0.0, 0.0
	for range many {
		gone := shuffled(random, nodes, lost)
		if n := lostSets(groups, gone, required); n > 0 {
			anyLost++
			groupsLost += float64(n)
		}
	}
	n := float64(len(groups))
	want, sum := math.Exp(logAny(one, math.Log(n))), n*math.Exp(one)
	if got := groupsLost / many; math.Abs(got-sum) > 0.05*sum {
		t.Errorf("a shock takes %.3f groups, want %.3f", got, sum)
	}
	if got := anyLost / many; got > sum || math.Abs(got-want) > 0.05*want {
		t.Errorf("a shock takes any group with %.3f, want %.3f and no more than %.3f", got, want, sum)
	}
}

// With as many segments to lose, sets of their own lose any far more often, and
// no more of them on average.
func TestRandomPlacementAgreesWithSimulation(t *testing.T) {
	in := Inputs{
		Scheme: scheme(t, "3/4/6/8"), Nodes: 40, Groups: 10, Segments: 200,
		FailureRate: 1e-6, Detect: 1, Rebuild: 1, Shocks: []Shock{{0.35, 1}},
	}
	report, err := Estimate(in)
	if err != nil {
		t.Fatal(err)
	}
	s := report.Shocks[0]
	random := rand.New(rand.NewPCG(7, 8))
	anyLost, segments := 0.0, 0.0
	const shocks = many / 20
	for range shocks {
		sets := make([][]int, in.Segments)
		for i := range sets {
			sets[i] = random.Perm(in.Nodes)[:8]
		}
		if n := lostSets(sets, shuffled(random, in.Nodes, s.Nodes), 3); n > 0 {
			anyLost++
			segments += float64(n)
		}
	}
	if got := anyLost / shocks; math.Abs(got-s.Random.Probability) > 0.03 {
		t.Errorf("any of the sets is lost with %.3f, want %.3f", got, s.Random.Probability)
	}
	if got := segments / shocks; math.Abs(got-s.Segments) > 0.05*s.Segments {
		t.Errorf("%.3f segments are lost on average, want %.3f", got, s.Segments)
	}
	if s.Whole.Network.Probability > s.Random.Probability/5 {
		t.Errorf("groups lose any with %.3f, random sets with %.3f", s.Whole.Network.Probability, s.Random.Probability)
	}
}

func shuffled(random *rand.Rand, nodes, lost int) []bool {
	gone := make([]bool, nodes)
	for _, node := range random.Perm(nodes)[:lost] {
		gone[node] = true
	}
	return gone
}

func lostSets(sets [][]int, gone []bool, required int) (lost int) {
	for _, set := range sets {
		left := 0
		for _, node := range set {
			if !gone[node] {
				left++
			}
		}
		if left < required {
			lost++
		}
	}
	return lost
}

func TestWithstands(t *testing.T) {
	for _, text := range []string{"4/6/8/10", "10/14/16/20", "20/28/32/40"} {
		m := newModel(Inputs{Scheme: scheme(t, text), Nodes: 500, Groups: 50, Segments: 1000})
		share := m.withstands()
		nodes := int(math.Round(share * 500))
		if nodes == 0 || nodes == 499 {
			t.Errorf("%s withstands the loss of %d nodes", text, nodes)
		}
		for n := 1; n < 500; n++ {
			p := math.Exp(m.anyGroup(m.shock(n).whole))
			if ok := p <= Negligible; ok != (n <= nodes) {
				t.Errorf("%s withstands %d nodes, but loses data with %g at %d", text, nodes, p, n)
			}
		}
	}
}

func TestDefaultShocks(t *testing.T) {
	for _, s := range DefaultShocks() {
		if err := s.validate(); err != nil {
			t.Error(err)
		}
		if got := s.PerYear * s.Share * s.Share; math.Abs(got-0.0001) > 1e-15 {
			t.Errorf("%+v is off the line", s)
		}
	}
}
