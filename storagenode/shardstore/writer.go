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
	held   *held // what of the record is to be written next
	at     int64 // where that begins in the volume: on a page, but for the footer of a short shard
	made   int64 // up to where the volume has blocks for it, unless that is before at
	taken  int64 // up to where it is no longer pledged: it is written or has blocks
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
	w := &Writer{s: s, dir: d, volume: v, place: p, key: key, hasher: merkle.NewHasher(maxSize), held: s.newHeld(), at: p.offset, taken: p.offset}
	w.held.append(encodeRecordHeader(d.identity, p, key))
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
	if w.err = w.append(p); w.err != nil {
		return 0, w.err
	}
	return w.hasher.Write(p)
}

// append holds the next bytes of the shard back, or writes them together with
// what was held back, up to the last page that they fill.
func (w *Writer) append(p []byte) error {
	if w.held.fits(int64(len(p))) {
		w.held.append(p)
		return nil
	}
	n := (w.held.bytes+len(p))/pageSize*pageSize - w.held.bytes
	if err := w.put(p[:n]); err != nil {
		return err
	}
	w.held.append(p[n:])
	return nil
}

func (w *Writer) dropHeld() {
	if w.held != nil {
		w.s.held.Put(w.held)
		w.held = nil
	}
}

// putFooter writes the footer, together with what was held back if no page lies
// between them.
func (w *Writer) putFooter(footer []byte) error {
	defer w.dropHeld()
	gap := w.place.footerOffset() - w.at - int64(w.held.bytes)
	if gap < pageSize && w.held.fits(gap) {
		w.held.skip(gap)
		return w.put(footer)
	}
	if err := w.put(nil); err != nil {
		return err
	}
	from, to := roundUp(w.at, pageSize), w.place.footerOffset()/pageSize*pageSize
	w.dir.giveUpBlocks(w.volume.file, from, min(w.made, to))
	w.at = w.place.footerOffset()
	err := w.put(footer)
	if err == nil && w.dir.foresees { // only now the file is longer than that
		w.dir.giveUpBlocks(w.volume.file, from, to)
	}
	return err
}

// put writes what was held back, and p behind it.
func (w *Writer) put(p []byte) error {
	n := int64(w.held.bytes + len(p))
	made, ok := w.dir.makeBlocks(w.volume, w.place, w.at, n, w.made)
	if w.made = made; ok {
		w.take(made)
	}
	err := writeBoth(w.volume.file, w.held.content(), p, w.at)
	switch {
	case err == nil:
		w.at += n
		w.take(w.at)
		w.held.bytes = 0
		return nil
	case isFull(err):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, os.ErrClosed):
		return ErrClosed
	}
	w.dir.fail(err)
	return err
}

// take counts what the disk has less room by, up to an offset in the volume, once.
func (w *Writer) take(to int64) {
	if to > w.taken {
		w.dir.wrote(w.volume, w.place, to-w.taken)
		w.taken = to
	}
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
	w.dropHeld()
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
	return w.Submit(ctx, m).Wait()
}

// Submit is the part of Commit that does not wait. Wait has to be called, once,
// on what it returns.
func (w *Writer) Submit(ctx context.Context, m Meta) *Submitted {
	if w.done {
		return &Submitted{err: os.ErrClosed}
	}
	if err := w.s.enter(); err != nil {
		w.done = true
		return &Submitted{err: err}
	}
	c, err := w.prepare(ctx, &m)
	if err != nil {
		w.end(nil)
		w.s.exit()
		return &Submitted{err: err}
	}
	w.volume.queue(c)
	return &Submitted{ctx: ctx, commit: c}
}

// A Submitted shard is on its way to becoming durable.
type Submitted struct {
	ctx    context.Context // of Submit
	commit *commit         // nil if there is an err
	err    error
}

// Wait returns what Commit does.
func (p *Submitted) Wait() (Info, error) {
	if p.err != nil {
		return Info{}, p.err
	}
	c, s := p.commit, p.commit.writer.s
	defer s.exit()
	c.writer.volume.await(c, s.synced)
	s.settle(p.ctx, c)
	switch {
	case c.err != nil:
		return Info{}, c.err
	case c.old != nil:
		return c.old.Info, nil
	}
	return c.entry.Info, nil
}
