package shardstore

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
)

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
