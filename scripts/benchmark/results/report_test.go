package results

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// The report shows every row, in both formats.
func TestReportHasAllRows(t *testing.T) {
	r := new(Report)
	work := Work{Parts: []Part{{Name: "seal", CPU: 1}}, CPU: 1, Disk: 2, Limit: 3, TogetherCPU: 4.5, Together: 678}
	r.Bounds = []Bound{{Scheme: "bounded", Places: []PlaceBound{{Place: OnDisk, Upload: work, Download: work, Degraded: work}}}}
	r.Transfers = []Transfer{{Scheme: "s", Place: OnTmpfs, Direction: "transferred", Bytes: 1 << 20}}
	r.Ranges = []Range{{Place: "ranged"}}
	r.Trips = &Trips{RTT: 40, Warm: 2, First: 7.5}
	r.Objects = []Objects{{Place: OnDisk, Operation: "objected"}}
	r.Files = []Files{{Place: OnDisk, Direction: "filed", Stored: 1.25}}
	r.Listings = []Listing{{Place: OnDisk, Order: "listed"}}
	r.Commits = []Commits{{Place: "committed"}}
	r.Metadata = []Metadata{{Place: "loaded"}}
	r.Memory = []Memory{{What: "remembered"}}
	r.Shaped = []Shaped{{Lines: "shaped"}}
	r.Revision, r.Compared = "HEAD~3", []Compared{{Row: "compared"}}
	r.Failures = []string{"it failed"}
	var text bytes.Buffer
	if err := r.Print(&text); err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{
		"bounded", "transferred", "ranged", "7.5", "objected", "filed", "1.25", "listed", "committed", "loaded",
		"remembered", "it failed", "shaped", "HEAD~3", "compared", "678",
	} {
		if !strings.Contains(text.String(), word) {
			t.Errorf("the text lacks %q:\n%s", word, text.String())
		}
		if !strings.Contains(string(encoded), word) {
			t.Errorf("the json lacks %q: %s", word, encoded)
		}
	}
}

// TestHold: each direction is held against its own bound.
func TestHold(t *testing.T) {
	against := PlaceBound{Upload: Work{CPU: 4, Limit: 100, Together: 80}, Download: Work{CPU: 2, Limit: 200, Together: 160}, Degraded: Work{CPU: 3, Limit: 400}}
	for direction, want := range map[string][3]float64{
		"upload": {0.5, 0.625, 0.4}, "download": {0.25, 0.3125, 0.2}, "download, 6 gone": {0.125, 0, 0.3},
	} {
		got := Transfer{Direction: direction, Rate: 50, CPUPerGiB: 10}
		got.Hold(against)
		if [3]float64{got.OfBound, got.OfTogether, got.OfWork} != want {
			t.Errorf("%s: %+v, want %v", direction, got, want)
		}
	}
}
