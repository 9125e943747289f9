// Command benchmark measures a Cairn network of separate processes on this
// machine against what the machine could do at best, in one run. scripts/bench
// starts it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cairnstorage/cairn/deploy/procnet"
	"github.com/cairnstorage/cairn/proto/pages"
)

// options are the command line.
type options struct {
	format  string
	dir     string
	memory  string
	sizes   []int64 // bytes
	schemes []string
	rounds  int
	keys    int
	files   int
	fill    int
	only    string
	long    bool
	shaped  bool
	line    float64 // Mbit/s
	rtt     time.Duration
	compare string
}

// parts are what -only chooses from.
var parts = []string{"transfers", "ranges", "objects", "files", "listing", "commits", "metadata", "memory"}

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	pages.Prepare(128 << 20) // this process has uplinks in it
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.format, "o", "text", "output: text or json")
	f.StringVar(&o.dir, "dir", "", "keep networks below this `directory`, to choose the disk (default that of temporary files)")
	f.StringVar(&o.memory, "tmpfs", "", "a `directory` on tmpfs, to do it all again in (default /dev/shm, or a mount of its own)")
	sizes := f.String("size", "", "`MiB` to upload and download, separated by commas (default 256; with -long 256,1024; with -shaped 1024)")
	schemes := f.String("schemes", "4/6/8/10,10/14/16/20,20/28/32/40", "required/repair-below/success/total shards, separated by commas")
	f.IntVar(&o.rounds, "rounds", 0, "rounds of each transfer; medians are reported (default 2; with -long or -shaped 3)")
	f.IntVar(&o.keys, "keys", 10_000, "names to list; with -long a million are listed, too")
	f.IntVar(&o.files, "files", 10_000, "files of 4 to 64 KiB to copy with -r")
	f.IntVar(&o.fill, "fill", 0, "objects in the metadata store that is looked at (default 20,000; with -long 10,000,000)")
	f.StringVar(&o.only, "only", "", "measure only some of "+strings.Join(parts, ", ")+", separated by commas")
	f.BoolVar(&o.long, "long", false, "at full size, with what takes long: less than an hour")
	f.BoolVar(&o.shaped, "shaped", false, "measure transfers over thin and long lines, and nothing else")
	f.Float64Var(&o.line, "line", 100, "with -shaped: Mbit/s of each node's line, each way")
	f.DurationVar(&o.rtt, "rtt", 50*time.Millisecond, "with -shaped: round-trip time to the satellite and each node")
	f.StringVar(&o.compare, "compare", "", "measure this `revision` and the working tree in turn, and nothing else")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return o, o.complete(*sizes, *schemes)
}

// complete fills in defaults and checks what was said.
func (o *options) complete(sizes, schemes string) error {
	switch {
	case sizes == "" && o.shaped:
		sizes = "1024"
	case sizes == "" && o.long:
		sizes = "256,1024"
	}
	for _, size := range split(sizes, "256") {
		mib, err := strconv.ParseInt(size, 10, 64)
		if err != nil || mib < 1 {
			return fmt.Errorf("-size %q is no number of MiB", size)
		}
		o.sizes = append(o.sizes, mib<<20)
	}
	slices.Sort(o.sizes)
	o.schemes = split(schemes, "")
	if o.rounds == 0 {
		o.rounds = byLength(o.long || o.shaped, 2, 3)
	}
	if o.fill == 0 {
		o.fill = byLength(o.long, 20_000, 10_000_000)
	}
	for _, part := range split(o.only, "") {
		if !slices.Contains(parts, part) {
			return fmt.Errorf("-only %q is none of %s", part, strings.Join(parts, ", "))
		}
	}
	switch {
	case o.rounds < 1 || o.keys < 1 || o.files < 1 || o.fill < 1 || o.line <= 0 || o.rtt < 0:
		return errors.New("numbers must be above 0")
	case o.format != "text" && o.format != "json":
		return errors.New("-o is text or json")
	case o.compare != "" && o.shaped:
		return errors.New("-compare and -shaped measure different things: choose one")
	}
	return nil
}

func byLength(long bool, short, full int) int {
	if long {
		return full
	}
	return short
}

// split splits a list at its commas; an empty one is the default.
func split(list, empty string) []string {
	if list == "" {
		list = empty
	}
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

// measures tells whether a part was asked for.
func (o options) measures(part string) bool {
	return o.only == "" || slices.Contains(split(o.only, ""), part)
}

// run measures what was asked for and reports that, also when some of it failed
// or the run was ended before.
func run(ctx context.Context, o options) (err error) {
	b := newBench(ctx, o)
	if b.places, err = findPlaces(o.dir, o.memory); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	b.bin = filepath.Join(b.places[0].dir, "bin")
	progress("building")
	if err := procnet.Build(ctx, b.bin); err != nil {
		return err
	}
	measure := b.measureAll
	switch {
	case o.compare != "":
		measure = b.compare
	case o.shaped:
		measure = b.measureShaped
	}
	err = errors.Join(measure(ctx), b.finish(os.Stdout))
	if n := len(b.report.Failures); err == nil && n > 0 {
		err = fmt.Errorf("%d parts could not be measured: the report says which", n)
	}
	return err
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
