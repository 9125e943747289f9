package shardstore

import (
	"fmt"
	"sort"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/dgraph-io/badger/v4"
)

// Resync follows a journal that was trimmed up to to, where entries that do not
// count any more are gone: live ones with a tombstone, and such tombstones. next
// gives what is left, from the beginning of the journal up to the entry numbered
// to, in order, some at a time, and nothing at the end. All of it is done as in
// Advance. After that,
//
//   - shards that are live by a number up to to, but were not told of by it, are
//     deleted, and such marks are taken out: a tombstone has gone by unseen, or
//     the satellite has lost entries and given out their numbers again;
//   - staged shards of which nothing was said stay: they expire;
//   - and at last the cursor is at to, unless it is ahead of that.
//
// What the journal is known to have said of a segment after to goes before that,
// and is to be followed after it. It has to begin at the beginning, wherever the
// cursor is, since a tombstone that was trimmed may have been for an entry before
// the cursor. A live entry that another of its segment has overtaken may be left
// out only if that comes.
//
// If it fails, or the process ends, it is to be called again: what was done
// already is harmless. No Advance of the group may run beside it. It holds 24
// bytes in memory for each live entry. Errors: ErrFull, and those of next.
func (s *Store) Resync(group uint32, to uint64, next func() ([]Entry, error)) error {
	told, err := s.followAll(group, to, next)
	if err == nil {
		_, err = s.deleteAll(group, to, func(key Key, seq uint64) bool {
			return key.Group == group && seq != 0 && seq <= to && !told.has(key.Segment, seq)
		})
	}
	if err == nil {
		err = s.carryOut(group, s.planNothing, to)
	}
	if err != nil {
		return fmt.Errorf("follow the trimmed journal of group %d: %w", group, err)
	}
	return nil
}

// A liveList is what was told to be live, by number.
type liveList []struct {
	seq     uint64
	segment order.SegmentID
}

func (l liveList) has(segment order.SegmentID, seq uint64) bool {
	i := sort.Search(len(l), func(i int) bool { return l[i].seq >= seq })
	return i < len(l) && l[i].seq == seq && l[i].segment == segment
}

// followAll does what all entries say and tells which are live.
func (s *Store) followAll(group uint32, to uint64, next func() ([]Entry, error)) (told liveList, err error) {
	last := uint64(0)
	for {
		page, err := next()
		if err != nil || len(page) == 0 {
			return told, err
		}
		if err := checkOrder(last, page); err != nil {
			return nil, err
		}
		if last = lastSeq(page); last > to {
			return nil, fmt.Errorf("entry %d comes after the last, %d", last, to)
		}
		for len(page) > 0 {
			part := page[:min(len(page), advanceBatch)]
			page = page[len(part):]
			plan := func() ([]change, int, error) { return s.planTrimmed(group, part, to) }
			if err := s.carryOut(group, plan, 0); err != nil {
				return nil, err
			}
			for _, e := range part {
				if e.Live {
					told = append(told, liveList{{e.Seq, e.Segment}}...)
				}
			}
		}
	}
}

// planTrimmed is plan for entries of a trimmed journal. What is not held is
// missing, also where a cursor is past it. A number up to to that is known of a
// segment may be one that has another meaning by now, so that a live entry goes
// before it.
func (s *Store) planTrimmed(group uint32, entries []Entry, to uint64) (changes []change, missing int, err error) {
	changes = make([]change, len(s.dirs))
	for key, e := range newest(group, entries) {
		upTo := e.Seq
		if e.Live {
			upTo = to
		}
		n, err := s.planOne(changes, key, e, upTo, func(int) bool { return true })
		if err != nil {
			return nil, 0, err
		}
		missing += n
	}
	return changes, missing, nil
}

func (s *Store) planNothing() ([]change, int, error) { return make([]change, len(s.dirs)), 0, nil }

// deleteAll deletes of a group what is dead by the number of a live shard or of
// a mark, or 0 for a staged shard, and says how many shards these were. What the
// journal is known to have said behind upTo goes before that. It takes some at
// a time, marks first: once they are gone no shard comes alive by one.
func (s *Store) deleteAll(group uint32, upTo uint64, dead func(key Key, seq uint64) bool) (n int, err error) {
	s.sweep.Lock()
	defer s.sweep.Unlock()
	s.setDying(dead)
	defer s.setDying(nil)
	for _, kind := range []byte{keyMissing, keyShard} {
		for i := range s.dirs {
			w := sweeper{store: s, dir: s.dirs[i], kind: kind, at: Key{Group: group}, upTo: upTo, dead: dead}
			for !w.done {
				if err := s.carryOut(group, w.plan, 0); err != nil {
					return n, err
				}
				n += w.removed
			}
		}
	}
	return n, nil
}

func (s *Store) setDying(dead func(Key, uint64) bool) {
	s.index.Lock()
	defer s.index.Unlock()
	s.dying = dead
}

// A sweeper goes through the marks or the entries that a directory has of a
// group.
type sweeper struct {
	store   *Store
	dir     *dir
	kind    byte
	upTo    uint64
	dead    func(key Key, seq uint64) bool
	at      Key // all up to here was looked at
	removed int // in all directories, by the last plan
	done    bool
}

// plan works out what the next keys come to.
func (w *sweeper) plan() (changes []change, missing int, err error) {
	changes = make([]change, len(w.store.dirs))
	keys, err := w.next()
	for _, key := range keys {
		n, err := w.store.planOne(changes, key, Entry{}, w.upTo, nil)
		if err != nil {
			return nil, 0, err
		}
		missing += n
	}
	w.removed = 0
	for _, c := range changes {
		w.removed += len(c.remove)
	}
	return changes, missing, err
}

// next gives those of the next keys that are dead.
func (w *sweeper) next() (keys []Key, err error) {
	seen := 0
	err = w.dir.index.view(func(txn *badger.Txn) error {
		return scanAfter(txn, groupKey(w.kind, w.at.Group), appendKey([]byte{w.kind}, w.at), func(raw, value []byte) error {
			key, seq, err := decodeSeq(raw, value)
			if err != nil {
				return err
			}
			if w.at = key; w.dead(key, seq) {
				keys = append(keys, key)
			}
			if seen++; seen == advanceBatch {
				return errStop
			}
			return nil
		})
	})
	w.done = seen < advanceBatch
	return keys, err
}

// decodeSeq reads the key and the number of an entry or a mark.
func decodeSeq(raw, value []byte) (Key, uint64, error) {
	if raw[0] == keyShard {
		var e entry
		err := e.read(raw, value)
		return e.Key, e.Seq, err
	}
	key, err := decodeKey(raw[1:])
	if err != nil {
		return Key{}, 0, err
	}
	var m mark
	err = m.decode(value)
	return key, m.seq, err
}
