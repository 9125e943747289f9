package shardstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cairnstorage/cairn/storagenode/internal/durable"
	"github.com/dgraph-io/badger/v4"
)

// RebuildIndex makes the index of a data directory that no process uses again
// from its volumes, reading every shard. Records that are unfinished, damaged or
// there twice are not taken up, but stay where they are: what cannot be read
// today may be read tomorrow. All shards are staged afterwards and all cursors
// are at the beginning, so that the journals, read once more, say which of them
// are live, which are to be deleted and which are missing.
func RebuildIndex(ctx context.Context, dir string, found func(Damage)) (Report, error) {
	return rebuild(ctx, dir, found, false)
}

// RebuildAndFree is RebuildIndex and then, with the new index in place, frees
// the space of the records that it did not take up.
func RebuildAndFree(ctx context.Context, dir string, found func(Damage)) (Report, error) {
	return rebuild(ctx, dir, found, true)
}

func rebuild(ctx context.Context, dir string, found func(Damage), free bool) (Report, error) {
	lock, err := durable.Lock(dir)
	if err != nil {
		return Report{}, err
	}
	defer lock.Close()
	c := newChecker(dir, found)
	numbers, err := c.identify()
	if err != nil {
		return c.report, err
	}
	if _, err := readIdentity(dir); err != nil {
		if err := writeIdentity(dir, c.id); err != nil {
			return c.report, err
		}
	}
	path := filepath.Join(dir, indexDir)
	if err := c.buildIndex(ctx, path+".new", numbers); err != nil {
		return c.report, errors.Join(err, os.RemoveAll(path+".new"))
	}
	if err := swapIndex(path); err != nil || !free {
		return c.report, err
	}
	return c.report, c.punchRefused()
}

// punchRefused gives back the space of the records that were not taken up.
func (c *checker) punchRefused() error {
	for _, p := range c.refused {
		f, err := os.OpenFile(volumePath(c.path, p.volume), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(punch(f, p.offset, p.length()), dataSync(f), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// buildIndex makes an index in path.
func (c *checker) buildIndex(ctx context.Context, path string, numbers []uint32) (err error) {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	free, _, err := freeSpace(c.path)
	if err == nil && free < minReserve/2 {
		err = fmt.Errorf("%w: %d bytes are free on the disk of %s: an index takes at least %d", ErrFull, free, c.path, minReserve/2)
	}
	if err != nil {
		return err
	}
	if c.index, err = openIndex(path, false); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.index.close()) }()
	if err := c.index.checkIdentity(c.id, true); err != nil {
		return err
	}
	next := uint32(1)
	for _, n := range numbers {
		if err := c.walkVolume(ctx, n, c.rebuildRecord); err != nil {
			return err
		}
		next = n + 1
	}
	err = c.index.update(func(txn *badger.Txn) error {
		return txn.Set([]byte{keyCheckpoint}, appendPlace(nil, next, 0))
	})
	return errors.Join(err, c.index.sync())
}

// rebuildRecord enters a sound record into the index, and notes another.
func (c *checker) rebuildRecord(f *os.File, rec *record) error {
	d := Damage{Volume: rec.volume, Offset: rec.offset, Key: rec.key}
	known, ok, err := c.index.get(rec.key)
	if err != nil {
		return err
	}
	switch {
	case rec.meta == nil:
		d.Fault, d.Detail = FaultFooter, rec.why.Error()
	case ok:
		d.Fault, d.Detail = FaultDuplicate, fmt.Sprintf("it is also in volume %d at %d", known.volume, known.offset)
	default:
		err := verifyData(f, rec, c.buf)
		if err == nil {
			c.report.Shards++
			c.report.Bytes += rec.meta.Layout.ShardSize()
			return c.index.update(func(txn *badger.Txn) error { return setEntry(txn, rec.entry()) })
		}
		if !errors.Is(err, ErrCorrupt) {
			return err
		}
		d.Fault, d.Detail = FaultData, err.Error()
	}
	c.damage(d)
	c.refused = append(c.refused, rec.place)
	return nil
}

// swapIndex puts the new index in place. A crash in between leaves a directory
// without an index, which is to be made once more.
func swapIndex(path string) error {
	old := path + ".old"
	if err := os.RemoveAll(old); err != nil {
		return err
	}
	if err := os.Rename(path, old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return errors.Join(durable.SyncDir(filepath.Dir(path)), os.RemoveAll(old))
}
