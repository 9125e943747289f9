package shardstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// How journals change what is held. A directory's cursor lies in its index,
// beside what the journal has done there. An index that was lost, made again or
// that went back in time has a cursor that went with it, and so has a directory
// that was replaced: their part of the journal is simply read again.

// advanceBatch is how many journal entries go into one transaction.
const advanceBatch = 500

// Cursor is up to where all directories have followed a group's journal.
// Entries behind it have to be given to Advance, maybe once again.
func (s *Store) Cursor(group uint32) (uint64, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.exit()
	lowest := uint64(math.MaxUint64)
	for _, d := range s.dirs {
		seq, err := d.index.cursor(group)
		if err != nil {
			return 0, err
		}
		lowest = min(lowest, seq)
	}
	return lowest, nil
}

// Advance does what a group's journal says: it confirms live shards, deletes
// those with a tombstone, and remembers which live ones are not held, so that
// they are live at once when they come. Entries are in order and without gaps
// from Cursor on; what was done before is harmless. When it returns nil, the
// outcome is durable. Errors: ErrFull when the disk has no room even for that.
func (s *Store) Advance(group uint32, entries []Entry) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.exit()
	for len(entries) > 0 {
		part := entries[:min(len(entries), advanceBatch)]
		entries = entries[len(part):]
		if err := s.advance(group, part); err != nil {
			return fmt.Errorf("follow the journal of group %d: %w", group, err)
		}
	}
	return nil
}

// A change is what a batch of journal entries comes to in one directory.
type change struct {
	confirm []entry
	remove  []entry
	mark    map[Key]mark
	unmark  []Key
}

func (c *change) addMark(key Key, m mark) {
	if c.mark == nil {
		c.mark = make(map[Key]mark)
	}
	c.mark[key] = m
}

func (s *Store) advance(group uint32, entries []Entry) error {
	for _, d := range s.dirs {
		if err := d.hasFree(d.indexFloor()); err != nil {
			return err
		}
	}
	changes, err := s.enactAll(group, entries)
	// What a directory has taken in must be durable before another forgets that
	// it was missing there, or that it has to be asked for again.
	for _, d := range s.dirs[:len(changes)] {
		err = errors.Join(err, d.index.sync())
	}
	last := entries[len(entries)-1].Seq
	for i, c := range changes {
		move := func(txn *badger.Txn) error { return setCursor(txn, group, last) }
		if err != nil {
			move = nil // read again from here, and from the same place everywhere
		}
		err = errors.Join(err, s.dirs[i].settle(c, move))
	}
	return err
}

// enactAll plans what entries come to and writes it down. It returns the
// changes of the directories where that was done.
func (s *Store) enactAll(group uint32, entries []Entry) ([]change, error) {
	s.index.Lock()
	defer s.index.Unlock()
	changes, missing, err := s.plan(group, entries)
	if err != nil {
		return nil, err
	}
	for i, d := range s.dirs {
		if err := d.enact(changes[i]); err != nil {
			return changes[:i], err
		}
	}
	s.missing.Add(int64(missing))
	return changes, nil
}

func setCursor(txn *badger.Txn, group uint32, seq uint64) error {
	newest := seq
	_, err := read(txn, cursorKey(group), func(value []byte) error {
		if len(value) == 8 {
			newest = max(newest, binary.BigEndian.Uint64(value))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return txn.Set(cursorKey(group), binary.BigEndian.AppendUint64(nil, newest))
}

// plan works out what entries come to, and by how much the number of missing
// shards changes. The newest entry of a segment decides.
func (s *Store) plan(group uint32, entries []Entry) (changes []change, missing int, err error) {
	newest := make(map[Key]Entry, len(entries))
	for _, e := range entries {
		newest[Key{Segment: e.Segment, Group: group}] = e
	}
	cursors := make([]uint64, len(s.dirs))
	for i, d := range s.dirs {
		if cursors[i], err = d.index.cursor(group); err != nil {
			return nil, 0, err
		}
	}
	changes = make([]change, len(s.dirs))
	for key, e := range newest {
		n, err := s.planOne(changes, cursors, key, e)
		if err != nil {
			return nil, 0, err
		}
		missing += n
	}
	return changes, missing, nil
}

// planOne adds what one entry comes to, and returns by how much the number of
// missing shards changes. A mark is put into every directory that the journal
// takes past the entry, and taken out of all: each must know of the shard when
// the others are away.
func (s *Store) planOne(changes []change, cursors []uint64, key Key, e Entry) (missing int, err error) {
	held := false
	for i, d := range s.dirs {
		old, ok, err := d.index.get(key)
		if err != nil {
			return 0, err
		}
		switch {
		case ok && e.Live && old.Root == e.Root:
			held = true
			if !old.Live {
				changes[i].confirm = append(changes[i].confirm, old)
			}
		case ok: // deleted, or a shard that is none of the committed segment
			changes[i].remove = append(changes[i].remove, old)
		}
	}
	before, after := false, false
	for i, d := range s.dirs {
		_, marked, err := d.index.mark(key)
		if err != nil {
			return 0, err
		}
		before = before || marked
		switch wanted := e.Live && !held; {
		case marked && !wanted:
			changes[i].unmark = append(changes[i].unmark, key)
		case marked:
			after = true
		case wanted && cursors[i] < e.Seq:
			after = true
			changes[i].addMark(key, mark{seq: e.Seq, size: e.Size, root: e.Root})
		}
	}
	return btoi(after) - btoi(before), nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// enact enters a change into the index. The caller holds the store's index
// lock. settle has to follow, without the lock.
func (d *dir) enact(c change) error {
	err := d.index.update(func(txn *badger.Txn) error {
		for _, e := range c.confirm {
			if err := confirmEntry(txn, e); err != nil {
				return err
			}
		}
		for _, e := range c.remove {
			if err := deleteEntry(txn, e); err != nil {
				return err
			}
		}
		for key, m := range c.mark {
			if err := txn.Set(missingKey(key), m.encode()); err != nil {
				return err
			}
		}
		for _, key := range c.unmark {
			if err := txn.Delete(missingKey(key)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.staged -= len(c.confirm)
	d.missing += len(c.mark) - len(c.unmark)
	for i := range c.remove {
		d.count(&c.remove[i], -1)
	}
	return nil
}

// settle makes an enacted change durable, then punches what it has removed and
// notes what last, if given, adds. The notes of what is to be punched stay until
// a checkpoint has made the holes durable.
func (d *dir) settle(c change, last func(*badger.Txn) error) error {
	if err := d.index.sync(); err != nil {
		return err
	}
	places := make([]place, len(c.remove))
	for i, e := range c.remove {
		places[i] = e.place
	}
	d.giveBack(places...)
	if last != nil {
		if err := d.index.update(last); err != nil {
			return err
		}
	}
	d.checkpointIfDue()
	return nil
}

// forget takes a damaged shard out of the index. If it was live it is missing
// now.
func (s *Store) forget(d *dir, e entry) error {
	c, err := s.enactForget(d, e)
	if err != nil || len(c.remove) == 0 {
		return err
	}
	d.log.Error("dropped a damaged shard", "segment", e.Segment, "group", e.Group)
	return d.settle(c, nil)
}

func (s *Store) enactForget(d *dir, e entry) (change, error) {
	s.index.Lock()
	defer s.index.Unlock()
	now, ok, err := d.index.get(e.Key)
	if err != nil || !ok || now.place != e.place {
		return change{}, err
	}
	c := change{remove: []entry{now}}
	if !now.Live {
		return c, d.enact(c)
	}
	before := false
	m := mark{size: e.Layout.Size, root: e.Root}
	for _, other := range s.dirs {
		_, marked, err := other.index.mark(e.Key)
		if err != nil {
			return change{}, err
		}
		before = before || marked
		if marked {
			continue
		}
		if other == d {
			c.addMark(e.Key, m)
		} else if err := other.enact(change{mark: map[Key]mark{e.Key: m}}); err != nil {
			return change{}, err
		}
	}
	if err := d.enact(c); err != nil {
		return change{}, err
	}
	s.missing.Add(int64(1 - btoi(before)))
	return c, nil
}

// ExpireStaged deletes staged shards that were committed before the time that
// before gives for their group, and says how many. A zero time keeps all.
func (s *Store) ExpireStaged(before func(group uint32) time.Time) (int, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.exit()
	n := 0
	for _, d := range s.dirs {
		old, err := d.stagedBefore(before)
		for err == nil && len(old) > 0 {
			part := old[:min(len(old), advanceBatch)]
			old = old[len(part):]
			var removed int
			removed, err = s.expire(d, part)
			n += removed
		}
		if err != nil {
			return n, fmt.Errorf("expire staged shards: %w", err)
		}
	}
	return n, nil
}

// maxExpire bounds how many shards one call of ExpireStaged looks at.
const maxExpire = 100_000

// A stagedShard is one of the staged shards by age.
type stagedShard struct {
	created time.Time
	key     Key
}

func (d *dir) stagedBefore(before func(group uint32) time.Time) ([]stagedShard, error) {
	var old []stagedShard
	limits := make(map[uint32]time.Time)
	err := d.index.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{keyStaged}, func(raw, _ []byte) error {
			if len(raw) != 29 {
				return errFormat
			}
			s := stagedShard{created: time.Unix(int64(binary.BigEndian.Uint64(raw[1:])), 0)}
			var err error
			if s.key, err = decodeKey(raw[9:]); err != nil {
				return err
			}
			limit, ok := limits[s.key.Group]
			if !ok {
				limit = before(s.key.Group)
				limits[s.key.Group] = limit
			}
			if s.created.Before(limit) {
				old = append(old, s)
			}
			if len(old) >= maxExpire {
				return errStop
			}
			return nil
		})
	})
	return old, err
}

func (s *Store) expire(d *dir, old []stagedShard) (int, error) {
	if err := d.hasFree(d.indexFloor()); err != nil {
		return 0, err
	}
	c, err := s.enactExpiry(d, old)
	if err != nil {
		return 0, err
	}
	return len(c.remove), d.settle(c, nil)
}

func (s *Store) enactExpiry(d *dir, old []stagedShard) (c change, err error) {
	s.index.Lock()
	defer s.index.Unlock()
	var stale [][]byte // left behind by an index that went back in time
	for _, o := range old {
		e, ok, err := d.index.get(o.key)
		if err != nil {
			return c, err
		}
		if ok && !e.Live && e.Created.Equal(o.created) {
			c.remove = append(c.remove, e)
		} else {
			stale = append(stale, stagedKey(o.created, o.key))
		}
	}
	if err := d.deleteKeys(stale); err != nil {
		return c, err
	}
	return c, d.enact(c)
}
