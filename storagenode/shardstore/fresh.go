package shardstore

import (
	"fmt"
	"sync"

	"github.com/dgraph-io/badger/v4"
)

const (
	freshMost  = 500      // entries
	freshBytes = 16 << 20 // of their records, which a start after a crash reads whole
)

// Fresh are the entries of staged shards that Badger has yet to be given: many
// in one transaction cost it a fraction of what each by itself does, and most
// are live by then, which saves writing them twice. A crash takes them away like
// anything else that was not synced, and the volumes give them back.
type fresh struct {
	mu      sync.RWMutex // held for writing until Badger has what goes from here
	entries map[Key]entry
	bytes   int64
}

// newcomer is the fresh entry of a shard, if there is one.
func (x *index) newcomer(key Key) (e entry, ok bool) {
	x.fresh.mu.RLock()
	defer x.fresh.mu.RUnlock()
	e, ok = x.fresh.entries[key]
	return e, ok
}

// enter puts in the entry of a staged shard, of which there is none.
func (x *index) enter(e entry) error {
	x.expect(shardKey(e.Key))
	x.fresh.mu.Lock()
	defer x.fresh.mu.Unlock()
	if len(x.fresh.entries) >= freshMost || x.fresh.bytes+e.length() > freshBytes {
		if err := x.write(); err != nil {
			return err
		}
	}
	if x.fresh.entries == nil {
		x.fresh.entries = make(map[Key]entry)
	}
	x.fresh.entries[e.Key] = e
	x.fresh.bytes += e.length()
	return nil
}

// supersede runs f in a transaction in which it writes all there is to say of
// some shards. It is told of each whether its entry is in Badger.
func (x *index) supersede(f func(txn *badger.Txn, inBadger func(Key) bool) error, shards ...[]entry) error {
	x.fresh.mu.Lock()
	defer x.fresh.mu.Unlock()
	err := x.update(func(txn *badger.Txn) error {
		return f(txn, func(key Key) bool { _, isFresh := x.fresh.entries[key]; return !isFresh })
	})
	if err != nil {
		return err
	}
	for _, some := range shards {
		for i := range some {
			if e, ok := x.fresh.entries[some[i].Key]; ok {
				x.fresh.bytes -= e.length()
				delete(x.fresh.entries, e.Key)
			}
		}
	}
	return nil
}

// flush gives Badger all that is fresh.
func (x *index) flush() error {
	x.fresh.mu.Lock()
	defer x.fresh.mu.Unlock()
	return x.write()
}

func (x *index) write() error {
	if len(x.fresh.entries) == 0 {
		return nil
	}
	if err := x.room(); err != nil {
		return fmt.Errorf("index %s: %w", x.path, err)
	}
	err := x.update(func(txn *badger.Txn) error {
		for _, e := range x.fresh.entries {
			if err := setEntry(txn, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	clear(x.fresh.entries)
	x.fresh.bytes = 0
	return nil
}
