package results

import (
	"fmt"
	"strings"
)

// A Target is what something should reach. It counts for all that was measured of
// it, so what is held against it is the worst.
type Target struct {
	What   string
	Limit  float64
	AtMost bool   // otherwise at least
	Unit   string // after a number; "%" has numbers shown times a hundred
	Values map[string][]float64
}

// Met tells whether all values in a place are as they should be.
func (t *Target) Met(place string) bool {
	worst, ok := t.Worst(place)
	return ok && (t.AtMost && worst <= t.Limit || !t.AtMost && worst >= t.Limit)
}

// Worst is the value in a place that is furthest off; false: there is none.
func (t *Target) Worst(place string) (worst float64, ok bool) {
	for i, v := range t.Values[place] {
		if i == 0 || v > worst == t.AtMost {
			worst = v
		}
	}
	return worst, len(t.Values[place]) > 0
}

// add notes a value.
func (t *Target) add(place string, value float64) {
	if t.Values == nil {
		t.Values = make(map[string][]float64)
	}
	t.Values[place] = append(t.Values[place], value)
}

// Number shows a value, to as many digits as matter.
func (t *Target) Number(v float64) string {
	switch {
	case t.Unit == "%":
		return fmt.Sprintf("%.0f %%", 100*v)
	case v >= 10_000:
		return thousands(v) + t.Unit
	case v >= 20:
		return fmt.Sprintf("%.0f", v) + t.Unit
	default:
		return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".") + t.Unit
	}
}

// targets are the values of a report by what they are held against.
type targets struct{ list []*Target }

func (t *targets) atLeast(limit float64, unit, what string) *Target {
	return t.append(&Target{What: what, Limit: limit, Unit: unit})
}

func (t *targets) atMost(limit float64, unit, what string) *Target {
	return t.append(&Target{What: what, Limit: limit, Unit: unit, AtMost: true})
}

func (t *targets) append(target *Target) *Target {
	t.list = append(t.list, target)
	return target
}

// Targets holds a report against what Cairn is to reach.
func (r *Report) Targets() []*Target {
	t := new(targets)
	r.transferTargets(t)
	r.smallTargets(t)
	r.satelliteTargets(t)
	r.memoryTargets(t)
	r.shapedTargets(t)
	return t.list
}

func (r *Report) transferTargets(t *targets) {
	byDirection := map[string]*Target{
		"upload":   t.atLeast(0.8, "%", "uploads, of the bound"),
		"download": t.atLeast(0.8, "%", "downloads, of the bound"),
	}
	degraded := t.atLeast(0.8, "%", "downloads with n−k nodes gone, of the bound")
	rates := map[string]*Target{
		"upload":   t.atLeast(150, " MB/s", "uploads at 4/6/8/10"),
		"download": t.atLeast(300, " MB/s", "downloads at 4/6/8/10"),
	}
	for _, row := range r.Transfers {
		target := byDirection[row.Direction]
		if target == nil {
			target = degraded
		}
		target.add(row.Place, row.OfBound)
		if rate := rates[row.Direction]; rate != nil && row.Scheme == "4/6/8/10" {
			rate.add(row.Place, row.Rate)
		}
	}
	median := t.atMost(5, " ms", "4 KiB out of a large object, median")
	for _, row := range r.Ranges {
		median.add(row.Place, row.P50)
	}
	trips, nodes := t.atMost(3, "", "its round trips"), t.atMost(1, "", "nodes it touches")
	if r.Trips != nil { // which does not depend on where nodes keep what they have
		for _, place := range []string{OnDisk, OnTmpfs} {
			trips.add(place, r.Trips.Warm)
			nodes.add(place, r.Trips.Nodes)
		}
	}
}

func (r *Report) smallTargets(t *targets) {
	for _, want := range []struct {
		size      int
		operation string
		rate      float64
	}{{4 << 10, "put", 3000}, {4 << 10, "get", 5000}, {64 << 10, "put", 400}, {64 << 10, "get", 800}} {
		target := t.atLeast(want.rate, "/s", fmt.Sprintf("%ss of %d KiB by 8 clients", want.operation, want.size>>10))
		for _, row := range r.Objects {
			if row.Size == want.size && row.Operation == want.operation && row.Clients == 8 {
				target.add(row.Place, row.Rate)
			}
		}
	}
	files, stored := t.atLeast(2000, "/s", "files of 4 to 64 KiB copied up with -r"), t.atMost(1.15, "", "what is stored of them, over n/k")
	for _, row := range r.Files {
		if row.Direction == "up" {
			files.add(row.Place, row.Rate)
			stored.add(row.Place, row.Stored)
		}
	}
	few, many := t.atMost(0.15, " s", "a list of 10,000 names"), t.atLeast(100_000, "/s", "names a second in a list of 1,000,000")
	for _, row := range r.Listings {
		switch row.Keys {
		case 10_000:
			few.add(row.Place, row.Seconds)
		case 1_000_000:
			many.add(row.Place, row.Rate)
		}
	}
}

func (r *Report) satelliteTargets(t *targets) {
	inline, segment := t.atLeast(5000, "/s", "commits of inline objects"), t.atLeast(5000, "/s", "commits of objects of one segment")
	for _, row := range r.Commits {
		if row.Segments == 0 {
			inline.add(row.Place, row.Rate)
		} else {
			segment.add(row.Place, row.Rate)
		}
	}
	each := t.atMost(300, " B", "metadata of an object of one segment")
	for _, row := range r.Metadata {
		each.add(row.Place, row.Logical)
	}
}

func (r *Report) memoryTargets(t *targets) {
	for _, want := range []struct {
		what, scheme string // with which What and Scheme begin
		mib          float64
		told         string
	}{
		{"uplink, upload of 4 GiB", "4/", 256, "the uplink's memory, upload of 4 GiB at 4/6/8/10"},
		{"uplink, upload of 4 GiB", "20/", 400, "the same at 20/28/32/40"},
		{"uplink, download of 4 GiB", "", 128, "the uplink's memory, download of 4 GiB"},
		{"a node under 64 uploads", "", 300, "a node's memory under 64 uploads"},
		{"an idle node", "", 60, "an idle node's memory"},
		{"an idle connection", "", 100.0 / 1024, "an idle connection's memory"},
	} {
		target := t.atMost(want.mib, " MiB", want.told)
		for _, row := range r.Memory {
			if strings.HasPrefix(row.What, want.what) && strings.HasPrefix(row.Scheme, want.scheme) {
				target.add(row.Place, float64(row.Bytes)/(1<<20))
			}
		}
	}
}

func (r *Report) shapedTargets(t *targets) {
	alike := t.atLeast(0.85, "%", "thin and long lines, of their capacity")
	change := t.atMost(0.15, "%", "longer with one of them at a tenth or stalled, or both")
	for _, row := range r.Shaped {
		if row.Lines == AllAlike {
			alike.add(row.Place, row.Share)
		} else {
			change.add(row.Place, row.Change)
		}
	}
}

// thousands shows a number with commas.
func thousands(v float64) string {
	text := fmt.Sprintf("%.0f", v)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
