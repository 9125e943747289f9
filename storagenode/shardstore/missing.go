package shardstore

import (
	"bytes"
	"cmp"
	"slices"
	"sync"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/dgraph-io/badger/v4"
)

// What is held of a group and what is missing, over all directories.

// missingPage is how many marks Missing reads at a time.
const missingPage = 500

// Revisions count the changes to what a group misses.
type revisions struct {
	mu sync.Mutex
	of map[uint32]uint64
}

// Revision is a number that changes whenever what is missing of a group, or how
// far its journal was followed, may have changed. It begins anew with each Open.
func (s *Store) Revision(group uint32) uint64 {
	s.revisions.mu.Lock()
	defer s.revisions.mu.Unlock()
	return s.revisions.of[group]
}

// changed is called after what is missing of a group has changed.
func (s *Store) changed(group uint32) {
	s.revisions.mu.Lock()
	defer s.revisions.mu.Unlock()
	if s.revisions.of == nil {
		s.revisions.of = make(map[uint32]uint64)
	}
	s.revisions.of[group]++
}

// Missing calls f for each live journal entry of a group whose shard is not
// held, in order of segment ids, until it returns false. It reads some at a
// time: shards that come meanwhile may still be told, and f may use the store.
func (s *Store) Missing(group uint32, f func(Missing) bool) error {
	var after order.SegmentID
	for {
		page, err := s.missingAfter(group, after)
		if err != nil {
			return err
		}
		for _, m := range page {
			if !f(m) {
				return nil
			}
			after = m.Segment
		}
		if len(page) < missingPage {
			return nil
		}
	}
}

func (s *Store) missingAfter(group uint32, after order.SegmentID) ([]Missing, error) {
	return pageOf(s, keyMissing, Key{Segment: after, Group: group}, missingPage,
		func(raw, value []byte) (Missing, error) {
			key, err := decodeKey(raw[1:])
			if err != nil {
				return Missing{}, err
			}
			var m mark
			err = m.decode(value)
			return Missing{Seq: m.seq, Segment: key.Segment, Size: m.size, Root: m.root}, err
		},
		func(a, b Missing) int {
			return cmp.Or(bytes.Compare(a.Segment[:], b.Segment[:]), cmp.Compare(b.Seq, a.Seq))
		},
		func(a, b Missing) bool { return a.Segment == b.Segment })
}

// MissingOf gives the live journal entry of a key, if there is one and its shard
// is not held.
func (s *Store) MissingOf(key Key) (m Missing, ok bool, err error) {
	if err := s.enter(); err != nil {
		return m, false, err
	}
	defer s.exit()
	h, err := s.holding(key)
	if err != nil || !h.isMarked() {
		return m, false, err
	}
	word := h.word()
	return Missing{Seq: word.seq, Segment: key.Segment, Size: word.size, Root: word.root}, true, nil
}

// MissingRuns gives the numbers of all live journal entries of a group whose
// shards are not held, and the Revision that this stands for. It holds 8 bytes
// in memory for each. A Cursor that goes with it has to be asked for before.
func (s *Store) MissingRuns(group uint32) (seqset.Set, uint64, error) {
	if err := s.enter(); err != nil {
		return nil, 0, err
	}
	defer s.exit()
	revision := s.Revision(group)
	var numbers []uint64
	for _, d := range s.dirs {
		err := d.index.view(func(txn *badger.Txn) error {
			return scan(txn, groupKey(keyMissing, group), func(_, value []byte) error {
				var m mark
				if err := m.decode(value); err != nil {
					return err
				}
				numbers = append(numbers, m.seq)
				return nil
			})
		})
		if err != nil {
			return nil, 0, err
		}
	}
	slices.Sort(numbers)
	return seqset.Numbers(numbers), revision, nil
}

// Inventory gives what is held of a group, live and staged, in order of segment
// ids: those after one, at most so many. After the zero id come all. What
// several directories have is told once.
func (s *Store) Inventory(group uint32, after order.SegmentID, limit int) ([]Info, error) {
	return pageOf(s, keyShard, Key{Segment: after, Group: group}, limit,
		func(raw, value []byte) (Info, error) {
			var e entry
			err := e.read(raw, value)
			return e.Info, err
		},
		func(a, b Info) int {
			return cmp.Or(bytes.Compare(a.Segment[:], b.Segment[:]), cmp.Compare(b.Seq, a.Seq))
		},
		func(a, b Info) bool { return a.Segment == b.Segment })
}

// pageOf merges what the directories have of one kind of keys of a group after
// one, in order, and gives at most limit of that. Of those that are the same it
// keeps the first. The first limit of all are among the first limit of each.
func pageOf[T any](s *Store, kind byte, after Key, limit int, decode func(raw, value []byte) (T, error),
	compare func(a, b T) int, same func(a, b T) bool) ([]T, error) {

	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.exit()
	var all []T
	for _, d := range s.dirs {
		before := len(all)
		err := d.index.view(func(txn *badger.Txn) error {
			return scanAfter(txn, groupKey(kind, after.Group), appendKey([]byte{kind}, after), func(raw, value []byte) error {
				item, err := decode(raw, value)
				if err != nil {
					return err
				}
				if all = append(all, item); len(all)-before >= limit {
					return errStop
				}
				return nil
			})
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, compare)
	all = slices.CompactFunc(all, same)
	return all[:min(len(all), limit)], nil
}
