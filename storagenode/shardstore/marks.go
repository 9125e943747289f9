package shardstore

import (
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// A holding is what all directories have of one key.
type holding struct {
	entries []*entry // by directory; nil: it has no such shard
	marks   []*mark
}

func (s *Store) holding(key Key) (h holding, err error) {
	h.entries, h.marks = make([]*entry, len(s.dirs)), make([]*mark, len(s.dirs))
	for i, d := range s.dirs {
		if h.entries[i], h.marks[i], err = d.index.look(key); err != nil {
			return holding{}, err
		}
	}
	return h, nil
}

// word is the last that the journal is known to have said of the segment while
// it was live: the newest of the marks and of what made entries live.
func (h *holding) word() (last mark) {
	for _, m := range h.marks {
		if m != nil && m.seq > last.seq {
			last = *m
		}
	}
	for _, e := range h.entries {
		if e != nil && e.Seq > last.seq {
			last = e.asMark()
		}
	}
	return last
}

// asMark is the mark that stands for a live shard that is not held any more.
func (e *entry) asMark() mark { return mark{seq: e.Seq, size: e.Layout.Size, root: e.Root} }

func (h *holding) isMarked() bool { return slices.ContainsFunc(h.marks, isMark) }

func isMark(m *mark) bool { return m != nil }

// settleMarks brings marks and entries of all directories together after
// whatever ended the last process, and counts what is missing. A shard that is
// held although it is marked came after its journal entry, and the index has
// gone back to before that, or its mark could not be taken out: it is live. One
// of another root than the journal's last word is none of its shards.
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
			return scan(txn, []byte{keyMissing}, func(raw, _ []byte) error {
				key, err := decodeKey(raw[1:])
				if err != nil {
					return err
				}
				first, held, err := s.planMark(changes, i, key)
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
func (s *Store) planMark(changes []change, i int, key Key) (first, held bool, err error) {
	h, err := s.holding(key)
	if err != nil {
		return false, false, err
	}
	first = !slices.ContainsFunc(h.marks[:i], isMark)
	word := h.word()
	for j, e := range h.entries {
		switch {
		case e == nil:
		case e.Root != word.root && first:
			changes[j].remove = append(changes[j].remove, *e)
		case e.Root == word.root:
			held = true
			if first {
				changes[j].confirmAs(e, word.seq)
			}
		}
	}
	return first, held, nil
}
