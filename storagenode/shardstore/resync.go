package shardstore

import (
	"fmt"

	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/dgraph-io/badger/v4"
)

// Resync follows a journal that was trimmed, from which entries that do not
// count any more are gone: live ones with a tombstone, and such tombstones. next
// gives what is left, from the beginning of the journal up to the entry numbered
// to, in order, some at a time, and nothing at the end. All of it is done as in
// Advance. After that,
//
//   - shards that are live by a number up to to that did not come are deleted,
//     and marks with such numbers are taken out: a tombstone has gone by unseen;
//   - staged shards of which nothing was said stay: they expire;
//   - and at last the cursor is at to, unless it is ahead of that.
//
// It has to begin at the beginning, wherever the cursor is, and to go to the end
// of the journal, since a tombstone that was trimmed may have been for an entry
// before the cursor, and a segment whose number does not come may be told of
// again later.
//
// If it fails, or the process ends, it is to be called again: what was done
// already is harmless. No Advance of the group may run beside it. It holds 16
// bytes in memory for each run of live numbers. Errors: ErrFull, and those of
// next.
func (s *Store) Resync(group uint32, to uint64, next func() ([]Entry, error)) error {
	numbers, err := s.followAll(group, to, next)
	if err == nil {
		_, err = s.deleteAll(group, to, func(key Key, seq uint64) bool {
			return key.Group == group && seq != 0 && seq <= to && !numbers.Contains(seq)
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

// followAll does what all entries say and gives the numbers of the live ones.
func (s *Store) followAll(group uint32, to uint64, next func() ([]Entry, error)) (live seqset.Set, err error) {
	last := uint64(0)
	for {
		page, err := next()
		if err != nil || len(page) == 0 {
			return live, err
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
			plan := func() ([]change, int, error) { return s.plan(group, part, true) }
			if err := s.carryOut(group, plan, 0); err != nil {
				return nil, err
			}
			live = addLive(live, part)
		}
	}
}

// addLive adds the numbers of live entries that come after all in the set.
func addLive(numbers seqset.Set, entries []Entry) seqset.Set {
	for _, e := range entries {
		switch n := len(numbers); {
		case !e.Live:
		case n > 0 && numbers[n-1].Last+1 == e.Seq:
			numbers[n-1].Last = e.Seq
		default:
			numbers = append(numbers, seqset.Run{First: e.Seq, Last: e.Seq})
		}
	}
	return numbers
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
