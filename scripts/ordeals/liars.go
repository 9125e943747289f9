package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
)

// liars turns a third of the nodes into liars, each kind of them, while objects
// are stored and read. Nobody may get a wrong byte, all of them that hold
// anything have to be found out, and no honest node may be blamed; with new nodes
// in their place, and the liars gone, the data has to be whole again.
type liars struct {
	honest, liars int
	scheme        string
	size          int64 // MiB
	grace         time.Duration
	interval      time.Duration
}

// behaviours are the kinds of liars, in the words of the liar command.
var behaviours = [][]string{
	{"-wrong-bytes", "-false-proof"},           // gives out wrong bytes and proves them
	{"-forget", "0.5", "-claim"},               // claims what it has dropped
	{"-forget", "1", "-claim", "-false-proof"}, // signs receipts for nothing, and makes proofs up
	{"-silent"},                             // takes everything and answers nothing
	{"-forget", "0.1", "-claim"},            // lost a part and does not say so
	{"-wrong-bytes"},                        // lies to everybody who asks
	{"-forget", "1", "-claim"},              // admits to the auditor what it claims to hold
	{"-forget", "0.5", "-claim", "-silent"}, // hides behind silence
}

func (s *liars) flags(f *flag.FlagSet) {
	f.IntVar(&s.honest, "honest", 16, "honest storage nodes")
	f.IntVar(&s.liars, "liars", 8, "nodes that turn into liars, of each kind in turn")
	f.StringVar(&s.scheme, "scheme", "10/14/16/24", "required/repair-below/success/total shards; with as many nodes as a group has, each holds something")
	f.Int64Var(&s.size, "size", 256, "MiB to store, half of them before the liars turn")
	f.DurationVar(&s.grace, "offline-grace", 15*time.Second, "of the satellite")
	f.DurationVar(&s.interval, "audit-interval", 2*time.Second, "how often each node is audited")
}

func (s *liars) run(ctx context.Context, l *lab) error {
	var all [][]string
	for i := range s.liars {
		all = append(all, append([]string{"-turn"}, behaviours[i%len(behaviours)]...))
	}
	if err := l.start(ctx, setup{nodes: s.honest, scheme: s.scheme, grace: s.grace, liars: all, args: auditArgs(s.interval, 32)}); err != nil {
		return err
	}
	if err := l.store(ctx, s.size<<20/2); err != nil {
		return err
	}
	suspects, err := s.suspects(ctx, l)
	if err != nil {
		return err
	}
	if err := s.amongLiars(ctx, l, suspects); err != nil {
		return err
	}
	s.end(l)
	if err := s.recover(ctx, l); err != nil {
		return err
	}
	if err := s.blameless(ctx, l, suspects); err != nil {
		return err
	}
	return l.verify(ctx)
}

// suspects are the liars by identity, with their kind, and whether they hold any
// shard: one that holds none has nothing to lie about.
func (s *liars) suspects(ctx context.Context, l *lab) (map[string]*suspect, error) {
	v, err := l.look(ctx)
	if err != nil {
		return nil, err
	}
	held := make(map[string]uint64)
	for _, g := range v.groups {
		for _, id := range g.Nodes {
			held[string(id)] += g.Segments
		}
	}
	all := make(map[string]*suspect)
	for i, liar := range l.net.Liars {
		key, err := ident.Load(filepath.Join(l.dir, liar.Name+".pem"))
		if err != nil {
			return nil, err
		}
		id := key.ID()
		all[string(id[:])] = &suspect{name: liar.Name, how: fmt.Sprint(behaviours[i%len(behaviours)]), idle: held[string(id[:])] == 0}
	}
	return all, nil
}

// suspect is a liar, and what became of it.
type suspect struct {
	name, how string
	idle      bool // it held nothing when it turned, and need not be out
	out       bool
	after     time.Duration
	seen      *pb.NodeInfo // when it was out
}

// amongLiars has the liars turn, and stores and reads objects until all of them
// are out.
func (s *liars) amongLiars(ctx context.Context, l *lab, suspects map[string]*suspect) error {
	var r reads
	lying, stop := context.WithCancel(ctx)
	var tasks errgroup.Group
	tasks.Go(func() error { l.data.keepReading(lying, l.project, 2, &r); return nil })
	refused, stored := 0, 0
	tasks.Go(func() error {
		for i, size := range sizes(s.size << 20 / 2) {
			if lying.Err() != nil {
				return nil
			}
			if l.data.put(lying, l.project, fmt.Sprint("lying/", i), size) == nil {
				stored++
			} else if lying.Err() == nil {
				refused++
			}
		}
		return nil
	})
	l.report.say("%d liars turn", s.liars)
	for _, liar := range l.net.Liars {
		liar.Signal(syscall.SIGUSR1)
	}
	begun := time.Now()
	err := l.await(ctx, "not all liars are out", func() (bool, error) { return s.allOut(ctx, l, suspects, begun) })
	stop()
	tasks.Wait()
	s.tell(l, suspects)
	l.report.add("objects stored meanwhile", float64(stored), "")
	l.report.add("uploads refused meanwhile", float64(refused), "")
	l.report.must(r.Tried > 0, "reads meanwhile", float64(r.Tried), "", "some")
	l.report.add("reads refused meanwhile", float64(r.Failed), "")
	l.report.must(r.Wrong == 0, "reads meanwhile with wrong bytes", float64(r.Wrong), "", "0")
	return err
}

// allOut reports whether all liars that have to be are out.
func (s *liars) allOut(ctx context.Context, l *lab, suspects map[string]*suspect, begun time.Time) (bool, error) {
	nodes, err := l.nodes(ctx)
	if err != nil {
		return false, err
	}
	left := 0
	for _, n := range nodes {
		liar := suspects[string(n.Id)]
		if liar == nil || liar.out {
			continue
		}
		switch n.State {
		case pb.NodeState_NODE_STATE_DISQUALIFIED, pb.NodeState_NODE_STATE_SUSPENDED:
			liar.out, liar.after, liar.seen = true, time.Since(begun), n
			l.report.say("%s %s is out: %s", liar.name, liar.how, n.Reason)
		default:
			if !liar.idle {
				left++
			}
		}
	}
	return left == 0, fmt.Errorf("%d are left", left)
}

// tell reports when each liar was out.
func (s *liars) tell(l *lab, suspects map[string]*suspect) {
	out, due := 0, 0
	for _, liar := range slices.SortedFunc(maps.Values(suspects), func(a, b *suspect) int { return cmp.Compare(a.name, b.name) }) {
		if !liar.idle {
			due++
		}
		if !liar.out {
			continue
		}
		if !liar.idle {
			out++
		}
		what := fmt.Sprintf("%s %s, %s after %.0f s and so many challenges", liar.name, liar.how, stateName(liar.seen.State), liar.after.Seconds())
		l.report.add(what, float64(liar.seen.Proved+liar.seen.Failed), "")
	}
	l.report.add("liars that held nothing when they turned", float64(len(suspects)-due), "")
	l.report.must(due > 0 && out == due, "liars out of those that held something", float64(out), "", fmt.Sprintf("%d, and some", due))
}

// end ends the liars: new nodes are to take their places, and who is silent could
// not be compared with what it should hold.
func (s *liars) end(l *lab) {
	for _, liar := range l.net.Liars {
		liar.Kill()
	}
}

// recover starts honest nodes in place of the liars and waits until the data is
// whole.
func (s *liars) recover(ctx context.Context, l *lab) error {
	missing := max(0, l.scheme.Total-s.honest)
	l.report.say("starting %d honest nodes, for there are %d and a group has %d", missing, s.honest, l.scheme.Total)
	for range missing {
		if _, err := l.net.AddNode(); err != nil {
			return err
		}
	}
	begun := time.Now()
	if err := l.awaitWhole(ctx); err != nil {
		return err
	}
	l.report.add("until redundancy was full, with new nodes", time.Since(begun).Seconds(), "s")
	var r reads
	l.data.audit(ctx, l.project, &r)
	l.report.addReads("objects checked at the end", &r)
	return ctx.Err()
}

// blameless demands that no honest node lost its standing, or failed a
// challenge.
func (s *liars) blameless(ctx context.Context, l *lab, suspects map[string]*suspect) error {
	nodes, err := l.nodes(ctx)
	if err != nil {
		return err
	}
	blamed := 0
	for _, n := range nodes {
		good := n.State == pb.NodeState_NODE_STATE_ONLINE || n.State == pb.NodeState_NODE_STATE_VETTING
		if suspects[string(n.Id)] == nil && (!good || n.Failed > 0) {
			blamed++
			l.report.fail("honest node %x: %s, %d challenges failed: %s", n.Id[:4], stateName(n.State), n.Failed, n.Reason)
		}
	}
	l.report.must(blamed == 0, "honest nodes blamed", float64(blamed), "", "0")
	return nil
}

func stateName(s pb.NodeState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "NODE_STATE_"))
}
