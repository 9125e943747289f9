package audit

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9 }

func TestPresenceOverTime(t *testing.T) {
	type span struct {
		days  float64
		there bool
	}
	for name, c := range map[string]struct {
		spans []span
		want  float64
	}{
		"nothing seen":             {nil, 1},
		"there":                    {[]span{{100, true}}, 1},
		"away":                     {[]span{{0.1, false}}, 0},
		"a half-life away":         {[]span{{10_000, true}, {7, false}}, 0.5},
		"two half-lives away":      {[]span{{10_000, true}, {14, false}}, 0.25},
		"and a half-life back":     {[]span{{10_000, true}, {14, false}, {7, true}}, 0.625},
		"new, and away as long":    {[]span{{1, true}, {1, false}}, math.Exp2(-1.0/7) / (1 + math.Exp2(-1.0/7))},
		"no time at all is no sin": {[]span{{1, true}, {0, false}}, 1},
		"nor is time backwards":    {[]span{{1, true}, {-3, false}, {1, false}}, math.Exp2(-1.0/7) / (1 + math.Exp2(-1.0/7))},
	} {
		var p Presence
		now := start
		for _, s := range c.spans {
			length := time.Duration(s.days * 24 * float64(time.Hour))
			now = now.Add(max(length, 0))
			p = p.Watch(now, length, s.there)
		}
		if got := p.Value(); !near(got, c.want) {
			t.Errorf("%s: %g, want %g", name, got, c.want)
		}
	}
}

// TestPresenceCutsDoNotMatter watches the same days in one look and in many.
func TestPresenceCutsDoNotMatter(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var whole, cut Presence
		now := start
		for range 5 {
			length, there := time.Duration(random.Int64N(int64(20*24*time.Hour))), random.IntN(2) == 0
			end := now.Add(length)
			whole = whole.Watch(end, length, there)
			for now.Before(end) {
				step := min(end.Sub(now), time.Duration(1+random.Int64N(int64(time.Hour))))
				now = now.Add(step)
				cut = cut.Watch(now, step, there)
			}
		}
		if !near(whole.Value(), cut.Value()) {
			t.Fatalf("%g in one, %g in many", whole.Value(), cut.Value())
		}
	}
}

func TestPresenceByAnswers(t *testing.T) {
	batch := []Verdict{Proved, Wrong, Missing, Late, Unreachable, Unavailable}
	p := Presence{}.Add(start, batch...)
	if p.Value() != 0.5 {
		t.Errorf("half of the challenges answered: %g", p.Value())
	}
	if late := p.Add(start.Add(HalfLife), Proved, Proved, Proved); !near(late.Value(), 0.75) {
		t.Errorf("3 of 6 a half-life ago, 3 of 3 now: %g, want 0.75", late.Value())
	}
	if early := p.Add(start.Add(-HalfLife), Proved, Proved, Proved); !near(early.Value(), 6.0/9) {
		t.Errorf("by a clock set back: %g, want 6 of 9", early.Value())
	}
	// Half of the answers, half of the time.
	p = p.Watch(start, time.Hour, true).Watch(start, time.Hour, false)
	if !near(p.Value(), 0.25) {
		t.Errorf("half of both: %g", p.Value())
	}
}

// TestPresenceStaysAShare feeds it what clocks and callers may come up with.
func TestPresenceStaysAShare(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var p Presence
	now := start
	for range 20_000 {
		now = now.Add(time.Duration(random.Int64N(int64(400*24*time.Hour)) - int64(10*24*time.Hour)))
		p = p.Watch(now, time.Duration(random.Int64N(int64(30*24*time.Hour))), random.IntN(2) == 0)
		p = p.Add(now, Verdict(random.IntN(8)))
		if v := p.Value(); !(v >= 0 && v <= 1) {
			t.Fatalf("value %g of %+v", v, p)
		}
	}
}

func TestLoss(t *testing.T) {
	for _, c := range []struct {
		loss  Loss
		large bool
		text  string
	}{
		{Loss{0, 0}, false, "no loss reported of 0 shards"},
		{Loss{5000, 0}, false, "no loss reported of 5000 shards"},
		{Loss{5000, 100}, false, "reported 100 of 5000 shards lost: healing, without effect"},
		{Loss{5000, 101}, true, "reported 101 of 5000 shards lost: no new data until it has healed"},
		{Loss{49, 1}, true, "reported 1 of 49 shards lost: no new data until it has healed"},
		{Loss{50, 1}, false, "reported 1 of 50 shards lost: healing, without effect"},
		{Loss{99, 2}, true, "reported 2 of 99 shards lost: no new data until it has healed"},
		{Loss{math.MaxUint64, math.MaxUint64 / 50}, false, ""},
		{Loss{math.MaxUint64, math.MaxUint64/50 + 1}, true, ""},
	} {
		if c.loss.Large() != c.large || c.text != "" && c.loss.String() != c.text {
			t.Errorf("%+v: %v, %q", c.loss, c.loss.Large(), c.loss)
		}
	}
}
