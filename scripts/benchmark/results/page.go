package results

import (
	"fmt"
	"slices"
	"strings"
)

// Tables are those of docs/performance.md, by name, as lines of Markdown.
func Tables(r *Report, runs []Run) map[string][]string {
	return map[string][]string{
		"runs":      append(runsTable(runs), r.failures()...),
		"peers":     below("performance-peers.svg", "Upload and download of 256 MiB by Cairn, Storj and Sia", r.peersTable()),
		"targets":   r.targetsTable(),
		"bound":     r.boundTable(),
		"transfers": below("performance-transfers.svg", "Rates of large objects beside the bound", r.transfersTable()),
		"small":     r.smallTable(),
		"trips":     r.tripsTable(),
		"files":     r.filesTable(),
		"lists":     r.listsTable(),
		"commits":   r.commitsTable(),
		"metadata":  r.metadataTable(),
		"memory":    r.memoryTable(),
		"shaped":    below("performance-shaped.svg", "Share of the capacity of thin and long lines", r.shapedTable()),
	}
}

// below puts a table below a picture of it, when there is something to see.
func below(picture, title string, table []string) []string {
	if len(table) == 1 {
		return table
	}
	return append([]string{"![" + title + "](" + picture + ")", ""}, table...)
}

// table is a header and rows. Columns whose header begins with a space have
// numbers.
func table(header []string, rows [][]string) []string {
	if len(rows) == 0 {
		return []string{"*Not measured yet.*"}
	}
	rule := make([]string, len(header))
	for i, h := range header {
		rule[i] = "---"
		if strings.HasPrefix(h, " ") {
			rule[i] = "---:"
		}
		header[i] = strings.TrimSpace(h)
	}
	lines := []string{markdown(header), "|" + strings.Join(rule, "|") + "|"}
	for _, row := range rows {
		lines = append(lines, markdown(row))
	}
	return lines
}

func markdown(cells []string) string { return "| " + strings.Join(cells, " | ") + " |" }

func runsTable(runs []Run) []string {
	var rows [][]string
	for _, r := range runs {
		rows = append(rows, []string{r.Name, r.Day, r.Tree, fmt.Sprint(r.Cores), fmt.Sprintf("%.0f", r.Seconds/60), percent(r.Others)})
	}
	return table([]string{"run", "day", "commit", " cores", " minutes", " other programs"}, rows)
}

// failures are what runs could not measure.
func (r *Report) failures() (lines []string) {
	for _, failure := range r.Failures {
		first, _, _ := strings.Cut(failure, "\n")
		lines = append(lines, "", "Not measured: "+first)
	}
	return lines
}

func (r *Report) targetsTable() []string {
	var rows [][]string
	for _, t := range r.Targets() {
		sign := "≥"
		if t.AtMost {
			sign = "≤"
		}
		row := []string{t.What, sign + " " + t.Number(t.Limit)}
		measured := false
		for _, place := range []string{OnDisk, OnTmpfs} {
			cell := ""
			if worst, ok := t.Worst(place); ok {
				measured = true
				verdict := "missed"
				if t.Met(place) {
					verdict = "met"
				}
				cell = t.Number(worst) + ", " + verdict
			}
			row = append(row, cell)
		}
		if measured {
			rows = append(rows, row)
		}
	}
	return table([]string{"what", "wanted", "nodes on a disk", "on tmpfs"}, rows)
}

func (r *Report) boundTable() []string {
	var rows [][]string
	for _, b := range r.Bounds {
		for _, p := range b.Places {
			for _, d := range []struct {
				name string
				work Work
			}{{"upload", p.Upload}, {"download", p.Download}, {"n−k gone", p.Degraded}} {
				row := []string{b.Scheme, p.Place, d.name}
				for _, name := range partNames {
					cell := ""
					if i := slices.IndexFunc(d.work.Parts, func(p Part) bool { return p.Name == name }); i >= 0 {
						cell = fmt.Sprintf("%.2f", d.work.Parts[i].CPU)
					}
					row = append(row, cell)
				}
				rows = append(rows, append(row, d.work.sums()...))
			}
		}
	}
	header := []string{"scheme", "nodes on", "direction"}
	for _, name := range partNames {
		header = append(header, " "+name)
	}
	return table(append(header, " sum", " disk MB/s", " bound MB/s", " together CPU", " together MB/s"), rows)
}

func (r *Report) transfersTable() []string {
	var rows [][]string
	for _, t := range r.Transfers {
		rows = append(rows, []string{
			t.Scheme, t.Place, t.Direction, mib(t.Bytes), mbs(t.Rate), mbs(t.Slowest), percent(t.OfBound), known(t.OfTogether),
			fmt.Sprintf("%.1f", t.CPUPerGiB), mib(t.UplinkRSS), mib(t.NodeRSS), percent(t.Others),
		})
	}
	return table([]string{
		"scheme", "nodes on", "direction", " MiB", " MB/s", " slowest", " of bound", " of together", " CPU s/GiB", " uplink MiB", " node MiB", " others",
	}, rows)
}

func (r *Report) smallTable() []string {
	var rows [][]string
	for _, o := range r.Objects {
		rows = append(rows, []string{
			o.Operation, fmt.Sprint(o.Size >> 10), fmt.Sprint(o.Clients), o.Place, thousands(o.Rate), ms(o.P50), ms(o.P99), fmt.Sprintf("%.2f", o.CPU),
		})
	}
	for _, g := range r.Ranges {
		rows = append(rows, []string{
			"4 KiB out of " + mib(g.Object) + " MiB", "4", "1", g.Place, thousands(1000 / g.P50), ms(g.P50), ms(g.P99), fmt.Sprintf("%.2f", g.CPU),
		})
	}
	return table([]string{"operation", " KiB", " clients", "nodes on", " per s", " p50 ms", " p99 ms", " CPU ms each"}, rows)
}

func (r *Report) tripsTable() []string {
	t := r.Trips
	if t == nil {
		return table(nil, nil)
	}
	trips := func(n float64) string { return fmt.Sprintf("%.1f", n) }
	return table([]string{" line, ms", " round trips of a range", " with no connections yet", " nodes it touches"},
		[][]string{{mbs(t.RTT), trips(t.Warm), trips(t.First), fmt.Sprintf("%.2f", t.Nodes)}})
}

func (r *Report) filesTable() []string {
	var rows [][]string
	for _, f := range r.Files {
		stored := ""
		if f.Stored > 0 {
			stored = fmt.Sprintf("%.3f", f.Stored)
		}
		rows = append(rows, []string{f.Direction, thousands(float64(f.Count)), f.Place, thousands(f.Rate), fmt.Sprintf("%.2f", f.CPU), mib(f.RSS), stored})
	}
	return table([]string{"cp -r", " files", "nodes on", " files/s", " CPU ms each", " uplink MiB", " stored / (n/k)"}, rows)
}

func (r *Report) listsTable() []string {
	var rows [][]string
	for _, l := range r.Listings {
		rows = append(rows, []string{thousands(float64(l.Keys)), l.Order, l.Place, fmt.Sprintf("%.2f", l.Seconds), thousands(l.Rate), mib(l.RSS)})
	}
	return table([]string{" names", "order", "satellite on", " s", " names/s", " uplink MiB"}, rows)
}

func (r *Report) commitsTable() []string {
	var rows [][]string
	for _, c := range r.Commits {
		rows = append(rows, []string{fmt.Sprint(c.Segments), c.Place, thousands(c.Rate), ms(c.P50), ms(c.P99), fmt.Sprintf("%.3f", c.CPU), fmt.Sprintf("%.3f", c.AllCPU)})
	}
	return table([]string{" segments", "satellite on", " per s", " p50 ms", " p99 ms", " satellite CPU ms", " with clients"}, rows)
}

func (r *Report) metadataTable() []string {
	var rows [][]string
	for _, m := range r.Metadata {
		rows = append(rows, []string{
			thousands(float64(m.Objects)), m.Place, thousands(m.Load), mbs(m.Logical), mbs(m.OnDisk), fmt.Sprintf("%.2f", float64(m.Objects)*m.OnDisk/1e9),
			fmt.Sprintf("%.1f", m.Restart), mib(m.RSS), thousands(m.List), mib(m.ListRSS),
		})
	}
	return table([]string{
		" objects", "on", " loaded/s", " bytes each", " on disk", " GB in all", " restart s", " then MiB", " listed/s", " peak MiB",
	}, rows)
}

func (r *Report) memoryTable() []string {
	var rows [][]string
	for _, m := range r.Memory {
		rate := ""
		if m.Rate > 0 {
			rate = mbs(m.Rate)
		}
		rows = append(rows, []string{m.What, m.Scheme, m.Place, fmt.Sprintf("%.2f", float64(m.Bytes)/(1<<20)), rate})
	}
	return table([]string{"what", "scheme", "nodes on", " MiB", " MB/s"}, rows)
}

func (r *Report) shapedTable() []string {
	var rows [][]string
	for _, s := range r.Shaped {
		rows = append(rows, []string{
			s.Lines, s.Direction, s.Place, mib(s.Bytes), fmt.Sprintf("%.2f", s.Seconds), mbs(s.Rate), percent(s.Share), percent(s.Change),
			fmt.Sprintf("%.2f", s.Carried), fmt.Sprintf("%.2f", s.Cores),
		})
	}
	return table([]string{"lines", "direction", "nodes on", " MiB", " s", " MB/s", " of capacity", " longer by", " carried", " cores busy"}, rows)
}
