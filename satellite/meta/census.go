package meta

import (
	"context"

	"github.com/cairnstorage/cairn/satellite/kv"
)

// Census is what was seen of storage nodes over time, to know how often they
// fail.
type Census struct {
	Hours    uint32 // that nodes held slots, summed over all nodes
	Failures uint32 // nodes whose slots had to be given to others
	Rebuilt  uint32 // slots that their new holders have made again
	// Seconds and Megabytes are what that took, from when the slots were given
	// to their new holders, and what those hold then; both summed over slots.
	Seconds   uint32
	Megabytes uint32
}

// Counters of the census.
const (
	counterHours     = "node hours"
	counterFailures  = "node failures"
	counterRebuilt   = "slots rebuilt"
	counterSeconds   = "rebuild seconds"
	counterMegabytes = "rebuild megabytes"
)

// counters are where the census is kept.
func (c *Census) counters() map[string]*uint32 {
	return map[string]*uint32{
		counterHours: &c.Hours, counterFailures: &c.Failures,
		counterRebuilt: &c.Rebuilt, counterSeconds: &c.Seconds, counterMegabytes: &c.Megabytes,
	}
}

// AddCensus adds to the census.
func (s *Store) AddCensus(ctx context.Context, more Census) error {
	return s.kv.Update(ctx, func(tx kv.Tx) error {
		counters := more.counters()
		for _, name := range sortedKeys(counters) {
			by := *counters[name]
			if by == 0 {
				continue
			}
			have, err := getCounter(tx, name)
			if err != nil {
				return err
			}
			if have+by < have {
				continue // it has counted enough
			}
			if err := tx.Set(counterKey(name), putUvarint(nil, uint64(have+by))); err != nil {
				return err
			}
		}
		return nil
	})
}

// Census returns the census so far.
func (s *Store) Census(ctx context.Context) (c Census, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		for name, count := range c.counters() {
			if *count, err = getCounter(r, name); err != nil {
				return err
			}
		}
		return nil
	})
	return c, err
}
