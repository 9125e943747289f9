package satellite

import (
	"math"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/repair"
)

// healWindow is over how long the rate of healing is averaged. Nodes tell of
// what they healed every ten check-ins at most.
const healWindow = 2 * time.Minute

// lack is what a holder that is there has to heal of a slot.
type lack struct {
	entries uint64
	shard   float64 // bytes of one, on average
}

// healing is how nodes get on with what they have to heal.
type healing struct {
	lacks map[meta.ClaimKey]lack
	at    time.Time
	left  float64 // bytes
	rate  float64 // bytes a second
}

// next is how it is when the holders lack what they are found to.
func (h healing) next(now time.Time, lacks map[meta.ClaimKey]lack) healing {
	n := healing{lacks: lacks, at: now, rate: h.rate}
	healed := 0.0
	for k, l := range lacks {
		n.left += float64(l.entries) * l.shard
		if before := h.lacks[k].entries; before > l.entries {
			healed += float64(before-l.entries) * l.shard
		}
	}
	for k, l := range lacks {
		if l.entries == 0 {
			delete(lacks, k)
		}
	}
	if span := now.Sub(h.at).Seconds(); !h.at.IsZero() && span > 0 {
		n.rate += (healed/span - h.rate) * -math.Expm1(-span/healWindow.Seconds())
	}
	return n
}

// seconds is how long the rest takes at the present rate; 0 when that cannot be
// told, or nothing is left.
func (h healing) seconds() uint64 {
	if h.rate < 1 {
		return 0
	}
	return uint64(math.Ceil(min(h.left/h.rate, math.MaxInt32)))
}

// lacking notes what the holders of a group that are there have to heal, also
// those that had something to heal before.
func (l *look) lacking(c *condition) {
	segments := c.journal.Segments
	if segments == 0 {
		return
	}
	shard := float64(c.slotSize) / float64(segments)
	for slot := range c.Slots {
		if c.presence[slot] != repair.Present {
			continue
		}
		k := meta.ClaimKey{Group: c.of.ID, Slot: slot, Node: c.of.Nodes[slot]}
		// Some of the numbers may be of segments that were deleted since.
		entries := min(c.Slots[slot].Lacks, segments)
		if entries > 0 || l.healing.lacks[k].entries > 0 {
			l.lacks[k] = lack{entries, shard}
			c.left += float64(entries) * shard
		}
	}
}

// The health of a group, by how many of its holders that are there hold what the
// fewest hold.
const (
	healthWhole      = "whole"      // all of them hold everything
	healthReduced    = "reduced"    // fewer, though enough to be let be
	healthEndangered = "endangered" // fewer than RepairBelow
	healthUnreadable = "unreadable" // fewer than Required
)

// healthOf is the health of a group as it was found, or before the first look,
// when c is nil, as far as its holders are there.
func (s *Satellite) healthOf(g *group, c *condition) string {
	lowest := 0
	if c != nil {
		lowest = c.Lowest()
	} else {
		for _, free := range s.registry.free(g.Nodes) {
			if free >= 0 {
				lowest++
			}
		}
	}
	return healthAt(g.Scheme, lowest)
}

func healthAt(scheme erasure.Scheme, lowest int) string {
	switch {
	case lowest < scheme.Required:
		return healthUnreadable
	case lowest < scheme.RepairBelow:
		return healthEndangered
	case lowest < scheme.Total:
		return healthReduced
	}
	return healthWhole
}

// endangered counts the entries that fewer hold than RepairBelow, and of those
// that fewer hold than Required, and that are lost whoever may come back. They
// are no more than there are segments.
func (c *condition) endangered() (endangered, unreadable, lost uint64) {
	for coverage, n := range c.Covered {
		if coverage < c.of.Scheme.RepairBelow {
			endangered += n
		}
	}
	most := c.journal.Segments
	return min(endangered, most), min(c.Unreadable(c.of.Scheme), most), min(c.Lost, most)
}
