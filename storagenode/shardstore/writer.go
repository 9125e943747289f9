package shardstore

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cairnstorage/cairn/proto/merkle"
)

// A Writer takes in one shard. It is not safe for concurrent use, and ends
// with Commit or Abort.
type Writer struct {
	s      *Store
	dir    *dir
	volume *volume
	place  place
	key    Key
	hasher *merkle.Hasher
	err    error // why the shard cannot be committed
	done   bool
}

// newWriter is called with s.mu held, so that no two writers count on the same
// room.
func (s *Store) newWriter(key Key, maxSize int64, slots int) (*Writer, error) {
	need := place{reserved: maxSize, slots: slots}.onDisk(maxSize)
	d, err := s.pickDir(need)
	if err != nil {
		return nil, err
	}
	v, p, err := d.allocate(maxSize, slots)
	if err != nil {
		return nil, err
	}
	w := &Writer{s: s, dir: d, volume: v, place: p, key: key, hasher: merkle.NewHasher(maxSize)}
	if err := w.put(encodeRecordHeader(d.identity, p, key), p.offset); err != nil {
		d.finishWrite(v, p, nil)
		return nil, err
	}
	return w, nil
}

// Size is the number of bytes written so far.
func (w *Writer) Size() int64 { return w.hasher.Size() }

// Write appends to the shard. Errors: ErrTooLong, ErrFull. After one, the
// shard can only be aborted.
func (w *Writer) Write(p []byte) (int, error) {
	switch {
	case w.done:
		return 0, os.ErrClosed
	case w.err != nil:
		return 0, w.err
	}
	if w.Size()+int64(len(p)) > w.place.reserved {
		w.err = fmt.Errorf("%w: more than %d bytes", ErrTooLong, w.place.reserved)
		return 0, w.err
	}
	if w.err = w.dir.hasFree(w.dir.writeFloor()); w.err != nil {
		return 0, w.err
	}
	if w.err = w.put(p, w.place.dataOffset()+w.Size()); w.err != nil {
		return 0, w.err
	}
	w.dir.wrote(w.volume, w.place, int64(len(p)))
	return w.hasher.Write(p)
}

// put writes to the volume.
func (w *Writer) put(p []byte, offset int64) error {
	_, err := w.volume.file.WriteAt(p, offset)
	switch {
	case err == nil:
		return nil
	case isFull(err):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, os.ErrClosed):
		return ErrClosed
	}
	w.dir.fail(err)
	return err
}

// Abort gives up the shard. After Commit it does nothing.
func (w *Writer) Abort() {
	if w.done {
		return
	}
	if err := w.s.enter(); err != nil {
		w.done = true
		return
	}
	defer w.s.exit()
	w.end(nil)
}

// end ends the writing of the record, which is kept if it has an entry.
func (w *Writer) end(kept *entry) {
	w.done = true
	w.dir.finishWrite(w.volume, w.place, kept)
	w.s.mu.Lock()
	w.s.writers--
	w.s.mu.Unlock()
}

// Commit makes the shard durable, with what comes with it: once it has
// returned, no crash loses it. A shard that is already held with the same root
// is left as it is. The Info is that of the shard held, by which it expires.
// Errors: ErrMismatch when bytes and roots do not belong
// together or another shard is held under the key, ErrFull. The Writer is at
// its end in any case.
func (w *Writer) Commit(ctx context.Context, m Meta) (Info, error) {
	if w.done {
		return Info{}, os.ErrClosed
	}
	if err := w.s.enter(); err != nil {
		w.done = true
		return Info{}, err
	}
	defer w.s.exit()
	c, err := w.prepare(ctx, &m)
	if err != nil {
		w.end(nil)
		return Info{}, err
	}
	if c.held {
		w.end(nil)
		return c.entry.Info, nil
	}
	if w.volume.queue(c) {
		w.s.syncers.Go(func() { w.volume.syncAll(w.s.synced) })
	}
	<-c.done
	if c.err != nil {
		return Info{}, c.err
	}
	return c.entry.Info, nil
}
