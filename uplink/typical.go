package uplink

import (
	"sync"
	"time"
)

// typical is how long pieces take to come. It is safe for concurrent use.
type typical struct {
	mu    sync.Mutex
	mean  time.Duration // a moving average
	least time.Duration // of all
}

func (t *typical) add(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mean == 0 {
		t.mean, t.least = d, d
	}
	t.mean += (d - t.mean) / 8
	t.least = min(t.least, d)
}

func (t *typical) get() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mean
}

// far is how long a piece takes at least where lines are long.
const far = 15 * time.Millisecond

// long tells whether lines are long: whether even what came quickest, with nothing
// before it in a queue, came late.
func (t *typical) long() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.least > far
}
