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
	record *pb.Signed
	seats  []meta.Seat // by slot; nil while nothing is to be known of any
}

// seat is what is to be known of a slot.
func (g *group) seat(slot int) meta.Seat {
	if g.seats == nil {
		return meta.Seat{Group: g.ID, Slot: slot}
	}
	return g.seats[slot]
}

// withSeats is the group with other things to be known of some slots.
func (g *group) withSeats(seats ...meta.Seat) *group {
	n := &group{Group: g.Group, record: g.record, seats: make([]meta.Seat, len(g.Nodes))}
	for slot := range n.seats {
		n.seats[slot] = g.seat(slot)
	}
	for _, s := range seats {
		n.seats[s.Slot] = s
	}
	return n
}

// slotOf returns the slot that a node holds, or is to take over.
func (g *group) slotOf(id ident.ID) (slot int, successor, ok bool) {
	if slot, ok = g.SlotOf(id); ok {
		return slot, false, true
	}
	for slot := range g.seats {
		if g.seats[slot].Successor == id && !id.IsZero() {
			return slot, true, true
		}
	}
	return 0, false, false
}

// concerns says whether a node holds a slot or is to take one over.
func (g *group) concerns(id ident.ID) bool {
	_, _, ok := g.slotOf(id)
	return ok
}

// concerned yields the nodes that hold a slot or are to take one over.
func (g *group) concerned() iter.Seq[ident.ID] {
	return func(yield func(ident.ID) bool) {
		for slot, id := range g.Nodes {
			if !yield(id) {
				return
			}
			if next := g.seat(slot).Successor; !next.IsZero() && !yield(next) {
				return
			}
		}
	}
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

	// One goroutine changes groups there are.
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
	return g.openSeats(ctx)
}

// openSeats reads what is to be known of slots.
func (g *groups) openSeats(ctx context.Context) error {
	known, err := g.meta.Seats(ctx)
	if err != nil {
		return err
	}
	for _, n := range known {
		of := g.byID[n.Group]
		if of == nil || n.Slot >= len(of.Nodes) || of.concerns(n.Successor) {
			g.log.Warn("leaving out what is stored of a slot: it does not go with the group", "group", n.Group, "slot", n.Slot)
			continue
		}
		g.install(of.withSeats(n))
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

// all returns every group, by id.
func (g *groups) all() []*group {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]*group, 0, len(g.byID))
	for _, id := range sortedIDs(g.byID) {
		list = append(list, g.byID[id])
	}
	return list
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

// setSuccessor notes durably who is to take over a slot. A node that holds a slot
// already, or is to take over another one, cannot.
func (g *groups) setSuccessor(ctx context.Context, group uint32, slot int, id ident.ID) error {
	of, err := g.get(group)
	if err != nil {
		return err
	}
	if of.concerns(id) {
		return fmt.Errorf("node %s cannot take over slot %d of group %d: it has one", id, slot, group)
	}
	seat := of.seat(slot)
	seat.Successor, seat.Named = id, g.now()
	if err := g.meta.PutSeat(ctx, seat); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.install(of.withSeats(seat))
	return nil
}

// A handover is a slot that another holder is given.
type handover struct {
	to   ident.ID
	from ident.ID // who leaves in good order; zero: the holder was lost
}

// replace takes a group to its next epoch, with other holders of some slots,
// which have no successor then.
func (g *groups) replace(ctx context.Context, id uint32, holders map[int]handover) (*group, error) {
	of, err := g.get(id)
	if err != nil {
		return nil, err
	}
	n := &group{Group: of.Group}
	n.Epoch, n.Issued = of.Epoch+1, g.now().Truncate(time.Second)
	n.Nodes = slices.Clone(of.Nodes)
	var seats []*meta.Seat
	for _, slot := range slices.Sorted(maps.Keys(holders)) {
		h := holders[slot]
		n.Nodes[slot] = h.to
		if h.from.IsZero() {
			h.from = of.seat(slot).From // it waits for the next holder, then
		}
		seats = append(seats, &meta.Seat{Group: n.ID, Slot: slot, Since: n.Issued, From: h.from})
	}
	if n.record, err = order.SignGroup(g.key, &n.Group); err != nil {
		return nil, err
	}
	if err := g.meta.PutGroup(ctx, meta.Group{ID: n.ID, Epoch: n.Epoch, Record: n.record}, seats...); err != nil {
		return nil, fmt.Errorf("group %d: %w", n.ID, err)
	}
	n.seats = of.seats
	for _, seat := range seats {
		n = n.withSeats(*seat)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.install(n)
	return n, nil
}
