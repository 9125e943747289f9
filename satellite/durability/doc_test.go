package durability

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of docs/durability.md anew instead of checking them")

// The figures that docs/durability.md quotes are those that are computed.
// scripts/figures writes them.
func TestDocumentedTables(t *testing.T) {
	const path = "../../docs/durability.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	doc := string(text)
	for name, lines := range map[string][]string{
		"schemes": schemesTable(t), "shocks": shocksTable(t), "placement": placementTable(t), "year": yearTable(t),
	} {
		begin, end := "<!-- table: "+name+" -->\n", "<!-- end -->\n"
		before, rest, ok := strings.Cut(doc, begin)
		table, after, closed := strings.Cut(rest, end)
		if !ok || !closed {
			t.Fatalf("%s has no table %q", path, name)
		}
		want := strings.Join(lines, "\n") + "\n"
		if table != want && !*update {
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

// documented is the network of the document: 1,000 nodes that hold 1 TB each in
// 4 groups, in segments of 64 MiB.
func documented(t *testing.T, text string) Inputs {
	s := scheme(t, text)
	return Inputs{
		Scheme: s, Nodes: 1000, Groups: 4000 / s.Total, SlotBytes: 250e9,
		Segments: int64(1000e12 / (64 << 20) * float64(s.Required) / float64(s.Total)),
	}
}

var documentedSchemes = []string{"4/6/8/10", "10/14/16/20", "20/28/32/40", "29/35/80/80"}

func schemesTable(t *testing.T) []string {
	lines := []string{
		"| scheme | stored per byte | a slot is back after | a group: all shards | a group: *success* shards | any group: all shards | any group: *success* shards |",
		"|---|---|---|---|---|---|---|",
	}
	for _, text := range documentedSchemes {
		in := documented(t, text)
		r := estimate(t, in)
		i := r.Independent
		lines = append(lines, fmt.Sprintf("| %s | %.2f | %.1f days | %.0f | %.0f | %.0f | %.0f |", text,
			float64(in.Scheme.Total)/float64(in.Scheme.Required), (r.DetectSeconds+r.RebuildSeconds)/86400,
			i.Whole.Group.Nines, i.Short.Group.Nines, i.Whole.Network.Nines, i.Short.Network.Nines))
	}
	return lines
}

func shocksTable(t *testing.T) []string {
	lines := []string{
		"| scheme | shards | 1 % vanish | 5 % | 10 % | 20 % | 30 % | withstands |",
		"|---|---|---|---|---|---|---|---|",
	}
	for _, text := range documentedSchemes {
		r := estimate(t, documented(t, text))
		s := scheme(t, text)
		whole, short := fmt.Sprintf("| %s | %d |", text, s.Total), fmt.Sprintf("| | %d |", s.Success)
		for _, shock := range r.Shocks {
			whole += fmt.Sprintf(" %.1f |", shock.Whole.Network.Nines)
			short += fmt.Sprintf(" %.1f |", shock.Short.Network.Nines)
		}
		lines = append(lines, fmt.Sprintf("%s %.1f %% |", whole, r.Withstands*100))
		if s.Success < s.Total {
			lines = append(lines, short+" |")
		}
	}
	return lines
}

func placementTable(t *testing.T) []string {
	in := documented(t, "20/28/32/40")
	r := estimate(t, in)
	lines := []string{
		fmt.Sprintf("| nodes that vanish | any of %d groups loses data | any of %.1f million sets does | segments lost on average, either way | segments lost with a group |",
			in.Groups, float64(in.Segments)/1e6),
		"|---|---|---|---|---|",
	}
	for _, s := range r.Shocks[1:] {
		lines = append(lines, fmt.Sprintf("| %.0f %% | %.2g | %.2g | %.2g | %.0f |", s.Share*100,
			s.Whole.Network.Probability, s.Random.Probability, s.Segments, float64(in.Segments)/float64(in.Groups)))
	}
	return lines
}

func yearTable(t *testing.T) []string {
	lines := []string{
		"| scheme | segments with *success* shards | a segment is lost | anything is lost | dominated by |",
		"|---|---|---|---|---|",
	}
	for _, text := range documentedSchemes {
		for _, share := range []float64{0, 0.02} {
			in := documented(t, text)
			if in.ShortShare = share; share > 0 && in.Scheme.Success == in.Scheme.Total {
				continue
			}
			r := estimate(t, in)
			lines = append(lines, fmt.Sprintf("| %s | %.0f %% | %.1f | %.1f | %s |",
				text, share*100, r.Segment.Nines, r.Network.Nines, r.DominatedBy))
		}
	}
	return lines
}
