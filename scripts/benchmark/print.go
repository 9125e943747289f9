package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// print writes the report for a reader. MB is 10⁶ bytes, MiB 2²⁰.
func (r Report) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\nThe bound on %d cores: the same work with no network and no disk, then the bare\ntransport of the same bytes over libp2p between processes\n\n", r.Cores)
	row(w, "scheme", "seal code hash", "open decode", "send", "fetch", "upload", "download", "")
	for _, b := range r.Bounds {
		row(w, b.Scheme, mbs(b.Encode), mbs(b.Decode), mbs(b.Send), mbs(b.Fetch), mbs(b.Upload), mbs(b.Download), "MB/s")
	}
	fmt.Fprintf(w, "\nLarge objects, separate processes, fsync before every receipt, read to nowhere\n\n")
	row(w, "scheme", "direction", "MiB", "MB/s", "slowest", "of bound", "CPU s/GiB", "uplink MiB", "node MiB", "satellite MiB", "")
	for _, t := range r.Transfers {
		row(w, t.Scheme, t.Direction, mib(t.Bytes), mbs(t.Rate), mbs(t.Slowest), fmt.Sprintf("%.0f%%", 100*t.OfBound),
			fmt.Sprintf("%.1f", t.CPUPerGiB), mib(t.UplinkRSS), mib(t.NodeRSS), mib(t.Satellite), "")
	}
	fmt.Fprintf(w, "\nSmall objects at %s, and files of 4 to 64 KiB copied with -r\n\n", r.Bounds[0].Scheme)
	row(w, "operation", "KiB", "parallel", "per s", "p50 ms", "p99 ms", "CPU ms each", "")
	for _, o := range r.Objects {
		row(w, o.Operation, fmt.Sprint(o.Size>>10), fmt.Sprint(o.Parallel), fmt.Sprintf("%.0f", o.Rate),
			fmt.Sprintf("%.1f", o.P50), fmt.Sprintf("%.1f", o.P99), fmt.Sprintf("%.2f", o.CPU), "")
	}
	fmt.Fprintln(w)
	row(w, "cp -r", "files", "files/s", "slowest", "CPU ms each", "uplink MiB", "stored / (n/k)", "")
	for _, f := range r.Files {
		stored := ""
		if f.Stored > 0 {
			stored = fmt.Sprintf("%.3f", f.Stored)
		}
		row(w, f.Direction, fmt.Sprint(f.Count), fmt.Sprintf("%.0f", f.Rate), fmt.Sprintf("%.0f", f.Slowest),
			fmt.Sprintf("%.2f", f.CPU), mib(f.RSS), stored, "")
	}
	fmt.Fprintf(w, "\nList of %d keys: %.2f s, %.0f keys/s, %s MiB (made at %.0f/s)\n",
		r.Listing.Keys, r.Listing.Seconds, r.Listing.Rate, mib(r.Listing.RSS), r.Listing.PutRate)
	return w.Flush()
}

func row(w io.Writer, cells ...string) {
	for _, cell := range cells {
		fmt.Fprintf(w, "%s\t", cell)
	}
	fmt.Fprintln(w)
}

func mbs(rate float64) string { return fmt.Sprintf("%.0f", rate) }
func mib(bytes int64) string  { return fmt.Sprintf("%.0f", float64(bytes)/(1<<20)) }
