package satellite

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// simUplink stores objects and deletes them.
type simUplink struct {
	*network
	id       ident.ID
	ctx      context.Context
	bytes    *rand.ChaCha8
	dice     *rand.Rand
	segments map[order.SegmentID]*simSegment // all that were put
	inGroup  map[uint32][]*simSegment        // those that count
	objects  []*simObject
	names    int
}

// simSegment is a segment as its uplink made it.
type simSegment struct {
	*pb.Segment
	id      order.SegmentID
	layout  erasure.Layout
	shards  [][]byte
	roots   []merkle.Hash
	bad     bool // encoded wrong
	fading  bool // the upload that holds it expires
	refs    int
	entered time.Time // in its journal; zero: it is not
	deleted time.Time // zero: it is not
}

// simObject is one object.
type simObject struct {
	key      []byte
	segments []*simSegment
}

const simBucket = "bucket"

func (w *network) newUplink() *simUplink {
	u := &simUplink{network: w, id: w.newKey().ID(), segments: make(map[order.SegmentID]*simSegment), inGroup: make(map[uint32][]*simSegment)}
	u.bytes = rand.NewChaCha8([32]byte{byte(w.seed), byte(w.seed >> 8), 3})
	u.dice = rand.New(u.bytes)
	project, err := w.sat.meta.CreateProject(w.ctx, "project", [16]byte{}, [16]byte{})
	must(w.t, err)
	key, err := newAPIKey(&project, w.dice)
	must(w.t, err)
	u.ctx = metadata.NewIncomingContext(w.as(u.id, 0xffff), metadata.Pairs(satclient.APIKeyHeader, string(key)))
	_, err = w.sat.meta.CreateBucket(w.ctx, project.Number, simBucket)
	must(w.t, err)
	w.often(w.uploads, u.upload)
	w.often(w.uploads, u.tidy)
	w.often(w.reads, u.read)
	return u
}

// lease leases a group to put to; nil when there is none.
func (u *simUplink) lease(exclude ...uint32) *pb.GroupLease {
	if !u.settled() {
		return nil
	}
	res, err := u.sat.metadata.Lease(u.ctx, &pb.LeaseRequest{Action: pb.Action(order.ActionPut), Exclude: exclude})
	if errors.Is(fault(err), satclient.ErrTooFewNodes) {
		u.count("uploads without enough nodes")
		return nil
	}
	must(u.t, err)
	return res.Leases[0]
}

// newSegment makes a segment: a small one, or, now and then, one of several
// leaves, or one that is encoded wrong.
func (u *simUplink) newSegment() *simSegment {
	chunk := 64 * (1 + u.dice.IntN(6))
	if u.dice.IntN(40) == 0 {
		chunk = 10 << 10
	}
	s := &simSegment{shards: make([][]byte, u.scheme.Total), roots: make([]merkle.Hash, u.scheme.Total)}
	var err error
	s.layout, err = u.scheme.Layout(int64(chunk * u.scheme.Required))
	must(u.t, err)
	s.id, err = order.NewSegmentID(u.bytes)
	must(u.t, err)
	for i := range s.shards {
		s.shards[i] = make([]byte, chunk)
		if i < u.scheme.Required {
			u.bytes.Read(s.shards[i])
		}
	}
	must(u.t, u.coder.Encode(s.shards))
	if s.bad = u.dice.Float64() < u.badly; s.bad {
		s.shards[u.dice.IntN(u.scheme.Total)][0] ^= 1
	}
	for i := range s.shards {
		s.roots[i] = merkle.ShardRoot(s.shards[i])
	}
	root := merkle.SegmentRoot(s.layout, s.roots)
	s.Segment = &pb.Segment{Id: s.id[:], Size: uint64(s.layout.Size), Root: root[:]}
	u.segments[s.id] = s
	return s
}

// put stores a new segment on the nodes of some group; nil when that fails.
func (u *simUplink) put() *simSegment {
	s := u.newSegment()
	var tried []uint32
	for range 3 {
		lease := u.lease(tried...)
		if lease == nil {
			return nil
		}
		if u.putTo(s, lease) {
			return s
		}
		tried = append(tried, s.Group)
	}
	u.count("uploads that found no group")
	return nil
}

// putTo puts a segment to one group and keeps the receipts.
func (u *simUplink) putTo(s *simSegment, lease *pb.GroupLease) bool {
	group, limit := u.openGroup(lease.Group), u.openLimit(lease.Limit)
	s.Group, s.Epoch, s.Receipts = group.ID, group.Epoch, nil
	want := order.Stored{
		Segment: s.id, Root: merkle.Hash(s.Root), Size: s.layout.Size, Group: group, Serial: limit.Serial, Now: u.time,
	}
	for slot, id := range group.Nodes {
		n := u.byID[id]
		late := 0.02
		if n.slow {
			late = 0.5
		}
		if !lease.Nodes[slot].Online || u.dice.Float64() < late {
			continue
		}
		r := n.put(u.id, group, limit, s, slot)
		if r == nil || r.Check(want) != nil { // its clock may be wrong
			continue
		}
		signed, err := order.SignReceipt(n.key, r)
		must(u.t, err)
		s.Receipts = append(s.Receipts, signed)
	}
	u.add("shards put", len(s.Receipts))
	return len(s.Receipts) >= u.scheme.Success
}

// put stages a shard and vouches for it; nil when the node does not take it.
func (n *simNode) put(from ident.ID, group *order.Group, limit *order.Limit, s *simSegment, slot int) *order.Receipt {
	use := order.Use{Peer: from, Action: order.ActionPut, Group: group.ID, Epoch: group.Epoch, Now: n.now()}
	if !n.up || n.impaired || limit.Check(use) != nil {
		return nil
	}
	n.learn(group)
	p := n.parts[group.ID]
	if p.group.Epoch > group.Epoch {
		return nil
	}
	n.holdSlot(p, slot)
	r := &order.Receipt{
		Node: n.id, Segment: s.id, Root: merkle.Hash(s.Root), Size: s.layout.Size, Group: group.ID, Epoch: group.Epoch,
		Slot: slot, Serial: limit.Serial, Stored: n.now().Truncate(time.Second),
	}
	if n.lie.drops() && n.dice.Float64() < n.lie.share {
		n.lie.dropped++
		return r
	}
	p.shards[s.id] = &simShard{
		layout: s.layout, root: merkle.Hash(s.Root), roots: s.roots, slot: slot, data: s.shards[slot], stored: n.now(),
	}
	p.changes++
	return r
}
