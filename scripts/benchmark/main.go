// Command benchmark measures a Cairn network of separate processes on this
// machine against what the machine could do at best, in one run. scripts/bench
// starts it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/cairnstorage/cairn/deploy/procnet"
)

// options are the command line.
type options struct {
	format string
	dir    string
	size   int64
	rounds int
	keys   int
	files  int
	only   string
}

// measures tells whether a part was asked for.
func (o options) measures(part string) bool {
	return o.only == "" || slices.Contains(strings.Split(o.only, ","), part)
}

// Report is all that a run measured, as -o json prints it.
type Report struct {
	Cores     int        `json:"cores"`
	Dir       string     `json:"-"`
	Bounds    []Bound    `json:"bounds"`
	Transfers []Transfer `json:"transfers"`
	Objects   []Objects  `json:"objects"`
	Files     []Files    `json:"files"`
	Listing   Listing    `json:"listing"`
}

func main() {
	var o options
	flag.StringVar(&o.format, "o", "text", "output: text or json")
	flag.StringVar(&o.dir, "dir", "", "keep the networks below this directory, to choose the disk (default: a temporary directory)")
	flag.Int64Var(&o.size, "size", 256, "MiB to upload and download")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of each transfer; medians are reported")
	flag.IntVar(&o.keys, "keys", 10_000, "keys to list")
	flag.IntVar(&o.files, "files", 10_000, "files of 4 to 64 KiB to copy")
	flag.StringVar(&o.only, "only", "", "measure only some of transfers, objects, files and listing, separated by commas")
	flag.Parse()
	if flag.NArg() > 0 || o.size < 1 || o.rounds < 1 || o.keys < 1 || o.files < 1 || (o.format != "text" && o.format != "json") {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp(o.dir, "cairn-bench.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "bin")
	progress("building")
	if err := procnet.Build(ctx, bin); err != nil {
		return err
	}
	report := Report{Cores: runtime.NumCPU(), Dir: dir}
	for _, setup := range []struct {
		scheme string
		nodes  int
		full   bool // with the measurements that do not depend on the scheme
	}{
		{scheme: "4/6/8/10", nodes: 10, full: true},
		{scheme: "10/14/16/20", nodes: 20},
	} {
		network := filepath.Join(dir, fmt.Sprintf("network%d", setup.nodes))
		if err := report.measure(ctx, o, bin, network, setup.scheme, setup.nodes, setup.full); err != nil {
			return fmt.Errorf("scheme %s: %w", setup.scheme, err)
		}
		if err := os.RemoveAll(network); err != nil {
			return err
		}
	}
	if o.format == "json" {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(report)
	}
	return report.print(os.Stdout)
}

// measure runs everything for one scheme on a network of its own.
func (r *Report) measure(ctx context.Context, o options, bin, dir, scheme string, nodes int, full bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	progress("%s: the bound", scheme)
	bound, err := measureBound(ctx, bin, scheme)
	if err != nil {
		return err
	}
	r.Bounds = append(r.Bounds, bound)

	progress("%s: starting %d nodes", scheme, nodes)
	network, err := procnet.Start(ctx, procnet.Config{Bin: bin, Dir: dir, Nodes: nodes, Scheme: scheme})
	if err != nil {
		return err
	}
	defer network.Close()
	if _, err := network.RunUplink(ctx, "mb", "cairn://bench"); err != nil {
		return err
	}
	if o.measures("transfers") {
		progress("%s: upload and download of %d MiB", scheme, o.size)
		transfers, err := measureTransfers(ctx, network, bound, dir, o.size<<20, o.rounds)
		if err != nil {
			return err
		}
		r.Transfers = append(r.Transfers, transfers...)
	}
	if full && o.measures("objects") {
		progress("%s: small objects", scheme)
		if r.Objects, err = measureObjects(ctx, network); err != nil {
			return err
		}
	}
	if full && o.measures("files") {
		progress("%s: copies of %d files", scheme, o.files)
		if r.Files, err = measureFiles(ctx, network, dir, o.files, o.rounds); err != nil {
			return err
		}
	}
	if full && o.measures("listing") {
		progress("%s: list of %d keys", scheme, o.keys)
		r.Listing, err = measureListing(ctx, network, o.keys)
	}
	return err
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
