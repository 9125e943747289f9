package badgerkv

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"github.com/dgraph-io/ristretto/v2/z"

	"github.com/cairnstorage/cairn/satellite/kv"
)

// Badger keeps some keys for itself, so all of ours have a byte before them.
const (
	userPrefix = 'k'
	markKey    = "m" // ends every record; its value is the store id
)

// engine is Badger as the place of the state.
type engine struct {
	db  *badger.DB
	dir string
}

// badgerOptions are those of a small machine: no syncing, no value log in use,
// nothing compressed (what is stored here is mostly keys, hashes and
// ciphertext), so nothing cached beside the page cache. Keys come in no order,
// so whatever is merged with the first level below rewrites most of that:
// several memory tables go there at a time, and it takes in much before it is
// merged further down.
func badgerOptions(dir string, memTable int64, log *slog.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(badgerLogger{log}).
		WithSyncWrites(false).
		WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithMemTableSize(memTable).
		WithNumMemtables(1).
		WithBaseLevelSize(4 * memTable).
		WithBaseTableSize(memTable / 4).
		WithNumLevelZeroTables(4).
		WithNumLevelZeroTablesStall(8).
		WithNumCompactors(2).
		WithValueLogFileSize(1 << 20).
		WithValueThreshold(kv.MaxValue + 1).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithChecksumVerificationMode(options.OnBlockRead)
}

// tableSurvey is what Badger's tables hold.
type tableSurvey struct {
	newest uint64
	levels levels
	// owners are the stores that wrote the tables.
	owners map[storeID]bool
}

// surveyTables checks every block of every table that Badger's manifest names.
// Nil means that there is no manifest. Badger itself would open a damaged table
// with a panic, and delete the tables that a shortened manifest does not name.
func surveyTables(dir string, log *slog.Logger) (*tableSurvey, error) {
	manifest, found, err := readManifest(dir, log)
	if err != nil || !found {
		return nil, err
	}
	s := &tableSurvey{owners: make(map[storeID]bool)}
	for id, t := range manifest.Tables {
		if err := s.survey(filepath.Join(dir, table.IDToFilename(id)), t); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func readManifest(dir string, log *slog.Logger) (m badger.Manifest, found bool, err error) {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		if tables, _ := filepath.Glob(filepath.Join(dir, "*.sst")); len(tables) > 0 {
			return m, false, damaged("%s has tables and no %s", dir, badger.ManifestFilename)
		}
		return m, false, nil
	}
	if err != nil {
		return m, false, fmt.Errorf("reading Badger's manifest: %w", err)
	}
	defer f.Close()
	m, _, err = badger.ReplayManifestFile(f, 0, badgerOptions(dir, 0, log))
	if err != nil {
		return m, false, damaged("%s: %v", f.Name(), err)
	}
	return m, true, nil
}

// survey reads the whole table at path.
func (s *tableSurvey) survey(path string, t badger.TableManifest) (err error) {
	defer func() { // the table package trusts lengths that it reads
		if r := recover(); r != nil {
			err = damaged("table %s cannot be read: %v", path, firstLine(fmt.Sprint(r)))
		}
	}()
	size, err := checkFooter(path)
	if err != nil {
		return err
	}
	s.levels.add(int(t.Level), size)
	file, err := z.OpenMmapFile(path, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("opening a table: %w", err)
	}
	opened, err := table.OpenTable(file, table.Options{
		ReadOnly:    true,
		ChkMode:     options.OnTableRead,
		Compression: t.Compression,
		BlockSize:   4 << 10,
	})
	if err != nil {
		return damaged("table %s: %v", path, firstLine(err.Error()))
	}
	defer opened.Close(-1)
	s.newest = max(s.newest, opened.MaxVersion())
	marks := opened.NewIterator(table.NOCACHE)
	defer marks.Close()
	marks.Seek(y.KeyWithTs([]byte(markKey), math.MaxUint64))
	if marks.Valid() && string(y.ParseKey(marks.Key())) == markKey {
		var id storeID
		copy(id[:], marks.Value().Value)
		s.owners[id] = true
	}
	return nil
}

// checkFooter checks the two lengths at the end of a table, on which the table
// package would end the process, and returns the table's size.
func checkFooter(path string) (size int64, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, damaged("table %s is missing", path)
	}
	if err != nil {
		return 0, fmt.Errorf("reading a table: %w", err)
	}
	size = int64(len(b))
	for range 2 { // the checksum, then the index before it
		if len(b) < 4 {
			return 0, damaged("table %s is cut off", path)
		}
		tail := b[len(b)-4:]
		n := uint64(tail[0])<<24 | uint64(tail[1])<<16 | uint64(tail[2])<<8 | uint64(tail[3])
		b = b[:len(b)-4]
		if n == 0 || n > uint64(len(b)) {
			return 0, damaged("table %s is cut off or damaged", path)
		}
		b = b[:uint64(len(b))-n]
	}
	return size, nil
}

// clearEngine removes what Badger's tables do not need. Badger would flush what
// it finds in .mem files, with or without what a damaged one lost, and tables
// must never have holes. The other files hold nothing at all here.
func clearEngine(dir string) error {
	for _, pattern := range []string{"*.mem", "*.vlog", "DISCARD", badger.KeyRegistryFileName} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// openEngine opens Badger on its tables alone.
func openEngine(dir string, memTable int64, log *slog.Logger) (*engine, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	db, err := badger.OpenManaged(badgerOptions(dir, memTable, log))
	if err != nil {
		return nil, fmt.Errorf("opening Badger in %s: %w", dir, err)
	}
	return &engine{db: db, dir: dir}, nil
}

// apply commits the writes of record seq, in several transactions where one
// would be too big. The mark comes last: where it is, the whole record is.
func (e *engine) apply(seq uint64, id storeID, w writes) error {
	txn := e.db.NewTransactionAt(seq, true)
	defer func() { txn.Discard() }()
	put := func(key, value []byte) error {
		set := func() error {
			if value == nil {
				return txn.Delete(key)
			}
			return txn.Set(key, value)
		}
		err := set()
		if !errors.Is(err, badger.ErrTxnTooBig) {
			return err
		}
		if err := txn.CommitAt(seq, nil); err != nil {
			return err
		}
		txn = e.db.NewTransactionAt(seq, true)
		return set()
	}
	for key, value := range w {
		if err := put(userKey([]byte(key)), value); err != nil {
			return fmt.Errorf("giving record %d to Badger: %w", seq, err)
		}
	}
	if err := put([]byte(markKey), id[:]); err != nil {
		return fmt.Errorf("giving record %d to Badger: %w", seq, err)
	}
	if err := txn.CommitAt(seq, nil); err != nil {
		return fmt.Errorf("giving record %d to Badger: %w", seq, err)
	}
	return nil
}

// flushed returns the newest number in Badger's tables, made durable with
// every record before it, and how large the tables are.
func (e *engine) flushed() (newest uint64, sizes levels, err error) {
	for _, t := range e.db.Tables() {
		newest = max(newest, t.MaxVersion)
		sizes.add(t.Level, int64(t.OnDiskSize)+int64(t.IndexSz))
	}
	// Badger syncs tables and manifest, but not the tables' names.
	return newest, sizes, syncDir(e.dir)
}

// userKey returns the key under which Badger has key.
func userKey(key []byte) []byte {
	b := make([]byte, 0, 1+len(key))
	return append(append(b, userPrefix), key...)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}

// badgerLogger passes Badger's words on; what it calls information is detail
// to us.
type badgerLogger struct{ log *slog.Logger }

func (l badgerLogger) say(level func(string, ...any), format string, args []any) {
	level("badger: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (l badgerLogger) Errorf(f string, a ...any)   { l.say(l.log.Error, f, a) }
func (l badgerLogger) Warningf(f string, a ...any) { l.say(l.log.Warn, f, a) }
func (l badgerLogger) Infof(f string, a ...any)    { l.say(l.log.Debug, f, a) }
func (l badgerLogger) Debugf(string, ...any)       {}
