package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstorage/cairn/deploy/relay"
	"github.com/cairnstorage/cairn/proto/wire"
)

// slow uploads steadily while two nodes in ten cannot keep up, one for its line
// and one for its machine. What they are left without must not be healed at
// once: that would cost k transfers a shard, and double the traffic.
type slow struct {
	nodes, thin, stalled int
	scheme               string
	seconds              int
	rate                 int64 // MiB a second of plaintext
	line                 int64 // KiB a second through a thin line
}

func (s *slow) flags(f *flag.FlagSet) {
	f.IntVar(&s.nodes, "nodes", 10, "storage nodes")
	f.StringVar(&s.scheme, "scheme", "4/6/8/10", "required/repair-below/success/total shards")
	f.IntVar(&s.thin, "thin", 1, "nodes behind a thin line")
	f.Int64Var(&s.line, "line", 512, "KiB a second that a thin line lets through each way")
	f.IntVar(&s.stalled, "stalled", 1, "nodes that are stopped four fifths of the time")
	f.IntVar(&s.seconds, "seconds", 90, "how long to upload")
	f.Int64Var(&s.rate, "rate", 16, "MiB a second to upload")
}

func (s *slow) run(ctx context.Context, l *lab) error {
	var relays []*relay.Relay
	defer func() {
		for _, r := range relays {
			r.Close()
		}
	}()
	err := l.start(ctx, setup{nodes: s.nodes, scheme: s.scheme, node: func(i int) []string {
		if i >= s.thin {
			return nil
		}
		r, args, err := relay.Before(relay.Line{Rate: s.line << 10})
		if err != nil {
			l.report.fail("relay: %v", err)
			return nil
		}
		relays = append(relays, r)
		return args
	}})
	if err != nil {
		return err
	}
	if err := s.upload(ctx, l); err != nil {
		return err
	}
	return l.verify(ctx)
}

// upload uploads for the time, then lets the network heal, and measures what was
// moved by the end of each.
func (s *slow) upload(ctx context.Context, l *lab) error {
	before, err := l.count(ctx)
	if err != nil {
		return err
	}
	slowing, stop := context.WithCancel(ctx)
	var stalls errgroup.Group
	defer func() { stop(); stalls.Wait() }()
	for i := range s.stalled {
		stalls.Go(func() error {
			stall(slowing, l.net.Nodes[s.thin+i], 800*time.Millisecond, 200*time.Millisecond)
			return nil
		})
	}
	l.report.say("uploading %d MiB a second for %d s", s.rate, s.seconds)
	if err := s.steady(ctx, l); err != nil {
		return err
	}
	if err := s.judge(ctx, l, before, "while uploading", true); err != nil {
		return err
	}
	stop()
	l.report.say("waiting until redundancy is full")
	begun := time.Now()
	if err := l.awaitWhole(ctx); err != nil {
		return err
	}
	l.report.add("until redundancy was full, afterwards", time.Since(begun).Seconds(), "s")
	return s.judge(ctx, l, before, "by then", false)
}

// steady uploads objects one after another so that the rate comes out, or as
// fast as it goes if that is slower.
func (s *slow) steady(ctx context.Context, l *lab) error {
	const size = 16 << 20
	begun := time.Now()
	var slots errgroup.Group
	slots.SetLimit(4)
	for i := 0; time.Since(begun) < time.Duration(s.seconds)*time.Second && ctx.Err() == nil; i++ {
		slots.Go(func() error { return l.data.put(ctx, l.project, fmt.Sprintf("steady/%d", i), size) })
		due := float64(i+1) * size / float64(s.rate<<20) // seconds
		pause(ctx, time.Duration(due*float64(time.Second))-time.Since(begun))
	}
	return errors.Join(slots.Wait(), ctx.Err())
}

// judge says how much was moved for each byte stored, by the uplink and between
// nodes.
func (s *slow) judge(ctx context.Context, l *lab, before counts, when string, must bool) error {
	after, err := l.count(ctx)
	if err != nil {
		return err
	}
	var sent float64
	for _, t := range l.host.Stats().Traffic {
		if t.Protocol == wire.Protocol {
			sent += float64(t.Out)
		}
	}
	_, read := after.healed(before)
	_, stored := l.data.count()
	ratio := float64(l.scheme.Total) / float64(l.scheme.Required)
	times := (sent + float64(read)) / float64(stored) / ratio
	if must {
		l.report.add("stored", mib(stored), "MiB")
	}
	l.report.add("sent by the uplink, "+when, mib(sent), "MiB")
	l.report.add("moved between nodes, "+when, mib(read), "MiB")
	if must {
		l.report.must(times <= 1.1, "moved, of n/k for each byte stored, "+when, times, "", "≤ 1.1")
	} else {
		l.report.add("moved, of n/k for each byte stored, "+when, times, "")
	}
	return nil
}
