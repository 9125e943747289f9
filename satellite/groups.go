package satellite

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/placement"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// group is a placement group at its newest epoch. It is never changed.
type group struct {
	order.Group
	record     *pb.Signed
	successors map[int]ident.ID // by slot: who is to take over from a holder that leaves
}

// concerned yields the nodes that hold a slot or are to take one over.
func (g *group) concerned() iter.Seq[ident.ID] {
	return func(yield func(ident.ID) bool) {
		for _, id := range g.Nodes {
			if !yield(id) {
				return
			}
		}
		for _, id := range g.successors {
			if !yield(id) {
				return
			}
		}
	}
}

// concerns says whether a node holds a slot or is to take one over.
func (g *group) concerns(id ident.ID) bool {
	_, _, ok := g.slotOf(id)
	return ok
}

// withSuccessor is the group when a node is to take over a slot; the zero id
// means that nobody is.
func (g *group) withSuccessor(slot int, id ident.ID) *group {
	n := &group{Group: g.Group, record: g.record, successors: maps.Clone(g.successors)}
	if n.successors == nil {
		n.successors = make(map[int]ident.ID)
	}
	if n.successors[slot] = id; id.IsZero() {
		delete(n.successors, slot)
	}
	return n
}

// slotOf returns the slot that a node holds, or is to take over.
func (g *group) slotOf(id ident.ID) (slot int, successor, ok bool) {
	if slot, ok = g.SlotOf(id); ok {
		return slot, false, true
	}
	for slot, next := range g.successors {
		if next == id {
			return slot, true, true
		}
	}
	return 0, false, false
}

// entitled says whether a node has something to claim for a slot.
func (g *group) entitled(k meta.ClaimKey) bool {
	slot, _, ok := g.slotOf(k.Node)
	return ok && slot == k.Slot
}

// groups is the satellite's view in memory of its placement groups, and plans
// new ones. It is safe for concurrent use.
type groups struct {
	meta     *meta.Store
	registry *registry
	key      ident.Key
	scheme   erasure.Scheme
	rule     placement.Rule
	now      func() time.Time
	rand     io.Reader
	log      *slog.Logger

	mu     sync.Mutex
	byID   map[uint32]*group
	ofNode map[ident.ID][]*group

	weighed    time.Time
	candidates []*group // of the present scheme, or all when it has none
	weights    []float64
}

// openGroups reads the groups there are. With a zero scheme it goes on with
// that of the newest group, or with fallback.
func openGroups(ctx context.Context, g *groups, fallback erasure.Scheme) error {
	g.byID, g.ofNode = make(map[uint32]*group), make(map[ident.ID][]*group)
	known, err := g.meta.Groups(ctx)
	if err != nil {
		return err
	}
	newest := fallback
	for i := range known {
		record, err := order.OpenGroup(known[i].Record, g.key.ID())
		if err != nil {
			return fmt.Errorf("stored group %d: %w", known[i].ID, err)
		}
		g.install(&group{Group: *record, record: known[i].Record})
		newest = record.Scheme
	}
	if g.scheme == (erasure.Scheme{}) {
		g.scheme = newest
	}
	return g.openSuccessors(ctx)
}

// openSuccessors reads who is to take over which slots, and forgets those that
// have.
func (g *groups) openSuccessors(ctx context.Context) error {
	known, err := g.meta.Successors(ctx)
	if err != nil {
		return err
	}
	for _, n := range known {
		of := g.byID[n.Group]
		if of == nil || n.Slot >= len(of.Nodes) || of.concerns(n.Node) {
			if err := g.meta.DeleteSuccessor(ctx, n.Group, n.Slot); err != nil {
				return err
			}
			continue
		}
		g.install(of.withSuccessor(n.Slot, n.Node))
	}
	return nil
}

// install puts a group in the place of what it was before. mu is held, or
// others do not know g yet.
func (g *groups) install(n *group) {
	if old := g.byID[n.ID]; old != nil {
		for id := range old.concerned() {
			rest := slices.DeleteFunc(slices.Clone(g.ofNode[id]), func(o *group) bool { return o == old })
			if g.ofNode[id] = rest; len(rest) == 0 {
				delete(g.ofNode, id)
			}
		}
	}
	g.byID[n.ID] = n
	for id := range n.concerned() {
		g.ofNode[id] = append(g.ofNode[id], n)
	}
	g.weighed = time.Time{}
}

// get returns a group at its newest epoch, or satclient.ErrGroupNotFound.
func (g *groups) get(id uint32) (*group, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if found, ok := g.byID[id]; ok {
		return found, nil
	}
	return nil, fmt.Errorf("%w: %d", satclient.ErrGroupNotFound, id)
}

// entitled says whether a node holds the slot of a claim, or is to take it over.
func (g *groups) entitled(k meta.ClaimKey) bool {
	found, err := g.get(k.Group)
	return err == nil && found.entitled(k)
}

// of returns the groups that a node holds a slot of or is to take one over.
func (g *groups) of(id ident.ID) []*group {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.ofNode[id])
}

// held counts the slots that a node holds.
func (g *groups) held(id ident.ID) (slots int) {
	for _, n := range g.of(id) {
		if _, holds := n.SlotOf(id); holds {
			slots++
		}
	}
	return slots
}

// setSuccessor notes durably who is to take over a slot; the zero id means that
// nobody is any more.
func (g *groups) setSuccessor(ctx context.Context, group uint32, slot int, id ident.ID) (err error) {
	if id.IsZero() {
		err = g.meta.DeleteSuccessor(ctx, group, slot)
	} else {
		err = g.meta.PutSuccessor(ctx, meta.Successor{Group: group, Slot: slot, Node: id, Since: g.now()})
	}
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := g.byID[group]; n != nil {
		g.install(n.withSuccessor(slot, id))
	}
	return nil
}

// replace takes a group to its next epoch, with other holders of some slots.
// Error: meta.ErrStaleEpoch when of is not the newest. It returns the group as
// it then is also when only the notes of successors could not be taken away.
func (g *groups) replace(ctx context.Context, of *group, holders map[int]ident.ID) (*group, error) {
	n := &group{Group: of.Group}
	n.Epoch, n.Issued = of.Epoch+1, g.now().Truncate(time.Second)
	n.Nodes = slices.Clone(of.Nodes)
	for slot, id := range holders {
		n.Nodes[slot] = id
	}
	var err error
	if n.record, err = order.SignGroup(g.key, &n.Group); err != nil {
		return nil, err
	}
	if err := g.meta.PutGroup(ctx, meta.Group{ID: n.ID, Epoch: n.Epoch, Record: n.record}); err != nil {
		return nil, fmt.Errorf("group %d: %w", n.ID, err)
	}
	g.mu.Lock()
	var over []int // slots that nobody is to take over any more
	for slot, id := range g.byID[n.ID].successors {
		if _, replaced := holders[slot]; replaced || slices.Contains(n.Nodes, id) {
			over = append(over, slot)
		} else {
			n = n.withSuccessor(slot, id)
		}
	}
	g.install(n)
	g.mu.Unlock()
	for _, slot := range over {
		if err := g.meta.DeleteSuccessor(ctx, n.ID, slot); err != nil {
			return n, err
		}
	}
	return n, nil
}
