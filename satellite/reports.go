package satellite

import (
	"context"
	"fmt"
	"sync"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

const (
	// maxReports bounds the reports that are kept, in all and of one node.
	maxReports     = 100_000
	maxNodeReports = 1_000
	// reportBurst and reportRate (a second) bound the reports of one node.
	reportBurst = 256
	reportRate  = 1
)

// reportKey is what reports are about.
type reportKey struct {
	group uint32
	seq   uint64
}

// reports is the segments that nodes say were encoded wrong. A node that says so
// is not told to heal them at once. Others are: the word of one node, or of some
// that go together, must not keep the others from healing what is well. What
// former holders of slots said is kept, so that a slot that cannot be rebuilt
// does not go from one to the next for ever. It is safe for concurrent use.
type reports struct {
	meta   *meta.Store
	groups *groups
	claims *claims

	mu     sync.Mutex
	all    map[reportKey]map[ident.ID]meta.Report
	ofNode map[ident.ID]map[reportKey]bool
}

// openReports reads the reports there are.
func openReports(ctx context.Context, store *meta.Store, groups *groups, claims *claims) (*reports, error) {
	r := &reports{
		meta: store, groups: groups, claims: claims,
		all: make(map[reportKey]map[ident.ID]meta.Report), ofNode: make(map[ident.ID]map[reportKey]bool),
	}
	known, err := store.Reports(ctx)
	for i := range known {
		r.add(known[i])
	}
	return r, err
}

// add is called with mu held, or before others know r.
func (r *reports) add(n meta.Report) {
	k := reportKey{n.Group, n.Seq}
	if r.all[k] == nil {
		r.all[k] = make(map[ident.ID]meta.Report)
	}
	if r.ofNode[n.Node] == nil {
		r.ofNode[n.Node] = make(map[reportKey]bool)
	}
	r.all[k][n.Node], r.ofNode[n.Node][k] = n, true
}

// remove is called with mu held.
func (r *reports) remove(n meta.Report) {
	k := reportKey{n.Group, n.Seq}
	if delete(r.ofNode[n.Node], k); len(r.ofNode[n.Node]) == 0 {
		delete(r.ofNode, n.Node)
	}
	if delete(r.all[k], n.Node); len(r.all[k]) == 0 {
		delete(r.all, k)
	}
}

// full says whether a node may not report anything more.
func (r *reports) full(n meta.Report) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	again := r.ofNode[n.Node][reportKey{n.Group, n.Seq}]
	return !again && (len(r.ofNode[n.Node]) >= maxNodeReports || len(r.all) >= maxReports)
}

// take keeps a report durably.
func (r *reports) take(ctx context.Context, n meta.Report) error {
	if r.full(n) {
		return fmt.Errorf("%w: too many reports", satclient.ErrBusy)
	}
	if err := r.meta.PutReport(ctx, n); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(n)
	return nil
}

// by is the entries of a group that a node has reported.
func (r *reports) by(group uint32, id ident.ID) seqset.Set {
	r.mu.Lock()
	defer r.mu.Unlock()
	var runs []seqset.Run
	for k := range r.ofNode[id] {
		if k.group == group {
			runs = append(runs, seqset.Run{First: k.seq, Last: k.seq})
		}
	}
	return seqset.Of(runs...)
}

// excuse is those of them that another node has reported as well, be it one that
// has its slot no more: what the node need not rebuild. Its own word is not
// enough, since a node that is too lazy to rebuild a slot could give it.
func (r *reports) excuse(group uint32, id ident.ID) seqset.Set {
	r.mu.Lock()
	defer r.mu.Unlock()
	var runs []seqset.Run
	for k := range r.ofNode[id] {
		if k.group == group && len(r.all[k]) > 1 {
			runs = append(runs, seqset.Run{First: k.seq, Last: k.seq})
		}
	}
	return seqset.Of(runs...)
}

// lacks says whether a node has a slot of a group and does not claim an entry.
func (r *reports) lacks(g *group, id ident.ID, seq uint64) bool {
	slot, _, ok := g.slotOf(id)
	if !ok {
		return false
	}
	c := r.claims.get(meta.ClaimKey{Group: g.ID, Slot: slot, Node: id})
	return c == nil || !c.Covers(seq)
}

// bad counts the segments that were encoded wrong: as two nodes say that lack
// them, or one if no other lacks it.
func (r *reports) bad() (segments uint64) {
	for k, reporters := range r.snapshot() {
		g, err := r.groups.get(k.group)
		if err != nil {
			continue
		}
		said, lacking := 0, 0
		for id := range g.concerned() {
			if !r.lacks(g, id, k.seq) {
				continue
			}
			lacking++
			if _, reported := reporters[id]; reported {
				said++
			}
		}
		if said >= 2 || said == 1 && lacking == 1 {
			segments++
		}
	}
	return segments
}

// snapshot copies all reports.
func (r *reports) snapshot() map[reportKey]map[ident.ID]meta.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[reportKey]map[ident.ID]meta.Report, len(r.all))
	for k, of := range r.all {
		all[k] = make(map[ident.ID]meta.Report, len(of))
		for id, n := range of {
			all[k][id] = n
		}
	}
	return all
}

// holds says whether a node has a slot of a group and claims an entry.
func (r *reports) holds(g *group, id ident.ID, seq uint64) bool {
	return g.concerns(id) && !r.lacks(g, id, seq)
}

// review forgets the reports of segments that were deleted, and of nodes that
// hold the shard after all.
func (r *reports) review(ctx context.Context) error {
	var kept, over []meta.Report
	for k, of := range r.snapshot() {
		g, err := r.groups.get(k.group)
		for id, n := range of {
			if err == nil && !r.holds(g, id, k.seq) {
				kept = append(kept, n)
			} else {
				over = append(over, n)
			}
		}
	}
	gone, err := r.meta.Overtaken(ctx, kept)
	if err != nil {
		return err
	}
	over = append(over, gone...)
	if err := r.meta.DeleteReports(ctx, over); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range over {
		r.remove(n)
	}
	return nil
}

// reviewReports forgets the reports that are over.
func (s *Satellite) reviewReports(ctx context.Context) error { return s.reports.review(ctx) }

// ReportSegment implements pb.NodesServer.
func (s *nodesServer) ReportSegment(ctx context.Context, m *pb.ReportSegmentRequest) (*pb.ReportSegmentResponse, error) {
	id, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.registry.spend(id, callReport, 1); err != nil {
		return nil, err
	}
	segment, err := order.SegmentIDFromBytes(m.Segment)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", satclient.ErrBadRequest, err)
	}
	g, err := s.groups.get(m.Group)
	if err != nil {
		return nil, err
	}
	if !s.reports.lacks(g, id, m.Seq) {
		return nil, fmt.Errorf("%w: %s holds entry %d of group %d, or no slot of it", satclient.ErrBadRequest, id, m.Seq, m.Group)
	}
	n := meta.Report{Group: m.Group, Seq: m.Seq, Node: id, Segment: segment, At: s.now()}
	if err := s.reports.take(ctx, n); err != nil {
		return nil, err
	}
	s.log.Warn("a node says that a segment was encoded wrong by its uplink", "node", id, "group", m.Group, "seq", m.Seq, "segment", segment)
	return &pb.ReportSegmentResponse{}, nil
}
