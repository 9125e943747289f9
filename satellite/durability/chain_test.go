package durability

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// near fails unless got is want but for a relative difference. Both are
// logarithms.
func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(math.Expm1(got-want)) <= tolerance) {
		t.Errorf("%s: e^%.12g, want e^%.12g", what, got, want)
	}
}

// groups are slots, shards required, failures a year, hours to detect and to
// rebuild, from hopeless to safe.
var groups = []struct {
	slots, required int
	rate            float64
	detect, rebuild float64
}{
	{2, 1, 0.125, 4, 4},
	{2, 1, 2, 4000, 0},
	{5, 4, 0.015, 1, 20},
	{3, 1, 1, 24, 24},
	{10, 4, 0.125, 4, 28},
	{10, 4, 20, 400, 100},
	{8, 4, 0.125, 4, 28},
	{8, 8, 0.125, 4, 28},
	{20, 10, 0.125, 4, 70},
	{40, 20, 0.125, 4, 140},
	{40, 20, 12, 4, 1400},
	{32, 20, 0.125, 0.001, 0},
	{80, 29, 0.125, 4, 200},
}

func TestChainIsExact(t *testing.T) {
	for _, g := range groups {
		c := newChain(g.slots, g.required, g.rate, g.detect/8766, g.rebuild/8766)
		name := fmt.Sprintf("%d of %d at %g", g.required, g.slots, g.rate)
		one := make([]*big.Rat, len(c.fail))
		for i := range one {
			one[i] = big.NewRat(1, 1)
		}
		near(t, name+", years", c.logYears(), logRat(solve(c, one)[0]), 1e-11)

		// The chance of loss before state 0, for which state 0 is made to end it.
		from := chain{fail: c.fail[1:], repair: c.repair[1:]}
		if len(from.fail) == 0 {
			continue
		}
		flow := make([]*big.Rat, len(from.fail))
		for i := range flow {
			flow[i] = new(big.Rat)
		}
		flow[len(flow)-1].SetFloat64(from.fail[len(from.fail)-1])
		ruin := c.logRuin()
		for i, want := range solve(from, flow) {
			near(t, fmt.Sprintf("%s, ruin from %d", name, i+1), ruin[i+1], logRat(want), 1e-11)
		}
		if !math.IsInf(ruin[0], -1) || ruin[len(ruin)-1] != 0 {
			t.Errorf("%s: ruin is e^%g from no loss and e^%g from loss", name, ruin[0], ruin[len(ruin)-1])
		}
	}
}

// solve solves (fail+repair)·x[i] − fail·x[i+1] − repair·x[i−1] = b[i], where x
// is 0 beyond both ends, by Gaussian elimination in rational numbers.
func solve(c chain, b []*big.Rat) []*big.Rat {
	n := len(b)
	rows := make([][]*big.Rat, n)
	for i := range rows {
		rows[i] = make([]*big.Rat, n+1)
		for j := range rows[i] {
			rows[i][j] = new(big.Rat)
		}
		fail, repair := new(big.Rat).SetFloat64(c.fail[i]), new(big.Rat).SetFloat64(c.repair[i])
		rows[i][i].Add(fail, repair)
		if i+1 < n {
			rows[i][i+1].Neg(fail)
		}
		if i > 0 {
			rows[i][i-1].Neg(repair)
		}
		rows[i][n].Set(b[i])
	}
	for i := range n {
		for j := range n {
			if j == i || rows[j][i].Sign() == 0 {
				continue
			}
			factor := new(big.Rat).Quo(rows[j][i], rows[i][i])
			for k := i; k <= n; k++ {
				rows[j][k].Sub(rows[j][k], new(big.Rat).Mul(factor, rows[i][k]))
			}
		}
	}
	x := make([]*big.Rat, n)
	for i := range x {
		x[i] = new(big.Rat).Quo(rows[i][n], rows[i][i])
	}
	return x
}

func logRat(r *big.Rat) float64 {
	var mantissa big.Float
	exponent := new(big.Float).SetPrec(64).SetRat(r).MantExp(&mantissa)
	m, _ := mantissa.Float64()
	return math.Log(m) + float64(exponent)*math.Ln2
}

// The formulas that textbooks give.
func TestChainClosedForms(t *testing.T) {
	const l, detect, rebuild = 0.2, 0.001, 0.004
	mu := 1 / (detect + rebuild)
	mirror := (3*l + mu) / (2 * l * l)
	near(t, "mirror", newChain(2, 1, l, detect, rebuild).logYears(), math.Log(mirror), 1e-12)
	for _, n := range []float64{3, 5, 20} {
		parity := ((2*n-1)*l + mu) / (n * (n - 1) * l * l)
		near(t, "one parity", newChain(int(n), int(n)-1, l, detect, rebuild).logYears(), math.Log(parity), 1e-12)
	}
	near(t, "no redundancy", newChain(7, 7, l, detect, rebuild).logYears(), math.Log(1/(7*l)), 1e-12)
}

// Slots that fail and are repaired independently of each other are each down a
// share p = λT/(1+λT) of the time, however repair times are distributed about
// their mean T. Loss begins where exactly the required ones are up and one
// fails, which makes it k·λ·P(k up) a year as long as it is rare.
func TestChainAgreesWithSlotsOnTheirOwn(t *testing.T) {
	for _, g := range groups {
		down := g.rate * (g.detect + g.rebuild) / 8766
		if down > 0.01 || g.slots > 2*g.required && g.rebuild > 0 {
			continue // loss is not rare, or rebuilds hold each other up
		}
		k, n := float64(g.required), float64(g.slots)
		want := math.Log(k*g.rate) + logChoose(g.slots, g.required) + (n-k)*math.Log(down) - n*math.Log1p(down)
		got := -newChain(g.slots, g.required, g.rate, g.detect/8766, g.rebuild/8766).logYears()
		near(t, fmt.Sprintf("%d of %d", g.required, g.slots), got, want, 2*n*down)
	}
}

// Rebuilds of more slots than there are left to read from take longer.
func TestChainSourcesAreTheBottleneck(t *testing.T) {
	c := newChain(10, 4, 1, 0.5, 1)
	for i, want := range []float64{0, 1 / 1.5, 2 / 1.5, 3 / 1.5, 4 / 1.5, 5 / 1.5, 6 / (0.5 + 6.0/4)} {
		if math.Abs(c.repair[i]-want) > 1e-12 {
			t.Errorf("%d lost: %g repaired a year, want %g", i, c.repair[i], want)
		}
	}
}

// The chance within a year is never below the exact one while it is small, and
// above it by no more than the time in which a group forgets how it began.
func TestLossWithinAYear(t *testing.T) {
	for _, g := range groups {
		c := newChain(g.slots, g.required, g.rate, g.detect/8766, g.rebuild/8766)
		if g.detect < 1 || c.logYears() < 0 {
			continue // too many steps, or a loss within the year is to be expected
		}
		exact, got := c.within(1), c.logLoss(1)
		slack := (1 + math.Log(float64(g.slots))) * (g.detect + g.rebuild) / 8766
		if got < exact-1e-9 || got > exact+slack+1e-9 {
			t.Errorf("%d of %d at %g: e^%.9g, exactly e^%.9g", g.required, g.slots, g.rate, got, exact)
		}
	}
}

// within is the logarithm of the probability of loss in so many years, by
// uniformization: the chain is looked at after each of a Poisson number of
// steps. Nothing is subtracted, so that it is exact however small it is.
func (c chain) within(years float64) float64 {
	var pace float64
	for i := range c.fail {
		pace = max(pace, c.fail[i]+c.repair[i])
	}
	n := len(c.fail)
	at := make([]float64, n+1)
	at[0] = 1
	mean, sum := pace*years, math.Inf(-1)
	for step := 1; float64(step) < mean+12*math.Sqrt(mean)+50; step++ {
		next := make([]float64, n+1)
		next[n] = at[n]
		for i := range n {
			next[i+1] += at[i] * c.fail[i] / pace
			next[i] += at[i] * max(0, 1-(c.fail[i]+c.repair[i])/pace)
			if i > 0 {
				next[i-1] += at[i] * c.repair[i] / pace
			}
		}
		at = next
		l, _ := math.Lgamma(float64(step) + 1)
		sum = logAdd(sum, float64(step)*math.Log(mean)-mean-l+math.Log(at[n]))
	}
	return sum
}

// Groups are simulated slot by slot, with repairs that take an exponential time
// as the chain has it, and with repairs that always take as long, as a grace
// period does.
func TestLossAgreesWithSimulation(t *testing.T) {
	const slots, required, rate, repair, groups = 6, 4, 1.0, 0.02, 200_000
	want := math.Exp(newChain(slots, required, rate, repair, 0).within(1))
	for name, lasts := range map[string]func(*rand.Rand) float64{
		"exponential": func(r *rand.Rand) float64 { return repair * r.ExpFloat64() },
		"constant":    func(*rand.Rand) float64 { return repair },
	} {
		random, lost := rand.New(rand.NewPCG(1, 2)), 0.0
		for range groups {
			if losesData(random, slots, required, rate, lasts) {
				lost++
			}
		}
		got, sigma := lost/groups, math.Sqrt(want/groups)
		t.Logf("%s repairs: %.4f of the groups are lost, the chain says %.4f ± %.4f", name, got, want, sigma)
		if math.Abs(got-want) > 4*sigma+repair*want {
			t.Errorf("%s repairs: %.4f of the groups are lost, want %.4f ± %.4f", name, got, want, sigma)
		}
	}
}

// losesData simulates a group for a year.
func losesData(random *rand.Rand, slots, required int, rate float64, repair func(*rand.Rand) float64) bool {
	next, down := make([]float64, slots), make([]bool, slots)
	for i := range next {
		next[i] = random.ExpFloat64() / rate
	}
	for up := slots; ; {
		first := 0
		for i, at := range next {
			if at < next[first] {
				first = i
			}
		}
		if next[first] > 1 {
			return false
		}
		if down[first] = !down[first]; down[first] {
			up--
			next[first] += repair(random)
		} else {
			up++
			next[first] += random.ExpFloat64() / rate
		}
		if up < required {
			return true
		}
	}
}
