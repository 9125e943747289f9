package shardstore

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/storagenode/internal/durable"
	"github.com/dgraph-io/badger/v4"
)

const (
	indexDir = "index"

	// checkpointEvery is how many bytes of records may have to be read again
	// after a crash.
	checkpointEvery = 256 << 20

	// punchesKept is how many holes may have to be punched again.
	punchesKept = 20_000

	minReserve = 64 << 20
	maxReserve = 1 << 30
)

// A dir is one data directory: volumes, their index and a lock. It is
// complete in itself.
type dir struct {
	identity
	path       string
	lock       *os.File
	index      *index
	volumeSize int64
	inPlace    bool // blocks stay where they are when they are written anew
	allocates  bool // blocks of large records are made before they are written
	foresees   bool // the file system makes blocks behind the end of a file by itself
	reserve    int64
	plenty     int64
	free       func(path string) (free, total int64, err error)
	punchFile  func(f *os.File, offset, length int64) error
	log        *slog.Logger

	mu       sync.Mutex
	volumes  map[uint32]*volume
	active   *volume // nil: none was begun since the start
	next     uint32  // number of the next volume
	used     int64   // bytes of committed records on disk
	begun    int64   // bytes that records being written may take up
	pledged  int64   // of those, not written yet
	shards   int
	staged   int
	missing  int
	appended int64   // bytes of records since the checkpoint
	punched  []place // since the checkpoint, so not durably
	sound    uint64  // shards that Verify has read well
	unread   map[place]failing
	ample    time.Time // when so much was free that it need not be asked for a moment
	lastFree int64     // how much that was
	trouble  error
}

// allocate finds a place for a record and counts it as being written.
func (d *dir) allocate(reserved int64, slots int) (*volume, place, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.trouble != nil {
		return nil, place{}, d.trouble
	}
	p := place{reserved: reserved, slots: slots}
	if v := d.active; v == nil || v.sealed || (v.end > pageSize && d.beginning(v, reserved)+p.length() > d.volumeSize) {
		if err := d.rotate(); err != nil {
			return nil, place{}, err
		}
	}
	v := d.active
	p.volume, p.offset = v.number, d.beginning(v, reserved)
	if d.foresees && p.offset > v.end {
		v.gaps[p.offset] = v.end
	}
	v.end = p.offset + p.length()
	v.records++
	v.writing[p.offset] = p.onDisk(reserved)
	d.begun += p.onDisk(reserved)
	d.pledged += p.onDisk(reserved)
	d.appended += p.length()
	d.makeRoom(v, p)
	return v, p, nil
}

// rotate seals the active volume and begins another.
func (d *dir) rotate() error {
	v, err := createVolume(d.path, d.identity, d.next)
	if err != nil {
		if isFull(err) {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
		return err
	}
	last := d.volumes[d.next-1]
	d.next++
	d.volumes[v.number] = v
	if d.active = v; last != nil {
		last.sealed = true
		d.giveUpRoom(last)
		d.removeIfEmpty(last)
	}
	return nil
}

// wrote says that for bytes of what was pledged at p the disk has less room now.
// With the first of them the file goes on behind the gap before the record, where
// no more blocks are made.
func (d *dir) wrote(v *volume, p place, bytes int64) {
	d.mu.Lock()
	bytes = min(bytes, v.writing[p.offset])
	v.writing[p.offset] -= bytes
	d.pledged -= bytes
	gap, ok := v.gaps[p.offset]
	delete(v.gaps, p.offset)
	d.mu.Unlock()
	if ok {
		d.giveUpBlocks(v.file, gap, p.offset)
	}
}

// finishWrite ends the writing of a record: as a committed one with an entry
// in the index, or, when kept is nil, as space to be given back. Until that is
// done, no checkpoint passes the record.
func (d *dir) finishWrite(v *volume, p place, kept *entry) {
	if kept == nil {
		d.giveBack(p)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begun -= p.onDisk(p.reserved)
	d.pledged -= v.writing[p.offset]
	delete(v.writing, p.offset)
	delete(v.gaps, p.offset)
	if kept != nil {
		d.count(kept, 1)
	}
}

// count adds a record to the figures, or takes one off. The caller holds mu.
func (d *dir) count(e *entry, by int) {
	d.used += int64(by) * e.onDisk(e.Size())
	d.shards += by
	if !e.Live {
		d.staged += by
	}
}

// A hole is a run of records, one right after the other, to be punched.
type hole struct {
	volume         *volume
	offset, length int64
	places         []place
}

// giveBack punches records that are no longer in the index: at once, those that
// lie together in one go, or, if someone reads there, after the last reader has
// closed it.
func (d *dir) giveBack(places ...place) {
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.volume, b.volume), cmp.Compare(a.offset, b.offset))
	})
	var holes []hole
	for _, p := range places {
		v := d.detach(p)
		if v == nil {
			continue
		}
		if n := len(holes); n > 0 && holes[n-1].volume == v && holes[n-1].offset+holes[n-1].length == p.offset {
			holes[n-1].length += p.length()
			holes[n-1].places = append(holes[n-1].places, p)
		} else {
			holes = append(holes, hole{v, p.offset, p.length(), []place{p}})
		}
	}
	for _, h := range holes {
		d.punch(h)
	}
}

// detach finds the volume of a place to be punched. If that is gone, or someone
// reads there, who is then told to punch it, there is none.
func (d *dir) detach(p place) *volume {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.volumes[p.volume]
	if v == nil {
		d.punched = append(d.punched, p)
		return nil
	}
	if r := v.readers[p.offset]; r != nil {
		r.gone = &p
		return nil
	}
	return v
}

func (d *dir) punch(h hole) {
	err := d.punchFile(h.volume.file, h.offset, h.length)
	if err != nil && !errors.Is(err, os.ErrClosed) {
		d.log.Warn("could not free the space of deleted shards", "error", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.punched = append(d.punched, h.places...)
	}
	h.volume.records -= len(h.places)
	d.removeIfEmpty(h.volume)
}

// removeIfEmpty removes a sealed volume that holds nothing any more. What the
// index does not know of keeps a volume, too. The newest stays, so that no
// number is given out twice: an index that went back in time must not find
// another record where it remembers one. The caller holds mu.
func (d *dir) removeIfEmpty(v *volume) {
	if v == nil || !v.sealed || v.records > 0 || v.number == d.next-1 {
		return
	}
	if at, data, err := nextData(v.file, pageSize); data && at < v.end || err != nil {
		return
	}
	delete(d.volumes, v.number)
	if err := errors.Join(os.Remove(v.file.Name()), v.file.Close()); err != nil {
		d.log.Warn("could not remove an empty volume", "error", err)
	}
}

// acquire keeps what lies at p from being punched; release undoes it.
func (d *dir) acquire(p place) (*volume, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.volumes[p.volume]
	if v == nil {
		return nil, fmt.Errorf("%w: volume %d is gone", ErrCorrupt, p.volume)
	}
	r := v.readers[p.offset]
	if r == nil {
		r = &reader{}
		v.readers[p.offset] = r
	}
	r.count++
	return v, nil
}

func (d *dir) letGo(v *volume, p place) {
	d.mu.Lock()
	r := v.readers[p.offset]
	r.count--
	if r.count > 0 {
		d.mu.Unlock()
		return
	}
	delete(v.readers, p.offset)
	d.mu.Unlock()
	if r.gone != nil {
		d.giveBack(*r.gone)
	}
}

// position is the place behind which records may be missing in the index.
func (d *dir) position() (volume uint32, offset int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	numbers := make([]uint32, 0, len(d.volumes))
	for n, v := range d.volumes {
		if len(v.writing) > 0 || v == d.active {
			numbers = append(numbers, n)
		}
	}
	if len(numbers) == 0 {
		return d.next, 0
	}
	oldest := d.volumes[slices.MinFunc(numbers, cmp.Compare[uint32])]
	return oldest.number, oldest.oldestWrite()
}

// setCheckpoint notes in the index that it is complete up to here, and forgets
// what was to be punched. Both have to be true of what is on disk, too.
func (d *dir) setCheckpoint() error {
	volume, offset := d.position()
	d.mu.Lock()
	d.appended = 0
	punched := d.punched // all that was given up before the position is in it
	d.punched = nil
	d.mu.Unlock()
	done, err := d.syncPunched(punched)
	if err != nil {
		return err
	}
	if err := d.index.sync(); err != nil {
		return err
	}
	err = d.index.update(func(txn *badger.Txn) error {
		return txn.Set([]byte{keyCheckpoint}, appendPlace(nil, volume, offset))
	})
	if err != nil {
		return err
	}
	return d.deleteKeys(done)
}

// syncPunched makes holes durable, and returns the keys of those notes that are
// not needed any more. The others are left to the next start.
func (d *dir) syncPunched(punched []place) (done [][]byte, err error) {
	synced := make(map[uint32]error)
	for _, p := range punched {
		err, known := synced[p.volume]
		if !known {
			err = d.syncVolume(p.volume)
			synced[p.volume] = err
		}
		if err == nil {
			done = append(done, punchKey(p.volume, p.offset))
		}
	}
	if len(punched) == 0 {
		return nil, nil
	}
	return done, durable.SyncDir(filepath.Join(d.path, volumesDir)) // volumes that were removed
}

func (d *dir) syncVolume(number uint32) error {
	d.mu.Lock()
	v := d.volumes[number]
	d.mu.Unlock()
	if v == nil {
		return nil
	}
	err := v.sync()
	if err != nil && !errors.Is(err, os.ErrClosed) {
		d.syncFailed(v, err)
	}
	return err
}

// fail puts the directory out of use for writing.
func (d *dir) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.trouble == nil {
		d.trouble = fmt.Errorf("data directory %s failed: %w", d.path, err)
		d.log.Error("data directory failed; no more shards are put there until the node is started again", "error", err)
	}
}

// pages is the value of a punch key.
func pages(value []byte) int64 {
	if len(value) != 4 {
		return 0
	}
	return int64(binary.BigEndian.Uint32(value)) * pageSize
}

// writers is how many records are being written.
func (d *dir) writers() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, v := range d.volumes {
		n += len(v.writing)
	}
	return n
}

// taken is how many bytes records take up, with those being written.
func (d *dir) taken() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used + d.begun
}

func (d *dir) usage() DirUsage {
	u := DirUsage{Path: d.path, ID: d.name(), Free: d.room()}
	d.mu.Lock()
	defer d.mu.Unlock()
	u.Used, u.Shards, u.Staged, u.Missing = d.used, d.shards, d.staged, d.missing
	u.Unreadable = len(d.unread)
	if d.trouble != nil {
		u.Trouble = d.trouble.Error()
	}
	return u
}

// keys is how many entries and marks there are in the index, or about to be.
func (d *dir) keys() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shards + d.missing
}

func (d *dir) countMissing(by int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.missing += by
}

// checkpointIfDue sets a checkpoint when enough was appended since the last.
func (d *dir) checkpointIfDue() {
	d.mu.Lock()
	due := d.appended >= checkpointEvery || len(d.punched) >= punchesKept
	d.mu.Unlock()
	if !due || d.hasFree(d.indexFloor()) != nil {
		return
	}
	if err := d.setCheckpoint(); err != nil {
		d.log.Error("could not set a checkpoint", "error", err)
	}
}

// syncFailed is for a volume whose sync failed: what the kernel then still has
// of it nobody knows, so nothing more goes there. A full disk is no failure of
// the disk.
func (d *dir) syncFailed(v *volume, err error) {
	d.mu.Lock()
	v.sealed = true
	d.mu.Unlock()
	if !isFull(err) {
		d.fail(err)
	}
}
