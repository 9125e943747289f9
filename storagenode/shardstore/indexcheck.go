package shardstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"
)

// checkTables reads the files of an index that Badger has finished, all of
// them, before it is opened. Badger itself would go down with the process over
// some kinds of damage, pass over others as if there were no such keys, and
// forget the tables after a torn place in its manifest. Damage to the log of
// what is not finished ends the log there, which the store can live with.
func checkTables(path string) (err error) {
	f, err := os.Open(filepath.Join(path, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a new index, or one that will lack its identity
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	manifest, end, err := badger.ReplayManifestFile(f, 0, indexOptions(path))
	if err != nil {
		return fmt.Errorf("%s: %w", badger.ManifestFilename, err)
	}
	if end != st.Size() {
		return fmt.Errorf("%s is cut off", badger.ManifestFilename)
	}
	for id := range manifest.Tables {
		if err := checkTable(table.NewFilename(id, path)); err != nil {
			return fmt.Errorf("table %d: %w", id, err)
		}
	}
	return nil
}

// checkTable verifies every checksum in one table.
func checkTable(name string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("it is damaged")
		}
	}()
	mf, err := z.OpenMmapFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mf.Close(-1)) }()
	t, err := table.OpenTable(mf, table.Options{
		ReadOnly:    true,
		BlockSize:   4 << 10,
		Compression: options.None,
		ChkMode:     options.OnBlockRead,
	})
	if err != nil {
		return err
	}
	return t.VerifyChecksum()
}
