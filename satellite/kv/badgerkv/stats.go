package badgerkv

import (
	"sync/atomic"
	"time"

	"github.com/cairnstorage/cairn/satellite/kv"
)

// counts is what the committer has done.
type counts struct {
	updates, batches, bytes atomic.Uint64
	syncing                 atomic.Int64 // nanoseconds
}

// written counts a batch that is durable, since when it was being written.
func (c *counts) written(b *batch, since time.Time) {
	c.updates.Add(uint64(b.updates))
	c.batches.Add(1)
	c.bytes.Add(uint64(b.size))
	c.syncing.Add(int64(time.Since(since)))
}

// Stats implements kv.Counted.
func (s *Store) Stats() (kv.Stats, error) {
	st := kv.Stats{
		Updates: s.counts.updates.Load(), Batches: s.counts.batches.Load(), Bytes: s.counts.bytes.Load(),
		Syncing: time.Duration(s.counts.syncing.Load()),
	}
	s.mu.Lock()
	space := s.space
	s.mu.Unlock()
	left, _, err := space.left()
	st.Free = max(0, left)
	return st, err
}
