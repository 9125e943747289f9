package satellite

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

const (
	// urgentHeals and idleHeals are how many shards a node makes again between
	// two check-ins: as many as are urgent, and a few others.
	urgentHeals = 20
	idleHeals   = 4
	// liarPause is for how long a peer that sent wrong bytes is not read from.
	liarPause = time.Hour
	// healPause is for how long a shard is put off that could not be made again,
	// and badPause one whose segment was encoded wrong.
	healPause = time.Hour
	badPause  = 24 * time.Hour
)

// heal makes shards again that the node lacks: urgent ones first.
func (n *simNode) heal() {
	if n.lie.idle() {
		return
	}
	left := urgentHeals
	for _, p := range n.inParts() {
		if !p.told || len(p.missing) == 0 {
			continue
		}
		for _, u := range p.urgent {
			left -= n.healSome(p, left, func(seq uint64) bool { return u.numbers.Contains(seq) })
		}
		if p.successor {
			left -= n.healSome(p, left, func(uint64) bool { return true })
		}
	}
	left = min(left, idleHeals)
	for _, p := range n.inParts() {
		if p.told {
			left -= n.healSome(p, left, func(uint64) bool { return true })
		}
	}
}

// healSome makes at most so many of the shards that are chosen, and says how
// many it tried.
func (n *simNode) healSome(p *part, most int, chosen func(uint64) bool) (tried int) {
	var seqs []uint64
	for seq := range p.missing {
		if chosen(seq) && !n.putOff(p, seq) {
			seqs = append(seqs, seq)
		}
	}
	slices.Sort(seqs)
	seqs = seqs[:min(len(seqs), max(most, 0))]
	if len(seqs) == 0 {
		return 0
	}
	res, err := n.sat.nodes.Peers(n.ctx, &pb.PeersRequest{Group: p.group.ID})
	if err != nil {
		if n.standing == nil || n.standing.State != pb.NodeState_NODE_STATE_DISQUALIFIED {
			n.fail("%v gets no lease of group %d: %v", n, p.group.ID, err)
		}
		return 0
	}
	h := n.openHealing(p, res.Lease)
	for _, seq := range seqs {
		h.make(seq)
	}
	return len(seqs)
}

// simHealing reads from the peers of one group.
type simHealing struct {
	*simNode
	p     *part
	lease *pb.GroupLease
	limit *order.Limit
	group *order.Group
	peers []simPeer // in the order in which they are asked
}

type simPeer struct {
	*simNode
	slot int
}

func (n *simNode) openHealing(p *part, lease *pb.GroupLease) *simHealing {
	h := &simHealing{simNode: n, p: p, lease: lease, group: n.openGroup(lease.Group), limit: n.openLimit(lease.Limit)}
	n.learn(h.group)
	var away []simPeer
	for _, slot := range n.dice.Perm(len(h.group.Nodes)) {
		id := h.group.Nodes[slot]
		peer := n.byID[id]
		switch {
		case id == n.id || n.time.Before(n.avoided[id]):
		case lease.Nodes[slot].Online:
			h.peers = append(h.peers, simPeer{peer, slot})
		default:
			away = append(away, simPeer{peer, slot})
		}
	}
	h.peers = append(h.peers, away...)
	return h
}

// fetched is what one peer sent.
type fetched struct {
	simPeer
	data  []byte
	roots []merkle.Hash
}

// make makes one shard again. Bytes are taken on trust until the shard does not
// match its root; then once more, and each source is held to its own shard root.
func (h *simHealing) make(seq uint64) {
	id := h.p.missing[seq]
	e := h.p.live[id]
	layout := erasure.Layout{Required: h.scheme.Required, Total: h.scheme.Total, Size: int64(e.Size)}
	without := make(map[int]bool)
	moved := 0
	for careful := false; ; {
		sources := h.gather(id, without, &moved)
		if sources == nil {
			h.count("shards that could not be made again yet")
			h.waste(moved)
			h.p.pauses[seq] = h.time.Add(healPause)
			return
		}
		roots := sources[0].roots
		if merkle.VerifyShardRoots(merkle.Hash(e.Root), layout, roots) != nil {
			without[sources[0].slot] = true
			continue
		}
		data := h.decode(sources)
		if merkle.ShardRoot(data) == roots[h.p.slot] {
			h.keep(e, &simShard{layout: layout, roots: roots, slot: h.p.slot, data: data, live: true, stored: h.now()}, moved)
			return
		}
		found := false
		for _, s := range sources {
			if (careful || len(sources) == 1) && merkle.ShardRoot(s.data) != roots[s.slot] {
				found, without[s.slot] = true, true
				h.avoided[s.id] = h.time.Add(liarPause)
			}
		}
		if careful && !found {
			h.waste(moved)
			h.report(seq, id)
			return
		}
		careful = true
	}
}

// waste counts bytes that came to nothing.
func (h *simHealing) waste(bytes int) { h.add("bytes moved in vain", bytes) }

// keep stores a shard that was made again.
func (h *simHealing) keep(e *pb.Entry, s *simShard, moved int) {
	s.root = merkle.Hash(e.Root)
	delete(h.p.missing, e.Seq)
	h.p.shards[segmentOf(e.Segment)] = s
	h.p.changes++
	h.count("shards made again")
	h.add("bytes of them", len(s.data))
	h.add("bytes they were made from", moved)
}

// gather gets the shard itself from a holder that leaves, or those of k others;
// nil when there are too few.
func (h *simHealing) gather(id order.SegmentID, without map[int]bool, moved *int) (list []fetched) {
	ask := func(p simPeer) bool {
		if without[p.slot] {
			return false
		}
		s := p.serve(h.id, h.group, h.limit, id)
		if s == nil {
			without[p.slot] = true
			return false
		}
		*moved += len(s.data)
		list = append(list, fetched{p, s.data, s.roots})
		return true
	}
	for _, p := range h.peers {
		if p.slot == h.p.slot && ask(p) {
			return list
		}
	}
	for _, p := range h.peers {
		if p.slot != h.p.slot && ask(p) && len(list) == h.scheme.Required {
			return list
		}
	}
	h.add("bytes moved in vain", *moved)
	*moved = 0
	return nil
}

// decode makes this node's shard of what others sent.
func (h *simHealing) decode(sources []fetched) []byte {
	if len(sources) == 1 && sources[0].slot == h.p.slot {
		return bytes.Clone(sources[0].data)
	}
	chunks := make([][]byte, h.scheme.Total)
	for _, s := range sources {
		chunks[s.slot] = s.data
	}
	must(h.t, h.coder.ReconstructOne(chunks, h.p.slot))
	return chunks[h.p.slot]
}

// report tells that a segment was encoded wrong by its uplink.
func (h *simHealing) report(seq uint64, id order.SegmentID) {
	h.p.pauses[seq] = h.time.Add(badPause)
	h.count("reports of badly encoded segments")
	if s := h.uplink.segments[id]; s != nil && !s.bad {
		h.fail("%v takes segment %s for badly encoded", h.simNode, id)
	}
	_, err := h.sat.nodes.ReportSegment(h.ctx, &pb.ReportSegmentRequest{Group: h.p.group.ID, Seq: seq, Segment: id[:]})
	if err != nil && !errors.Is(err, satclient.ErrBusy) {
		h.fail("%v cannot report a segment: %v", h.simNode, err)
	}
}

// serve is the shard as a node sends it to whom the satellite has permitted it;
// nil when it does not.
func (n *simNode) serve(to ident.ID, group *order.Group, limit *order.Limit, id order.SegmentID) *simShard {
	use := order.Use{Peer: to, Action: order.ActionGet, Group: group.ID, Epoch: group.Epoch, Now: n.now()}
	p := n.parts[group.ID]
	if !n.up || limit.Check(use) != nil || p == nil {
		return nil
	}
	n.learn(group)
	s := p.shards[id]
	if s == nil || s.away {
		return nil
	}
	return n.lie.served(s)
}

// putOff says whether a shard is not to be tried now.
func (n *simNode) putOff(p *part, seq uint64) bool { return n.time.Before(p.pauses[seq]) }
