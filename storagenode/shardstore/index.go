package shardstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/cairnstorage/cairn/storagenode/internal/durable"
	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// An index is the Badger database of one data directory. Writes to it are not
// synced one by one: what a crash takes away is found again in the volumes
// behind the checkpoint, or in the journals behind the cursors, both of which
// are in the index and so never say more than it holds.
type index struct {
	path string
	*tidier

	mu     sync.RWMutex // held while db is used; locked to put another in its place
	db     *badger.DB   // nil: it could not be opened again
	broken error        // why

	fresh fresh
	known known
	size  func() int // about how many entries and marks there are
	spare int        // see filterSpare
}

// openIndex opens the index in path, or makes it.
func openIndex(path string, readOnly bool) (*index, error) {
	if err := checkTables(path); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrIndex, path, err)
	}
	if err := dropEmptyLogs(path); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrIndex, path, err)
	}
	db, err := openBadger(indexOptions(path).WithReadOnly(readOnly))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrIndex, path, err)
	}
	none := func() int { return 0 }
	return &index{path: path, tidier: newTidier(), db: db, size: none, spare: filterSpare}, nil
}

// openBadger is badger.Open, which panics over some kinds of damage.
func openBadger(options badger.Options) (db *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return badger.Open(options)
}

// dropEmptyLogs removes what is left of a log that Badger was removing when the
// process ended: it truncates first, and does not open what is empty. All that
// such a log held is in tables.
func dropEmptyLogs(path string) error {
	names, err := filepath.Glob(filepath.Join(path, "*.mem"))
	if err != nil {
		return err
	}
	for _, name := range names {
		st, err := os.Stat(name)
		if err == nil && st.Size() == 0 {
			err = os.Remove(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// indexOptions keep Badger small, and quiet: nothing is compacted (see tidier).
func indexOptions(path string) badger.Options {
	return badger.DefaultOptions(path).
		WithLogger(nil).
		WithMetricsEnabled(false).
		WithDetectConflicts(false). // the store's lock does that
		WithSyncWrites(false).
		WithMemTableSize(4 << 20).
		WithValueThreshold(64 << 10).
		WithNumMemtables(2).
		WithNumLevelZeroTables(3).
		WithNumLevelZeroTablesStall(math.MaxInt).
		WithNumCompactors(0).
		WithNumGoroutines(1).
		WithValueLogFileSize(1 << 20). // stays empty: no value is that large
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithChecksumVerificationMode(options.OnBlockRead)
}

func (x *index) close() error {
	x.tidier.stop()
	err := x.flush()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.db == nil {
		return x.broken
	}
	return errors.Join(err, x.db.Close())
}

// use gives f the database.
func (x *index) use(f func(*badger.DB) error) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	err := x.broken
	if x.db != nil {
		err = f(x.db)
	}
	if err != nil {
		return fmt.Errorf("index %s: %w", x.path, err)
	}
	return nil
}

// sync makes all that was written durable, in the order it was written:
// db.Sync would leave out a table of the moment that is just being flushed.
func (x *index) sync() error {
	if err := x.flush(); err != nil {
		return err
	}
	x.mu.RLock() // a database that is being closed syncs what it has by itself
	defer x.mu.RUnlock()
	names, err := filepath.Glob(filepath.Join(x.path, "*.mem"))
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue // flushed meanwhile, and synced with that
		}
		if err != nil {
			return err
		}
		if err := errors.Join(dataSync(f), f.Close()); err != nil {
			return err
		}
	}
	return durable.SyncDir(x.path)
}

// update runs f in a transaction. Only one runs at a time.
func (x *index) update(f func(*badger.Txn) error) error {
	return x.use(func(db *badger.DB) error {
		defer x.tidyIfDue(db)
		return db.Update(f)
	})
}

// view runs f in a transaction that reads all there is.
func (x *index) view(f func(*badger.Txn) error) error {
	if err := x.flush(); err != nil {
		return err
	}
	return x.peek(f)
}

// peek is view without the fresh entries.
func (x *index) peek(f func(*badger.Txn) error) error {
	return x.use(func(db *badger.DB) error { return db.View(f) })
}

// find gives the value of an entry or a mark to f and reports whether there is one
// in Badger.
func (x *index) find(raw []byte, f func(value []byte) error) (ok bool, err error) {
	if x.lacks(raw) {
		return false, nil
	}
	err = x.peek(func(txn *badger.Txn) error {
		ok, err = read(txn, raw, f)
		return err
	})
	return ok, err
}

// read gives the value of a key to f and reports whether there is one.
func read(txn *badger.Txn, key []byte, f func(value []byte) error) (bool, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, item.Value(f)
}

// scan gives all keys with a prefix, and their values, to f, in order, until
// it returns errStop.
func scan(txn *badger.Txn, prefix []byte, f func(key, value []byte) error) error {
	return scanAfter(txn, prefix, prefix, f)
}

// scanAfter is scan for the keys that come after one.
func scanAfter(txn *badger.Txn, prefix, after []byte, f func(key, value []byte) error) error {
	opts := badger.DefaultIteratorOptions
	opts.Prefix = prefix
	it := txn.NewIterator(opts)
	defer it.Close()
	for it.Seek(after); it.Valid(); it.Next() {
		item := it.Item()
		if bytes.Equal(item.Key(), after) {
			continue
		}
		err := item.Value(func(value []byte) error { return f(item.Key(), value) })
		if errors.Is(err, errStop) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var errStop = errors.New("stop")

// get is the entry of a shard; ok is false when there is none.
func (x *index) get(key Key) (e entry, ok bool, err error) {
	if e, ok = x.newcomer(key); ok {
		return e, true, nil
	}
	ok, err = x.find(shardKey(key), func(value []byte) error { return e.decode(key, value) })
	return e, ok, err
}

// mark is the mark for a missing shard; ok is false when there is none.
func (x *index) mark(key Key) (m mark, ok bool, err error) {
	ok, err = x.find(missingKey(key), m.decode)
	return m, ok, err
}

// look gives both the entry and the mark of a key, nil where there is none.
func (x *index) look(key Key) (e *entry, m *mark, err error) {
	held, ok, err := x.get(key)
	if err != nil {
		return nil, nil, err
	}
	if ok {
		e = &held
	}
	missing, ok, err := x.mark(key)
	if ok {
		m = &missing
	}
	return e, m, err
}

// cursor is up to where the directory has followed a group's journal.
func (x *index) cursor(group uint32) (seq uint64, err error) {
	err = x.peek(func(txn *badger.Txn) error {
		_, err := read(txn, cursorKey(group), func(value []byte) error {
			if len(value) != 8 {
				return errFormat
			}
			seq = binary.BigEndian.Uint64(value)
			return nil
		})
		return err
	})
	return seq, err
}

// checkpoint is the place behind which records may be missing in the index.
func (x *index) checkpoint() (volume uint32, offset int64, err error) {
	err = x.peek(func(txn *badger.Txn) error {
		_, err := read(txn, []byte{keyCheckpoint}, func(value []byte) error {
			volume, offset, err = decodePlace(value)
			return err
		})
		return err
	})
	return volume, offset, err
}

// errNoIdentity is returned by matches for an index that says nothing of itself.
var errNoIdentity = errors.New("it is empty")

// matches returns ErrIndex unless the index belongs to the data directory.
func (x *index) matches(d identity) error {
	var id []byte
	err := x.peek(func(txn *badger.Txn) error {
		_, err := read(txn, []byte{keyIdentity}, func(value []byte) error {
			id = bytes.Clone(value)
			return nil
		})
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrIndex, err)
	case id == nil:
		return fmt.Errorf("%w: %s: %w", ErrIndex, x.path, errNoIdentity)
	case len(id) == len(d.id) || len(id) == len(d.id)+1 && id[len(d.id)] != indexVersion:
		return fmt.Errorf("%w: %s is in another version of the format", ErrIndex, x.path)
	case !bytes.Equal(id, indexIdentity(d)):
		return fmt.Errorf("%w: %s belongs to another data directory", ErrIndex, x.path)
	}
	return nil
}

// checkIdentity is matches, but lets a new index belong to the directory.
func (x *index) checkIdentity(d identity, isNew bool) error {
	err := x.matches(d)
	if !isNew || !errors.Is(err, errNoIdentity) {
		return err
	}
	err = x.update(func(txn *badger.Txn) error { return txn.Set([]byte{keyIdentity}, indexIdentity(d)) })
	return errors.Join(err, x.sync())
}

// indexIdentity is what an index says of itself: whose it is, and its version.
func indexIdentity(d identity) []byte { return append(d.id[:len(d.id):len(d.id)], indexVersion) }
