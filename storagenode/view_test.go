package storagenode

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// partOf is the node's part in a group, if it has one.
func partOf(n *Node, group uint32) (part, bool) {
	for _, p := range n.parts() {
		if p.group.ID == group {
			return p, true
		}
	}
	return part{}, false
}

// A successor follows the journal of a group that it holds no slot of yet, for as
// long as the satellite says so.
func TestSuccessor(t *testing.T) {
	r := newFollowerRig(t)
	r.satellite.join(8, 5, testKey(t).ID())
	m := putShard(t, r.store, 7, 1)
	r.satellite.live(8, m)
	r.round()
	if _, ok := partOf(r.Node, 8); ok {
		t.Error("the node has a part in a group that is not its own")
	}
	urgent := seqset.Of(seqset.Run{First: 1, Last: 3}, seqset.Run{First: 9, Last: 9})
	r.satellite.alter = func(res *pb.CheckInResponse) {
		for _, g := range res.Groups {
			if g.Group == 8 {
				g.Successor, g.Slot = true, 1
				g.Urgent = []*pb.Urgent{
					{Coverage: 4, Numbers: urgent.Encode(nil)}, {Coverage: 5, Numbers: []byte{1}}, {Coverage: 6},
				}
			}
		}
	}
	r.round()
	p, ok := partOf(r.Node, 8)
	if !ok || !p.successor || p.slot != 1 || p.group.Epoch != 5 || len(p.urgent) != 2 ||
		p.urgent[0].Coverage != 4 || !slices.Equal(p.urgent[0].Numbers, urgent) || p.urgent[1].Coverage != 6 {
		t.Errorf("part %+v, %v", p, ok)
	}
	if seq, err := r.store.Cursor(8); err != nil || seq != 1 {
		t.Errorf("its journal was followed to %d, %v", seq, err)
	}
	r.round()
	last := r.satellite.checkIns[len(r.satellite.checkIns)-1]
	if len(last.Cursors) != 2 || last.Cursors[1].Group != 8 || last.Cursors[1].Epoch != 5 || last.Cursors[1].Seq != 1 {
		t.Errorf("cursors %v", last.Cursors)
	}
	for name, alter := range map[string]func(g *pb.GroupNews){
		"another was chosen": func(g *pb.GroupNews) { g.Successor = false },
		"no such slot":       func(g *pb.GroupNews) { g.Slot = 2 },
	} {
		before := r.satellite.alter
		r.satellite.alter = func(res *pb.CheckInResponse) {
			before(res)
			for _, g := range res.Groups {
				alter(g)
			}
		}
		r.round()
		if _, ok := partOf(r.Node, 8); ok {
			t.Errorf("%s: the node still has a part in the group", name)
		}
		if p, ok := partOf(r.Node, 7); !ok || p.successor || p.slot != 1 {
			t.Errorf("%s: its own group: %+v, %v", name, p, ok)
		}
		r.satellite.alter = before
	}
	// It has taken the slot over.
	r.satellite.join(8, 6, r.ID())
	r.round()
	if p, ok := partOf(r.Node, 8); !ok || p.successor || p.slot != 1 || p.group.Epoch != 6 {
		t.Errorf("part %+v, %v", p, ok)
	}
}

// A node claims what it holds, and is audited by that.
func TestClaimsAndAudits(t *testing.T) {
	satellite := newFakeSatellite(t)
	c := Config{Dir: shortDir(t), Satellite: satellite.serve(), Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Reserve: 1 << 20}
	n, _ := runNode(t, c)
	satellite.join(7, 1, n.ID())
	held, lost := putShard(t, n.store, 7, 1), putShard(t, n.store, 8, 2)
	lost.Group = 7
	address, err := transport.ParseAddress(n.Addresses()[0])
	if err != nil {
		t.Fatal(err)
	}
	challenge := func(seq uint64, m shardstore.Meta) order.Challenge {
		return order.Challenge{Group: 7, Slot: 1, Seq: seq, Segment: m.Segment, Root: m.Root, Layout: m.Layout}
	}
	audit := func(seq uint64, m shardstore.Meta) order.Answer {
		t.Helper()
		a, err := nodeclient.Dialer{Host: satellite.host}.OpenAudit(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		answers, _, err := a.Ask(testAudit(challenge(seq, m)))
		if err != nil {
			t.Fatal(err)
		}
		return answers[0]
	}
	var newest fakeClaim
	claimed := func(seq uint64, missing ...seqset.Run) func() bool {
		return func() (ok bool) {
			satellite.change(func() {
				if c := satellite.claimOn(7); c != nil {
					newest = *c
					ok = c.Slot == 1 && c.Epoch == 1 && c.Seq == seq && slices.Equal(c.Missing, seqset.Of(missing...))
				}
			})
			return ok
		}
	}
	await(t, "the first claim", claimed(0))
	satellite.live(7, held)
	satellite.live(7, lost)
	await(t, "a claim without what is missing", claimed(2, seqset.Run{First: 2, Last: 2}))
	await(t, "the node to know that it was taken in", func() bool { _, ok := n.claims.claimed(7); return ok })
	wantStatus(t, "held", audit(1, held), order.Proved, merkle.Hash{})
	wantStatus(t, "missing", audit(2, lost), order.Missing, order.Digest(newest.signed))

	v := &served{t: t, dir: filepath.Join(c.Dir)}
	data := make([]byte, 4096)
	data[0] = 1
	v.damage(&testShard{data: data}, 5)
	wantStatus(t, "damaged", audit(1, held), order.Corrupt, order.Digest(newest.signed))
	await(t, "the loss to be told", claimed(2, seqset.Run{First: 1, Last: 2}))

	since := time.Now().Add(-time.Hour).Unix()
	satellite.change(func() {
		satellite.standing = &pb.Standing{State: pb.NodeState_NODE_STATE_ONLINE, Reason: "good", Since: since, Proved: 5, Slots: 1}
	})
	await(t, "the node to know its standing", func() bool {
		info, err := AskInfo(t.Context(), c.Dir)
		return err == nil && info.Standing.GetReason() == "good" && info.Standing.Since == since && info.Missing == 2 &&
			len(info.Groups) == 1 && info.Groups[0].Missing == 2 && info.Groups[0].Head == 2
	})
}
