package shardstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
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
	db   *badger.DB
}

// The first byte of a key says what it is for.
const (
	keyIdentity   = 'i' // → id of the data directory
	keyShard      = 's' // group, segment → entry
	keyStaged     = 'e' // created, group, segment → nothing: the staged shards by age
	keyMissing    = 'm' // group, segment → mark
	keyPunch      = 'p' // volume, page → pages: deleted, maybe not yet punched
	keyCursor     = 'j' // group → sequence number
	keyCheckpoint = 'c' // → volume, page
)

const (
	entrySize = 72
	markSize  = 48

	stateStaged = 0
	stateLive   = 1
)

// An entry is what the index says of a shard.
type entry struct {
	Info
	place
}

// A mark stands for a live journal entry without its shard.
type mark struct {
	seq  uint64
	size int64
	root merkle.Hash
}

// openIndex opens the index in path, or makes it. Badger panics over some
// kinds of damage.
func openIndex(path string, readOnly bool) (x *index, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %s: %v", ErrIndex, path, p)
		}
	}()
	if err := checkTables(path); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrIndex, path, err)
	}
	if err := dropEmptyLogs(path); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrIndex, path, err)
	}
	db, err := badger.Open(indexOptions(path).WithReadOnly(readOnly))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrIndex, path, err)
	}
	return &index{path: path, db: db}, nil
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

// indexOptions keep Badger small.
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
		WithNumLevelZeroTablesStall(5).
		WithNumCompactors(2).
		WithNumGoroutines(1).
		WithValueLogFileSize(1 << 20). // stays empty: no value is that large
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithChecksumVerificationMode(options.OnBlockRead)
}

func (x *index) close() error { return x.db.Close() }

// sync makes all that was written durable, in the order it was written:
// db.Sync would leave out a table of the moment that is just being flushed.
func (x *index) sync() error {
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
	if err := x.db.Update(f); err != nil {
		return fmt.Errorf("index %s: %w", x.path, err)
	}
	return nil
}

// view runs f in a transaction that reads.
func (x *index) view(f func(*badger.Txn) error) error {
	if err := x.db.View(f); err != nil {
		return fmt.Errorf("index %s: %w", x.path, err)
	}
	return nil
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
	opts := badger.DefaultIteratorOptions
	opts.Prefix = prefix
	it := txn.NewIterator(opts)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		item := it.Item()
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
	err = x.view(func(txn *badger.Txn) error {
		ok, err = read(txn, shardKey(key), func(value []byte) error { return e.decode(key, value) })
		return err
	})
	return e, ok, err
}

// mark is the mark for a missing shard; ok is false when there is none.
func (x *index) mark(key Key) (m mark, ok bool, err error) {
	err = x.view(func(txn *badger.Txn) error {
		ok, err = read(txn, missingKey(key), m.decode)
		return err
	})
	return m, ok, err
}

// cursor is up to where the directory has followed a group's journal.
func (x *index) cursor(group uint32) (seq uint64, err error) {
	err = x.view(func(txn *badger.Txn) error {
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
	err = x.view(func(txn *badger.Txn) error {
		_, err := read(txn, []byte{keyCheckpoint}, func(value []byte) error {
			volume, offset, err = decodePlace(value)
			return err
		})
		return err
	})
	return volume, offset, err
}

// setEntry writes the entry of a shard.
func setEntry(txn *badger.Txn, e entry) error {
	if err := txn.Set(shardKey(e.Key), e.encode()); err != nil || e.Live {
		return err
	}
	return txn.Set(stagedKey(e.Created, e.Key), nil)
}

// confirmEntry makes a staged entry a live one.
func confirmEntry(txn *badger.Txn, e entry) error {
	e.Live = true
	if err := txn.Delete(stagedKey(e.Created, e.Key)); err != nil {
		return err
	}
	return setEntry(txn, e)
}

// deleteEntry takes an entry out, and notes that its place is to be punched.
func deleteEntry(txn *badger.Txn, e entry) error {
	if !e.Live {
		if err := txn.Delete(stagedKey(e.Created, e.Key)); err != nil {
			return err
		}
	}
	if err := txn.Delete(shardKey(e.Key)); err != nil {
		return err
	}
	pages := binary.BigEndian.AppendUint32(nil, uint32(e.length()/pageSize))
	return txn.Set(punchKey(e.volume, e.offset), pages)
}

func shardKey(k Key) []byte   { return appendKey([]byte{keyShard}, k) }
func missingKey(k Key) []byte { return appendKey([]byte{keyMissing}, k) }

func appendKey(b []byte, k Key) []byte {
	b = binary.BigEndian.AppendUint32(b, k.Group)
	return append(b, k.Segment[:]...)
}

func decodeKey(b []byte) (Key, error) {
	if len(b) != 20 {
		return Key{}, fmt.Errorf("key of %d bytes: %w", len(b), errFormat)
	}
	return Key{Group: binary.BigEndian.Uint32(b), Segment: order.SegmentID(b[4:])}, nil
}

func stagedKey(created time.Time, k Key) []byte {
	b := binary.BigEndian.AppendUint64([]byte{keyStaged}, uint64(created.Unix()))
	return appendKey(b, k)
}

func cursorKey(group uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{keyCursor}, group)
}

func punchKey(volume uint32, offset int64) []byte {
	return appendPlace([]byte{keyPunch}, volume, offset)
}

func appendPlace(b []byte, volume uint32, offset int64) []byte {
	b = binary.BigEndian.AppendUint32(b, volume)
	return binary.BigEndian.AppendUint32(b, uint32(offset/pageSize))
}

func decodePlace(b []byte) (volume uint32, offset int64, err error) {
	if len(b) != 8 {
		return 0, 0, fmt.Errorf("place of %d bytes: %w", len(b), errFormat)
	}
	return binary.BigEndian.Uint32(b), int64(binary.BigEndian.Uint32(b[4:])) * pageSize, nil
}

func (e *entry) encode() []byte {
	state := byte(stateStaged)
	if e.Live {
		state = stateLive
	}
	b := make([]byte, 0, entrySize)
	b = append(b, formatVersion, state, byte(e.Slot), byte(e.Layout.Required), byte(e.Layout.Total), byte(e.slots), 0, 0)
	b = appendPlace(b, e.volume, e.offset)
	b = binary.BigEndian.AppendUint64(b, uint64(e.reserved))
	b = binary.BigEndian.AppendUint64(b, uint64(e.Layout.Size))
	b = binary.BigEndian.AppendUint64(b, uint64(e.Created.Unix()))
	return append(b, e.Root[:]...)
}

func (e *entry) decode(key Key, b []byte) error {
	if len(b) != entrySize || b[0] != formatVersion || b[1] > stateLive {
		return fmt.Errorf("entry of shard %s: %w", key.Segment, errFormat)
	}
	volume, offset, err := decodePlace(b[8:16])
	if err != nil {
		return err
	}
	*e = entry{
		Info: Info{
			Key:     key,
			Slot:    int(b[2]),
			Layout:  erasure.Layout{Required: int(b[3]), Total: int(b[4]), Size: int64(binary.BigEndian.Uint64(b[24:]))},
			Root:    merkle.Hash(b[40:]),
			Created: time.Unix(int64(binary.BigEndian.Uint64(b[32:])), 0),
			Live:    b[1] == stateLive,
		},
		place: place{volume: volume, offset: offset, reserved: int64(binary.BigEndian.Uint64(b[16:])), slots: int(b[5])},
	}
	return e.Layout.Validate()
}

func (m *mark) encode() []byte {
	b := make([]byte, 0, markSize)
	b = binary.BigEndian.AppendUint64(b, m.seq)
	b = binary.BigEndian.AppendUint64(b, uint64(m.size))
	return append(b, m.root[:]...)
}

func (m *mark) decode(b []byte) error {
	if len(b) != markSize {
		return fmt.Errorf("mark of %d bytes: %w", len(b), errFormat)
	}
	m.seq, m.size = binary.BigEndian.Uint64(b), int64(binary.BigEndian.Uint64(b[8:]))
	m.root = merkle.Hash(b[16:])
	return nil
}

// errNoIdentity is returned by matches for an index that says nothing of itself.
var errNoIdentity = errors.New("it is empty")

// matches returns ErrIndex unless the index belongs to the data directory.
func (x *index) matches(d identity) error {
	var id []byte
	err := x.view(func(txn *badger.Txn) error {
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
	case !bytes.Equal(id, d.id[:]):
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
	err = x.update(func(txn *badger.Txn) error { return txn.Set([]byte{keyIdentity}, d.id[:]) })
	return errors.Join(err, x.sync())
}
