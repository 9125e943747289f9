package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"time"

	"github.com/cairnstorage/cairn/proto/observe/scrape"
	"github.com/cairnstorage/cairn/proto/wire"
)

// auditCost measures what audits cost real processes: bytes on the connection,
// and processor time of the satellite and of the nodes beyond what they take
// without audits.
type auditCost struct {
	nodes    int
	scheme   string
	size     int64 // MiB
	interval time.Duration
	batch    int
	seconds  int
}

func (a *auditCost) flags(f *flag.FlagSet) {
	f.IntVar(&a.nodes, "nodes", 10, "storage nodes")
	f.StringVar(&a.scheme, "scheme", "4/6/8/10", "required/repair-below/success/total shards")
	f.Int64Var(&a.size, "size", 256, "MiB to store")
	f.DurationVar(&a.interval, "audit-interval", time.Second, "how often each node is audited")
	f.IntVar(&a.batch, "audit-batch", 64, "challenges of one audit")
	f.IntVar(&a.seconds, "seconds", 30, "how long to measure, with audits and without")
}

func (a *auditCost) run(ctx context.Context, l *lab) error {
	if err := l.start(ctx, setup{nodes: a.nodes, scheme: a.scheme, args: auditArgs(1000*time.Hour, a.batch)}); err != nil {
		return err
	}
	if err := l.store(ctx, a.size<<20); err != nil {
		return err
	}
	if err := l.awaitWhole(ctx); err != nil {
		return err
	}
	l.report.say("measuring without audits")
	without, err := a.measure(ctx, l)
	if err != nil {
		return err
	}
	l.report.say("measuring with an audit of %d challenges to each node every %v", a.batch, a.interval)
	if err := a.turnOn(ctx, l); err != nil {
		return err
	}
	with, err := a.measure(ctx, l)
	if err != nil {
		return err
	}
	a.judge(l, without, with)
	return nil
}

func auditArgs(interval time.Duration, batch int) []string {
	return []string{"--audit-interval", interval.String(), "--audit-batch", fmt.Sprint(batch)}
}

// turnOn starts the satellite again, to audit often, and waits until it does.
func (a *auditCost) turnOn(ctx context.Context, l *lab) error {
	if err := l.net.Satellite.Stop(); err != nil {
		return err
	}
	// The last of a flag counts.
	l.net.Satellite.Args = append(l.net.Satellite.Args, auditArgs(a.interval, a.batch)...)
	if err := l.net.Satellite.Start(); err != nil {
		return err
	}
	return l.await(ctx, "no audits", func() (bool, error) {
		m, err := scrapeOf(ctx, l.net.Satellite)
		return err == nil && m.Sum("cairn_satellite_audit_challenges_total", "verdict", "proved") > 0, err
	})
}

// spent is what was spent in a while.
type spent struct {
	challenges      float64
	failed          float64       // of them, without a proof
	toNode, toSat   float64       // bytes of audit streams
	satellite, node time.Duration // processor time; all nodes
	took            time.Duration
}

func (a *auditCost) measure(ctx context.Context, l *lab) (spent, error) {
	before, err := a.spent(ctx, l)
	if err != nil {
		return spent{}, err
	}
	begun := time.Now()
	pause(ctx, time.Duration(a.seconds)*time.Second)
	took := time.Since(begun)
	after, err := a.spent(ctx, l)
	return spent{
		challenges: after.challenges - before.challenges, failed: after.failed - before.failed,
		toNode: after.toNode - before.toNode, toSat: after.toSat - before.toSat,
		satellite: after.satellite - before.satellite, node: after.node - before.node, took: took,
	}, err
}

// spent is what was spent so far.
func (a *auditCost) spent(ctx context.Context, l *lab) (spent, error) {
	m, err := scrapeOf(ctx, l.net.Satellite)
	if err != nil {
		return spent{}, err
	}
	bytes := func(m *scrape.Metrics, direction string) float64 {
		return m.Sum("cairn_satellite_network_bytes_total", "protocol", wire.AuditProtocol, "direction", direction)
	}
	s := spent{
		challenges: m.Sum("cairn_satellite_audit_challenges_total"),
		toNode:     bytes(m, "out"), toSat: bytes(m, "in"),
		satellite: l.net.Satellite.Usage().CPU,
	}
	s.failed = s.challenges - m.Sum("cairn_satellite_audit_challenges_total", "verdict", "proved")
	for _, node := range l.net.Nodes {
		s.node += node.Usage().CPU
	}
	return s, nil
}

// judge reports the cost of 1,000 challenges, and of a node and day.
func (a *auditCost) judge(l *lab, without, with spent) {
	r := l.report
	r.must(with.challenges > 0, "challenges", with.challenges, "", "some")
	r.must(with.failed == 0, "of them not proved", with.failed, "", "0")
	bytes := (with.toNode + with.toSat) / with.challenges
	per := func(with, without spent, cpu func(spent) time.Duration) float64 {
		idle := cpu(without).Seconds() / without.took.Seconds() * with.took.Seconds()
		return (cpu(with).Seconds() - idle) * 1000 / with.challenges // ms each
	}
	satellite := per(with, without, func(s spent) time.Duration { return s.satellite })
	node := per(with, without, func(s spent) time.Duration { return s.node })
	r.add("to the nodes, per 1,000 challenges", with.toNode/with.challenges, "kB")
	r.add("to the satellite, per 1,000 challenges", with.toSat/with.challenges, "kB")
	r.must(bytes <= 5120, "both, per challenge", bytes, "bytes", "≤ 5,120")
	r.add("processor time of the satellite, per 1,000 challenges", satellite*1000, "ms")
	r.add("processor time of the node, per 1,000 challenges", node*1000, "ms")
	r.add("both, per challenge", satellite+node, "ms")
	for _, goal := range []struct {
		name       string
		challenges float64
	}{
		{"to meet a loss of 1 % with 99 %", math.Ceil(math.Log(0.01) / math.Log(0.99))},
		{"to condemn for it with 99 %", 4141}, // a node at the floor: see satellite/audit/SCORES.md
	} {
		r.add(fmt.Sprintf("a node and day, %.0f challenges, %s", goal.challenges, goal.name), goal.challenges*bytes/1e6, "MB")
		r.add("  and processor time, of both", goal.challenges*(satellite+node)/1000, "s")
	}
}
