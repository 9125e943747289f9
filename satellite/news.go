package satellite

import (
	"maps"
	"slices"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/meta"
)

// maxFarewells bounds the groups that one answer takes leave of.
const maxFarewells = 64

// groupsOf returns the ids of the groups a node holds a slot of, and of those
// it says it follows.
func groupsOf(mine []*group, cursors []*pb.Cursor) []uint32 {
	ids := make([]uint32, 0, len(mine)+len(cursors))
	for _, g := range mine {
		ids = append(ids, g.ID)
	}
	for _, c := range cursors {
		ids = append(ids, c.Group)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// ahead says whether a node claims to have followed a journal further than it
// goes. Either it lies or this satellite has lost entries, which the node will
// soon prove; until then the sequence numbers it has seen must not be given
// out again, so it is not put to.
func (s *Satellite) ahead(id ident.ID, cursors []*pb.Cursor, journals map[uint32]meta.Journal) bool {
	for _, c := range cursors {
		if head := journals[c.Group].Head; c.Seq > head {
			s.log.Warn("a node has followed a journal further than it goes; not putting to it",
				"node", id, "group", c.Group, "cursor", c.Seq, "head", head)
			return true
		}
	}
	return false
}

// tell makes the news of a node's groups, and of those that it wrongly takes for
// its own, and counts the journal entries that it has not followed.
func (s *Satellite) tell(id ident.ID, mine []*group, cursors []*pb.Cursor, journals map[uint32]meta.Journal) (news []*pb.GroupNews, behind uint64) {
	have := make(map[uint32]*pb.Cursor, len(cursors))
	for _, c := range cursors {
		have[c.Group] = c
	}
	for _, g := range mine {
		n := s.newsOf(id, g)
		n.Head = journals[g.ID].Head
		c := have[g.ID] // nil: the node does not know the group
		if c.GetEpoch() < g.Epoch {
			n.Record = g.record
		}
		if c.GetSeq() < n.Head {
			behind += n.Head - c.GetSeq()
		}
		news = append(news, n)
		delete(have, g.ID)
	}
	return append(news, s.farewells(have)...), behind
}

// newsOf is what there is to say to a node of a group it has to do with.
func (s *Satellite) newsOf(id ident.ID, g *group) *pb.GroupNews {
	n := &pb.GroupNews{Group: g.ID, Epoch: g.Epoch}
	slot, successor, ok := g.slotOf(id)
	if !ok {
		return n
	}
	if n.Successor = successor; successor {
		n.Slot = uint32(slot)
	}
	c := s.claims.get(meta.ClaimKey{Group: g.ID, Slot: slot, Node: id})
	if c != nil {
		n.Claim = c.digest[:]
	}
	n.Urgent = s.repairer.urgent(g, id, successor, c)
	return n
}

// farewells shows a node the records by which it holds no slot any more of
// groups that it says it follows, until it says that it has seen them.
func (s *Satellite) farewells(have map[uint32]*pb.Cursor) (news []*pb.GroupNews) {
	for _, id := range slices.Sorted(maps.Keys(have)) {
		g, err := s.groups.get(id)
		if err != nil || have[id].Epoch >= g.Epoch {
			continue
		}
		if news = append(news, &pb.GroupNews{Group: id, Epoch: g.Epoch, Record: g.record}); len(news) == maxFarewells {
			break
		}
	}
	return news
}
