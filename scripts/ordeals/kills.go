package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// kills kills processes with SIGKILL at random moments, again and again, while
// objects are uploaded, deleted and read and nodes heal what was on those that
// were wiped. In the end everything
// that was acknowledged has to be there, and nothing that was deleted.
type kills struct {
	nodes     int
	scheme    string
	rounds    int
	satellite int // every how many rounds the satellite is killed
	wipe      int // every how many rounds a node comes back as a new one
	grace     time.Duration
	size      int64
	bound     int64
	seed      uint64

	random   *rand.Rand
	puts     atomic.Int64
	deletes  atomic.Int64
	failures atomic.Int64 // of either
}

func (k *kills) flags(f *flag.FlagSet) {
	f.IntVar(&k.nodes, "nodes", 10, "storage nodes")
	f.StringVar(&k.scheme, "scheme", "4/6/8/10", "required/repair-below/success/total shards")
	f.IntVar(&k.rounds, "rounds", 20, "times to kill one or two nodes")
	f.IntVar(&k.satellite, "satellite", 7, "kill the satellite every so many `rounds`, too; 0: never")
	f.IntVar(&k.wipe, "wipe", 9, "wipe one of the nodes every so many `rounds`, once the last one is made up for; 0: never")
	f.DurationVar(&k.grace, "offline-grace", 10*time.Second, "of the satellite")
	f.Int64Var(&k.size, "size", 1<<20, "bytes of the largest object")
	f.Int64Var(&k.bound, "bound", 256, "MiB that are kept at most")
	f.Uint64Var(&k.seed, "seed", 0, "of who is killed when; 0: another each time")
}

// begin starts the network and settles who is killed when.
func (k *kills) begin(ctx context.Context, l *lab) error {
	if k.seed == 0 {
		k.seed = rand.Uint64()
	}
	k.random = rand.New(rand.NewPCG(k.seed, 0))
	err := l.start(ctx, setup{nodes: k.nodes, scheme: k.scheme, grace: k.grace})
	l.report.Network += fmt.Sprintf(", seed %d", k.seed)
	return err
}

func (k *kills) run(ctx context.Context, l *lab) error {
	if err := k.begin(ctx, l); err != nil {
		return err
	}
	if err := k.underLoad(ctx, l, func() error { return k.killAll(ctx, l) }); err != nil {
		return err
	}
	l.report.add("uploads tried", float64(k.puts.Load()), "")
	l.report.add("deletes tried", float64(k.deletes.Load()), "")
	l.report.add("of both, not acknowledged", float64(k.failures.Load()), "")
	l.report.say("waiting until redundancy is full")
	if err := l.awaitWhole(ctx); err != nil {
		return err
	}
	if err := k.check(ctx, l); err != nil {
		return err
	}
	c, err := l.count(ctx)
	if err != nil {
		return err
	}
	shards, _ := c.healed(counts{})
	l.report.add("shards healed since nodes were killed last", float64(shards), "")
	lost := c.satellite.Sum("cairn_satellite_claims_lost_entries")
	l.report.must(lost == 0, "shards that a node had and says it has lost", lost, "", "0")
	if err := l.verify(ctx); err != nil {
		return err
	}
	return l.fsck(ctx)
}

// underLoad does something while objects come and go.
func (k *kills) underLoad(ctx context.Context, l *lab, do func() error) error {
	working, stop := context.WithCancel(ctx)
	var tasks errgroup.Group
	for w := range 4 {
		random := rand.New(rand.NewPCG(k.seed, uint64(1+w)))
		tasks.Go(func() error {
			for i := 0; working.Err() == nil; i++ {
				k.work(working, l, fmt.Sprintf("kills/%d/%d", w, i), random)
			}
			return nil
		})
	}
	tasks.Go(func() error { // what it reads may fail for once, when too many are down
		l.data.keepReading(working, l.project, 1, new(reads))
		return nil
	})
	err := do()
	stop()
	tasks.Wait()
	return err
}

// work uploads an object, or deletes one when there is enough.
func (k *kills) work(ctx context.Context, l *lab, key string, random *rand.Rand) {
	_, bytes := l.data.count()
	var err error
	if bytes > k.bound<<20 || random.IntN(3) == 0 {
		var some bool
		if some, err = l.data.delete(ctx, l.project); some {
			k.deletes.Add(1)
		}
	} else {
		// Sizes from nothing over those kept inline to several stripes, all alike often.
		err = l.data.put(ctx, l.project, key, random.Int64N(1+k.size>>random.IntN(12)))
		k.puts.Add(1)
	}
	if err != nil && ctx.Err() == nil {
		k.failures.Add(1)
		pause(ctx, 50*time.Millisecond) // while the satellite is down they fail at once
	}
}

// killAll does all rounds.
func (k *kills) killAll(ctx context.Context, l *lab) error {
	killed := 0
	for round := 1; round <= k.rounds; round++ {
		if round%max(1, k.rounds/10) == 0 {
			objects, bytes := l.data.count()
			l.report.say("round %d: %d objects, %.0f MiB, %d uploads and deletes failed", round, objects, mib(bytes), k.failures.Load())
		}
		n, err := k.round(ctx, l, round)
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		killed += n
	}
	l.report.add("processes killed", float64(killed), "")
	return nil
}

// round kills up to as many nodes as an upload can do without, each at a moment
// of its own, and has them back before the next.
func (k *kills) round(ctx context.Context, l *lab, round int) (killed int, err error) {
	spare := l.scheme.Total - l.scheme.Success
	victims := k.random.Perm(k.nodes)[:1+k.random.IntN(max(1, spare))]
	wipe := k.wipe > 0 && round%k.wipe == 0
	if wipe {
		if err := l.awaitSafe(ctx); err != nil {
			return 0, err
		}
	}
	for _, i := range victims {
		pause(ctx, time.Duration(k.random.IntN(400))*time.Millisecond)
		l.net.Nodes[i].Kill()
	}
	killed = len(victims)
	if k.satellite > 0 && round%k.satellite == 0 {
		pause(ctx, time.Duration(k.random.IntN(400))*time.Millisecond)
		l.net.Satellite.Kill()
		killed++
		if err := l.net.Satellite.Start(); err != nil {
			return killed, err
		}
	}
	pause(ctx, time.Duration(k.random.IntN(800))*time.Millisecond)
	if wipe {
		if err := l.net.Wipe(victims[0]); err != nil {
			return killed, err
		}
	}
	for _, i := range victims {
		if err := l.net.Nodes[i].Start(); err != nil {
			return killed, err
		}
	}
	return killed, l.net.AwaitNodes(ctx, k.nodes)
}

// check reads everything.
func (k *kills) check(ctx context.Context, l *lab) error {
	objects, bytes := l.data.count()
	l.report.say("reading %d objects, %.0f MiB", objects, mib(bytes))
	var r reads
	l.data.audit(ctx, l.project, &r)
	l.report.addReads("objects checked", &r)
	return ctx.Err()
}
