package results

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of docs/performance.md")

// The tables of docs/performance.md are those of the runs beside it.
func TestDocumentedTables(t *testing.T) {
	const path = "../../../docs/performance.md"
	r, runs, err := Load("../../../docs/performance")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	doc := string(text)
	for name, lines := range Tables(r, runs) {
		begin, end := "<!-- table: "+name+" -->\n", "<!-- end -->\n"
		before, rest, ok := strings.Cut(doc, begin)
		was, after, closed := strings.Cut(rest, end)
		if !ok || !closed {
			t.Fatalf("%s has no table %q", path, name)
		}
		want := strings.Join(lines, "\n") + "\n"
		if was != want && !*update {
			t.Errorf("table %q of %s is out of date, run scripts/figures:\n%s", name, path, want)
		}
		doc = before + begin + want + end + after
	}
	if *update {
		if err := os.WriteFile(path, []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Every row has as many cells as its header.
func TestTablesAreRectangular(t *testing.T) {
	work := Work{Parts: []Part{{Name: "seal", CPU: 1}}, CPU: 1, Disk: 2, Limit: 3, TogetherCPU: 4, Together: 5}
	r := &Report{
		Bounds:    []Bound{{Scheme: "s", Places: []PlaceBound{{Place: OnDisk, Upload: work, Download: work, Degraded: work}}}},
		Transfers: []Transfer{{Scheme: "s", Place: OnDisk, Direction: "upload"}},
		Trips:     &Trips{RTT: 40},
		Ranges:    []Range{{Place: OnDisk, P50: 1}}, Objects: []Objects{{Place: OnDisk}}, Files: []Files{{Place: OnDisk}},
		Listings: []Listing{{Place: OnDisk}}, Commits: []Commits{{Place: OnDisk}}, Metadata: []Metadata{{Place: OnDisk}},
		Memory: []Memory{{Place: OnDisk}}, Shaped: []Shaped{{Place: OnDisk, Lines: AllAlike}},
	}
	for name, lines := range Tables(r, []Run{{Name: "long"}}) {
		if strings.HasPrefix(lines[0], "!") {
			lines = lines[2:]
		}
		if len(lines) < 3 {
			t.Errorf("%s has no rows: %q", name, lines)
		}
		for _, line := range lines {
			if !strings.HasPrefix(line, "|") {
				continue
			}
			if got, want := strings.Count(line, "|"), strings.Count(lines[0], "|"); got != want {
				t.Errorf("%s: %d cells of %d in %q", name, got, want, line)
			}
		}
	}
	r = &Report{Failures: []string{"commits: no disk\nat all"}}
	if got := strings.Join(Tables(r, nil)["runs"], " "); !strings.Contains(got, "commits: no disk") || strings.Contains(got, "at all") {
		t.Errorf("what failed is told as %q", got)
	}
	for name, lines := range Tables(new(Report), nil) {
		if len(lines) != 1 {
			t.Errorf("%s of nothing: %q", name, lines)
		}
	}
}
