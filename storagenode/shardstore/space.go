package shardstore

import (
	"fmt"
	"time"
)

// How much room a disk has, and how much of it must stay free.

const (
	// spacePlenty is how much more than what must be free is ample, and
	// spaceMoment for how long: nobody writes that much in that time.
	spacePlenty = 2 << 30 // bytes
	spaceMoment = 50 * time.Millisecond
)

// askFree asks for the free bytes of the disk.
func (d *dir) askFree() (free int64, err error) {
	free, _, err = d.free(d.path)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ample = time.Time{}
	if err == nil && free-d.reserve > d.plenty {
		d.ample, d.lastFree = time.Now(), free
	}
	return free, err
}

// recentFree is askFree, but asks only now and then as long as there is plenty.
func (d *dir) recentFree() (free int64, err error) {
	d.mu.Lock()
	free, ample := d.lastFree, d.isAmple()
	d.mu.Unlock()
	if ample {
		return free, nil
	}
	return d.askFree()
}

// isAmple reports whether there was plenty a moment ago. The caller holds mu.
func (d *dir) isAmple() bool { return time.Since(d.ample) < spaceMoment }

// hasFree returns ErrFull unless so many bytes of the disk are free, which are
// no more than the reserve.
func (d *dir) hasFree(bytes int64) error {
	free, err := d.recentFree()
	if err != nil {
		return err
	}
	if free < bytes {
		return fmt.Errorf("%w: the disk of %s has %d bytes left", ErrFull, d.path, free)
	}
	return nil
}

// room is how many more bytes may be put here.
func (d *dir) room() int64 {
	free, err := d.recentFree()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil || d.trouble != nil {
		return 0
	}
	return max(0, free-d.pledged-d.reserve)
}

// setReserve settles how much of the disk is to stay free, and makes sure that
// there is enough for the index to be opened: Badger writes through memory
// maps, and the process would die if the disk had no room for that.
func (d *dir) setReserve(reserve int64) error {
	free, total, err := d.free(d.path)
	if err != nil {
		return err
	}
	if reserve == 0 {
		reserve = min(max(total/20, minReserve), maxReserve)
	}
	d.reserve = reserve
	if free < d.indexFloor() {
		return fmt.Errorf("%w: only %d bytes are free on the disk of %s: free at least %d", ErrFull, free, d.path, d.indexFloor())
	}
	return nil
}

// writeFloor is what must be free for anything more to be written; the rest
// of the reserve is for the index's own upkeep.
func (d *dir) writeFloor() int64 { return d.reserve / 4 * 3 }

// indexFloor is what must be free for the index to be touched at all: by
// default at least 32 MiB, as much as its newest tables may take up before they
// are merged.
func (d *dir) indexFloor() int64 { return d.reserve / 2 }
