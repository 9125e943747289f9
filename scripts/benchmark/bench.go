package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cairnstorage/cairn/deploy/procnet"
)

// bench is one run.
type bench struct {
	o      options
	bin    string
	places []place
	report *Report
}

// measureAll measures every part that was asked for.
func (b *bench) measureAll(ctx context.Context) error {
	for i, scheme := range b.o.schemes {
		bounds, err := b.bounds(ctx, scheme)
		if err != nil {
			return err
		}
		for j, place := range b.places {
			if err := b.measureNetwork(ctx, place, scheme, bounds[j], i == 0); err != nil {
				return fmt.Errorf("%s on %s: %w", scheme, place.Name, err)
			}
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
		if err := step.measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.part, err)
		}
	}
	return nil
}

// rig is a network with what is known of it.
type rig struct {
	*bench
	place   place
	scheme  string
	bound   PlaceBound
	network *procnet.Network
	dir     string
}

// measureNetwork measures what a network of real nodes in one place does; with
// the parts that do not depend on the scheme if that is asked.
func (b *bench) measureNetwork(ctx context.Context, p place, scheme string, bound PlaceBound, full bool) error {
	wanted := b.o.measures("transfers")
	for _, part := range []string{"ranges", "objects", "files", "listing", "memory"} {
		wanted = wanted || full && b.o.measures(part)
	}
	if !wanted {
		return nil
	}
	return b.withNetwork(ctx, p, procnet.Config{Scheme: scheme}, func(r *rig) error {
		r.bound = bound
		for _, step := range []struct {
			part    string
			always  bool
			measure func(context.Context) error
		}{
			{"memory", false, r.measureIdle},
			{"transfers", true, r.measureTransfers},
			{"ranges", false, r.measureRanges},
			{"objects", false, r.measureObjects},
			{"files", false, r.measureFiles},
			{"listing", false, r.measureListing},
			{"transfers", true, r.measureDegraded}, // no node is left that is not needed
		} {
			if !b.o.measures(step.part) || !full && !step.always {
				continue
			}
			if err := step.measure(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// withNetwork runs a network of as many nodes as the scheme has slots, with a
// bucket, and removes it afterwards.
func (b *bench) withNetwork(ctx context.Context, p place, c procnet.Config, do func(*rig) error) (err error) {
	r := &rig{bench: b, place: p, scheme: c.Scheme}
	if r.dir, err = os.MkdirTemp(p.dir, "network."); err != nil {
		return err
	}
	c.Bin, c.Dir = cmp.Or(c.Bin, b.bin), r.dir
	if c.Nodes, err = total(c.Scheme); err != nil {
		return err
	}
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
	progress("%s on %s: %s", r.scheme, r.place.Name, fmt.Sprintf(format, args...))
}

// total is the number of shards of a scheme.
func total(scheme string) (n int, err error) {
	s, err := parseScheme(scheme)
	return s.Total, err
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
