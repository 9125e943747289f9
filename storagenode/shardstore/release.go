package shardstore

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// Release deletes all that is held of a group, with its marks and its cursor,
// for a node that has left it, and says how many shards these were. If it fails,
// or the process ends, it is to be called again, but does no harm if the node is
// in the group again then: the cursor goes first, so that the journal will tell
// what is missing. Shards that are being written meanwhile may be left over; see
// Groups. No Advance of the group may run beside it.
func (s *Store) Release(group uint32) (n int, err error) {
	if err = s.dropCursors(cursorKey(group)); err == nil {
		n, err = s.deleteAll(group, math.MaxUint64, func(key Key, _ uint64) bool { return key.Group == group })
	}
	if err != nil {
		return n, fmt.Errorf("release group %d: %w", group, err)
	}
	return n, nil
}

// Rewind has all journals read again from their beginnings, so that they tell
// what is missing. That is needed when a directory was given up: the others took
// its shards for held.
func (s *Store) Rewind() error {
	if err := s.dropCursors([]byte{keyCursor}); err != nil {
		return fmt.Errorf("forget how far the journals were followed: %w", err)
	}
	return nil
}

// dropCursors takes out the cursors whose keys begin so, durably.
func (s *Store) dropCursors(prefix []byte) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.exit()
	for _, d := range s.dirs {
		if err := d.hasFree(d.indexFloor()); err != nil {
			return err
		}
		groups, err := d.index.groups(prefix)
		if err != nil {
			return err
		}
		var keys [][]byte
		for _, g := range groups {
			keys = append(keys, cursorKey(g))
		}
		if err := errors.Join(d.deleteKeys(keys), d.index.sync()); err != nil {
			return err
		}
		for _, g := range groups {
			s.changed(g)
		}
	}
	return nil
}

// Groups gives the groups of which there is anything in the store: shards,
// marks, or a cursor.
func (s *Store) Groups() ([]uint32, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.exit()
	var all []uint32
	for _, d := range s.dirs {
		for _, kind := range []byte{keyShard, keyMissing, keyCursor} {
			groups, err := d.index.groups([]byte{kind})
			if err != nil {
				return nil, err
			}
			all = append(all, groups...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// groups gives the groups that have keys with a prefix, which is a kind of keys
// and maybe a group.
func (x *index) groups(prefix []byte) (groups []uint32, err error) {
	err = x.view(func(txn *badger.Txn) error {
		opts := badger.DefaultIteratorOptions
		opts.Prefix, opts.PrefetchValues = prefix, false
		it := txn.NewIterator(opts)
		defer it.Close()
		for it.Rewind(); it.Valid(); {
			group, err := decodeGroup(it.Item().Key())
			if err != nil {
				return err
			}
			groups = append(groups, group)
			if group == math.MaxUint32 {
				return nil
			}
			it.Seek(groupKey(prefix[0], group+1))
		}
		return nil
	})
	return groups, err
}
