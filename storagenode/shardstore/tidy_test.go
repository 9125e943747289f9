package shardstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// numbered is a key and the value that belongs to it.
func numbered(i int) (key, value []byte) {
	key = binary.BigEndian.AppendUint64([]byte("numbered"), uint64(i))
	return key, fmt.Appendf(nil, "%030000d", i)
}

// addNumbered writes so many keys, from one on, and says how far it has come.
func addNumbered(x *index, from, count int, written *atomic.Int64) error {
	const batch = 10
	for ; count > 0; count -= batch {
		err := x.update(func(txn *badger.Txn) error {
			for i := range min(batch, count) {
				if err := txn.Set(numbered(from + i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		from += min(batch, count)
		written.Store(int64(from))
	}
	return nil
}

// checkNumbered reads every step-th key below end.
func checkNumbered(x *index, end, step int) error {
	return x.view(func(txn *badger.Txn) error {
		for i := 0; i < end; i += step {
			key, want := numbered(i)
			ok, err := read(txn, key, func(value []byte) error {
				if string(value) != string(want) {
					return fmt.Errorf("key %d has another value", i)
				}
				return nil
			})
			if !ok || err != nil {
				return fmt.Errorf("key %d: found %v, %w", i, ok, err)
			}
		}
		return nil
	})
}

func newIndex(t *testing.T, path string) *index {
	t.Helper()
	x, err := openIndex(path, false)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// compacting reports whether the index is open with compactors.
func compacting(x *index) (is bool) {
	x.use(func(db *badger.DB) error { is = db.Opts().NumCompactors > 0; return nil })
	return is
}

func freshTables(x *index) (tables int) {
	x.use(func(db *badger.DB) error { tables = db.Levels()[0].NumTables; return nil })
	return tables
}

// await waits until something holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited too long until " + what)
		}
	}
}

// manyKeys fill more tables than may stay as they are.
const manyKeys = 560

// TestTidy: what is written and read while the index is compacted is all there,
// and in the end it is compact and nothing is at work.
func TestTidy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	x := newIndex(t, path)
	var written atomic.Int64
	done := make(chan error, 1)
	go func() { done <- addNumbered(x, 0, manyKeys, &written) }()
	for going := true; going; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			going = false
		default:
		}
		if err := checkNumbered(x, int(written.Load()), 7); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the index is compact", func() bool {
		if x.busy.Load() {
			return false
		}
		if freshTables(x) < indexOptions(path).NumLevelZeroTables {
			return true
		}
		// A table that was written after the last update is due with the next.
		if err := addNumbered(x, 0, 1, new(atomic.Int64)); err != nil {
			t.Fatal(err)
		}
		return false
	})
	if compacting(x) {
		t.Error("compactors are left at work")
	}
	for range 2 {
		if err := checkNumbered(x, manyKeys, 1); err != nil {
			t.Fatal(err)
		}
		if err := x.close(); err != nil {
			t.Fatal(err)
		}
		x = newIndex(t, path)
	}
	x.close()
}

// TestTidyWaitsForRoom: on a full disk the index stays as it is, and closes.
func TestTidyWaitsForRoom(t *testing.T) {
	for _, comes := range []bool{true, false} {
		x := newIndex(t, filepath.Join(t.TempDir(), "index"))
		var full atomic.Bool
		full.Store(true)
		x.room = func() error {
			if full.Load() {
				return ErrFull
			}
			return nil
		}
		var written atomic.Int64
		if err := addNumbered(x, 0, manyKeys, &written); err != nil {
			t.Fatal(err)
		}
		limit := indexOptions(x.path).NumLevelZeroTables
		await(t, "tables are written", func() bool { return freshTables(x) >= limit })
		if err := addNumbered(x, manyKeys, 1, &written); err != nil {
			t.Fatal(err)
		}
		if compacting(x) || !x.busy.Load() {
			t.Error("compacting does not wait for room")
		}
		if comes {
			full.Store(false)
			await(t, "the index is compact", func() bool { return freshTables(x) < limit })
		}
		if err := checkNumbered(x, manyKeys+1, 1); err != nil {
			t.Error(err)
		}
		if err := x.close(); err != nil {
			t.Error(err)
		}
	}
}

// TestIndexOpensAgain: an index that cannot be opened again says so to all who
// ask, and is there again as soon as it can.
func TestIndexOpensAgain(t *testing.T) {
	x, other := newIndex(t, filepath.Join(t.TempDir(), "index")), newIndex(t, filepath.Join(t.TempDir(), "other"))
	var written atomic.Int64
	if err := addNumbered(other, 0, 10, &written); err != nil {
		t.Fatal(err)
	}
	reopened := make(chan struct{})
	go func() {
		x.reopen(indexOptions(other.path)) // which is locked
		close(reopened)
	}()
	await(t, "it is broken", func() bool { return checkNumbered(x, 0, 1) != nil })
	update := x.update(func(*badger.Txn) error { return errors.New("called") })
	if update == nil || errors.Unwrap(update).Error() == "called" {
		t.Errorf("update of what is broken: %v", update)
	}
	if err := other.close(); err != nil {
		t.Fatal(err)
	}
	<-reopened
	if err := checkNumbered(x, 10, 1); err != nil {
		t.Error(err)
	}
	if err := x.close(); err != nil {
		t.Error(err)
	}
}

// TestTidyEnds: what is written last does not have a closed index opened again.
func TestTidyEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	x := newIndex(t, path)
	x.room = func() error { return ErrFull } // until it is closed
	var written atomic.Int64
	if err := addNumbered(x, 0, manyKeys, &written); err != nil {
		t.Fatal(err)
	}
	x.stop()
	x.room = func() error { return nil }
	if err := addNumbered(x, manyKeys, 1, &written); err != nil {
		t.Fatal(err)
	}
	if err := x.close(); err != nil {
		t.Fatal(err)
	}
	x.worker.Wait()
	again := newIndex(t, path) // which could not be if it were open
	if err := checkNumbered(again, manyKeys+1, 7); err != nil {
		t.Error(err)
	}
	if err := again.close(); err != nil {
		t.Error(err)
	}
}
