package satellite

import (
	"context"
	"errors"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/repair"
)

// act has slots change hands as decided. What fails is tried again with the next
// look. What nodes are deprived for is durable before: a node that has no slot
// any more can hardly be found guilty again.
func (r *repairer) act(ctx context.Context, all []*group, decided []repair.Replacement) error {
	byGroup := make(map[uint32][]repair.Replacement)
	for _, d := range decided {
		byGroup[d.Group] = append(byGroup[d.Group], d)
	}
	if len(decided) > 0 {
		if err := r.registry.storeStandings(ctx, false); err != nil {
			return err
		}
	}
	var errs []error
	for _, g := range all {
		if ctx.Err() != nil {
			break
		}
		errs = append(errs, r.replace(ctx, g, byGroup[g.ID]))
	}
	return errors.Join(errs...)
}

// replace gives slots of one group to others, all in one epoch, and names
// successors.
func (r *repairer) replace(ctx context.Context, g *group, decided []repair.Replacement) error {
	holders := make(map[int]handover)
	for _, d := range decided {
		if !d.Successor {
			h := handover{to: d.To}
			if d.Reason == repair.HolderExiting {
				h.from = d.From
			}
			holders[d.Slot] = h
			continue
		}
		if err := r.succeed(ctx, g, d.Slot, d.To); err != nil {
			return err
		}
		r.log.Info("a node is to take over a slot", "group", g.ID, "slot", d.Slot, "from", d.From, "to", d.To)
	}
	if len(holders) == 0 {
		return nil
	}
	next, err := r.groups.replace(ctx, g.ID, holders)
	if err != nil {
		return err
	}
	for _, d := range decided {
		if d.Successor {
			continue
		}
		r.log.Info("a slot has another holder", "group", g.ID, "epoch", next.Epoch, "slot", d.Slot, "from", d.From, "to", d.To, "reason", d.Reason.String())
		if d.Reason == repair.HolderExiting {
			r.registry.handedOver(d.From)
		}
	}
	return r.dropClaims(ctx, g, next, holders)
}

// dropClaims forgets what was claimed of slots by those who have them no more.
func (r *repairer) dropClaims(ctx context.Context, was, is *group, slots map[int]handover) error {
	var errs []error
	for slot := range slots {
		for _, id := range []ident.ID{was.Nodes[slot], was.seat(slot).Successor} {
			k := meta.ClaimKey{Group: is.ID, Slot: slot, Node: id}
			if !id.IsZero() && !is.entitled(k) {
				errs = append(errs, r.claims.drop(ctx, k))
			}
		}
	}
	return errors.Join(errs...)
}

// succeed names a successor for a slot, in place of whoever was.
func (r *repairer) succeed(ctx context.Context, g *group, slot int, id ident.ID) error {
	if err := r.groups.setSuccessor(ctx, g.ID, slot, id); err != nil {
		return err
	}
	former := g.seat(slot).Successor
	if former.IsZero() {
		return nil
	}
	return r.claims.drop(ctx, meta.ClaimKey{Group: g.ID, Slot: slot, Node: former})
}

// delayed is a slot that needs another holder and gets none now.
type delayed struct {
	group  uint32
	slot   int
	holder ident.ID
}

// tellDelays logs which slots need another holder and get none, each once.
func (r *repairer) tellDelays(delays []repair.Delay) {
	still := make(map[delayed]bool, len(delays))
	for _, d := range delays {
		k := delayed{d.Group, d.Slot, d.Holder}
		if still[k] = true; !r.told[k] {
			r.log.Warn("a slot needs another holder and gets none yet", "group", d.Group, "slot", d.Slot, "holder", d.Holder, "reason", d.Reason.String(), "why", d.Why)
		}
	}
	r.told = still
}

// depart lets the nodes go that wanted to, have no slot left, and are needed by
// nobody to whom they handed one over.
func (r *repairer) depart(ctx context.Context) error {
	needed := r.needed()
	for _, n := range r.registry.all() {
		if n.standing.State != audit.Exiting || n.standing.Exit.Departure != nil || len(r.groups.of(n.ID)) > 0 || needed[n.ID] {
			continue
		}
		signed, err := order.SignDeparture(r.key, &order.Departure{
			Satellite: r.key.ID(), Node: n.ID, Slots: n.standing.Exit.Slots, Completed: r.now().Truncate(time.Second),
		})
		if err != nil {
			return err
		}
		if err := r.registry.departed(ctx, n.ID, signed); err != nil {
			return err
		}
	}
	return nil
}

// needed are the nodes that handed over a slot of which the holder does not have
// all yet, for what was stored last before: until then theirs are the only shards.
func (r *repairer) needed() map[ident.ID]bool {
	needed := make(map[ident.ID]bool)
	for _, g := range r.groups.all() {
		found := r.condition(g.ID)
		for slot := range g.seats {
			from := g.seat(slot).From
			if from.IsZero() {
				continue
			}
			if found == nil || found.of.Epoch != g.Epoch || found.presence[slot] != repair.Present || found.Slots[slot].Rebuild > 0 {
				needed[from] = true
			}
		}
	}
	return needed
}
