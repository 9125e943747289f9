package shardstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// How damage is found on disk, and what becomes of it. A record with any byte
// that is not as it was written is dropped, and its shard, if it was live, is
// missing from then on. What the disk fails to read is not damaged yet: cables
// and controllers fail, too, and for all shards at once.

const (
	// unreadableTries is how many times the disk has to fail over a shard, with
	// others of the directory read in between, for it to count as damaged.
	unreadableTries = 3

	// maxUnreadable bounds for how many shards that is counted. If there are
	// more, it is the disk.
	maxUnreadable = 10_000
)

// A failing shard is one that the disk could not read.
type failing struct {
	tries int
	sound uint64 // how many shards the directory had read well by the last of them
}

// ShardsAfter gives the shards of a data directory (DirUsage.ID) that come after
// a key, at most so many, by group and then segment. After the zero Key come
// all. Errors: ErrLost when the directory cannot be used.
func (s *Store) ShardsAfter(id string, after Key, limit int) ([]Info, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.exit()
	i := slices.IndexFunc(s.dirs, func(d *dir) bool { return d.name() == id })
	if i < 0 {
		return nil, fmt.Errorf("%w that can be used: no data directory has the id %s", ErrLost, id)
	}
	var page []Info
	err := s.dirs[i].index.view(func(txn *badger.Txn) error {
		return scanAfter(txn, []byte{keyShard}, shardKey(after), func(raw, value []byte) error {
			var e entry
			if err := e.read(raw, value); err != nil {
				return err
			}
			if page = append(page, e.Info); len(page) >= limit {
				return errStop
			}
			return nil
		})
	})
	return page, err
}

// Verify reads a shard whole and compares every byte of its record with its
// roots and checksums. A damaged shard is dropped and its space given back; if
// it was live, it is missing from then on. Errors: ErrNotFound; ErrCorrupt when
// it was damaged, and with it whatever kept it from being dropped; ErrUnreadable
// when the disk failed. Such a shard stays, and should be verified again after
// some others: when the disk fails for the third time over this one, though it
// has read others of the directory in between, it counts as damaged.
//
// Of a shard that several directories hold, since one of them was away, one
// sound copy is kept.
func (s *Store) Verify(ctx context.Context, key Key) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.exit()
	h, err := s.holding(key)
	if err != nil {
		return err
	}
	var sound []int
	var failed []error
	for i, e := range h.entries {
		if e == nil {
			continue
		}
		if err := s.verifyIn(ctx, s.dirs[i], *e); err != nil {
			failed = append(failed, err)
		} else {
			sound = append(sound, i)
		}
	}
	switch {
	case len(sound) > 0:
		return s.keepOne(h, sound)
	case len(failed) > 0:
		return errors.Join(failed...)
	}
	return notFound(key)
}

// verifyIn is Verify for what one directory has of a shard.
func (s *Store) verifyIn(ctx context.Context, d *dir, e entry) error {
	err := d.verify(ctx, e, true)
	switch {
	case err == nil:
		d.hasRead(e.place)
		d.mendHeader(e.volume)
		return nil
	case errors.Is(err, ErrCorrupt):
	case ctx.Err() != nil:
		return err
	case !d.failedToRead(e.place):
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	default:
		err = fmt.Errorf("%w: it cannot be read: %w", ErrCorrupt, err)
	}
	dropped, dropErr := s.forget(d, e)
	if dropErr == nil && !dropped { // it was deleted meanwhile
		return notFound(e.Key)
	}
	return errors.Join(err, dropErr)
}

// keepOne drops all but one of the sound copies that directories have of a
// shard. That which the journal has confirmed last is kept.
func (s *Store) keepOne(h holding, sound []int) error {
	best := sound[0]
	for _, i := range sound {
		if h.entries[i].Seq > h.entries[best].Seq {
			best = i
		}
	}
	for _, i := range sound {
		if i == best || h.entries[i].Root != h.entries[best].Root {
			continue
		}
		if err := s.dropCopy(h, i, best); err != nil {
			return fmt.Errorf("drop a second copy: %w", err)
		}
	}
	return nil
}

// dropCopy drops what directory i has of a shard if keep still has it, too.
func (s *Store) dropCopy(h holding, i, keep int) error {
	d := s.dirs[i]
	if err := d.hasFree(d.indexFloor()); err != nil {
		return err
	}
	if err := s.dirs[keep].index.sync(); err != nil {
		return err // what stays has to be durable first
	}
	c, err := s.enactDropCopy(h, i, keep)
	if err != nil {
		return err
	}
	return d.settle(c, nil)
}

func (s *Store) enactDropCopy(h holding, i, keep int) (c change, err error) {
	s.index.Lock()
	defer s.index.Unlock()
	now, err := s.holding(h.entries[i].Key)
	if err != nil {
		return c, err
	}
	for _, j := range []int{i, keep} {
		if now.entries[j] == nil || now.entries[j].place != h.entries[j].place {
			return c, nil
		}
	}
	c.remove = []entry{*now.entries[i]}
	return c, s.dirs[i].enact(c)
}

// verify reads the whole record of a shard, past the cache if fromDisk is set,
// and returns ErrCorrupt if it is damaged.
func (d *dir) verify(ctx context.Context, e entry, fromDisk bool) error {
	v, err := d.acquire(e.place)
	if err != nil {
		return err
	}
	defer d.letGo(v, e.place)
	if fromDisk {
		dropCache(v.file, e.offset, e.length())
		defer dropCache(v.file, e.offset, e.length())
	}
	f := contextReader{ctx, v.file}
	rec, err := readRecord(f, d.identity, e.volume, e.offset, math.MaxInt64)
	switch {
	case err != nil:
	case rec.meta == nil:
		err = rec.why
	case !e.describes(rec):
		err = fmt.Errorf("index and volume disagree: %w", errFormat)
	}
	if errors.Is(err, errFormat) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if err != nil {
		return err
	}
	if err := verifyData(f, rec, make([]byte, 256<<10)); err != nil {
		return err
	}
	return verifyPadding(v.file, rec)
}

// describes reports whether a whole record is the one that the index means.
func (e *entry) describes(rec *record) bool {
	return e.place == rec.place && e.Key == rec.key && e.sameAs(rec.meta)
}

// sameAs reports whether a record's footer is that of the shard.
func (e *entry) sameAs(m *Meta) bool {
	return e.Key == m.Key && e.Root == m.Root && e.Layout == m.Layout && e.Slot == m.Slot
}

// verifyPadding returns ErrCorrupt unless all of a record that nothing was
// written to is zero, so that no damage to a disk goes unseen. Holes are.
func verifyPadding(f *os.File, rec *record) error {
	size, slots := rec.meta.Layout.ShardSize(), rec.meta.Layout.Total
	for _, gap := range [][2]int64{
		{rec.dataOffset() + size, rec.footerOffset()},
		{rec.footerOffset() + footerSize(size, slots), rec.offset + rec.length()},
	} {
		if err := verifyZero(f, gap[0], gap[1]); err != nil {
			return err
		}
	}
	return nil
}

func verifyZero(f *os.File, from, to int64) error {
	var page, zero [pageSize]byte
	for from < to {
		next, ok, err := nextData(f, from)
		if err != nil || !ok || next >= to {
			return err
		}
		part := page[:min(to-next, pageSize)]
		n, err := f.ReadAt(part, next)
		if !bytes.Equal(part[:n], zero[:n]) {
			return fmt.Errorf("%w: it has bytes where none were written", ErrCorrupt)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil // nothing was written here
			}
			return err
		}
		from = next + int64(n)
	}
	return nil
}

// A contextReader reads a file until its context is done.
type contextReader struct {
	ctx  context.Context
	file io.ReaderAt
}

func (r contextReader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.file.ReadAt(p, off)
}

// hasRead notes that the disk has read a shard, and that it was sound.
func (d *dir) hasRead(p place) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sound++
	delete(d.unread, p)
}

// failedToRead notes that the disk could not read a shard, and reports whether
// it has tried often enough. A try counts only when the disk has read another
// shard since the last one.
func (d *dir) failedToRead(p place) (giveUp bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	was, known := d.unread[p]
	switch {
	case known && was.sound == d.sound:
		return false
	case !known && len(d.unread) >= maxUnreadable:
		return false
	}
	now := failing{tries: was.tries + 1, sound: d.sound}
	if now.tries >= unreadableTries {
		delete(d.unread, p)
		return true
	}
	d.unread[p] = now
	return false
}

// mendHeader writes the first page of a volume anew if it is damaged. A sound
// record in it shows whose volume it is and which.
func (d *dir) mendHeader(number uint32) {
	d.mu.Lock()
	v := d.volumes[number]
	d.mu.Unlock()
	if v == nil {
		return
	}
	want, got := make([]byte, pageSize), make([]byte, pageSize)
	copy(want, encodeVolumeHeader(d.identity, number))
	if _, err := v.file.ReadAt(got, 0); err == nil && bytes.Equal(got, want) {
		return
	}
	_, err := v.file.WriteAt(want, 0)
	if err == nil {
		err = v.sync()
	}
	if err != nil {
		d.log.Error("volume has a damaged header, which could not be written anew", "volume", number, "error", err)
		return
	}
	d.log.Warn("volume had a damaged header, which was written anew", "volume", number)
}

// forget takes a damaged shard out of the index, and reports whether it was
// still there. If it was live, and no other directory has it, it is missing now.
func (s *Store) forget(d *dir, e entry) (dropped bool, err error) {
	for _, marked := range s.dirs {
		if err := marked.hasFree(marked.indexFloor()); err != nil {
			return false, err
		}
	}
	c, err := s.enactForget(d, e)
	if err != nil || len(c.remove) == 0 {
		return false, err
	}
	d.log.Error("dropped a damaged shard", "segment", e.Segment, "group", e.Group)
	return true, d.settle(c, nil)
}

func (s *Store) enactForget(d *dir, e entry) (change, error) {
	s.index.Lock()
	defer s.index.Unlock()
	h, err := s.holding(e.Key)
	if err != nil {
		return change{}, err
	}
	here := slices.Index(s.dirs, d)
	now := h.entries[here]
	if now == nil || now.place != e.place {
		return change{}, nil
	}
	c := change{remove: []entry{*now}}
	if !now.Live || h.isLiveBeside(here) || s.dying != nil && s.dying(e.Key, now.Seq) {
		return c, d.enact(c)
	}
	m := h.word()
	for i, other := range s.dirs {
		old := h.marks[i]
		switch {
		case old != nil && *old == m:
		case i == here:
			c.addMark(e.Key, m, old == nil)
		default:
			var there change
			there.addMark(e.Key, m, old == nil)
			if err := other.enact(there); err != nil {
				return change{}, err
			}
		}
	}
	if err := d.enact(c); err != nil {
		return change{}, err
	}
	s.missing.Add(int64(1 - btoi(h.isMarked())))
	s.changed(e.Group)
	return c, nil
}

// isLiveBeside reports whether another directory has the same shard, live.
func (h *holding) isLiveBeside(here int) bool {
	return slices.ContainsFunc(h.entries, func(e *entry) bool {
		return e != nil && e != h.entries[here] && e.Live && e.Root == h.entries[here].Root
	})
}
