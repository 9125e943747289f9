package durability

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func estimate(t *testing.T, in Inputs) Report {
	t.Helper()
	r, err := Estimate(in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// network is one that nothing is known of but its size.
func network(t *testing.T, text string) Inputs {
	s := scheme(t, text)
	return Inputs{Scheme: s, Nodes: 1000, Groups: 4000 / s.Total, Segments: 1_000_000, SlotBytes: 250e9}
}

func TestDominatedBy(t *testing.T) {
	none := []Shock{}
	for name, c := range map[string]struct {
		scheme string
		change func(*Inputs)
		want   string
	}{
		"many nodes at once":    {"20/28/32/40", func(*Inputs) {}, "the loss of 30 % of all nodes at once"},
		"fewer, but more often": {"4/6/8/10", func(in *Inputs) { in.Shocks = []Shock{{0.2, 5}, {0.3, 1e-3}} }, "the loss of 20 % of all nodes at once"},
		"nodes that come and go": {"4/6/8/10", func(in *Inputs) {
			in.FailureRate, in.Shocks = 12, []Shock{{0.01, 1}}
		}, "independent failures"},
		"segments that lack shards": {"4/6/8/10", func(in *Inputs) {
			in.FailureRate, in.ShortShare, in.Shocks = 4, 0.01, none
		}, "independent failures, of segments stored with only 8 shards"},
		"nothing": {"20/28/32/40", func(in *Inputs) { in.Shocks = none },
			"what the model leaves out: faults of software, of operators, of the satellite"},
	} {
		in := network(t, c.scheme)
		c.change(&in)
		if got := estimate(t, in).DominatedBy; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestDefaultsAreSaid(t *testing.T) {
	in := network(t, "20/28/32/40")
	r := estimate(t, in)
	if len(r.Assumptions) != 4 || r.FailureRate.Source != Assumed || r.FailureRate.PerYear != DefaultFailureRate {
		t.Errorf("a new network: %+v, assuming %q", r.FailureRate, r.Assumptions)
	}
	if r.DetectSeconds != 4*3600 || math.Abs(r.RebuildSeconds-20*250e9/10e6) > 1e-3 || len(r.Shocks) != len(DefaultShocks()) {
		t.Errorf("detected in %g s, rebuilt in %g s, %d shocks", r.DetectSeconds, r.RebuildSeconds, len(r.Shocks))
	}
	in.HealRate = 50e6
	if r := estimate(t, in); math.Abs(r.RebuildSeconds-20*250e9/50e6) > 1e-3 || len(r.Assumptions) != 4 {
		t.Errorf("with a known pace: rebuilt in %g s, assuming %q", r.RebuildSeconds, r.Assumptions)
	}
	in.Observed = Observed{NodeYears: 500, Failures: 20}
	in.Detect, in.Rebuild, in.Shocks = time.Hour, 10*time.Hour, []Shock{{0.1, 0.1}}
	r = estimate(t, in)
	if len(r.Assumptions) != 0 || r.FailureRate.Source != Measured || r.DetectSeconds != 3600 || math.Abs(r.RebuildSeconds-36000) > 1e-6 {
		t.Errorf("a network well known: %+v, %g s, %g s, assuming %q", r.FailureRate, r.DetectSeconds, r.RebuildSeconds, r.Assumptions)
	}
	in.FailureRate = 0.5
	if r = estimate(t, in); r.FailureRate.Source != Given || r.FailureRate.PerYear != 0.5 || r.FailureRate.High != 0.5 {
		t.Errorf("a rate that was given: %+v", r.FailureRate)
	}
}

func TestRate(t *testing.T) {
	for _, c := range []struct {
		years    float64
		failures int64
		want     float64
		source   string
	}{
		{0, 0, 0.125, Assumed},
		{7.9, 0, 1 / 15.9, Assumed},
		{8, 0, 1.0 / 16, Measured},
		{8, 7, 0.5, Measured},
		{992, 99, 0.1, Measured},
		{9992, 399, 0.04, Measured},
	} {
		r := Observed{c.years, c.failures}.rate()
		if math.Abs(r.PerYear-c.want) > 1e-12 || r.Source != c.source {
			t.Errorf("%d failures in %g years: %+v, want %g", c.failures, c.years, r, c.want)
		}
		// As seldom as the rate is above High, a Poisson number of that mean is as
		// low as what was seen.
		mean, tail := r.High*(c.years+PriorNodeYears), math.Inf(-1)
		for n := range int(c.failures) + 1 {
			tail = logAdd(tail, float64(n)*math.Log(mean)-mean-logFactorial(n))
		}
		if math.Abs(math.Exp(tail)-0.05) > 0.002 {
			t.Errorf("%d failures in %g years: above %g with %g", c.failures, c.years, r.High, math.Exp(tail))
		}
	}
}

// Each figure of independent failures is that of the chain it speaks of.
func TestIndependent(t *testing.T) {
	in := network(t, "4/6/9/10")
	in.Observed, in.Detect, in.Rebuild = Observed{NodeYears: 92, Failures: 49}, 100*time.Hour, 300*time.Hour
	r := estimate(t, in)
	of := func(slots int, rate float64) chain { return newChain(slots, 4, rate, 100.0/8766, 300.0/8766) }
	whole, g := of(10, 0.5), math.Log(400)
	for name, c := range map[string]struct {
		got  Chance
		want float64
	}{
		"whole":          {r.Independent.Whole.Group, whole.logLoss(1)},
		"whole, any":     {r.Independent.Whole.Network, logAny(whole.logLoss(1), g)},
		"short":          {r.Independent.Short.Group, of(9, 0.5).logLoss(1)},
		"short, any":     {r.Independent.Short.Network, logAny(of(9, 0.5).logLoss(1), g)},
		"healing":        {r.Independent.Healing, whole.logRuin()[1]},
		"high rate":      {r.Independent.High.Group, of(10, r.FailureRate.High).logLoss(1)},
		"high rate, any": {r.Independent.High.Network, logAny(of(10, r.FailureRate.High).logLoss(1), g)},
	} {
		near(t, name, math.Log(c.got.Probability), c.want, 1e-9)
	}
	near(t, "years", math.Log(r.Independent.Years), whole.logYears(), 1e-9)
	if r.FailureRate.PerYear != 0.5 || r.FailureRate.High <= 0.5 {
		t.Errorf("%+v", r.FailureRate)
	}
}

// More of what is bad is never better.
func TestReportIsMonotone(t *testing.T) {
	base := network(t, "10/14/16/20")
	base.FailureRate, base.Rebuild, base.ShortShare = 1, 100*time.Hour, 0.1
	before := estimate(t, base)
	for name, worse := range map[string]func(*Inputs){
		"failures":   func(in *Inputs) { in.FailureRate = 2 },
		"detection":  func(in *Inputs) { in.Detect = 40 * time.Hour },
		"rebuilding": func(in *Inputs) { in.Rebuild = 200 * time.Hour },
		"groups":     func(in *Inputs) { in.Groups *= 2 },
		"short":      func(in *Inputs) { in.ShortShare = 0.2 },
		"required":   func(in *Inputs) { in.Scheme.Required++ },
		"total":      func(in *Inputs) { in.Scheme.Total-- },
		"shock":      func(in *Inputs) { in.Shocks = append(DefaultShocks(), Shock{0.4, 0.01}) },
	} {
		in := base
		worse(&in)
		after := estimate(t, in)
		if after.Network.Nines > before.Network.Nines || after.Segment.Nines > before.Segment.Nines || after.Withstands > before.Withstands {
			t.Errorf("%s: network %g → %g nines, segment %g → %g, withstands %g → %g", name, before.Network.Nines,
				after.Network.Nines, before.Segment.Nines, after.Segment.Nines, before.Withstands, after.Withstands)
		}
	}
}

// The parts of a report are in the order that they must be in, and it adds up.
func TestReportIsConsistent(t *testing.T) {
	for _, text := range []string{"1/1/2/2", "4/6/8/10", "10/14/16/20", "20/28/32/40", "29/35/80/110", "29/35/80/80"} {
		for _, share := range []float64{0, 0.05, 1} {
			in := network(t, text)
			in.ShortShare, in.FailureRate = share, 20
			r := estimate(t, in)
			i := r.Independent
			if i.Short.Group.Nines > i.Whole.Group.Nines || i.Whole.Network.Nines > i.Whole.Group.Nines || i.High.Group.Nines > i.Whole.Group.Nines {
				t.Errorf("%s: %+v", text, i)
			}
			segment, network := 1.0, 1.0
			segment -= (1-share)*i.Whole.Group.Probability + share*i.Short.Group.Probability
			if share > 0 {
				network -= i.Short.Network.Probability
			} else {
				network -= i.Whole.Network.Probability
			}
			for _, s := range r.Shocks {
				segment *= math.Exp(-s.PerYear * ((1-share)*s.Whole.Group.Probability + share*s.Short.Group.Probability))
				network *= 1 - s.Yearly.Probability
				lost := float64(r.Segments) * ((1-share)*s.Whole.Group.Probability + share*s.Short.Group.Probability)
				if math.Abs(s.Segments-lost) > 1e-9*lost {
					t.Errorf("%s: %g segments are lost to a shock, want %g", text, s.Segments, lost)
				}
			}
			if math.Abs(r.Segment.Probability-(1-segment)) > 1e-12 || math.Abs(r.Network.Probability-(1-network)) > 1e-12 {
				t.Errorf("%s, %g short: a segment is lost with %g and anything with %g, want %g and %g",
					text, share, r.Segment.Probability, r.Network.Probability, 1-segment, 1-network)
			}
		}
	}
}

func TestBadInputs(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for want, changes := range map[string][]func(*Inputs){
		"bad scheme":           {func(in *Inputs) { in.Scheme.Required = 0 }, func(in *Inputs) { in.Scheme.Success = 50 }},
		"39 nodes cannot hold": {func(in *Inputs) { in.Nodes = 39 }},
		"no placement groups":  {func(in *Inputs) { in.Groups = 0 }, func(in *Inputs) { in.Groups = -1 }},
		"segments and bytes":   {func(in *Inputs) { in.Segments = -1 }, func(in *Inputs) { in.SlotBytes = -1 }},
		"share of short": {func(in *Inputs) { in.ShortShare = -0.1 }, func(in *Inputs) { in.ShortShare = 1.1 },
			func(in *Inputs) { in.ShortShare = nan }},
		"failure rate": {func(in *Inputs) { in.FailureRate = -1 }, func(in *Inputs) { in.FailureRate = nan },
			func(in *Inputs) { in.FailureRate = inf }},
		"node-years": {func(in *Inputs) { in.Observed.NodeYears = nan }, func(in *Inputs) { in.Observed.NodeYears = inf },
			func(in *Inputs) { in.Observed.Failures = -1 }},
		"times and rates": {func(in *Inputs) { in.Detect = -1 }, func(in *Inputs) { in.Rebuild = -1 },
			func(in *Inputs) { in.HealRate = -1 }},
		"share must be": {func(in *Inputs) { in.Shocks = []Shock{{0, 1}} }, func(in *Inputs) { in.Shocks = []Shock{{1, 1}} },
			func(in *Inputs) { in.Shocks = []Shock{{nan, 1}} }},
		"times a year": {func(in *Inputs) { in.Shocks = []Shock{{0.1, 0}} }, func(in *Inputs) { in.Shocks = []Shock{{0.1, inf}} },
			func(in *Inputs) { in.Shocks = []Shock{{0.1, nan}} }},
	} {
		for i, change := range changes {
			in := network(t, "20/28/32/40")
			change(&in)
			if _, err := Estimate(in); !errors.Is(err, ErrInputs) || !strings.Contains(err.Error(), want) {
				t.Errorf("change %d of %q: %v", i, want, err)
			}
		}
	}
}

// Whatever is put in, what comes out are probabilities, and json can hold them.
func TestExtremes(t *testing.T) {
	for _, text := range []string{"1/1/1/2", "1/1/255/255", "254/254/254/255", "20/28/32/40"} {
		s := scheme(t, text)
		for _, nodes := range []int{s.Total, 1000, 10_000_000} {
			for _, rate := range []float64{0, 1e-300, 1e-9, 1, 1e9, 1e300} {
				for _, last := range []time.Duration{1, time.Hour, math.MaxInt64} {
					in := Inputs{
						Scheme: s, Nodes: max(nodes, s.Total), Groups: 1 + nodes/10, Segments: int64(nodes-s.Total) * 1e9,
						FailureRate: rate, Detect: last, Rebuild: last, ShortShare: 0.5,
						Shocks: []Shock{{1e-12, 1e-300}, {0.5, 1e300}, {1 - 1e-12, 1}},
					}
					checkReport(t, estimate(t, in))
				}
			}
		}
	}
}

func checkReport(t *testing.T, r Report) {
	t.Helper()
	if _, err := json.Marshal(r); err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	i := r.Independent
	chances := []Chance{i.Whole.Group, i.Whole.Network, i.Short.Group, i.Short.Network, i.Healing, i.High.Group, i.High.Network, r.Segment, r.Network}
	for _, s := range r.Shocks {
		chances = append(chances, s.Whole.Group, s.Whole.Network, s.Short.Group, s.Short.Network, s.Random, s.Yearly)
	}
	bad := slices.ContainsFunc(chances, func(c Chance) bool {
		return !(c.Probability >= 0 && c.Probability <= 1 && c.Nines >= 0 && c.Nines <= 999)
	})
	if bad || !(r.Withstands >= 0 && r.Withstands < 1) || r.DominatedBy == "" {
		t.Errorf("%+v", r)
	}
}

func TestChances(t *testing.T) {
	for _, p := range []float64{1e-300, 1e-100, 1e-18, 1e-17, 1e-9, 0.001, 0.5, 0.999} {
		if got := math.Exp(logChance(hazard(math.Log(p)))); math.Abs(got-p) > 1e-12*p {
			t.Errorf("%g comes back as %g", p, got)
		}
		if got, want := chanceOf(math.Log(p)).Nines, -math.Log10(p); math.Abs(got-want) > 1e-9 {
			t.Errorf("%g has %g nines, want %g", p, got, want)
		}
		want := 1 - math.Pow(1-p, 10)
		if p < 1e-8 {
			want = 10 * p * (1 - 4.5*p) // which 1−p cannot tell
		}
		if got := math.Exp(logAny(math.Log(p), math.Log(10))); math.Abs(got-want) > 1e-8*want {
			t.Errorf("any of 10 at %g: %g, want %g", p, got, want)
		}
	}
	if got := logAny(0, math.Inf(-1)); !math.IsInf(got, -1) {
		t.Errorf("any of no certain events: e^%g", got)
	}
	if c := chanceOf(math.Inf(-1)); c.Probability != 0 || c.Nines != 999 {
		t.Errorf("never: %+v", c)
	}
	if c := chanceOf(0); c.Probability != 1 || c.Nines != 0 || math.Signbit(c.Nines) {
		t.Errorf("always: %+v", c)
	}
	if got := logAdd(math.Inf(-1), math.Inf(-1)); !math.IsInf(got, -1) {
		t.Errorf("nothing and nothing is e^%g", got)
	}
}
