package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstorage/cairn/storagenode"
)

// leave has two nodes exit gracefully, one after the other: the first while
// objects are only read, the second while more are stored. What is stored is
// held as often as before at every moment, and in the end each has the
// satellite's word that it may go.
type leave struct {
	nodes  int
	scheme string
	size   int64 // MiB
	rate   int64 // KiB a second
}

func (e *leave) flags(f *flag.FlagSet) {
	f.IntVar(&e.nodes, "nodes", 13, "storage nodes")
	f.StringVar(&e.scheme, "scheme", "4/6/8/10", "required/repair-below/success/total shards")
	f.Int64Var(&e.size, "size", 256, "MiB to store before")
	f.Int64Var(&e.rate, "rate", 2048, "KiB a second to store while the second node exits")
}

func (e *leave) run(ctx context.Context, l *lab) error {
	if err := l.start(ctx, setup{nodes: e.nodes, scheme: e.scheme}); err != nil {
		return err
	}
	if err := l.store(ctx, e.size<<20); err != nil {
		return err
	}
	if err := l.awaitWhole(ctx); err != nil {
		return err
	}
	err := l.underReads(ctx, 1, func(ctx context.Context) error {
		if err := e.watched(ctx, l, 0, "exit", e.exit); err != nil {
			return err
		}
		return e.watched(ctx, l, 1, "exit under uploads", e.underUploads)
	})
	if err != nil {
		return err
	}
	var r reads
	l.data.audit(ctx, l.project, &r)
	l.report.addReads("objects checked without them", &r)
	if err := l.verify(ctx); err != nil {
		return err
	}
	return l.fsck(ctx)
}

// watched has a node exit, in the way that do does, while the slots are counted
// that hold all that was stored before: all of them have to. Of what is stored
// meanwhile some may be lacking, for nodes that know of the new epoch of a group
// refuse what is put at the old one, and an upload leaves out who is slow; but not
// at more slots than a commit may do without. Then the node is stopped for good.
func (e *leave) watched(ctx context.Context, l *lab, node int, what string, do func(context.Context, *lab, int) error) error {
	v, err := l.look(ctx)
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	w := coverage{stored: v.segments(), lowest: l.scheme.Total, whole: l.scheme.Total}
	var tasks errgroup.Group
	tasks.Go(func() error { w.watch(watching, l); return nil })
	begun := time.Now()
	err = do(ctx, l, node)
	took := time.Since(begun)
	stop()
	tasks.Wait()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	l.report.add(what+", until all was handed over", took.Seconds(), "s")
	l.report.must(w.samples > 0, what+", samples of how many slots hold all that was stored before", float64(w.samples), "", "some")
	l.report.must(w.lowest == l.scheme.Total, what+", fewest of them in any group", float64(w.lowest), "", fmt.Sprint(l.scheme.Total))
	l.report.must(w.whole >= l.scheme.RepairBelow, what+", fewest that hold what came meanwhile, too", float64(w.whole), "", fmt.Sprintf("≥ %d", l.scheme.RepairBelow))
	l.report.add(what+", time with less than all at some slot", w.reduced.Seconds(), "s")
	l.net.Nodes[node].Kill()
	if err := l.net.Wipe(node); err != nil {
		return err
	}
	return l.awaitWhole(ctx)
}

// coverage is how many slots hold all that their group had before, in the group
// with the fewest.
type coverage struct {
	stored  map[uint32]uint64 // segments before, by group
	samples int
	lowest  int
	whole   int           // likewise, of those that lack nothing, of what came since, too
	reduced time.Duration // for how long some slot lacked something, of what came since, too
}

func (c *coverage) watch(ctx context.Context, l *lab) {
	last := time.Now()
	for ; ctx.Err() == nil; pause(ctx, 200*time.Millisecond) {
		v, err := l.look(ctx)
		if err != nil {
			continue
		}
		whole := v.covered(v.segments())
		if c.whole = min(c.whole, whole); whole < l.scheme.Total {
			c.reduced += time.Since(last)
		}
		last = time.Now()
		covered := v.covered(c.stored)
		if c.samples++; covered < c.lowest {
			c.lowest = covered
			l.report.say("a group has %d slots that hold all it had: %v", covered, v)
		}
	}
}

// exit runs the command and checks what the satellite has signed.
func (e *leave) exit(ctx context.Context, l *lab, node int) error {
	v, err := l.look(ctx)
	if err != nil {
		return err
	}
	dir, slots := l.net.NodeDir(node), len(v.infos[node].Groups)
	l.report.say("node %d hands over its %d slots", node, slots)
	if out, err := exec.CommandContext(ctx, l.net.Nodes[node].Path, "exit", "--dir", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("storagenode exit: %w\n%s", err, out)
	}
	departure, err := storagenode.ReadDeparture(dir)
	if err != nil {
		return err
	}
	l.report.must(int(departure.Slots) == slots, fmt.Sprintf("slots that node %d handed over, as the satellite signed", node), float64(departure.Slots), "", fmt.Sprint(slots))
	return nil
}

// underUploads has a node exit while objects are stored.
func (e *leave) underUploads(ctx context.Context, l *lab, node int) error {
	storing, stop := context.WithCancel(ctx)
	var tasks errgroup.Group
	stored := 0
	tasks.Go(func() error {
		const size = 1 << 20
		for i := 0; storing.Err() == nil; i++ {
			if err := l.data.put(storing, l.project, fmt.Sprint("leaving/", i), size); err == nil {
				stored++
			} else if storing.Err() == nil {
				return fmt.Errorf("store while a node leaves: %w", err)
			}
			pause(storing, time.Duration(size)*time.Second/time.Duration(e.rate<<10))
		}
		return nil
	})
	err := e.exit(storing, l, node)
	stop()
	err = errors.Join(err, tasks.Wait())
	l.report.add("objects stored meanwhile", float64(stored), "")
	return err
}
