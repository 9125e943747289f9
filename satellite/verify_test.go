package satellite

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// verify returns what a verification says of the node.
func (a *audits) verify(each bool, shards int) (*pb.VerifyEvent, []*pb.Difference) {
	a.t.Helper()
	v := &verification{
		Satellite: a.Satellite, proveEach: each, proveShards: shards, apart: time.Millisecond, random: a.auditor.newRand(),
	}
	var last *pb.VerifyEvent
	must(a.t, v.run(a.t.Context(), func(e *pb.VerifyEvent) error { last = e; return nil }))
	if !last.Done || last.SlotsDone < last.Slots {
		a.t.Errorf("ended with %v", last)
	}
	id := a.node.key.ID()
	return last, slices.DeleteFunc(slices.Clone(last.Differences), func(d *pb.Difference) bool { return string(d.Node) != string(id[:]) })
}

// differs wants one difference of the node.
func (a *audits) differs(what string, got []*pb.Difference, kind pb.DifferenceKind, segments ...*testShard) {
	a.t.Helper()
	if len(got) != max(len(segments), 1) {
		a.t.Errorf("%s: %v", what, got)
		return
	}
	for _, d := range got {
		known := len(segments) == 0 || slices.ContainsFunc(segments, func(s *testShard) bool { return string(d.Segment) == string(s.id[:]) })
		if d.Kind != kind || !known || d.Group != 1 || d.Detail == "" {
			a.t.Errorf("%s: %v", what, d)
		}
	}
}

func (a *audits) same(what string, got []*pb.Difference) {
	a.t.Helper()
	if len(got) > 0 {
		a.t.Errorf("%s: %v", what, got)
	}
}

const (
	absent      = pb.DifferenceKind_DIFFERENCE_KIND_ABSENT
	surplus     = pb.DifferenceKind_DIFFERENCE_KIND_SURPLUS
	otherRoot   = pb.DifferenceKind_DIFFERENCE_KIND_ROOT
	otherNumber = pb.DifferenceKind_DIFFERENCE_KIND_NUMBER
	old         = pb.DifferenceKind_DIFFERENCE_KIND_OLD
	left        = pb.DifferenceKind_DIFFERENCE_KIND_LEFT
	unproved    = pb.DifferenceKind_DIFFERENCE_KIND_UNPROVED
	unreachable = pb.DifferenceKind_DIFFERENCE_KIND_UNREACHABLE
)

func TestVerifyAgrees(t *testing.T) {
	a := newAudits(t)
	_, d := a.verify(true, 0)
	a.same("nothing", d)
	o := a.node.put(1, "a", 30, allBut(3, 4))
	a.node.claim(1, o.numbers[3], o.numbers[4])
	e, d := a.verify(false, 0)
	a.same("without proofs", d)
	if e.Shards != 28 || e.Lacking != 2 || e.Leaves != 0 || e.Slots != 40 {
		t.Errorf("without proofs: %v", e)
	}
	id := a.node.key.ID()
	for _, diff := range e.Differences { // the other nodes serve no audits
		if string(diff.Node) != string(id[:]) && diff.Kind != unreachable || !strings.Contains(diff.Detail, "does not speak") {
			t.Errorf("other nodes: %v", diff)
		}
	}
	e, d = a.verify(true, 0)
	a.same("a leaf of each", d)
	if e.Leaves != 28 {
		t.Errorf("a leaf of each: %v", e)
	}
	e, d = a.verify(false, 5)
	a.same("all leaves of five", d)
	if e.Leaves != 5*3 {
		t.Errorf("all leaves of five: %v", e)
	}
	// More than one page, of which half is deleted.
	a.node.put(1, "b", 128, allOfThem)
	for _, name := range []string{"c", "d", "e", "f"} {
		p := a.node.put(1, name, 128, allOfThem)
		if name < "e" {
			a.deleteObject(p)
		}
	}
	a.node.follow(1)
	a.node.claim(1, o.numbers[3], o.numbers[4])
	if e, d = a.verify(true, 0); e.Shards != 28+3*128 || e.Leaves != e.Shards {
		t.Errorf("many: %v", e)
	}
	a.same("many", d)
}

func TestVerifyDifferences(t *testing.T) {
	a := newAudits(t)
	o := a.node.put(1, "a", 12, allBut(3))
	a.node.claim(1, o.numbers[3])
	_, d := a.verify(false, 0)
	a.same("honest", d)

	a.node.claim(1)
	_, d = a.verify(false, 0)
	a.differs("claimed and not held", d, absent, o.shards[3])
	a.node.claim(1, o.numbers[3])

	p := a.node.put(1, "b", 2, allOfThem)
	a.deleteObject(p)
	_, d = a.verify(false, 0)
	a.differs("deleted and still held", d, surplus, p.shards...)
	a.node.follow(1)
	_, d = a.verify(true, 0)
	a.same("deleted", d)

	staged := newTestShard(o.shards[0].layout, o.shards[0].slot, a.node.key.ID(), "staged", 0)
	a.node.keep(1, staged)
	e, d := a.verify(false, 0)
	a.same("staged", d)
	if e.Staged != 1 {
		t.Errorf("staged: %v", e)
	}
	a.pass(a.config.Staging + time.Hour)
	_, d = a.verify(false, 0)
	a.differs("staged for too long", d, old, staged)
}

// TestVerifyNodesThatMisread: nodes that took something else for the journal.
func TestVerifyNodesThatMisread(t *testing.T) {
	a := newAudits(t)
	o := a.node.put(1, "a", 4, allOfThem)
	n := newTestShard(o.shards[0].layout, o.shards[0].slot, a.node.key.ID(), "other", 0)
	a.node.misread = func(e *shardstore.Entry) {
		if e.Seq == 5 { // another shard under the right id
			n.id, e.Root = e.Segment, n.root
		}
	}
	p := a.node.put(1, "b", 1, func(int) bool { return false })
	a.node.keep(1, n)
	a.node.claim(1)
	_, d := a.verify(false, 0)
	if len(d) != 2 || d[0].Kind != absent || d[1].Kind != otherRoot || string(d[1].Segment) != string(p.shards[0].id[:]) {
		t.Errorf("another root: %v", d)
	}
	a.deleteObject(p)
	a.node.misread = nil
	a.node.follow(1)

	var first shardstore.Entry
	a.node.misread = func(e *shardstore.Entry) {
		switch e.Seq {
		case 7:
			first = *e
			e.Segment, e.Root = a.node.committed[1].id, a.node.committed[1].root
		case 8:
			e.Segment, e.Root = first.Segment, first.Root
		}
	}
	q := a.node.put(1, "c", 2, allOfThem)
	a.node.claim(1)
	_, d = a.verify(false, 0)
	a.differs("other numbers", d, otherNumber, q.shards...)
}

func TestVerifyProofs(t *testing.T) {
	a := newAudits(t)
	o := a.node.put(1, "a", 10, allOfThem)
	a.node.claim(1)
	a.node.damage(o.shards[6])
	_, d := a.verify(false, 0)
	a.same("damage does not show without proofs", d)
	_, d = a.verify(false, 10)
	a.differs("damaged, all three leaves", d, unproved, o.shards[6], o.shards[6], o.shards[6])
	a.node.claim(1, o.numbers[6])
	_, d = a.verify(false, 10)
	a.same("damaged, and told", d)
}

func TestVerifyFormerHolder(t *testing.T) {
	a := newAudits(t)
	a.node.put(1, "a", 10, allOfThem)
	a.node.claim(1)
	must(t, second(a.newNode(a.keys[10]).CheckIn(t.Context(), checkInOf(roomy))))
	g, err := a.groups.get(1)
	must(t, err)
	slot, _ := g.SlotOf(a.node.key.ID())
	_, err = a.groups.replace(t.Context(), 1, map[int]handover{slot: {to: a.keys[10].ID()}})
	must(t, err)
	_, d := a.verify(false, 0)
	a.differs("left, and nothing deleted", d, left)
	must(t, a.registry.exit(t.Context(), a.node.key.ID()))
	_, d = a.verify(false, 0)
	a.same("left, and on its way out", d)
	must(t, second(a.node.store.Release(1)))
	_, d = a.verify(false, 0)
	a.same("left", d)
}

// TestVerifyWhileTheNetworkMoves: what is different at one look and not at the
// next is no difference.
func TestVerifyWhileTheNetworkMoves(t *testing.T) {
	a := newAudits(t)
	o := a.node.put(1, "a", 10, allBut(2))
	a.node.claim(1)
	p := a.node.put(1, "b", 5, allOfThem)
	a.node.claim(1)
	a.node.whenAsked(func() {
		a.deleteObject(p) // surplus at this look, and one is absent
		a.node.whenAsked(func() {
			a.node.follow(1)
			a.node.keep(1, o.shards[2]) // healed
		})
	})
	_, d := a.verify(true, 0)
	a.same("moved on", d)
}

// TestVerifyUnreachable: a slot that could not be compared at first is, when it
// can be; and what was in doubt stays, when it cannot be any more.
func TestVerifyUnreachable(t *testing.T) {
	a := newAudits(t)
	o := a.node.put(1, "a", 10, allBut(2))
	a.node.claim(1)
	refuse := func(context.Context, *transport.Stream) {}
	a.node.serve(refuse)
	_, d := a.verify(false, 0)
	if len(d) != 4 || d[0].Kind != unreachable || d[0].Segment != nil {
		t.Errorf("unreachable: %v", d)
	}

	calls := 0
	a.node.serve(func(ctx context.Context, s *transport.Stream) {
		if calls++; calls > 1 {
			a.node.server.ServeAudit(ctx, s)
		}
	})
	e, d := a.verify(true, 0)
	a.differs("reached at the second look", d, absent, o.shards[2])
	if e.Leaves != 9 {
		t.Errorf("reached at the second look: %v", e)
	}

	calls = 0
	a.node.serve(func(ctx context.Context, s *transport.Stream) {
		if calls++; calls == 1 {
			a.node.server.ServeAudit(ctx, s)
		}
	})
	_, d = a.verify(false, 0)
	a.differs("not reached again", d, absent, o.shards[2])
}

func TestBitset(t *testing.T) {
	var b bitset
	for _, n := range []uint64{1, 63, 64, 1000} {
		b.set(n)
	}
	for n := range uint64(1100) {
		if want := n == 1 || n == 63 || n == 64 || n == 1000; b.has(n) != want {
			t.Errorf("%d: %v", n, !want)
		}
	}
	if b.has(1 << 63) {
		t.Error("too much")
	}
}
