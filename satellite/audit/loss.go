package audit

import (
	"fmt"
	"time"
)

// LossWindow is for how long a loss that a node reported counts, unless it has
// healed before: as long as its scrub takes to look at everything once.
const LossWindow = 30 * 24 * time.Hour

// lossDivisor makes a loss large that is more than 1/50, or 2 %, of all.
const lossDivisor = 50

// Loss is what a node reported as lost by itself, by claiming less than before.
type Loss struct {
	Held uint64 // shards it should hold, the lost ones among them
	Lost uint64 // of them: reported lost within LossWindow and not healed since
}

// Large reports whether a node has lost so much that it should get no new data
// until it has healed. Disks lose a sector now and then: a small loss, told
// honestly, has no effect. Not even a large one disqualifies.
func (l Loss) Large() bool { return l.Lost > l.Held/lossDivisor }

func (l Loss) String() string {
	if l.Lost == 0 {
		return fmt.Sprintf("no loss reported of %d shards", l.Held)
	}
	effect := "healing, without effect"
	if l.Large() {
		effect = "no new data until it has healed"
	}
	return fmt.Sprintf("reported %d of %d shards lost: %s", l.Lost, l.Held, effect)
}
