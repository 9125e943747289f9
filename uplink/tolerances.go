package uplink

import "time"

// tolerances is how long transfers put up with nodes that keep them waiting.
// They suit a machine that has its own work done at once: where it is itself
// what takes long, they would give up nodes that are well.
type tolerances struct {
	// open bounds reaching a node that the satellite takes to be online, offline
	// one it does not.
	open, offline time.Duration

	// patience is how long an upload waits in a row for slots that are behind
	// while enough others are not; then they are on their own until they have
	// caught up. It is used up by waiting, and comes back in patienceShare times
	// the time it took to use.
	patience time.Duration
	// shortage is how long memory may be short before a slot that is behind is
	// given up for it.
	shortage time.Duration
	// overdue is how long after a segment was stored the slots that are not done
	// are given no further ones.
	overdue time.Duration
	// straggle is how long at least the slots that are not done when a segment
	// counts as stored are still fed.
	straggle time.Duration
	// doubt is how long a receipt may wait for others to be verified together
	// with it, while those there are do not make the segment a stored one.
	doubt time.Duration
	// late is how long a stream may still answer that was found too slow.
	late time.Duration

	// A slot that has not answered is hedged against after slowness times what
	// others took, but after no less than hedge; or, while there is not much to
	// compare with, no less than firstHedge.
	hedge, firstHedge time.Duration
	// stall is how long a slot that was slow may send nothing at all.
	stall time.Duration
	// proof bounds one proof.
	proof time.Duration
}

func defaultTolerances() tolerances {
	return tolerances{
		open:    5 * time.Second,
		offline: time.Second,

		patience: 100 * time.Millisecond,
		shortage: 300 * time.Millisecond,
		overdue:  500 * time.Millisecond,
		straggle: 2 * time.Second,
		doubt:    100 * time.Millisecond,
		late:     5 * time.Second,

		hedge:      150 * time.Millisecond,
		firstHedge: 500 * time.Millisecond,
		stall:      2 * time.Second,
		proof:      10 * time.Second,
	}
}

// opening is how long reaching a node may take.
func (t tolerances) opening(node leaseNode) time.Duration {
	if node.online {
		return t.open
	}
	return t.offline
}
