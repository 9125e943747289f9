package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/cairnstorage/cairn/deploy/procnet"
	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/scripts/benchmark/results"
)

// bench is one run.
type bench struct {
	o      options
	bin    string
	places []place
	report *results.Report

	begun time.Time
	busy  time.Duration // of all processors, before
}

func newBench(ctx context.Context, o options) *bench {
	return &bench{
		o: o, begun: time.Now(), busy: busyCPU(),
		report: &results.Report{Cores: runtime.NumCPU(), Day: time.Now().UTC().Format(time.DateOnly), Tree: treeOf(ctx)},
	}
}

// treeOf says which commit is measured, or nothing outside a repository.
func treeOf(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty=+", "--exclude=*").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// finish adds what is known in the end only, and writes the report.
func (b *bench) finish(out io.Writer) error {
	r := b.report
	r.Seconds = time.Since(b.begun).Seconds()
	busy := busyCPU() - b.busy - ownCPU() - childrenCPU()
	r.Others = max(0, busy.Seconds()/r.Seconds/float64(r.Cores))
	if b.o.format != "json" {
		return r.Print(out)
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// attempt measures something. When that fails it is noted and the rest is still
// measured, unless the run is being ended.
func (b *bench) attempt(ctx context.Context, what string, measure func() error) error {
	err := measure()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	failure := fmt.Sprintf("%s: %v", what, err)
	b.tell("failed: %s", failure)
	b.report.Failures = append(b.report.Failures, failure)
	return nil
}

// measureAll measures every part that was asked for.
func (b *bench) measureAll(ctx context.Context) error {
	for i, scheme := range b.o.schemes {
		err := b.attempt(ctx, scheme, func() error { return b.measureScheme(ctx, scheme, i == 0) })
		if err != nil {
			return err
		}
	}
	for _, step := range []struct {
		part    string
		measure func(context.Context) error
	}{
		{"ranges", b.measureTrips},
		{"commits", b.measureCommits},
		{"memory", b.measureMemory},
		{"metadata", b.measureMetadata},
	} {
		if !b.o.measures(step.part) {
			continue
		}
		if err := b.attempt(ctx, step.part, func() error { return step.measure(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

// measureScheme measures the bound of a scheme and networks that use it; with
// the parts that do not depend on the scheme if that is asked.
func (b *bench) measureScheme(ctx context.Context, scheme string, full bool) error {
	wanted := b.o.measures("transfers")
	for _, part := range []string{"ranges", "objects", "files", "listing", "memory"} {
		wanted = wanted || full && b.o.measures(part)
	}
	if !wanted {
		return nil
	}
	for _, p := range b.places {
		err := b.attempt(ctx, scheme+" on "+p.Name, func() error {
			return b.measurePlace(ctx, p, scheme, full)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rig is a network with what is known of it.
type rig struct {
	*bench
	place   place
	scheme  erasure.Scheme
	bound   *bound // nil if no transfers are measured
	network *procnet.Network
	dir     string
}

// measurePlace measures what a network of real nodes in one place does, and in turn
// with its transfers their bound.
func (b *bench) measurePlace(ctx context.Context, p place, scheme string, full bool) (err error) {
	var limit *bound
	if b.o.measures("transfers") {
		if limit, err = b.startBound(ctx, scheme, p); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, limit.close()) }()
	}
	return b.withNetwork(ctx, p, procnet.Config{Scheme: scheme}, func(r *rig) error {
		if r.bound = limit; limit != nil {
			defer r.settle()
		}
		for _, step := range []struct {
			part, name string
			always     bool
			measure    func(context.Context) error
		}{
			{"memory", "memory", false, r.measureIdle},
			{"transfers", "transfers", true, r.measureTransfers},
			{"ranges", "ranges", false, r.measureRanges},
			{"objects", "objects", false, r.measureObjects},
			{"files", "files", false, r.measureFiles},
			{"listing", "listing", false, r.measureListing},
			{"transfers", "transfers with nodes gone", true, r.measureDegraded}, // no node is left that is not needed
		} {
			if !b.o.measures(step.part) || !full && !step.always {
				continue
			}
			if err := b.attempt(ctx, scheme+" on "+p.Name+", "+step.name, func() error { return step.measure(ctx) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// withNetwork runs a network of as many nodes as the scheme has slots, with a
// bucket, and removes it afterwards.
func (b *bench) withNetwork(ctx context.Context, p place, c procnet.Config, do func(*rig) error) (err error) {
	r := &rig{bench: b, place: p}
	if r.scheme, err = parseScheme(c.Scheme); err != nil {
		return err
	}
	if r.dir, err = os.MkdirTemp(p.dir, "network."); err != nil {
		return err
	}
	c.Bin, c.Dir, c.Nodes = cmp.Or(c.Bin, b.bin), r.dir, r.scheme.Total
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	r.say("starting %d nodes", c.Nodes)
	if r.network, err = procnet.Start(ctx, c); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.network.Close()) }()
	if _, err := r.network.RunUplink(ctx, "mb", "cairn://"+bucket); err != nil {
		return err
	}
	return do(r)
}

// bucket is where all objects are put.
const bucket = "bench"

func (r *rig) say(format string, args ...any) {
	r.tell("%s on %s: %s", r.scheme, r.place.Name, fmt.Sprintf(format, args...))
}

// tell says how far the run is, and since when it runs.
func (b *bench) tell(format string, args ...any) {
	progress("%4.0f s  %s", time.Since(b.begun).Seconds(), fmt.Sprintf(format, args...))
}

// close removes what was made.
func (b *bench) close() error {
	var errs []error
	for _, p := range b.places {
		errs = append(errs, p.remove())
	}
	return errors.Join(errs...)
}

func url(key ...string) string { return "cairn://" + bucket + "/" + strings.Join(key, "/") }
