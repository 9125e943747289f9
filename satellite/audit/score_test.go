package audit

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestWeights(t *testing.T) {
	const p0, p1 = 0.001, 0.0125
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"proved", weightProved, math.Log((1 - p1) / (1 - p0))},
		{"missing", weightMissing, math.Log(p1 / p0)},
		{"wrong", weightWrong, math.Log(1000)},
		{"bound", condemned, math.Log(1e6)},
		// What Ville's inequality rests on: the ratio is expected to stay as it is.
		{"expected ratio", (1-p0)*math.Exp(weightProved) + p0*math.Exp(weightMissing), 1},
		// SCORES.md: a wrong proof uses up as much of what is allowed as 87 missing ones.
		{"price of a wrong proof", (math.Exp(weightWrong) - math.Exp(weightProved)) / (math.Exp(weightMissing) - math.Exp(weightProved)), 86.78},
	} {
		if math.Abs(c.got-c.want) > 1e-4*math.Abs(c.want) || c.name != "price of a wrong proof" && math.Abs(c.got-c.want) > 1e-13 {
			t.Errorf("%s: %.15g, want %.15g", c.name, c.got, c.want)
		}
	}
}

func repeat(v Verdict, times int) []Verdict { return slices.Repeat([]Verdict{v}, times) }

func TestScore(t *testing.T) {
	old := Score{}.Add(repeat(Proved, 5000)...)
	if old.LLR != floor {
		t.Fatalf("after 5,000 proofs: %+v", old)
	}
	for name, c := range map[string]struct {
		score    Score
		verdicts []Verdict
		condemns bool
	}{
		"new":                   {Score{}, nil, false},
		"5 missing":             {Score{}, repeat(Missing, 5), false},
		"6 missing":             {Score{}, repeat(Missing, 6), true},
		"wrong":                 {Score{}, repeat(Wrong, 1), false},
		"2 wrong":               {Score{}, repeat(Wrong, 2), true},
		"2 wrong, a proof":      {Score{}, []Verdict{Wrong, Proved, Wrong}, false},
		"wrong, 3 missing":      {Score{}, []Verdict{Wrong, Missing, Missing, Missing}, true},
		"6 missing, 115 proofs": {Score{}, append(repeat(Proved, 115), repeat(Missing, 6)...), true},
		"6 missing, 116 proofs": {Score{}, append(repeat(Proved, 116), repeat(Missing, 6)...), false},
		"old, 10 missing":       {old, repeat(Missing, 10), false},
		"old, 11 missing":       {old, repeat(Missing, 11), true},
		"old, 3 wrong":          {old, repeat(Wrong, 3), false},
		"old, 4 wrong":          {old, repeat(Wrong, 4), true},
		"credit ends":           {old.Add(repeat(Proved, 1e6)...), repeat(Missing, 11), true},
	} {
		after := c.score.Add(c.verdicts...)
		if after.Condemns() != c.condemns {
			t.Errorf("%s: %+v condemns: %v", name, after, !c.condemns)
		}
		if s := after.Suspicion(); s < 0 || (s == 1) != c.condemns || (s == 0) != (after.LLR <= 0) {
			t.Errorf("%s: %+v is suspected by %g", name, after, s)
		}
		if got, want := after.Challenges(), c.score.Challenges()+uint64(len(c.verdicts)); got != want {
			t.Errorf("%s: %d challenges, want %d", name, got, want)
		}
	}
}

// TestCondemnedStays: neither later proofs nor anything else change a score
// that condemns, also within one batch.
func TestCondemnedStays(t *testing.T) {
	score := Score{}.Add(repeat(Missing, 6)...)
	for v := range Verdict(8) {
		if after := score.Add(repeat(v, 1000)...); after != score {
			t.Errorf("%v: %+v became %+v", v, score, after)
		}
	}
	if after := (Score{}).Add(append(repeat(Missing, 6), repeat(Proved, 1000)...)...); after != score {
		t.Errorf("in a batch: %+v, want %+v", after, score)
	}
}

// answers draws what a node answers.
type answers struct {
	chances
	random *rand.Rand
}

func (a answers) next() Verdict {
	switch u := a.random.Float64(); {
	case u < a.missing:
		return Missing
	case u < a.missing+a.wrong:
		return Wrong
	}
	return Proved
}

// TestSilenceNeverCondemns: no sequence of verdicts that do not speak of data
// changes a score, whatever it is mixed with, and one by one or in batches.
func TestSilenceNeverCondemns(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	silence := []Verdict{Late, Unreachable, Unavailable}
	if after := (Score{}).Add(slices.Repeat(silence, 100_000)...); after != (Score{}) {
		t.Fatalf("silence alone: %+v", after)
	}
	for range 2000 {
		node := answers{chances{random.Float64() * 0.05, random.Float64() * 0.001}, random}
		var mixed, spoken []Verdict
		var single Score
		for range random.IntN(300) {
			v := silence[random.IntN(len(silence))]
			if random.IntN(2) == 0 {
				v = node.next()
				spoken = append(spoken, v)
			}
			mixed = append(mixed, v)
			single = single.Add(v)
		}
		want := Score{}.Add(spoken...)
		if got := (Score{}).Add(mixed...); got != want || single != want {
			t.Fatalf("%v: %+v in a batch, %+v one by one, want %+v", mixed, got, single, want)
		}
	}
}

// TestHonestNodeKeepsItsStanding computes how likely a node is wrongly
// disqualified that fails once in 1,000 challenges: under one in a million,
// within ten million challenges, which are 27 years of 1,000 a day.
func TestHonestNodeKeepsItsStanding(t *testing.T) {
	const challenges = 10_000_000
	for name, c := range map[string]chances{
		"missing":             honest,
		"missing and wrong":   {missing: 0.0005, wrong: 0.0005 / 86.79},
		"wrong":               {wrong: 0.001 / 86.79},
		"half the allowances": {missing: 0.0005},
	} {
		p := newChain(c, true).ever(challenges)
		t.Logf("%s: %.3g in %d challenges", name, p, challenges)
		if !(p < 1e-6) {
			t.Errorf("%s: wrongly disqualified with probability %g", name, p)
		}
	}
	// It is no idle bound: one failure in 500 is not what the test allows.
	if p := newChain(lost(0.002), true).ever(challenges); p < 1e-5 {
		t.Errorf("a node that fails twice as often is disqualified with probability %g", p)
	}
}

// TestBoundHolds holds the bound against the probability itself, step by step
// and with the floor in the way.
func TestBoundHolds(t *testing.T) {
	const challenges = 20_000
	above, below := newChain(honest, true), newChain(honest, false)
	exact := above.within(0, challenges)[challenges-1]
	if bound := above.ever(challenges); exact > bound || exact < 0.98*bound {
		t.Errorf("%.4g in %d challenges, bounded by %.4g", exact, challenges, bound)
	}
	if least := below.within(0, challenges)[challenges-1]; least > exact || least < 0.8*exact {
		t.Errorf("rounded down %.4g, rounded up %.4g", least, exact)
	}
}

// TestRareEvents estimates the same probabilities from the score itself: runs
// of a node of the other hypothesis, each weighed by how much less likely an
// honest one is to have had it, which LLR tells. (Importance sampling.)
func TestRareEvents(t *testing.T) {
	node := answers{lost(0.0125), rand.New(rand.NewPCG(3, 4))}
	above, below := newChain(honest, true), newChain(honest, false)
	for name, begin := range map[string]Score{
		"new": {}, "failed at the floor": Score{LLR: floor}.Add(Missing),
	} {
		const runs = 4000
		var sum, squares float64
		for range runs {
			score := begin
			for score.LLR > floor && !score.Condemns() {
				score = score.Add(node.next())
			}
			if score.Condemns() {
				weight := math.Exp(begin.LLR - score.LLR)
				sum += weight
				squares += weight * weight
			}
		}
		mean := sum / runs
		margin := 4 * math.Sqrt((squares/runs-mean*mean)/runs)
		least, most := below.excursion(begin.LLR), above.excursion(begin.LLR)
		t.Logf("%s: %.3g ± %.1g, computed %.3g to %.3g", name, mean, margin, least, most)
		if mean+margin < least || mean-margin > most || margin > mean/10 {
			t.Errorf("%s: estimated %g ± %g, computed %g to %g", name, mean, margin, least, most)
		}
	}
}

// TestChainIsTheScore compares the chain with the score where plain simulation
// sees enough: a node in between the hypotheses, that meets floor and bound.
func TestChainIsTheScore(t *testing.T) {
	const runs, challenges = 2000, 3000
	c := chances{missing: 0.0045, wrong: 0.0001}
	least := newChain(c, false).within(0, challenges)[challenges-1]
	most := newChain(c, true).within(0, challenges)[challenges-1]
	node := answers{c, rand.New(rand.NewPCG(5, 6))}
	condemned, floored := 0, 0
	for range runs {
		var score Score
		low := false
		for range challenges {
			score = score.Add(node.next())
			low = low || score.LLR == floor
		}
		if score.Condemns() {
			condemned++
		}
		if low {
			floored++
		}
	}
	got := float64(condemned) / runs
	t.Logf("condemned %.3f, computed %.3f to %.3f; %d of %d met the floor", got, least, most, floored, runs)
	if margin := 4 * math.Sqrt(got*(1-got)/runs); got+margin < least || got-margin > most {
		t.Errorf("condemned %g of the nodes, computed %g to %g", got, least, most)
	}
	if floored < runs/10 || got < 0.05 {
		t.Errorf("%d met the floor and %g the bound: too few to compare", floored, got)
	}
}

// TestLossIsFound computes how many challenges find a node that has lost data,
// and simulates it.
func TestLossIsFound(t *testing.T) {
	for _, c := range []struct {
		name        string
		node        chances
		from        float64
		median, all int // at most so many challenges; all but one in 100 nodes
	}{
		{"5 % of a new node", lost(0.05), 0, 130, 300},
		{"2 % of a new node", lost(0.02), 0, 350, 1000},
		{"1 % of a new node", lost(0.01), 0, 1000, 3100},
		{"5 % of an old node", lost(0.05), floor, 250, 450},
		{"2 % of an old node", lost(0.02), floor, 650, 1400},
		{"1 % of an old node", lost(0.01), floor, 1800, 4200},
		{"a third of an old node", lost(1.0 / 3), floor, 35, 60},
		{"an old node that makes up proofs", chances{wrong: 1}, floor, 4, 4},
	} {
		below := newChain(c.node, false)
		median, all := below.quantile(c.from, 0.5), below.quantile(c.from, 0.99)
		simulated := simulatedMedian(answers{c.node, rand.New(rand.NewPCG(7, 8))}, c.from)
		t.Logf("%s: median %d (simulated %d), 99 %% within %d", c.name, median, simulated, all)
		if median > c.median || simulated > c.median || all > c.all {
			t.Errorf("%s: median %d, simulated %d, want %d; 99 %% within %d, want %d", c.name, median, simulated, c.median, all, c.all)
		}
	}
}

func simulatedMedian(node answers, from float64) int {
	taken := make([]int, 1001)
	for i := range taken {
		score := Score{LLR: from}
		for !score.Condemns() {
			score = score.Add(node.next())
			taken[i]++
		}
	}
	slices.Sort(taken)
	return taken[len(taken)/2]
}

func TestScoreIsAValue(t *testing.T) {
	score := Score{}.Add(Proved, Proved, Missing, Wrong, Late)
	if score.Proved != 2 || score.Missing != 1 || score.Wrong != 1 {
		t.Errorf("counted %+v", score)
	}
	text, err := json.Marshal(score)
	if err != nil {
		t.Fatal(err)
	}
	var back Score
	if err := json.Unmarshal(text, &back); err != nil || back != score {
		t.Errorf("%s is read as %+v: %v", text, back, err)
	}
}

func TestVerdictNames(t *testing.T) {
	for v, want := range map[Verdict]string{
		0: "verdict 0", Proved: "proved", Wrong: "wrong", Missing: "missing", Late: "late",
		Unreachable: "unreachable", Unavailable: "unavailable", 7: "verdict 7",
	} {
		if v.String() != want {
			t.Errorf("%d is %q, want %q", v, v, want)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	batch := append(repeat(Proved, 511), Missing)
	var score Score
	for b.Loop() {
		score = score.Add(batch...)
		if score.Condemns() {
			score = Score{}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(batch)), "ns/verdict")
}
