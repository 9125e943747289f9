package storagenode

import (
	"bytes"
	"maps"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/storagenode/heal"
)

// A view is what the satellite said at the last check-in of the node and of its
// groups. It is not kept over restarts: the next check-in brings it again. It is
// safe for concurrent use.
type view struct {
	mu       sync.Mutex
	at       time.Time // of the last check-in that succeeded; zero: none has
	standing *pb.Standing
	groups   map[uint32]groupNews
}

// groupNews is what the satellite said of one group, besides its record. It is
// never changed.
type groupNews struct {
	told      bool          // false: it said nothing of the group
	epoch     uint64        // the newest that it knows of
	end       uint64        // number of the newest entry of the journal
	claim     []byte        // the first 8 bytes of the Digest of the newest claim it has; empty: none
	urgent    []heal.Urgent // what is to be made again at once, the most endangered first
	successor bool          // the node is to take over the slot from another
	slot      int           // that a successor is to take over
}

// take replaces what was said before.
func (v *view) take(at time.Time, standing *pb.Standing, groups map[uint32]groupNews) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.at, v.standing, v.groups = at, standing, groups
}

// last is when the satellite was last heard of, and what it thinks of the node,
// nil if it did not say.
func (v *view) last() (at time.Time, standing *pb.Standing) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.standing != nil {
		standing = proto.CloneOf(v.standing)
	}
	return v.at, standing
}

// all is what was said of all groups.
func (v *view) all() map[uint32]groupNews {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.groups)
}

// newsOf reads what the satellite said of a group. Urgent runs that cannot be
// read are left out, and reported.
func newsOf(m *pb.GroupNews) (groupNews, error) {
	g := groupNews{told: true, epoch: m.Epoch, end: m.Head, claim: bytes.Clone(m.Claim), successor: m.Successor, slot: int(m.Slot)}
	var bad error
	for _, u := range m.Urgent {
		numbers, err := seqset.Decode(u.GetNumbers(), len(u.GetNumbers())) // a run has more bytes than one
		if err != nil {
			bad = err
			continue
		}
		g.urgent = append(g.urgent, heal.Urgent{Coverage: int(u.Coverage), Numbers: numbers})
	}
	return g, bad
}

// A part is what the node has to do with a group: it holds the slot, or it is a
// successor and to take it over.
type part struct {
	groupState
	groupNews      // as of the last check-in, if that told of the group
	settled   bool // all that is held of the group is of the slot
}

// parts are the node's groups, in order.
func (n *Node) parts() []part {
	said := n.view.all()
	var all []part
	for _, g := range n.state.all() {
		p := part{groupState: g, groupNews: said[g.group.ID]}
		slot, held := g.group.SlotOf(n.ID())
		switch {
		case held:
			p.slot, p.successor = slot, false
		case p.successor && p.slot < g.group.Scheme.Total:
		default:
			continue
		}
		p.settled = n.isSettled(g.group.ID, p.slot)
		all = append(all, p)
	}
	return all
}
