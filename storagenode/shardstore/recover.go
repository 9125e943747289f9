package shardstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// recover brings index and volumes together after whatever ended the last
// process: it finishes deletions, takes up what was committed behind the
// checkpoint and gives back the space of what was not.
func (d *dir) recover() error {
	if err := d.openVolumes(); err != nil {
		return err
	}
	if err := d.finishPunches(); err != nil {
		return err
	}
	if err := d.takeUp(); err != nil {
		return err
	}
	if err := d.tally(); err != nil {
		return err
	}
	d.mu.Lock()
	for _, v := range d.volumes {
		d.removeIfEmpty(v)
	}
	d.mu.Unlock()
	d.index.learn()
	return d.setCheckpoint()
}

// openVolumes opens all volumes. They are sealed: what is appended from now on
// goes into a new one, since the end of the last may be anything.
func (d *dir) openVolumes() error {
	numbers, err := listVolumes(d.path)
	if err != nil {
		return err
	}
	d.next = 1
	for _, n := range numbers {
		v, err := openVolume(d.path, n)
		if err != nil {
			return err
		}
		v.sealed = true
		d.volumes[n] = v
		d.next = max(d.next, n+1)
		err = checkVolumeHeader(v.file, d.identity, n)
		switch {
		case errors.Is(err, errFormat):
			d.log.Error("volume has a damaged header; its shards can be read all the same", "volume", n, "error", err)
		case err != nil:
			return fmt.Errorf("volume %s: %w", v.file.Name(), err)
		}
	}
	return nil
}

// finishPunches gives back what was deleted and perhaps not durably punched.
func (d *dir) finishPunches() error {
	type pending struct {
		place
		length int64
	}
	var all []pending
	err := d.index.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{keyPunch}, func(key, value []byte) error {
			volume, offset, err := decodePlace(key[1:])
			all = append(all, pending{place{volume: volume, offset: offset}, pages(value)})
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrIndex, err)
	}
	stuck := 0
	for _, h := range all {
		if v := d.volumes[h.volume]; v != nil {
			err := d.punchFile(v.file, h.offset, h.length)
			if cannotPunch(err) {
				stuck++ // the note stays
				continue
			}
			if err != nil {
				return err
			}
		}
		d.punched = append(d.punched, h.place)
	}
	if stuck > 0 {
		d.log.Warn("the file system cannot free parts of files: the space of deleted shards does not come back", "shards", stuck)
	}
	return nil
}

// deleteKeys takes keys out of the index, some at a time.
func (d *dir) deleteKeys(keys [][]byte) error {
	const batch = 1000
	for len(keys) > 0 {
		part := keys[:min(batch, len(keys))]
		keys = keys[len(part):]
		err := d.index.update(func(txn *badger.Txn) error {
			for _, key := range part {
				if err := txn.Delete(key); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// takeUp reads the records behind the checkpoint.
func (d *dir) takeUp() error {
	checkpoint, offset, err := d.index.checkpoint()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrIndex, err)
	}
	buf := make([]byte, 1<<20)
	added, dropped := 0, 0
	for n, v := range d.volumes {
		from := int64(0)
		switch {
		case n < checkpoint:
			continue
		case n == checkpoint:
			from = offset
		}
		end := max(from, pageSize) // of the last record
		err := scanVolume(context.Background(), v.file, d.identity, n, from, func(rec *record) error {
			d.dropBlocks(v.file, end, rec.offset)
			end = rec.offset + rec.length()
			taken, err := d.takeUpRecord(v, rec, buf)
			switch {
			case err != nil:
				return err
			case taken == recordAdded:
				added++
			case taken == recordDropped:
				dropped++
			}
			return nil
		}, func(offset, length int64) error {
			end = offset + length
			d.log.Error("volume holds bytes that are no record", "volume", n, "offset", offset, "length", length)
			return nil
		})
		if err == nil {
			err = d.dropZeros(v.file, end)
		}
		if err != nil {
			return err
		}
	}
	if added+dropped > 0 {
		d.log.Info("caught up after an unclean stop", "shards", added, "unfinished", dropped)
	}
	return nil
}

type taken int

const (
	recordKnown taken = iota
	recordAdded
	recordDropped
)

// takeUpRecord enters a record into the index, unless it is there, or gives
// back its space if it was never committed. Only whole and sound records were.
func (d *dir) takeUpRecord(v *volume, rec *record, buf []byte) (taken, error) {
	known, ok, err := d.index.get(rec.key)
	if err != nil {
		return 0, err
	}
	if ok && known.place == rec.place {
		return recordKnown, nil
	}
	if ok && rec.meta != nil {
		// Only one of both can have been acknowledged and not deleted since.
		if ok, err = d.isAt(known); err != nil {
			return 0, err
		}
	}
	if !ok && rec.meta != nil {
		err := verifyData(v.file, rec, buf)
		if err == nil {
			return recordAdded, d.index.update(func(txn *badger.Txn) error { return setEntry(txn, rec.entry()) })
		}
		if !errors.Is(err, ErrCorrupt) {
			return 0, err
		}
	}
	err = d.punchFile(v.file, rec.offset, rec.length())
	if cannotPunch(err) {
		d.log.Warn("could not free the space of an unfinished shard", "error", err)
		err = nil
	}
	return recordDropped, err
}

// isAt reports whether there is a record of the shard where the index has it.
func (d *dir) isAt(e entry) (bool, error) {
	v := d.volumes[e.volume]
	if v == nil {
		return false, nil
	}
	rec, err := readRecord(v.file, d.identity, e.volume, e.offset, v.end)
	if errors.Is(err, errFormat) {
		return false, nil
	}
	return err == nil && rec.key == e.Key && rec.meta != nil, err
}

// tally counts what the index holds.
func (d *dir) tally() error {
	gone := 0
	err := d.index.view(func(txn *badger.Txn) error {
		err := scan(txn, []byte{keyShard}, func(key, value []byte) error {
			var e entry
			if err := e.read(key, value); err != nil {
				return err
			}
			d.count(&e, 1)
			if v := d.volumes[e.volume]; v != nil {
				v.records++
				if e.footerOffset() >= v.end {
					gone++
				}
			} else {
				gone++
			}
			return nil
		})
		if err != nil {
			return err
		}
		return scan(txn, []byte{keyMissing}, func(_, _ []byte) error {
			d.missing++
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrIndex, err)
	}
	if gone > 0 {
		d.log.Error("volumes are missing or cut off; run storagenode fsck", "shards", gone)
	}
	return nil
}
