package results

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// Print writes the report for a reader.
func (r *Report) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	r.printBounds(w)
	r.printTransfers(w)
	r.printSmall(w)
	r.printSatellite(w)
	r.printMemory(w)
	r.printShaped(w)
	r.printCompared(w)
	for _, failure := range r.Failures {
		fmt.Fprintf(w, "\nNot measured: %s\n", failure)
	}
	fmt.Fprintf(w, "\n%.0f s on %d cores, of which other programs took %s\n", r.Seconds, r.Cores, percent(r.Others))
	return w.Flush()
}

func (r *Report) printBounds(w io.Writer) {
	if len(r.Bounds) == 0 {
		return
	}
	fmt.Fprintf(w, "\nThe bound: CPU seconds per GiB of user data, at all ends. The limit is all %d cores at\ntheir sum, or the disk's own rate. Together: one bare program that does all parts, and\nnothing else\n\n", r.Cores)
	row(w, slices.Concat([]string{"scheme", "nodes on", "direction"}, partNames, []string{"sum", "disk MB/s", "limit MB/s", "together CPU", "together MB/s", ""})...)
	for _, b := range r.Bounds {
		for _, p := range b.Places {
			printWork(w, b.Scheme, p.Place, "upload", p.Upload)
			printWork(w, b.Scheme, p.Place, "download", p.Download)
			printWork(w, b.Scheme, p.Place, "n−k gone", p.Degraded)
		}
	}
}

// partNames are the parts of all directions, as package bound names them.
var partNames = []string{"seal", "code", "hash", "transport", "receiver's hash", "write and fsync", "read", "decode", "open"}

func printWork(w io.Writer, scheme, place, name string, work Work) {
	line := []string{scheme, place, name}
	for _, name := range partNames {
		cell := ""
		for _, p := range work.Parts {
			if p.Name == name {
				cell = fmt.Sprintf("%.2f", p.CPU)
			}
		}
		line = append(line, cell)
	}
	row(w, slices.Concat(line, work.sums(), []string{""})...)
}

// sums are what the parts come to: CPU, what the disk takes, the limit; and what they
// come to together, CPU and rate.
func (w Work) sums() []string {
	disk, cpu, rate := "", "", ""
	if w.Disk > 0 {
		disk = mbs(w.Disk)
	}
	if w.Together > 0 {
		cpu, rate = fmt.Sprintf("%.2f", w.TogetherCPU), mbs(w.Together)
	}
	return []string{fmt.Sprintf("%.2f", w.CPU), disk, mbs(w.Limit), cpu, rate}
}

func (r *Report) printTransfers(w io.Writer) {
	if len(r.Transfers) > 0 {
		fmt.Fprintf(w, "\nLarge objects: separate processes, fsync before every receipt, read to nowhere. Of\nwork: the share of the CPU seconds that the bound has, too\n\n")
		row(w, "scheme", "nodes on", "direction", "MiB", "MB/s", "slowest", "of bound", "of work", "of together", "CPU s/GiB", "others", "uplink MiB", "node MiB", "satellite MiB", "")
	}
	for _, t := range r.Transfers {
		row(w, t.Scheme, t.Place, t.Direction, mib(t.Bytes), mbs(t.Rate), mbs(t.Slowest), percent(t.OfBound), percent(t.OfWork), known(t.OfTogether),
			fmt.Sprintf("%.1f", t.CPUPerGiB), percent(t.Others), mib(t.UplinkRSS), mib(t.NodeRSS), mib(t.Satellite), "")
	}
	if len(r.Ranges) > 0 {
		fmt.Fprintf(w, "\nRanges of 4 KiB out of a large object\n\n")
		row(w, "nodes on", "MiB", "p50 ms", "p99 ms", "CPU ms each", "")
	}
	for _, o := range r.Ranges {
		row(w, o.Place, mib(o.Object), ms(o.P50), ms(o.P99), fmt.Sprintf("%.2f", o.CPU), "")
	}
	if t := r.Trips; t != nil {
		fmt.Fprintf(w, "\nOver lines of %.0f ms such a range takes %.1f round trips, the first of a project that\nhas no connections %.1f; it touches %.2f nodes\n", t.RTT, t.Warm, t.First, t.Nodes)
	}
}

func (r *Report) printSmall(w io.Writer) {
	if len(r.Objects) > 0 {
		fmt.Fprintf(w, "\nSmall objects, each client with connections of its own\n\n")
		row(w, "nodes on", "operation", "KiB", "clients", "count", "per s", "p50 ms", "p99 ms", "CPU ms each", "")
	}
	for _, o := range r.Objects {
		row(w, o.Place, o.Operation, fmt.Sprint(o.Size>>10), fmt.Sprint(o.Clients), fmt.Sprint(o.Count), fmt.Sprintf("%.0f", o.Rate),
			ms(o.P50), ms(o.P99), fmt.Sprintf("%.2f", o.CPU), "")
	}
	if len(r.Files) > 0 {
		fmt.Fprintf(w, "\nFiles of 4 to 64 KiB copied with -r\n\n")
		row(w, "nodes on", "cp -r", "files", "files/s", "slowest", "CPU ms each", "uplink MiB", "stored / (n/k)", "")
	}
	for _, f := range r.Files {
		stored := ""
		if f.Stored > 0 {
			stored = fmt.Sprintf("%.3f", f.Stored)
		}
		row(w, f.Place, f.Direction, fmt.Sprint(f.Count), fmt.Sprintf("%.0f", f.Rate), fmt.Sprintf("%.0f", f.Slowest),
			fmt.Sprintf("%.2f", f.CPU), mib(f.RSS), stored, "")
	}
	if len(r.Listings) > 0 {
		fmt.Fprintf(w, "\nLists, by a command of its own\n\n")
		row(w, "nodes on", "names", "order", "s", "names/s", "uplink MiB", "made per s", "")
	}
	for _, l := range r.Listings {
		row(w, l.Place, fmt.Sprint(l.Keys), l.Order, fmt.Sprintf("%.2f", l.Seconds), fmt.Sprintf("%.0f", l.Rate), mib(l.RSS), fmt.Sprintf("%.0f", l.PutRate), "")
	}
}

func (r *Report) printSatellite(w io.Writer) {
	if len(r.Commits) > 0 {
		fmt.Fprintf(w, "\nCommits of %d clients, %d under way at each\n\n", r.Commits[0].Clients, r.Commits[0].Each)
		row(w, "satellite on", "segments", "commits", "per s", "p50 ms", "p99 ms", "satellite CPU ms", "with clients", "")
	}
	for _, c := range r.Commits {
		row(w, c.Place, fmt.Sprint(c.Segments), fmt.Sprint(c.Count), fmt.Sprintf("%.0f", c.Rate), ms(c.P50), ms(c.P99),
			fmt.Sprintf("%.3f", c.CPU), fmt.Sprintf("%.3f", c.AllCPU), "")
	}
	if len(r.Metadata) > 0 {
		fmt.Fprintf(w, "\nA satellite with many objects of one segment, loaded through its domain layer without\na network\n\n")
		row(w, "satellite on", "objects", "loaded per s", "bytes each", "on disk", "name bytes", "restart s", "RSS MiB", "listed per s", "peak MiB", "loader MiB", "")
	}
	for _, m := range r.Metadata {
		row(w, m.Place, fmt.Sprint(m.Objects), fmt.Sprintf("%.0f", m.Load), fmt.Sprintf("%.0f", m.Logical), fmt.Sprintf("%.0f", m.OnDisk), fmt.Sprint(m.KeyBytes),
			fmt.Sprintf("%.2f", m.Restart), mib(m.RSS), fmt.Sprintf("%.0f", m.List), mib(m.ListRSS), mib(m.LoadRSS), "")
	}
}

func (r *Report) printMemory(w io.Writer) {
	if len(r.Memory) == 0 {
		return
	}
	fmt.Fprintf(w, "\nResident memory\n\n")
	row(w, "scheme", "nodes on", "what", "MiB", "MB/s", "")
	for _, m := range r.Memory {
		rate := ""
		if m.Rate > 0 {
			rate = mbs(m.Rate)
		}
		row(w, m.Scheme, m.Place, m.What, fmt.Sprintf("%.2f", float64(m.Bytes)/(1<<20)), rate, "")
	}
}

func (r *Report) printShaped(w io.Writer) {
	if len(r.Shaped) == 0 {
		return
	}
	first := r.Shaped[0]
	fmt.Fprintf(w, "\n%s over lines of %.0f Mbit/s and %.0f ms; the capacity is that of %.0f MB/s for k of them\n\n", first.Scheme, first.Line, first.RTT, first.Capacity)
	row(w, "nodes on", "lines", "direction", "MiB", "s", "MB/s", "of capacity", "longer by", "carried", "cores busy", "others", "")
	for _, s := range r.Shaped {
		row(w, s.Place, s.Lines, s.Direction, mib(s.Bytes), fmt.Sprintf("%.2f", s.Seconds), mbs(s.Rate), percent(s.Share), percent(s.Change),
			fmt.Sprintf("%.2f", s.Carried), fmt.Sprintf("%.2f", s.Cores), percent(s.Others), "")
	}
}

func (r *Report) printCompared(w io.Writer) {
	if len(r.Compared) == 0 {
		return
	}
	fmt.Fprintf(w, "\nThe working tree against %s, in turn; ratios of medians\n\n", r.Revision)
	row(w, "nodes on", "row", "rounds", "before", "after", "", "ratio", "lowest", "highest", "CPU s before", "after", "ratio", "")
	for _, c := range r.Compared {
		row(w, c.Place, c.Row, fmt.Sprint(c.Rounds), fmt.Sprintf("%.0f", c.Before), fmt.Sprintf("%.0f", c.After), c.Unit,
			fmt.Sprintf("%.2f", c.Ratio), fmt.Sprintf("%.2f", c.Lowest), fmt.Sprintf("%.2f", c.Highest),
			fmt.Sprintf("%.2f", c.CPUBefore), fmt.Sprintf("%.2f", c.CPUAfter), fmt.Sprintf("%.2f", c.CPURatio), "")
	}
}

func row(w io.Writer, cells ...string) {
	for _, cell := range cells {
		fmt.Fprintf(w, "%s\t", cell)
	}
	fmt.Fprintln(w)
}

func mbs(rate float64) string      { return fmt.Sprintf("%.0f", rate) }
func mib(bytes int64) string       { return fmt.Sprintf("%.0f", float64(bytes)/(1<<20)) }
func ms(value float64) string      { return fmt.Sprintf("%.1f", value) }
func percent(share float64) string { return fmt.Sprintf("%.0f%%", 100*share) }

// known is percent of a share that may not be known.
func known(share float64) string {
	if share == 0 {
		return ""
	}
	return percent(share)
}
