package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cairnstorage/cairn/deploy/procnet"
	"github.com/cairnstorage/cairn/scripts/benchmark/results"
)

// comparedFiles are in the tree that is copied with -r.
const comparedFiles = 300

// compare measures the revision and the working tree, with a network of each
// that lie idle while it is the other's turn.
func (b *bench) compare(ctx context.Context) (err error) {
	tree, done, err := checkOut(ctx, b.o.compare)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	b.tell("building %s", b.o.compare)
	bin := filepath.Join(b.places[0].dir, "bin-before")
	if err := procnet.BuildTree(ctx, tree, bin); err != nil {
		return err
	}
	b.report.Revision = b.o.compare
	for _, p := range b.places {
		err := b.withNetwork(ctx, p, procnet.Config{Bin: bin, Scheme: b.o.schemes[0]}, func(before *rig) error {
			return b.withNetwork(ctx, p, procnet.Config{Scheme: b.o.schemes[0]}, func(after *rig) error {
				return compareRigs(ctx, before, after)
			})
		})
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return nil
}

// checkOut makes a temporary work tree of a revision.
func checkOut(ctx context.Context, revision string) (tree string, done func() error, err error) {
	parent, err := os.MkdirTemp("", "cairn-compare.")
	if err != nil {
		return "", nil, err
	}
	tree = filepath.Join(parent, "tree")
	if err := git(ctx, "worktree", "add", "--quiet", "--detach", tree, revision); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(parent))
	}
	return tree, func() error {
		// Also when ctx is over.
		return errors.Join(git(context.Background(), "worktree", "remove", "--force", tree), os.RemoveAll(parent))
	}, nil
}

func git(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, "git", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// comparedRow is something that both do, round after round.
type comparedRow struct {
	name   string
	unit   string
	amount float64 // of the unit's things
	args   []string
	stored int64     // bytes
	costs  [2][]cost // before, after
}

func compareRigs(ctx context.Context, before, after *rig) error {
	size := before.o.sizes[0]
	source, files := filepath.Join(before.dir, "source"), filepath.Join(before.dir, "files")
	if err := randomFile(source, size); err != nil {
		return err
	}
	if _, err := makeFiles(files, comparedFiles); err != nil {
		return err
	}
	mb, stored := float64(size)/1e6, before.stored(size) // which is more than the files are
	rows := []*comparedRow{
		{name: "upload", unit: "MB/s", amount: mb, args: []string{"-q", "cp", source, url("large")}, stored: stored},
		{name: "download", unit: "MB/s", amount: mb, args: []string{"cat", url("large")}},
		{name: "cp -r up", unit: "files/s", amount: comparedFiles, args: []string{"-q", "cp", "-r", files, url("files")}, stored: stored},
		{name: "cp -r down", unit: "files/s", amount: comparedFiles, args: []string{"-q", "cp", "-r", url("files"), filepath.Join(before.dir, "back")}},
		{name: "ls -r", unit: "names/s", amount: comparedFiles, args: []string{"ls", "-r", url("files", "")}},
	}
	rigs := [2]*rig{before, after}
	rounds := before.o.rounds + 2
	for round := range rounds + 1 { // the first warms up
		before.say("%s and the working tree in turn: round %d of %d", before.o.compare, round, rounds)
		for _, row := range rows {
			for turn := range rigs {
				which := (turn + round) % 2 // who goes first changes
				spent, err := costOf(rigs[which].network, rigs[which].network.Uplink(ctx, row.args...), row.stored)
				if err != nil {
					return err
				}
				if round > 0 {
					row.costs[which] = append(row.costs[which], spent)
				}
			}
		}
	}
	for _, row := range rows {
		before.report.Compared = append(before.report.Compared, row.summarise(before.place.Name))
	}
	return nil
}

func (row *comparedRow) summarise(place string) results.Compared {
	out := results.Compared{Place: place, Row: row.name, Unit: row.unit, Rounds: len(row.costs[0])}
	var ratios []float64
	var rates, cpus [2][]float64
	for i := range row.costs[0] {
		ratios = append(ratios, row.costs[0][i].wall.Seconds()/row.costs[1][i].wall.Seconds())
		for which, costs := range row.costs {
			rates[which] = append(rates[which], row.amount/costs[i].wall.Seconds())
			cpus[which] = append(cpus[which], costs[i].cpu.Seconds())
		}
	}
	out.Before, out.After = middle(rates[0]), middle(rates[1])
	out.CPUBefore, out.CPUAfter = middle(cpus[0]), middle(cpus[1])
	out.Ratio, out.CPURatio = out.After/out.Before, out.CPUAfter/out.CPUBefore
	out.Lowest, out.Highest = slices.Min(ratios), slices.Max(ratios)
	return out
}

// middle is the median.
func middle(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
