package placement

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// slots makes slots with this much free each; negative is offline.
func slots(free ...int64) []Slot {
	list := make([]Slot, len(free))
	for i, f := range free {
		list[i] = Slot{Online: f >= 0, Free: max(f, 0)}
	}
	return list
}

func TestJudge(t *testing.T) {
	const room = 10
	for name, c := range map[string]struct {
		slots        []Slot
		online, room int
		weight       float64
	}{
		"all well":              {slots(100, 100, 100, 100, 100, 100, 100, 100, 100, 100), 10, 10, 100},
		"the eighth counts":     {slots(900, 800, 700, 600, 500, 400, 300, 200, 100, 50), 10, 10, 200},
		"one offline":           {slots(100, 100, 100, 100, 100, 100, 100, 100, 100, -1), 9, 9, 25},
		"one full":              {slots(100, 100, 100, 100, 100, 100, 100, 100, 100, 9), 10, 9, 25},
		"just enough room":      {slots(10, 10, 10, 10, 10, 10, 10, 10, 0, -1), 9, 8, 10.0 / 16},
		"one too few with room": {slots(10, 10, 10, 10, 10, 10, 10, 9, 0, 0), 10, 7, 0},
		"one too few online":    {slots(10, 10, 10, 10, 10, 10, 10, -1, -1, -1), 7, 7, 0},
		"none":                  {slots(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1), 0, 0, 0},
	} {
		f := Judge(Candidate{Scheme: small, Slots: c.slots}, room)
		if f.Online != c.online || f.Room != c.room || math.Abs(f.Weight-c.weight) > 1e-9 {
			t.Errorf("%s: %+v, want %d %d %g", name, f, c.online, c.room, c.weight)
		}
	}
}

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		weights []float64
		roll    float64
		want    int
		ok      bool
	}{
		{nil, 0, -1, false},
		{[]float64{0, 0}, 0.5, -1, false},
		{[]float64{1}, 0, 0, true},
		{[]float64{1}, 0.999, 0, true},
		{[]float64{1, 1}, 0.499, 0, true},
		{[]float64{1, 1}, 0.5, 1, true},
		{[]float64{0, 1, 0, 3, 0}, 0, 1, true},
		{[]float64{0, 1, 0, 3, 0}, 0.2499, 1, true},
		{[]float64{0, 1, 0, 3, 0}, 0.25, 3, true},
		{[]float64{0, 1, 0, 3, 0}, math.Nextafter(1, 0), 3, true},
	} {
		if got, ok := Choose(c.weights, c.roll); got != c.want || ok != c.ok {
			t.Errorf("%v at %g: %d %v, want %d %v", c.weights, c.roll, got, ok, c.want, c.ok)
		}
	}
}

func TestChooseIsFair(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	weights := []float64{1, 0, 3, 6}
	var hits [4]float64
	const rolls = 20000
	for range rolls {
		i, _ := Choose(weights, random.Float64())
		hits[i]++
	}
	for i, w := range weights {
		if got := hits[i] / rolls * 10; math.Abs(got-w) > 0.2 {
			t.Errorf("weight %g was chosen %g of 10 times", w, got)
		}
	}
}

func TestShortage(t *testing.T) {
	for _, c := range []struct {
		s    Shortage
		want string
	}{
		{Shortage{Scheme: small, Nodes: 7, Online: 6}, "6 of the 10 storage nodes needed for scheme 4/6/8/10 are online (7 known)"},
		{Shortage{Scheme: small, Nodes: 12, Online: 12}, "no placement group could be formed of the 12"},
		{Shortage{Scheme: small, Nodes: 10, Online: 10, Excluded: 4}, "all 4 placement groups were tried"},
		{Shortage{Scheme: small, Groups: 4, BestOnline: 7, BestRoom: 7}, "7 of 10 storage nodes of the best placement group are online, 8 are needed"},
		{Shortage{Scheme: small, Groups: 4, BestOnline: 9, BestRoom: 3}, "3 of 10 storage nodes of the best placement group have room, 8 are needed"},
	} {
		if got := c.s.String(); !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q lacks %q", c.s, got, c.want)
		}
	}
}
