package shardstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

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
	if err := checkOrder(0, entries); err != nil {
		return fmt.Errorf("journal of group %d: %w", group, err)
	}
	for {
		part := entries[:min(len(entries), advanceBatch)]
		entries = entries[len(part):]
		plan := func() ([]change, int, error) { return s.plan(group, part) }
		if err := s.carryOut(group, plan, lastSeq(part)); err != nil {
			return fmt.Errorf("follow the journal of group %d: %w", group, err)
		}
		if len(entries) == 0 {
			return nil
		}
	}
}

func lastSeq(entries []Entry) uint64 {
	if len(entries) == 0 {
		return 0
	}
	return entries[len(entries)-1].Seq
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

// isAny reports whether there is anything to do.
func (c change) isAny() bool { return len(c.confirm)+len(c.remove)+len(c.mark)+len(c.unmark) > 0 }

func (c *change) addMark(key Key, m mark, fresh bool) {
	if c.mark == nil {
		c.mark = make(map[Key]mark)
	}
	c.mark[key] = m
	c.fresh += btoi(fresh)
}

func (c *change) markKeys() (raw [][]byte) {
	for key := range c.mark {
		raw = append(raw, missingKey(key))
	}
	return raw
}

// carryOut does what a plan comes to, durably, and moves the group's cursor to
// seq then, unless that is behind it.
func (s *Store) carryOut(group uint32, plan func() ([]change, int, error), seq uint64) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.exit()
	for _, d := range s.dirs {
		if err := d.hasFree(d.indexFloor()); err != nil {
			return err
		}
	}
	changes, err := s.enactAll(plan)
	if err == nil && seq == 0 && !slices.ContainsFunc(changes, change.isAny) {
		return nil
	}
	// What a directory has taken in must be durable before another forgets that
	// it was missing there, or that it has to be asked for again.
	for _, d := range s.dirs[:len(changes)] {
		err = errors.Join(err, d.index.sync())
	}
	for i, c := range changes {
		move := func(txn *badger.Txn) error { return setCursor(txn, group, seq) }
		if err != nil || seq == 0 {
			move = nil // read again from here, and from the same place everywhere
		}
		err = errors.Join(err, s.dirs[i].settle(c, move))
	}
	s.changed(group)
	return err
}

// enactAll makes a plan and writes down what it comes to. It returns the
// changes of the directories where that was done.
func (s *Store) enactAll(plan func() (changes []change, missing int, err error)) ([]change, error) {
	s.index.Lock()
	defer s.index.Unlock()
	changes, missing, err := plan()
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

// newest gives the newest entry of each segment, which decides.
func newest(group uint32, entries []Entry) map[Key]Entry {
	last := make(map[Key]Entry, len(entries))
	for _, e := range entries {
		last[Key{Segment: e.Segment, Group: group}] = e
	}
	return last
}

// plan works out what entries come to, and by how much the number of missing
// shards changes.
func (s *Store) plan(group uint32, entries []Entry) (changes []change, missing int, err error) {
	cursors := make([]uint64, len(s.dirs))
	for i, d := range s.dirs {
		if cursors[i], err = d.index.cursor(group); err != nil {
			return nil, 0, err
		}
	}
	changes = make([]change, len(s.dirs))
	for key, e := range newest(group, entries) {
		n, err := s.planOne(changes, key, e, e.Seq, func(dir int) bool { return cursors[dir] < e.Seq })
		if err != nil {
			return nil, 0, err
		}
		missing += n
	}
	return changes, missing, nil
}

// planOne adds what one entry comes to, and returns by how much the number of
// missing shards changes. What the journal is known to have said behind upTo
// goes before it. A mark is put into those directories that lack it, which are
// all that the journal takes past the entry, and taken out of all: each must
// know of the shard when the others are away.
func (s *Store) planOne(changes []change, key Key, e Entry, upTo uint64, lacks func(dir int) bool) (missing int, err error) {
	h, err := s.holding(key)
	if err != nil || h.word().seq > upTo {
		return 0, err
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
		case wanted && (m != nil || lacks(i)):
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
	if len(c.mark) > 0 {
		d.index.expect(c.markKeys()...)
	}
	err := d.index.supersede(func(txn *badger.Txn, inBadger func(Key) bool) error {
		for _, e := range c.confirm {
			if err := confirmEntry(txn, e, inBadger(e.Key)); err != nil {
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
	}, c.confirm, c.remove)
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
