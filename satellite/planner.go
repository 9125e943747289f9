package satellite

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/placement"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

const (
	// minRoom is the free space in bytes that a node needs to be put to. Small
	// objects need little; a node refuses for itself what it cannot take.
	minRoom = 1 << 20
	// weightAge is how long the weights of groups are used before they are
	// worked out again.
	weightAge = 250 * time.Millisecond
)

// forPut chooses a group to put segments to, weighted by free space: one with
// enough slots online and with room, and not excluded. The error is
// satclient.ErrTooFewNodes and says what is missing.
func (g *groups) forPut(exclude []uint32) (*group, error) {
	roll, err := g.roll()
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := g.now(); now.Sub(g.weighed) >= weightAge || now.Before(g.weighed) {
		g.weigh(now)
	}
	weights := g.weights
	if len(exclude) > 0 {
		weights = slices.Clone(weights)
		for i := range weights {
			if slices.Contains(exclude, g.candidates[i].ID) {
				weights[i] = 0
			}
		}
	}
	if i, ok := placement.Choose(weights, roll); ok {
		return g.candidates[i], nil
	}
	return nil, fmt.Errorf("%w: %v", satclient.ErrTooFewNodes, g.shortage(exclude))
}

// roll returns a number in [0,1).
func (g *groups) roll() (float64, error) {
	var b [8]byte
	if _, err := io.ReadFull(g.rand, b[:]); err != nil {
		return 0, err
	}
	return float64(binary.BigEndian.Uint64(b[:])>>11) / (1 << 53), nil
}

// weigh works out how fit each group is. Groups of another scheme than the
// present one serve while none of the present one can. mu is held.
func (g *groups) weigh(now time.Time) {
	g.weighed = now
	g.candidates, g.weights = g.candidates[:0], g.weights[:0]
	var others []*group
	var otherWeights []float64
	usable := false
	for _, id := range sortedIDs(g.byID) {
		c := g.byID[id]
		w := placement.Judge(g.candidate(c), minRoom).Weight
		if c.Scheme == g.scheme {
			g.candidates, g.weights = append(g.candidates, c), append(g.weights, w)
			usable = usable || w > 0
		} else {
			others, otherWeights = append(others, c), append(otherWeights, w)
		}
	}
	if !usable {
		g.candidates, g.weights = append(g.candidates, others...), append(g.weights, otherWeights...)
	}
}

func sortedIDs(m map[uint32]*group) []uint32 {
	ids := make([]uint32, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// candidate is what placement is told of a group.
func (g *groups) candidate(c *group) placement.Candidate {
	slots := make([]placement.Slot, len(c.Nodes))
	for i, free := range g.registry.free(c.Nodes) {
		slots[i] = placement.Slot{Online: free >= 0, Free: free}
	}
	return placement.Candidate{Group: c.ID, Scheme: c.Scheme, Slots: slots}
}

// shortage says why no group could be chosen. mu is held.
func (g *groups) shortage(exclude []uint32) placement.Shortage {
	s := placement.Shortage{Scheme: g.scheme}
	s.Nodes, s.Online = g.registry.counts()
	for _, c := range g.candidates {
		if slices.Contains(exclude, c.ID) {
			s.Excluded++
			continue
		}
		f := placement.Judge(g.candidate(c), minRoom)
		if s.Groups++; s.Groups == 1 || f.Room > s.BestRoom || f.Room == s.BestRoom && f.Online > s.BestOnline {
			s.Scheme, s.BestOnline, s.BestRoom = c.Scheme, f.Online, f.Room
		}
	}
	return s
}

// counts returns how many groups there are and how many can be put to now.
func (g *groups) counts() (all, writable int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.byID {
		if placement.Judge(g.candidate(c), minRoom).Weight > 0 {
			writable++
		}
	}
	return len(g.byID), writable
}

// plan makes the new groups that nodes online should form.
func (g *groups) plan(ctx context.Context) error {
	planned := placement.Plan(g.scheme, g.rule, g.plannable())
	for _, nodes := range planned {
		id, err := g.meta.NextGroup(ctx)
		if err != nil {
			return err
		}
		n := &group{Group: order.Group{
			Satellite: g.key.ID(), ID: id, Epoch: 1, Scheme: g.scheme,
			Nodes: nodes, Issued: g.now().Truncate(time.Second),
		}}
		if n.record, err = order.SignGroup(g.key, &n.Group); err != nil {
			return err
		}
		if err := g.meta.PutGroup(ctx, meta.Group{ID: id, Epoch: 1, Record: n.record}); err != nil {
			return fmt.Errorf("group %d: %w", id, err)
		}
		g.mu.Lock()
		g.install(n)
		g.mu.Unlock()
		g.log.Info("formed placement group", "group", id, "scheme", g.scheme, "nodes", len(nodes))
	}
	return nil
}

// plannable returns the nodes that groups may be formed of.
func (g *groups) plannable() []placement.Node {
	var nodes []placement.Node
	view := g.registry.all()
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range view {
		n := &view[i]
		if !n.takes || n.Free < minRoom {
			continue
		}
		p := placement.Node{
			ID: n.ID, Subnets: placement.Subnets(n.Remote, n.Addresses), Operator: n.Operator,
			Vetting: n.standing.State == audit.Vetting,
		}
		for _, c := range g.ofNode[n.ID] {
			if c.Scheme != g.scheme {
				continue
			}
			p.Slots++
			if slot, _, _ := c.slotOf(n.ID); slot < c.Scheme.Required {
				p.Data++
			}
		}
		nodes = append(nodes, p)
	}
	return nodes
}

// keepPlanning plans whenever nodes have come and no other has for the time of
// settle, so that nodes started together are planned together.
func (g *groups) keepPlanning(ctx context.Context, settle time.Duration) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.registry.change:
		}
		if !quiet(ctx, g.registry.change, settle) {
			return nil
		}
		if err := g.plan(ctx); err != nil && ctx.Err() == nil {
			g.log.Error("cannot form placement groups; trying again when a node comes", "error", err)
		}
	}
}

// quiet waits until nothing has come for a while, or for ten times as long; it
// returns false when ctx ends.
func quiet(ctx context.Context, events <-chan struct{}, while time.Duration) bool {
	last := time.NewTimer(10 * while)
	defer last.Stop()
	for {
		pause := time.NewTimer(while)
		select {
		case <-ctx.Done():
			pause.Stop()
			return false
		case <-last.C:
			pause.Stop()
			return true
		case <-pause.C:
			return true
		case <-events:
			pause.Stop()
		}
	}
}
