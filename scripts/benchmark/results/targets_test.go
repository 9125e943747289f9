package results

import (
	"slices"
	"testing"
)

func TestTargetTakesTheWorst(t *testing.T) {
	for _, tt := range []struct {
		atMost bool
		values []float64
		worst  float64
		met    bool
	}{
		{false, []float64{12, 10, 11}, 10, true},
		{false, []float64{12, 9}, 9, false},
		{true, []float64{8, 10}, 10, true},
		{true, []float64{8, 11, 7}, 11, false},
		{true, []float64{0}, 0, true},
		{true, nil, 0, false},
	} {
		target := &Target{Limit: 10, AtMost: tt.atMost}
		for _, v := range tt.values {
			target.add(OnDisk, v)
		}
		worst, ok := target.Worst(OnDisk)
		if worst != tt.worst || ok != (len(tt.values) > 0) || target.Met(OnDisk) != tt.met || target.Met(OnTmpfs) {
			t.Errorf("%+v: worst %g, %v, met %v", tt, worst, ok, target.Met(OnDisk))
		}
	}
}

// Every row that has something to reach is held against it.
func TestTargetsFindTheirRows(t *testing.T) {
	r := &Report{
		Transfers: []Transfer{
			{Scheme: "4/6/8/10", Place: OnDisk, Direction: "upload", Rate: 160, OfBound: 0.9},
			{Scheme: "20/28/32/40", Place: OnDisk, Direction: "upload", Rate: 100, OfBound: 0.7},
			{Scheme: "4/6/8/10", Place: OnTmpfs, Direction: "download, 6 gone", Rate: 100, OfBound: 0.5},
		},
		Trips:    &Trips{Warm: 2.1, Nodes: 1},
		Objects:  []Objects{{Place: OnDisk, Operation: "put", Size: 4096, Clients: 8, Rate: 2999}, {Place: OnDisk, Operation: "put", Size: 4096, Clients: 1, Rate: 1}},
		Listings: []Listing{{Place: OnDisk, Keys: 1_000_000, Rate: 120_000}, {Place: OnDisk, Keys: 1_000_000, Rate: 110_000}},
		Memory: []Memory{
			{Place: OnDisk, Scheme: "20/28/32/40", What: "uplink, upload of 4 GiB", Bytes: 399 << 20},
			{Place: OnDisk, Scheme: "4/6/8/10", What: "uplink, upload of 4 GiB", Bytes: 255 << 20},
		},
		Shaped: []Shaped{
			{Place: OnTmpfs, Lines: AllAlike, Direction: "upload", Share: 0.9},
			{Place: OnTmpfs, Lines: "one stalled", Direction: "upload", Share: 0.2, Change: 0.1},
		},
	}
	got := make(map[string]*Target)
	for _, target := range r.Targets() {
		if got[target.What] != nil {
			t.Errorf("%q is there twice", target.What)
		}
		got[target.What] = target
	}
	for _, tt := range []struct {
		what, place string
		values      []float64
		met         bool
	}{
		{"uploads, of the bound", OnDisk, []float64{0.9, 0.7}, false},
		{"downloads with n−k nodes gone, of the bound", OnTmpfs, []float64{0.5}, false},
		{"uploads at 4/6/8/10", OnDisk, []float64{160}, true},
		{"its round trips", OnDisk, []float64{2.1}, true},
		{"nodes it touches", OnTmpfs, []float64{1}, true},
		{"puts of 4 KiB by 8 clients", OnDisk, []float64{2999}, false},
		{"names a second in a list of 1,000,000", OnDisk, []float64{120_000, 110_000}, true},
		{"the uplink's memory, upload of 4 GiB at 4/6/8/10", OnDisk, []float64{255}, true},
		{"the same at 20/28/32/40", OnDisk, []float64{399}, true},
		{"thin and long lines, of their capacity", OnTmpfs, []float64{0.9}, true},
		{"longer with one of them at a tenth or stalled, or both", OnTmpfs, []float64{0.1}, true},
	} {
		target := got[tt.what]
		if target == nil || !slices.Equal(target.Values[tt.place], tt.values) || target.Met(tt.place) != tt.met {
			t.Errorf("%q on %s: %+v", tt.what, tt.place, target)
		}
	}
}

func TestNumber(t *testing.T) {
	for _, tt := range []struct {
		unit  string
		value float64
		want  string
	}{
		{"%", 0.854, "85 %"}, {" MB/s", 150, "150 MB/s"}, {"/s", 1_234_567.8, "1,234,568/s"}, {"", 3, "3"}, {"", 2.1, "2.1"}, {" s", 0, "0 s"}, {" ms", 0.927, "0.93 ms"}, {"/s", 2461.4, "2461/s"},
	} {
		if got := (&Target{Unit: tt.unit}).Number(tt.value); got != tt.want {
			t.Errorf("%g is %q, not %q", tt.value, got, tt.want)
		}
	}
}
