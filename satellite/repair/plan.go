package repair

import (
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/placement"
)

// Node is a storage node, for Plan. Whether it is in vetting goes by its State.
type Node struct {
	placement.Node
	State audit.State
	// Away is for how long the node has been offline; 0: it is online. The
	// satellite must not count the time that it was offline itself.
	Away time.Duration
}

// Presence is what slots of the node can count on.
func (n *Node) Presence(grace time.Duration) Presence {
	switch {
	case !n.State.Counts():
		return Barred
	case n.State == audit.Suspended || n.Away > grace:
		return Gone
	case n.Away > 0:
		return Away
	}
	return Present
}

// Group is a placement group, for Plan.
type Group struct {
	ID     uint32
	Scheme erasure.Scheme
	Size   int64 // bytes that a holder of one slot needs
	Seats  []Seat
	Health Health
}

// Seat is who has a slot.
type Seat struct {
	Holder    ident.ID
	Successor ident.ID // takes it over from a holder that exits; zero: none yet
	Ready     bool     // the successor holds what the holder does, see Ready
	// Idle is how long ago the one who has to rebuild the slot, the successor if
	// there is one, was given it or lacked less than the time before.
	Idle time.Duration
}

// Limits is when slots are lost, and how many are rebuilt at a time.
type Limits struct {
	Grace   time.Duration // a slot is lost when its holder has been offline for longer
	Stall   time.Duration // a slot is lost when its new holder rebuilt nothing for longer
	Total   int           // slots being rebuilt
	PerNode int           // slots that one node rebuilds
	// Distinct keeps nodes of one subnet or one operator out of one group.
	Distinct bool
}

// Reason is why a slot needs a new holder.
type Reason int

const (
	HolderBarred  Reason = iota + 1 // disqualified, or departed
	HolderGone                      // suspended, or offline for longer than the grace period
	HolderStalled                   // was given the slot and does not rebuild it
	HolderExiting
)

func (r Reason) String() string {
	switch r {
	case HolderBarred:
		return "disqualified"
	case HolderGone:
		return "away for too long"
	case HolderStalled:
		return "not rebuilding the slot"
	case HolderExiting:
		return "exiting"
	}
	return fmt.Sprintf("reason %d", int(r))
}

// Replacement is a slot that gets a new holder.
type Replacement struct {
	Group    uint32
	Slot     int
	From, To ident.ID
	Reason   Reason
	// Successor means that From keeps the slot for now, and To becomes its
	// successor. Otherwise To is the holder from the next epoch on, and the slot
	// has no successor.
	Successor bool
}

// Delay is a slot that needs a new holder but gets none now.
type Delay struct {
	Group  uint32
	Slot   int
	Holder ident.ID
	Reason Reason
	Why    string // in words, for an operator
}

// Decision is what Plan finds.
type Decision struct {
	Replacements []Replacement
	Delays       []Delay
	Rebuilding   int // slots, with those of Replacements
}
