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
	head   *head // the record so far, as long as it is small and not yet written
	err    error // why the shard cannot be committed
	done   bool
}

// maxHead is how many bytes of a record are held back at most. A record of a
// shard of up to 32 KiB takes one system call to write, header and footer
// included.
const maxHead = 40 << 10

// A head is the beginning of a record.
type head struct {
	bytes  int
	buffer [maxHead]byte
}

// newHead returns an empty one, of those that are not in use if there is any.
func (s *Store) newHead() *head {
	h, _ := s.heads.Get().(*head)
	if h == nil {
		h = new(head)
	}
	h.bytes = 0
	return h
}

func (h *head) append(p []byte) { h.bytes += copy(h.buffer[h.bytes:], p) }

// skip appends zeros.
func (h *head) skip(n int64) {
	clear(h.buffer[h.bytes:][:n])
	h.bytes += int(n)
}

func (h *head) fits(n int64) bool { return int64(h.bytes)+n <= maxHead }

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
	w.head = s.newHead()
	w.head.append(encodeRecordHeader(d.identity, p, key))
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

// append writes the next bytes of the shard, or holds them back.
func (w *Writer) append(p []byte) error {
	if w.head != nil && w.head.fits(int64(len(p))) {
		w.head.append(p)
		return nil
	}
	if err := w.putHead(); err != nil {
		return err
	}
	if err := w.put(p, w.place.dataOffset()+w.Size()); err != nil {
		return err
	}
	w.dir.wrote(w.volume, w.place, int64(len(p)))
	return nil
}

// putHead writes what was held back.
func (w *Writer) putHead() error {
	if w.head == nil {
		return nil
	}
	if err := w.put(w.head.buffer[:w.head.bytes], w.place.offset); err != nil {
		return err
	}
	w.dir.wrote(w.volume, w.place, w.Size())
	w.dropHead()
	return nil
}

func (w *Writer) dropHead() {
	if w.head != nil {
		w.s.heads.Put(w.head)
		w.head = nil
	}
}

// putFooter writes the footer, together with what was held back if no page lies
// between them.
func (w *Writer) putFooter(footer []byte) error {
	if w.head != nil {
		gap := w.place.footerOffset() - w.place.offset - int64(w.head.bytes)
		if gap < pageSize && w.head.fits(gap+int64(len(footer))) {
			w.head.skip(gap)
			w.head.append(footer)
			return w.putHead()
		}
	}
	if err := w.putHead(); err != nil {
		return err
	}
	return w.put(footer, w.place.footerOffset())
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
	w.dropHead()
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
