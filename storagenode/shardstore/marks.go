package shardstore

import (
	"github.com/dgraph-io/badger/v4"
)

// settleMarks brings marks and entries of all directories together after
// whatever ended the last process, and counts what is missing. A shard that is
// held although it is marked came after its journal entry, and the index has
// gone back to before that, or its mark could not be taken out: it is live. One
// of another root than the journal's was never acknowledged.
func (s *Store) settleMarks() error {
	s.index.Lock()
	defer s.index.Unlock()
	changes, marked, err := s.planMarks()
	if err != nil {
		return err
	}
	// First all that is live, durably: see unmark.
	for i, d := range s.dirs {
		c := change{confirm: changes[i].confirm, remove: changes[i].remove}
		if err := d.applyParts(c); err != nil {
			return err
		}
	}
	for i, d := range s.dirs {
		if err := d.applyParts(change{unmark: changes[i].unmark}); err != nil {
			return err
		}
	}
	s.missing.Store(int64(marked))
	return nil
}

// applyParts enacts and settles a change, some of it at a time.
func (d *dir) applyParts(c change) error {
	for len(c.confirm)+len(c.remove)+len(c.unmark) > 0 {
		part := change{}
		part.confirm, c.confirm = cut(c.confirm)
		part.remove, c.remove = cut(c.remove)
		part.unmark, c.unmark = cut(c.unmark)
		if err := d.hasFree(d.indexFloor()); err != nil {
			return err
		}
		if err := d.enact(part); err != nil {
			return err
		}
		if err := d.settle(part, nil); err != nil {
			return err
		}
	}
	return nil
}

func cut[T any](all []T) (first, rest []T) {
	n := min(len(all), advanceBatch)
	return all[:n], all[n:]
}

// planMarks works out what the marks of all directories come to, and how many
// shards are missing.
func (s *Store) planMarks() (changes []change, missing int, err error) {
	changes = make([]change, len(s.dirs))
	for i, d := range s.dirs {
		err := d.index.view(func(txn *badger.Txn) error {
			return scan(txn, []byte{keyMissing}, func(raw, value []byte) error {
				var m mark
				key, err := decodeKey(raw[1:])
				if err == nil {
					err = m.decode(value)
				}
				if err != nil {
					return err
				}
				first, held, err := s.planMark(changes, i, key, m)
				if held {
					changes[i].unmark = append(changes[i].unmark, key)
				} else if first {
					missing++
				}
				return err
			})
		})
		if err != nil {
			return nil, 0, err
		}
	}
	return changes, missing, nil
}

// planMark works out what a mark of directory i comes to, and reports whether
// no directory before it has the same, and whether the shard is held.
func (s *Store) planMark(changes []change, i int, key Key, m mark) (first, held bool, err error) {
	first = true
	for _, d := range s.dirs[:i] {
		if _, ok, err := d.index.mark(key); err != nil {
			return false, false, err
		} else if ok {
			first = false
		}
	}
	for j, d := range s.dirs {
		e, ok, err := d.index.get(key)
		switch {
		case err != nil:
			return false, false, err
		case ok && e.Root != m.root && first:
			changes[j].remove = append(changes[j].remove, e)
		case ok && e.Root == m.root:
			held = true
			if first && !e.Live {
				changes[j].confirm = append(changes[j].confirm, e)
			}
		}
	}
	return first, held, nil
}
