package satellite

import (
	"context"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/repair"
)

// What the Admin service shows of nodes, groups, and the whole.

// ListNodes implements pb.AdminServer.
func (s *adminServer) ListNodes(context.Context, *pb.ListNodesRequest) (*pb.ListNodesResponse, error) {
	missing := s.repairer.missing()
	answer := &pb.ListNodesResponse{}
	for _, n := range s.registry.view() {
		standing := &n.standing
		answer.Nodes = append(answer.Nodes, &pb.NodeInfo{
			Id: n.ID[:], Online: n.online, Addresses: n.Addresses,
			Capacity: n.Capacity, Used: n.Used, Free: n.Free,
			Version: n.Version, Operator: n.Operator,
			FirstSeen: n.FirstSeen.Unix(), LastSeen: n.LastSeen.Unix(),
			Groups: uint32(s.groups.held(n.ID)), Behind: n.behind,
			State: pb.NodeState(standing.State), Reason: standing.Reason, Since: standing.Since.Unix(),
			Proved: standing.Score.Proved, Failed: standing.Score.Missing + standing.Score.Wrong,
			Suspicion: standing.Score.Suspicion(), Presence: standing.Presence.Value(),
			Missing: missing[n.ID], TakesData: n.takes, Impaired: n.impaired,
		})
	}
	return answer, nil
}

// missing counts by node the journal entries that its slots lack.
func (r *repairer) missing() map[ident.ID]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	missing := make(map[ident.ID]uint64)
	for _, c := range r.found {
		for slot, id := range c.of.Nodes {
			missing[id] += c.Slots[slot].Lacks
		}
	}
	return missing
}

// ListGroups implements pb.AdminServer.
func (s *adminServer) ListGroups(ctx context.Context, _ *pb.ListGroupsRequest) (*pb.ListGroupsResponse, error) {
	all, err := s.meta.Groups(ctx)
	if err != nil {
		return nil, err
	}
	waiting := s.repairer.waiting()
	answer := &pb.ListGroupsResponse{}
	for i := range all {
		g, err := s.groups.get(all[i].ID)
		if err != nil {
			continue // formed this moment
		}
		c := s.repairer.condition(g.ID)
		m := &pb.GroupInfo{
			Group: g.ID, Epoch: g.Epoch, Scheme: g.Scheme.String(),
			Head: all[i].Head, Segments: all[i].Segments, Bytes: all[i].Bytes,
			Health: s.healthOf(g, c), Found: c.message(),
		}
		claims := s.claims.of(g)
		for slot, free := range s.registry.free(g.Nodes) {
			m.Nodes = append(m.Nodes, g.Nodes[slot][:])
			if free >= 0 {
				m.Online++
			}
			m.Slots = append(m.Slots, slotMessage(g, slot, c, claims[slot], waiting))
		}
		answer.Groups = append(answer.Groups, m)
	}
	return answer, nil
}

// message is what is shown of a condition; nil for none.
func (c *condition) message() *pb.GroupHealth {
	if c == nil {
		return nil
	}
	m := &pb.GroupHealth{Present: uint32(c.Present), Lowest: uint32(c.Lowest()), Left: uint64(c.left)}
	m.Endangered, m.Unreadable, m.Lost = c.endangered()
	for slot := range c.Slots {
		if c.presence[slot] == repair.Present {
			m.Missing += c.Slots[slot].Lacks
		}
	}
	return m
}

// presenceNames are those of repair.Presence.
var presenceNames = [...]string{repair.Present: "present", repair.Away: "away", repair.Gone: "gone", repair.Barred: "barred"}

// slotMessage is what is shown of a slot. A holder that has just got it was not
// looked at yet.
func slotMessage(g *group, slot int, c *condition, claimed *claim, waiting map[delayed]string) *pb.SlotInfo {
	m := &pb.SlotInfo{Waiting: waiting[delayed{g.ID, slot, g.Nodes[slot]}]}
	if c != nil && c.of.Nodes[slot] == g.Nodes[slot] {
		m.Holder, m.Missing = presenceNames[c.presence[slot]], c.Slots[slot].Lacks
	}
	if claimed != nil {
		m.Claimed = claimed.Seq
	}
	if next := g.seat(slot).Successor; !next.IsZero() {
		m.Successor = next[:]
	}
	return m
}

// waiting says why slots get no other holder that need one.
func (r *repairer) waiting() map[delayed]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	why := make(map[delayed]string, len(r.delays))
	for _, d := range r.delays {
		why[delayed{d.Group, d.Slot, d.Holder}] = d.Reason.String() + ": " + d.Why
	}
	return why
}

// Status implements pb.AdminServer.
func (s *adminServer) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	stats, err := s.meta.Stats(ctx)
	if err != nil {
		return nil, err
	}
	m := &pb.StatusResponse{
		Address: s.address, Version: s.config.Version, Started: s.started.Unix(),
		Scheme:   s.groups.scheme.String(),
		Projects: stats.Projects, Objects: stats.Objects, Segments: stats.Segments, Bytes: stats.Bytes,
		SegmentsBad: s.reports.bad(),
	}
	s.countNodes(m)
	s.countGroups(m)
	if t := s.trouble.Load(); t != nil {
		m.Trouble = t.Text
	}
	return m, nil
}

func (s *adminServer) countNodes(m *pb.StatusResponse) {
	nodes, online := s.registry.counts()
	m.Nodes, m.NodesOnline = uint32(nodes), uint32(online)
	st := s.registry.stats()
	for state := audit.Vetting; state <= audit.Gone; state++ {
		if n := st.known[state].online + st.known[state].offline; n > 0 {
			m.NodesByState = append(m.NodesByState, &pb.NodeCount{State: pb.NodeState(state), Nodes: uint32(n)})
		}
	}
}

func (s *adminServer) countGroups(m *pb.StatusResponse) {
	st := s.groupStats()
	m.Groups, m.GroupsWritable, m.Looked = uint32(len(s.groups.all())), uint32(st.writable), st.looked
	m.GroupsWhole, m.GroupsReduced = uint32(st.byHealth[healthWhole]), uint32(st.byHealth[healthReduced])
	m.GroupsEndangered, m.GroupsUnreadable = uint32(st.byHealth[healthEndangered]), uint32(st.byHealth[healthUnreadable])
	m.SegmentsEndangered, m.SegmentsUnreadable, m.SegmentsLost = st.endangered, st.unreadable, st.lost
	m.HealingLeft, m.HealingRate, m.HealingSeconds = uint64(st.healing.left), uint64(st.healing.rate), st.healing.seconds()
	m.SlotsWaiting = uint32(st.waiting)
}
