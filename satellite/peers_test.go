package satellite

import (
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// newsOf is what a check-in tells a node of a group; nil for nothing.
func (n *testNode) newsOf(t *testing.T, group uint32, cursors ...*pb.Cursor) *pb.GroupNews {
	t.Helper()
	m := checkInOf(roomy)
	m.Cursors = cursors
	res, err := n.CheckIn(t.Context(), m)
	must(t, err)
	for _, g := range res.Groups {
		if g.Group == group {
			return g
		}
	}
	return nil
}

// checkPeers reads the lease of group 1 for one of its nodes.
func (r *running) checkPeers(n *testNode, epoch uint64) {
	r.t.Helper()
	res, err := n.Peers(r.t.Context(), &pb.PeersRequest{Group: 1})
	must(r.t, err)
	record, err := order.OpenGroup(res.Lease.Group, r.ID())
	must(r.t, err)
	limit, err := order.OpenLimit(res.Lease.Limit, r.ID())
	must(r.t, err)
	if record.ID != 1 || record.Epoch != epoch || limit.Group != 1 || limit.Epoch != epoch ||
		limit.Uplink != n.host.ID() || limit.Action != order.ActionGet || len(res.Lease.Nodes) != 10 {
		r.t.Errorf("lease of %+v to %+v at %d nodes", record, limit, len(res.Lease.Nodes))
	}
}

// TestHandover has a slot taken over: by a successor first, and then for good.
func TestHandover(t *testing.T) {
	c := testConfig(t.TempDir())
	s := start(t, c)
	keys := newKeys(t, 11)
	nodes := s.formGroups(keys[:10])
	nodes = append(nodes, s.newNode(keys[10]))
	s.fill(1, 5)
	leaver, next := nodes[3], nodes[10]
	if news := next.newsOf(t, 1); news != nil {
		t.Errorf("news for a stranger: %+v", news)
	}
	_, err := next.Peers(t.Context(), &pb.PeersRequest{Group: 1})
	wantError(t, "a stranger's lease", err, satclient.ErrGroupNotFound)
	_, err = leaver.Peers(t.Context(), &pb.PeersRequest{Group: 99})
	wantError(t, "unknown group", err, satclient.ErrGroupNotFound)
	s.checkPeers(leaver, 1)

	g, err := s.groups.get(1)
	must(t, err)
	slot, _ := g.SlotOf(keys[3].ID())
	must(t, s.groups.setSuccessor(t.Context(), 1, slot, keys[10].ID()))
	succeeding := func() {
		t.Helper()
		news := next.newsOf(t, 1)
		if news == nil || !news.Successor || int(news.Slot) != slot || news.Head != 5 || news.Record == nil {
			t.Errorf("news for a successor: %+v", news)
		}
		if news := leaver.newsOf(t, 1); news == nil || news.Successor {
			t.Errorf("news for the node that leaves: %+v", news)
		}
		s.checkPeers(next, 1)
		j, err := next.Journal(t.Context(), &pb.JournalRequest{Group: 1})
		must(t, err)
		if len(j.Entries) != 5 {
			t.Errorf("a successor's journal has %d entries", len(j.Entries))
		}
	}
	succeeding()
	claim := func(key ident.Key, n *testNode) {
		t.Helper()
		signed := signClaim(t, key, s.claimFor(key, 1, 5))
		_, err := n.Claim(t.Context(), &pb.ClaimRequest{Claims: []*pb.Signed{signed}})
		must(t, err)
	}
	claim(keys[3], leaver)
	claim(keys[10], next)
	s.stop()

	s = start(t, c)
	leaver, next = s.newNode(keys[3]), s.newNode(keys[10])
	succeeding()
	after, err := s.groups.replace(t.Context(), 1, map[int]handover{slot: {to: keys[10].ID()}})
	must(t, err)
	handedOver := func() {
		t.Helper()
		news := next.newsOf(t, 1, &pb.Cursor{Group: 1, Epoch: 2, Seq: 5})
		if news == nil || news.Successor || news.Epoch != 2 || news.Record != nil || len(news.Claim) != 8 {
			t.Errorf("news for the new holder: %+v", news)
		}
		news = leaver.newsOf(t, 1, &pb.Cursor{Group: 1, Epoch: 1, Seq: 5}, &pb.Cursor{Group: 98})
		if news == nil || news.Epoch != 2 || news.Record == nil || news.Head != 0 {
			t.Fatalf("farewell: %+v", news)
		}
		record, err := order.OpenGroup(news.Record, s.ID())
		must(t, err)
		if _, holds := record.SlotOf(keys[3].ID()); holds || record.Epoch != 2 {
			t.Errorf("farewell with %+v", record)
		}
		if news := leaver.newsOf(t, 1, &pb.Cursor{Group: 1, Epoch: 2, Seq: 5}); news != nil {
			t.Errorf("a second farewell: %+v", news)
		}
		_, err = leaver.Peers(t.Context(), &pb.PeersRequest{Group: 1})
		wantError(t, "a former holder's lease", err, satclient.ErrGroupNotFound)
		_, err = leaver.Journal(t.Context(), &pb.JournalRequest{Group: 1})
		wantError(t, "a former holder's journal", err, satclient.ErrGroupNotFound)
		s.checkPeers(next, 2)
	}
	handedOver()
	if want := (meta.Seat{Group: 1, Slot: slot, Given: 5, Since: after.Issued}); after.seat(slot) != want {
		t.Errorf("the slot that was handed over is %+v, want %+v", after.seat(slot), want)
	}
	must(t, s.storeClaims(t.Context()))
	s.stop()
	s = start(t, c)
	leaver, next = s.newNode(keys[3]), s.newNode(keys[10])
	handedOver()
	if s.claims.get(meta.ClaimKey{Group: 1, Slot: slot, Node: keys[3].ID()}) != nil {
		t.Error("the claim of a former holder outlived a restart")
	}
}

// TestSeats keeps who is to take over which slot, and since when holders have
// theirs, over restarts.
func TestSeats(t *testing.T) {
	f := newFleet(t)
	f.checkIn(13, roomy)
	must(t, f.plan(t.Context()))
	g, err := f.get(1)
	must(t, err)
	var outside []ident.ID
	for i := range 13 {
		if !g.concerns(nodeNumber(i)) {
			outside = append(outside, nodeNumber(i))
		}
	}
	check := func(when string, want map[int]meta.Seat) {
		t.Helper()
		for range 2 {
			g, err := f.get(1)
			must(t, err)
			for slot := range g.Nodes {
				seat := want[slot]
				seat.Group, seat.Slot = 1, slot
				if got := g.seat(slot); got.Given != seat.Given || got.From != seat.From || got.Successor != seat.Successor || !got.Since.Equal(seat.Since) || !got.Named.Equal(seat.Named) {
					t.Errorf("%s: slot %d is %+v, want %+v", when, slot, got, seat)
				}
				if next := seat.Successor; !next.IsZero() && !f.entitled(meta.ClaimKey{Group: 1, Slot: slot, Node: next}) {
					t.Errorf("%s: the successor in slot %d cannot claim it", when, slot)
				}
			}
			for _, id := range outside {
				slot, successor, _ := g.slotOf(id)
				if listed := len(f.of(id)) > f.held(id); listed != successor || successor && want[slot].Successor != id {
					t.Errorf("%s: %v is to take over slot %d: %v, listed %v", when, id, slot, successor, listed)
				}
			}
			f.restart(f.key)
		}
	}
	set := func(slot int, id ident.ID) {
		t.Helper()
		must(t, f.setSuccessor(t.Context(), 1, slot, id))
	}
	begin := f.time
	set(2, outside[0])
	set(7, outside[1])
	check("two", map[int]meta.Seat{2: {Successor: outside[0], Named: begin}, 7: {Successor: outside[1], Named: begin}})
	for _, id := range []ident.ID{outside[0], g.Nodes[3]} {
		if err := f.setSuccessor(t.Context(), 1, 5, id); err == nil {
			t.Errorf("%s is to take over a second slot", id)
		}
	}
	f.time = f.time.Add(time.Minute)
	set(7, outside[2])
	check("another", map[int]meta.Seat{2: {Successor: outside[0], Named: begin}, 7: {Successor: outside[2], Named: f.time}})
	_, err = f.replace(t.Context(), 1, map[int]handover{7: {to: outside[2]}, 5: {to: outside[1], from: g.Nodes[5]}})
	must(t, err)
	given, left := meta.Seat{Since: f.time}, meta.Seat{Since: f.time, From: g.Nodes[5]}
	check("one has taken over, and another slot changed", map[int]meta.Seat{2: {Successor: outside[0], Named: begin}, 5: left, 7: given})
}

// TestTooManyPeers bounds the leases of one node.
func TestTooManyPeers(t *testing.T) {
	f := newFleet(t)
	f.checkIn(1, roomy)
	id := nodeNumber(0)
	for range peersBurst {
		must(t, f.registry.spend(id, callPeers, 1))
	}
	wantError(t, "one too many", f.registry.spend(id, callPeers, 1), satclient.ErrBusy)
	f.time = f.time.Add(time.Second)
	must(t, f.registry.spend(id, callPeers, peersRate))
	must(t, f.registry.spend(id, callClaim, 1))
}
