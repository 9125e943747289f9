package storagenode

import (
	"errors"
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/wire"
)

const (
	// leaveAfter is how many check-ins in a row have to show that the node has no
	// part in a group any more before what it holds of it is deleted: others may
	// still be reading.
	leaveAfter = 3

	// lookPause is how long after one look at what is held of other groups the
	// next follows: what was being put when a group was released is left over.
	lookPause = time.Hour

	troubleSlots  = "shards of other slots"
	troubleGroups = "groups that were left"
)

// settle makes sure that what is held of the node's groups are shards of its
// slots. A node that was given another slot of a group while it was away holds
// nothing for that one.
func (f *follower) settle() error {
	var errs []error
	settled := false
	for _, p := range f.parts() {
		if p.settled {
			continue
		}
		if err := f.settleGroup(&p); err != nil {
			errs = append(errs, fmt.Errorf("group %d: %w", p.group.ID, err))
			continue
		}
		f.setSlot(p.group.ID, p.slot)
		settled = true
	}
	if settled {
		f.claims.lost()
	}
	return errors.Join(errs...)
}

func (f *follower) settleGroup(p *part) error {
	held, err := f.store.Inventory(p.group.ID, order.SegmentID{}, wire.MaxInventory)
	if err != nil {
		return err
	}
	others := 0
	for _, h := range held {
		switch {
		case !h.Live:
		case h.Slot == p.slot:
			return nil
		default:
			others++
		}
	}
	if others == 0 {
		return nil
	}
	n, err := f.store.Release(p.group.ID)
	f.log.Info("deleted the shards of another slot", "group", p.group.ID, "slot", p.slot, "shards", n)
	return err
}

// leave deletes what is held of groups that the node has left: their newest
// record, which the satellite has signed, does not have it, and it is no
// successor. That the satellite says nothing of a group is no reason: it may have
// forgotten. Of groups it has no record of the node asks for one. A node that
// wants to go keeps all until it may: who has its slots may still lack something.
func (f *follower) leave() error {
	if _, standing := f.view.last(); standing.GetState() == pb.NodeState_NODE_STATE_EXITING && f.departed() == nil {
		return nil
	}
	due := f.countAbsence()
	now := f.config.Now()
	if !due && now.Sub(f.lookedAt).Abs() < lookPause {
		return nil
	}
	f.lookedAt = now
	held, err := f.store.Groups()
	if err != nil {
		return err
	}
	var strays []uint32
	var errs []error
	for _, group := range held {
		if _, known := f.state.epoch(group); !known {
			strays = append(strays, group)
		} else if f.absent[group] >= leaveAfter {
			errs = append(errs, f.release(group))
		}
	}
	f.setStrays(strays)
	return errors.Join(errs...)
}

// countAbsence counts the check-ins in which the node had no part in groups whose
// records it knows, and reports whether one is to be left now.
func (f *follower) countAbsence() (due bool) {
	mine := make(map[uint32]bool)
	for _, p := range f.parts() {
		mine[p.group.ID] = true
	}
	said := f.view.all()
	for _, g := range f.state.all() {
		id := g.group.ID
		// A satellite that knows an older epoch than it has signed has forgotten.
		if mine[id] || said[id].told && said[id].epoch < g.group.Epoch {
			delete(f.absent, id)
			continue
		}
		f.setTrouble(troubleJournal(id), nil)
		f.absent[id]++
		due = due || f.absent[id] == leaveAfter
	}
	return due
}

func (f *follower) release(group uint32) error {
	n, err := f.store.Release(group)
	if n > 0 {
		f.log.Info("deleted the shards of a group that this node has left", "group", group, "shards", n)
	}
	return err
}

// setSlot notes that all that is held of a group is of the slot.
func (n *Node) setSlot(group uint32, slot int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.slots[group] = slot
}

// isSettled reports whether all that is held of a group is of the slot.
func (n *Node) isSettled(group uint32, slot int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	of, ok := n.slots[group]
	return ok && of == slot
}

// setStrays notes the groups of which something is held, and no record is known.
func (n *Node) setStrays(groups []uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.strays = groups
}
