package shardstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

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
// from Cursor on, or from before it: what was done already is harmless. When it
// returns nil, the outcome is durable. Errors: ErrFull when the disk has no room
// even for that.
func (s *Store) Advance(group uint32, entries []Entry) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.exit()
	if err := checkOrder(0, entries); err != nil {
		return fmt.Errorf("journal of group %d: %w", group, err)
	}
	for len(entries) > 0 {
		part := entries[:min(len(entries), advanceBatch)]
		entries = entries[len(part):]
		if err := s.advance(group, part); err != nil {
			return fmt.Errorf("follow the journal of group %d: %w", group, err)
		}
	}
	return nil
}

// checkOrder makes sure that the numbers of entries ascend from after on.
func checkOrder(after uint64, entries []Entry) error {
	for _, e := range entries {
		if e.Seq <= after {
			return fmt.Errorf("entry %d comes after entry %d", e.Seq, after)
		}
		after = e.Seq
	}
	return nil
}

// A change is what a batch of journal entries comes to in one directory.
type change struct {
	confirm []entry // as they were, but with the number they get
	remove  []entry
	mark    map[Key]mark
	fresh   int // of mark: those of keys that had none
	unmark  []Key
}

func (c *change) addMark(key Key, m mark, fresh bool) {
	if c.mark == nil {
		c.mark = make(map[Key]mark)
	}
	c.mark[key] = m
	c.fresh += btoi(fresh)
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
	s.changed(group)
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
	h, err := s.holding(key)
	if err != nil || h.word().seq > e.Seq {
		return 0, err // the journal has said more since
	}
	held := false
	for i, old := range h.entries {
		switch {
		case old == nil:
		case e.Live && old.Root == e.Root:
			held = true
			changes[i].confirmAs(old, e.Seq)
		default: // deleted, or a shard that is none of the committed segment
			changes[i].remove = append(changes[i].remove, *old)
		}
	}
	after, want := false, mark{seq: e.Seq, size: e.Size, root: e.Root}
	for i, m := range h.marks {
		switch wanted := e.Live && !held; {
		case m != nil && !wanted:
			changes[i].unmark = append(changes[i].unmark, key)
		case wanted && (m != nil || cursors[i] < e.Seq):
			after = true
			if m == nil || *m != want {
				changes[i].addMark(key, want, m == nil)
			}
		}
	}
	return btoi(after) - btoi(h.isMarked()), nil
}

// confirmAs makes an entry a live one with this number, unless it is that.
func (c *change) confirmAs(e *entry, seq uint64) {
	if e.Live && e.Seq == seq {
		return
	}
	confirmed := *e
	confirmed.Seq = seq
	c.confirm = append(c.confirm, confirmed)
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
	for i := range c.confirm {
		d.staged -= btoi(!c.confirm[i].Live)
	}
	d.missing += c.fresh - len(c.unmark)
	for i := range c.remove {
		d.count(&c.remove[i], -1)
		delete(d.unread, c.remove[i].place)
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
