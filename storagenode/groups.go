package storagenode

import (
	"sync"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
)

// groups is the newest record this node has seen of each group, so that the
// server can refuse older ones and the follower knows what to follow. It is
// safe for concurrent use.
type groups struct {
	mu     sync.Mutex
	newest map[uint32]groupRecord
}

type groupRecord struct {
	signed *pb.Signed
	group  *order.Group
}

func newGroups() *groups { return &groups{newest: make(map[uint32]groupRecord)} }

// epoch is the newest epoch seen of a group, or 0.
func (g *groups) epoch(id uint32) uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r, ok := g.newest[id]; ok {
		return r.group.Epoch
	}
	return 0
}

// learn takes in a record whose signature was checked. It reports whether the
// record was news.
func (g *groups) learn(signed *pb.Signed, group *order.Group) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r, ok := g.newest[group.ID]; ok && r.group.Epoch >= group.Epoch {
		return false
	}
	g.newest[group.ID] = groupRecord{signed: signed, group: group}
	return true
}
