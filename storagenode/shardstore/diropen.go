package shardstore

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cairnstorage/cairn/storagenode/internal/durable"
)

// openDir opens a data directory. One that is not known before is made.
func openDir(path, known string, cfg *Config) (_ *dir, err error) {
	d := &dir{
		path:       path,
		volumeSize: cfg.VolumeSize,
		free:       cfg.statfs,
		plenty:     cfg.plenty,
		punchFile:  cfg.punch,
		log:        cfg.Logger.With("data", path),
		volumes:    make(map[uint32]*volume),
		unread:     make(map[place]failing),
	}
	if known != "" && isEmpty(path) {
		return nil, fmt.Errorf("%w: %s did hold one: check that its disk is mounted", ErrLost, path)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	if d.lock, err = durable.Lock(path); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.release()
		}
	}()
	if err := d.identify(known, cfg.Random); err != nil {
		return nil, err
	}
	if err := d.setReserve(cfg.Reserve); err != nil {
		return nil, err
	}
	d.inPlace, d.allocates, d.foresees = cfg.inPlace(path), cfg.allocates(path), cfg.foresees(path)
	if err := d.openIndex(); err != nil {
		return nil, err
	}
	d.index.spare = cfg.spare
	return d, d.recover()
}

// isEmpty reports whether nothing of a store is in path.
func isEmpty(path string) bool {
	_, err1 := os.Stat(filepath.Join(path, identityFile))
	_, err2 := os.Stat(filepath.Join(path, volumesDir))
	return errors.Is(err1, fs.ErrNotExist) && errors.Is(err2, fs.ErrNotExist)
}

// identify reads who the directory is, or makes it someone if it is empty.
func (d *dir) identify(known string, random io.Reader) (err error) {
	d.identity, err = readIdentity(d.path)
	if err == nil {
		if known != "" && known != d.name() {
			return fmt.Errorf("%w of this node: %s holds another one: check what is mounted there", ErrLost, d.path)
		}
		return nil
	}
	if errors.Is(err, errFormat) {
		return fmt.Errorf("%w: %w", ErrIndex, err)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if numbers, err := listVolumes(d.path); err == nil && len(numbers) > 0 {
		return fmt.Errorf("%w: %s is gone", ErrIndex, filepath.Join(d.path, identityFile))
	}
	if err := d.tryPunch(); err != nil {
		return err
	}
	if err := errors.Join(fill(random, d.id[:]), fill(random, d.secret[:])); err != nil {
		return err
	}
	return writeIdentity(d.path, d.identity)
}

// tryPunch makes sure that the file system can free the middle of a file: else
// no space would ever come back.
func (d *dir) tryPunch() (err error) {
	f, err := os.CreateTemp(d.path, "try-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := f.Write(make([]byte, 2*pageSize)); err != nil {
		return err
	}
	err = d.punchFile(f, 0, pageSize)
	if cannotPunch(err) {
		err = fmt.Errorf("the file system of %s cannot free parts of files: use ext4, XFS, Btrfs or ZFS there: %w", d.path, err)
	}
	return err
}

func fill(random io.Reader, b []byte) error {
	_, err := io.ReadFull(random, b)
	return err
}

// name is the directory's id as text.
func (d *dir) name() string { return hex.EncodeToString(d.id[:]) }

// openIndex opens the index. Without volumes it may be made.
func (d *dir) openIndex() error {
	if err := os.MkdirAll(filepath.Join(d.path, volumesDir), 0o700); err != nil {
		return err
	}
	numbers, err := listVolumes(d.path)
	if err != nil {
		return err
	}
	isNew := len(numbers) == 0
	path := filepath.Join(d.path, indexDir)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && !isNew {
		return fmt.Errorf("%w: %s is gone", ErrIndex, path)
	}
	if d.index, err = openIndex(path, false); err != nil {
		return err
	}
	d.index.room = func() error { return d.hasFree(d.indexFloor()) }
	d.index.size = d.keys
	if err := d.index.checkIdentity(d.identity, isNew); err != nil {
		return err
	}
	return durable.SyncDir(d.path)
}

// release gives back what openDir took.
func (d *dir) release() error {
	var errs []error
	if d.index != nil {
		d.index.stop()
		// Badger writes what it holds in memory; see setReserve. Without
		// that, it finds it in its log at the next start.
		if d.hasFree(d.indexFloor()) == nil {
			errs = append(errs, d.index.close())
		} else {
			d.log.Warn("left the index unclosed, since the disk is full")
		}
	}
	for _, v := range d.volumes {
		d.giveUpRoom(v)
		errs = append(errs, v.file.Close())
	}
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	return errors.Join(errs...)
}
