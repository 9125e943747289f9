package storagenode

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// newLeaver is a node that holds a live shard of group 7, a staged one, and one
// of group 9, which stays.
func newLeaver(t *testing.T) *followerRig {
	r := newFollowerRig(t)
	r.satellite.only = r.ID()
	r.satellite.join(9, 1, r.ID())
	r.satellite.live(7, putShard(t, r.store, 7, 1))
	r.satellite.live(9, putShard(t, r.store, 9, 3))
	putShard(t, r.store, 7, 2)
	r.round()
	r.wantHeld("at first", 2, 1)
	return r
}

// wantHeld checks how many shards are held of groups 7 and 9.
func (r *followerRig) wantHeld(when string, seven, nine int) {
	r.t.Helper()
	for group, want := range map[uint32]int{7: seven, 9: nine} {
		held, err := r.store.Inventory(group, order.SegmentID{}, 10)
		if err != nil || len(held) != want {
			r.t.Errorf("%s: %d shards of group %d, %v; want %d", when, len(held), group, err, want)
		}
	}
}

// A group that the node has left, by the satellite's signed word, is released
// after some check-ins.
func TestLeftGroupsAreReleased(t *testing.T) {
	r := newLeaver(t)
	r.satellite.join(7, 2, testKey(t).ID())
	for i := range leaveAfter - 1 {
		r.round()
		r.wantHeld("too soon", 2, 1)
		if _, ok := partOf(r.Node, 7); ok {
			t.Errorf("after %d check-ins the node still has a part in the group", i+1)
		}
	}
	r.round()
	r.wantHeld("then", 0, 1)
	if seq, err := r.store.Cursor(7); err != nil || seq != 0 {
		t.Errorf("its journal was followed to %d, %v", seq, err)
	}
	// What was being put meanwhile goes, too, some time.
	putShard(t, r.store, 7, 4)
	r.round()
	r.wantHeld("a late one", 1, 1)
	r.now = r.now.Add(lookPause)
	r.round()
	r.wantHeld("and an hour later", 0, 1)
	r.restart()
	putShard(t, r.store, 7, 5)
	for range leaveAfter {
		r.wantHeld("after a restart", 1, 1)
		r.round()
	}
	r.wantHeld("a while after a restart", 0, 1)

	// It is in the group again: the journal is read from the beginning.
	r.satellite.join(7, 3, r.ID())
	r.round()
	if seq, err := r.store.Cursor(7); err != nil || seq != 1 {
		t.Errorf("its journal was followed to %d, %v", seq, err)
	}
	if runs, _, err := r.store.MissingRuns(7); err != nil || runs.Len() != 1 {
		t.Errorf("missing: %v, %v", runs, err)
	}
}

// A node that is handing over its slots keeps all until it may go.
func TestExitingNodeKeepsItsShards(t *testing.T) {
	r := newLeaver(t)
	r.satellite.change(func() { r.satellite.standing = &pb.Standing{State: pb.NodeState_NODE_STATE_EXITING} })
	r.satellite.join(7, 2, testKey(t).ID())
	for range 3 * leaveAfter {
		r.round()
	}
	r.wantHeld("on its way out", 2, 1)
	r.config.Dir = r.dir
	if err := r.depart(r.satellite.signDeparture(r.ID(), 1)); err != nil {
		t.Fatal(err)
	}
	for range leaveAfter {
		r.round()
	}
	r.wantHeld("once it has left", 0, 1)
}

// Nothing less than a signed record without the node has it delete anything.
func TestWhatIsNotLeft(t *testing.T) {
	for name, change := range map[string]func(r *followerRig){
		"the satellite has forgotten all groups": func(r *followerRig) {
			clear(r.satellite.groups)
		},
		"it has forgotten one": func(r *followerRig) {
			delete(r.satellite.groups, 7)
		},
		"it says that there is a newer epoch, and shows none": func(r *followerRig) {
			r.satellite.join(7, 2, testKey(r.t).ID())
			r.satellite.alter = func(res *pb.CheckInResponse) {
				for _, g := range res.Groups {
					g.Record = nil
				}
			}
		},
		"the node is to take its slot over again": func(r *followerRig) {
			r.satellite.join(7, 2, testKey(r.t).ID())
			r.satellite.alter = func(res *pb.CheckInResponse) {
				told := false
				for _, g := range res.Groups {
					if told = told || g.Group == 7; g.Group == 7 {
						g.Successor, g.Slot = true, 1
					}
				}
				if !told {
					res.Groups = append(res.Groups, &pb.GroupNews{Group: 7, Epoch: 2, Successor: true, Slot: 1})
				}
			}
		},
		"a satellite that has gone back": func(r *followerRig) {
			r.satellite.join(7, 2, testKey(r.t).ID())
			r.round()
			r.satellite.join(7, 1, r.ID())
		},
		"the node is back in time": func(r *followerRig) {
			r.satellite.join(7, 2, testKey(r.t).ID())
			for range leaveAfter - 1 {
				r.round()
			}
			r.satellite.join(7, 3, r.ID())
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newLeaver(t)
			change(r)
			for range 3 * leaveAfter {
				r.round()
				r.now = r.now.Add(time.Minute)
			}
			r.wantHeld("in the end", 2, 1)
			r.restart()
			for range 3 * leaveAfter {
				r.round()
			}
			r.wantHeld("and after a restart", 2, 1)
		})
	}
}

// A record of another satellite is no reason either.
func TestLeaveByAForgedRecord(t *testing.T) {
	r := newLeaver(t)
	forger := newFakeSatellite(t)
	forger.join(7, 2, testKey(t).ID())
	signed, err := order.SignGroup(forger.key, forger.groups[7])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.takeNews(r.now, &pb.CheckInResponse{Groups: []*pb.GroupNews{{Group: 7, Epoch: 2, Record: signed}}}); !errors.Is(err, order.ErrPeer) && !errors.Is(err, order.ErrSignature) {
		t.Errorf("got %v", err)
	}
	for range 2 * leaveAfter {
		r.round()
	}
	r.wantHeld("in the end", 2, 1)
}

// A node that has lost its state file asks for the records of what it holds.
func TestStrayGroups(t *testing.T) {
	r := newLeaver(t)
	r.satellite.join(7, 2, testKey(t).ID())
	if err := os.Remove(r.state.path); err != nil {
		t.Fatal(err)
	}
	r.restart()
	r.round()
	r.round() // asks for the record
	last := r.satellite.checkIns[len(r.satellite.checkIns)-1]
	if !slices.ContainsFunc(last.Cursors, func(c *pb.Cursor) bool { return c.Group == 7 && c.Epoch == 0 && c.Seq == 1 }) {
		t.Errorf("cursors %v", last.Cursors)
	}
	for range leaveAfter - 1 {
		r.wantHeld("too soon", 2, 1)
		r.round()
	}
	r.wantHeld("then", 0, 1)
	r.round()
	last = r.satellite.checkIns[len(r.satellite.checkIns)-1]
	if len(last.Cursors) != 1 {
		t.Errorf("cursors %v", last.Cursors)
	}
}

// A node that has got another slot of its group holds nothing for that one.
func TestAnotherSlot(t *testing.T) {
	r := newLeaver(t)
	if !r.isSettled(7, 1) || r.isSettled(7, 0) {
		t.Error("the slot is not settled")
	}
	r.satellite.join(7, 2, r.ID())
	slices.Reverse(r.satellite.groups[7].Nodes)
	for range 2 {
		r.round()
		r.wantHeld("in another slot", 0, 1)
		if runs, _, err := r.store.MissingRuns(7); err != nil || runs.Len() != 1 {
			t.Errorf("missing: %v, %v", runs, err)
		}
	}
	if p, ok := partOf(r.Node, 7); !ok || p.slot != 0 || !p.settled {
		t.Errorf("part %+v", p)
	}
	if _, err := r.store.Stat(shardstore.Key{Group: 9, Segment: order.SegmentID{1, 3}}); err != nil {
		t.Error(err)
	}
	// The same slot at a newer epoch is none of it.
	r.satellite.join(9, 2, r.ID())
	r.round()
	r.wantHeld("at another epoch", 0, 1)
}

// A check-in has room for so many cursors, and those of its groups come first.
func TestManyStrays(t *testing.T) {
	r := newFollowerRig(t)
	r.round()
	var strays []uint32
	for group := range uint32(2 * maxCursors) {
		strays = append(strays, group+100)
	}
	r.setStrays(strays)
	cursors, err := r.cursors()
	if err != nil || len(cursors) != maxCursors || cursors[0].Group != 7 || cursors[0].Epoch != 1 {
		t.Errorf("%d cursors, %v", len(cursors), err)
	}
	for _, c := range cursors[1:] {
		if _, known := r.state.epoch(c.Group); known || c.Epoch != 0 {
			t.Errorf("cursor %v", c)
		}
	}
}
