package satellite

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// fill commits segments to a group until its journal has this length.
func (r *running) fill(group uint32, length uint64) {
	r.t.Helper()
	g, err := r.groups.get(group)
	must(r.t, err)
	fillJournal(r.t, r.meta, g, length)
}

func fillJournal(t testing.TB, store *meta.Store, g *group, length uint64) {
	t.Helper()
	ctx, name := t.Context(), fmt.Sprintf("filling-%d", g.ID)
	p, err := store.ProjectByName(ctx, name)
	if errors.Is(err, meta.ErrProjectNotFound) {
		p.Project, err = store.CreateProject(ctx, name, [16]byte{}, [16]byte{})
		must(t, err)
		must(t, second(store.CreateBucket(ctx, p.Number, "filling")))
	}
	must(t, err)
	for {
		journals, err := store.Journals(ctx, []uint32{g.ID})
		must(t, err)
		head := journals[g.ID].Head
		if head >= length {
			return
		}
		c := meta.CommitRequest{Project: p.Number, Bucket: "filling", Key: component(fmt.Sprint(head))}
		for range min(length-head, meta.MaxAdd) {
			id, err := order.NewSegmentID(rand.Reader)
			must(t, err)
			c.Segments = append(c.Segments, meta.NewSegment{ID: id, Group: g.ID, Epoch: g.Epoch, Size: segmentSize})
			c.Extents = append(c.Extents, meta.Extent{Segment: id, Length: 1})
			c.Size++
		}
		must(t, second(store.Commit(ctx, c)))
	}
}

// emptyJournal deletes what fillJournal committed.
func emptyJournal(t testing.TB, store *meta.Store, g *group) {
	t.Helper()
	p, err := store.ProjectByName(t.Context(), fmt.Sprintf("filling-%d", g.ID))
	must(t, err)
	for more := true; more; {
		_, more, err = store.DeleteBucket(t.Context(), p.Number, "filling", true)
		must(t, err)
	}
}

// claimFor is what the holder of a node key claims of a group, up to seq.
func (r *running) claimFor(key ident.Key, group uint32, seq uint64) order.Claim {
	r.t.Helper()
	g, err := r.groups.get(group)
	must(r.t, err)
	slot, _, ok := g.slotOf(key.ID())
	if !ok {
		r.t.Fatalf("%s has no slot of group %d", key.ID(), group)
	}
	return order.Claim{
		Node: key.ID(), Satellite: r.ID(), Group: group, Epoch: g.Epoch, Slot: slot, Seq: seq,
		Issued: r.now().Truncate(time.Second),
	}
}

func signClaim(t *testing.T, key ident.Key, c order.Claim) *pb.Signed {
	t.Helper()
	signed, err := order.SignClaim(key, &c)
	must(t, err)
	return signed
}

func (c *claims) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.newest)
}

func (c *claims) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.newest)
	clear(c.dirty)
}

// newestClaim is what the satellite says it has, to the node itself.
func (n *testNode) newestClaim(t *testing.T, group uint32) []byte {
	t.Helper()
	res, err := n.CheckIn(t.Context(), checkInOf(roomy))
	must(t, err)
	for _, g := range res.Groups {
		if g.Group == group {
			return g.Claim
		}
	}
	t.Fatalf("no news of group %d", group)
	return nil
}

func digestOf(signed *pb.Signed) []byte {
	sum := sha256.Sum256(signed.Body)
	return sum[:8]
}

func TestClaim(t *testing.T) {
	c := testConfig(t.TempDir())
	s := start(t, c)
	keys := newKeys(t, 10)
	nodes := s.formGroups(keys)
	s.fill(1, 100)
	node, key := nodes[4], keys[4]
	if got := node.newestClaim(t, 1); len(got) != 0 {
		t.Errorf("before any claim the satellite has %x", got)
	}
	claim := s.claimFor(key, 1, 90)
	claim.Issued = claim.Issued.Add(-time.Minute)
	hand := func(c order.Claim) *pb.Signed {
		t.Helper()
		signed := signClaim(t, key, c)
		_, err := node.Claim(t.Context(), &pb.ClaimRequest{Claims: []*pb.Signed{signed}})
		must(t, err)
		return signed
	}
	first := hand(claim)
	wantSame(t, "newest claim", node.newestClaim(t, 1), digestOf(first))

	older := claim
	older.Issued, older.Seq = older.Issued.Add(-time.Second), 80
	hand(older)
	wantSame(t, "newest claim after an older one", node.newestClaim(t, 1), digestOf(first))

	claim.Issued, claim.Seq = claim.Issued.Add(time.Second), 95
	claim.Missing = seqset.Set{{First: 10, Last: 12}, {First: 92, Last: 93}}
	second := hand(claim)
	wantSame(t, "newest claim", node.newestClaim(t, 1), digestOf(second))
	taken := s.claims.get(meta.ClaimKey{Group: 1, Slot: claim.Slot, Node: key.ID()})
	if want := (seqset.Set{{First: 10, Last: 12}}); !slices.Equal(taken.lost, want) || taken.lostAt.IsZero() {
		t.Errorf("%v was lost at %v, want %v", taken.lost, taken.lostAt, want)
	}
	g, err := s.groups.get(1)
	must(t, err)
	for slot, c := range s.claims.of(g) {
		if (c != nil) != (slot == claim.Slot) {
			t.Errorf("slot %d: claim %v", slot, c)
		}
	}

	s.stop()
	s = start(t, c)
	again := s.claims.get(taken.key())
	if again == nil || again.digest != taken.digest || !slices.Equal(again.lost, taken.lost) || !again.lostAt.Equal(taken.lostAt) ||
		string(again.signed.Signature) != string(second.Signature) {
		t.Errorf("after a restart the claim is %+v, want %+v", again, taken)
	}
}

// TestHostileClaims hands in what must not be taken, together with a claim that
// must be.
func TestHostileClaims(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	keys := newKeys(t, 10)
	nodes := s.formGroups(keys)
	s.fill(1, 100)
	node, key := nodes[4], keys[4]
	good := s.claimFor(key, 1, 100)
	changed := func(change func(*order.Claim)) *pb.Signed {
		c := good
		change(&c)
		return signClaim(t, key, c)
	}
	broken := signClaim(t, key, good)
	broken.Signature[3] ^= 1
	foreign := s.claimFor(keys[5], 1, 100)
	for name, c := range map[string]struct {
		signed *pb.Signed
		want   error
	}{
		"nothing":           {&pb.Signed{}, satclient.ErrBadRequest},
		"a broken one":      {broken, satclient.ErrBadRequest},
		"another node's":    {signClaim(t, keys[5], foreign), satclient.ErrBadRequest},
		"too large":         {&pb.Signed{Body: make([]byte, order.MaxBody+1), Signature: make([]byte, 64)}, satclient.ErrBadRequest},
		"another satellite": {changed(func(c *order.Claim) { c.Satellite = newKey(t).ID() }), satclient.ErrBadRequest},
		"unknown group":     {changed(func(c *order.Claim) { c.Group = 99 }), satclient.ErrGroupNotFound},
		"another slot":      {changed(func(c *order.Claim) { c.Slot = (c.Slot + 1) % 10 }), satclient.ErrGroupNotFound},
		"no slot":           {changed(func(c *order.Claim) { c.Slot = 200 }), satclient.ErrGroupNotFound},
		"a later epoch":     {changed(func(c *order.Claim) { c.Epoch++ }), satclient.ErrBadRequest},
		"a later time":      {changed(func(c *order.Claim) { c.Issued = c.Issued.Add(order.Skew + time.Hour) }), satclient.ErrBadRequest},
	} {
		other := s.claimFor(key, 2, 0)
		other.Issued = other.Issued.Add(-time.Minute)
		s.claims.forgetAll()
		_, err := node.Claim(t.Context(), &pb.ClaimRequest{Claims: []*pb.Signed{c.signed, signClaim(t, key, other)}})
		wantError(t, name, err, c.want)
		if s.claims.count() != 1 || s.claims.get(newClaim(&other, c.signed).key()) == nil {
			t.Errorf("%s: there are %d claims", name, s.claims.count())
		}
		if !s.registry.online(key.ID()) {
			t.Errorf("%s: the node is not put to any more", name)
		}
	}
	_, err := node.Claim(t.Context(), &pb.ClaimRequest{Claims: make([]*pb.Signed, maxClaims+1)})
	wantError(t, "too many", err, satclient.ErrBadRequest)
	_, err = s.newNode(newKey(t)).Claim(t.Context(), &pb.ClaimRequest{})
	wantError(t, "a stranger", err, satclient.ErrDenied)

	beyond := changed(func(c *order.Claim) { c.Seq = 101 })
	_, err = node.Claim(t.Context(), &pb.ClaimRequest{Claims: []*pb.Signed{beyond}})
	wantError(t, "beyond the journal", err, satclient.ErrBadRequest)
	if s.registry.online(key.ID()) {
		t.Error("a node that claims more than the journal has is put to")
	}
	node.newestClaim(t, 1)
	if !s.registry.online(key.ID()) {
		t.Error("a node that is back in line is not put to")
	}
}

// TestTooManyClaims bounds what checking signatures costs.
func TestTooManyClaims(t *testing.T) {
	f := newFleet(t)
	f.checkIn(2, roomy)
	r, id := f.registry, nodeNumber(1)
	for range claimBurst / maxClaims {
		must(t, r.spend(id, callClaim, maxClaims))
	}
	wantError(t, "one too many", r.spend(id, callClaim, 1), satclient.ErrBusy)
	must(t, r.spend(nodeNumber(0), callClaim, maxClaims))
	f.time = f.time.Add(time.Second)
	must(t, r.spend(id, callClaim, claimRate))
	wantError(t, "one too many again", r.spend(id, callClaim, 1), satclient.ErrBusy)
}

// TestLost follows what a node claims in turn, and what it has lost by that.
func TestLost(t *testing.T) {
	run := func(first, last uint64) seqset.Run { return seqset.Run{First: first, Last: last} }
	f := newFleet(t)
	c, err := openClaims(t.Context(), f.meta, f.groups, func() time.Time { return f.time }, noLog)
	must(t, err)
	begin := f.time
	for i, step := range []struct {
		seq       uint64
		missing   seqset.Set
		lost      seqset.Set
		lostAfter time.Duration // hours; lost at that step
	}{
		{10, seqset.Set{run(2, 3)}, nil, -1},
		{20, seqset.Set{run(2, 3), run(15, 16)}, nil, -1}, // lacks more, of what is new
		{20, seqset.Set{run(2, 5), run(15, 16)}, seqset.Set{run(4, 5)}, 2},
		{25, seqset.Set{run(5, 5), run(15, 16)}, seqset.Set{run(5, 5)}, 2}, // healed one
		{25, seqset.Set{run(5, 5), run(15, 17)}, seqset.Set{run(5, 5), run(17, 17)}, 4},
		{7, nil, seqset.Set{run(8, 14), run(17, 25)}, 5}, // begins anew; 15 and 16 were never there
		{25, nil, nil, 5},
	} {
		f.time = begin.Add(time.Duration(i) * time.Hour)
		n := newClaim(&order.Claim{Group: 1, Slot: 1, Node: nodeNumber(1), Seq: step.seq, Missing: step.missing, Issued: f.time},
			&pb.Signed{Body: []byte{byte(i)}})
		c.take(n)
		got := c.get(n.key())
		at := time.Time{}
		if step.lostAfter >= 0 {
			at = begin.Add(step.lostAfter * time.Hour)
		}
		if !slices.Equal(got.lost, step.lost) || !got.lostAt.Equal(at) {
			t.Errorf("step %d: lost %v at %v, want %v at %v", i, got.lost, got.lostAt, step.lost, at)
		}
	}
}

// TestStaleClaims forgets claims that nobody is entitled to.
func TestStaleClaims(t *testing.T) {
	f := newFleet(t)
	f.checkIn(10, roomy)
	must(t, f.plan(t.Context()))
	g, err := f.get(1)
	must(t, err)
	key := newKey(t)
	open := func() *claims {
		t.Helper()
		c, err := openClaims(t.Context(), f.meta, f.groups, f.now, noLog)
		must(t, err)
		return c
	}
	stored := func() int {
		t.Helper()
		all, err := f.meta.Claims(t.Context())
		must(t, err)
		return len(all)
	}
	claimOf := func(node ident.ID) *claim {
		c := order.Claim{Node: key.ID(), Satellite: f.key.ID(), Group: 1, Epoch: 1, Slot: 2, Issued: f.time}
		n := newClaim(&c, signClaim(t, key, c))
		n.Node = node
		return n
	}
	c := open()
	c.take(claimOf(g.Nodes[2]))
	c.take(claimOf(g.Nodes[3])) // of another slot
	must(t, c.store(t.Context(), f.entitled))
	if len(c.newest) != 1 || stored() != 1 {
		t.Errorf("%d claims are known and %d stored", len(c.newest), stored())
	}
	// What is stored is not by the node: its signature is another's.
	if c = open(); len(c.newest) != 0 || stored() != 0 {
		t.Errorf("a forged claim was read: %v, %d stored", c.newest, stored())
	}
	c.take(claimOf(g.Nodes[2]))
	must(t, c.store(t.Context(), f.entitled))
	must(t, c.drop(t.Context(), claimOf(g.Nodes[2]).key()))
	if len(c.newest) != 0 || stored() != 0 {
		t.Errorf("a claim was dropped, and there is %v, %d stored", c.newest, stored())
	}
}
