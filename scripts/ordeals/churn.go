package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/wire"
)

// churn kills nodes and wipes their disks, all at once, while objects are being
// read: what they held has to be made again by others, with no human act, no
// failed read and no payload through the satellite.
type churn struct {
	nodes, kill int
	scheme      string
	size        int64 // MiB
	grace       time.Duration
	replace     bool
	readers     int
}

func (c *churn) flags(f *flag.FlagSet) {
	f.IntVar(&c.nodes, "nodes", 24, "storage nodes")
	f.StringVar(&c.scheme, "scheme", "10/14/16/20", "required/repair-below/success/total shards")
	f.Int64Var(&c.size, "size", 1024, "MiB to store")
	f.IntVar(&c.kill, "kill", 4, "nodes to kill and wipe")
	f.DurationVar(&c.grace, "offline-grace", 10*time.Second, "of the satellite")
	f.BoolVar(&c.replace, "replace", false, "start as many new nodes in place of the killed ones")
	f.IntVar(&c.readers, "readers", 2, "objects to read at a time meanwhile")
}

func (c *churn) run(ctx context.Context, l *lab) error {
	if err := l.start(ctx, setup{nodes: c.nodes, scheme: c.scheme, grace: c.grace}); err != nil {
		return err
	}
	if err := l.store(ctx, c.size<<20); err != nil {
		return err
	}
	if err := l.awaitWhole(ctx); err != nil {
		return err
	}
	before, err := l.count(ctx)
	if err != nil {
		return err
	}
	err = l.underReads(ctx, c.readers, func(ctx context.Context) error { return c.strike(ctx, l, before) })
	if err != nil {
		return err
	}
	if err := l.verify(ctx); err != nil {
		return err
	}
	return l.fsck(ctx)
}

// strike kills the nodes and measures how the network gets over it.
func (c *churn) strike(ctx context.Context, l *lab, before counts) error {
	v, err := l.look(ctx)
	if err != nil {
		return err
	}
	l.report.say("killing and wiping %d nodes", c.kill)
	begun := time.Now()
	theory, err := c.wipe(l, v)
	if err != nil {
		return err
	}
	if err := l.awaitHolders(ctx); err != nil {
		return err
	}
	l.report.add("until each slot had another holder", time.Since(begun).Seconds(), "s")
	if err := l.awaitWhole(ctx); err != nil {
		return err
	}
	l.report.add("until redundancy was full again", time.Since(begun).Seconds(), "s")
	after, err := l.count(ctx)
	if err != nil {
		return err
	}
	c.judge(l, before, after, theory)
	return nil
}

// wipe kills nodes, the first ones, and wipes them. It returns how many bytes it
// takes to make again what they held: k shards for each.
func (c *churn) wipe(l *lab, v *view) (theory float64, err error) {
	for i := range c.kill {
		l.net.Nodes[i].Kill()
		v.slotsOf(i, func(g *pb.GroupInfo) { theory += float64(g.Bytes) })
	}
	for i := range c.kill {
		if err := l.net.Wipe(i); err != nil {
			return 0, err
		}
		if c.replace {
			if err := l.net.Nodes[i].Start(); err != nil {
				return 0, fmt.Errorf("start a new node: %w", err)
			}
		}
	}
	return theory, nil
}

// judge compares what was moved with what had to be.
func (c *churn) judge(l *lab, before, after counts, theory float64) {
	r := l.report
	shards, _ := after.healed(before)
	moved := after.moved(before, wire.Protocol, "in")
	r.must(shards > 0, "shards made again", float64(shards), "", "some")
	r.add("k shards for each of them, by what the lost nodes held", mib(theory), "MiB")
	r.add("nodes received", mib(moved), "MiB")
	r.must(moved <= 1.1*theory, "received, of theory", moved/theory, "", "≤ 1.1")
	r.must(after.payload() == 0, "payload through the satellite", after.payload(), "bytes", "0")
	r.add("all that the satellite sent and received", mib(after.spoken()-before.spoken()), "MiB")
}
