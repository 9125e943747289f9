package shardstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/dgraph-io/badger/v4"
)

// How a shard is committed: prepare writes the footer, the volume syncs it
// together with others, synced hands them on, and enter puts them into the
// index. Only then does anyone hear of it.

// A commit is a written record that waits to become durable and indexed.
type commit struct {
	writer *Writer
	entry  entry
	old    *entry // of the same shard, which someone else was first with
	err    error
	done   chan struct{} // closed once it is done; what comes before has it lead

	// Guarded by the volume's syncMu.
	queued  bool // for the next sync of the volume
	awaited bool // while others lead
}

// prepare writes the footer, and what was held back of the record.
func (w *Writer) prepare(ctx context.Context, m *Meta) (*commit, error) {
	if err := errors.Join(w.err, ctx.Err()); err != nil {
		return nil, err
	}
	if m.Created.IsZero() {
		m.Created = w.s.cfg.Now()
	}
	m.Created = m.Created.Truncate(time.Second)
	subtrees := w.hasher.Subtrees()
	if err := m.check(merkle.RootOfSubtrees(subtrees), w.Size()); err != nil {
		return nil, err
	}
	if m.Key != w.key || m.Layout.Total > w.place.slots {
		return nil, fmt.Errorf("%w: it was announced as another", ErrMismatch)
	}
	c := &commit{writer: w, done: make(chan struct{}, 1)}
	c.entry = entry{
		Info:  Info{Key: m.Key, Slot: m.Slot, Layout: m.Layout, Root: m.Root, Created: m.Created},
		place: w.place,
	}
	return c, w.putFooter(encodeFooter(w.dir.identity, w.place, m, subtrees))
}

// settle ends a commit whose shard was there before: by that, or, if that is
// damaged or gone meanwhile, by its own record after all.
func (s *Store) settle(ctx context.Context, c *commit) {
	for c.old != nil && c.err == nil {
		c.old = nil
		if c.err = s.holds(ctx, c); c.err != nil || c.old != nil {
			c.writer.end(nil)
			return
		}
		c.done = make(chan struct{})
		s.enterIndex([]*commit{c})
	}
}

// holds finds out whether the shard is here already. One that turns out to be
// damaged is forgotten. Another under the same key is ErrMismatch.
func (s *Store) holds(ctx context.Context, c *commit) error {
	d, old, err := s.lookup(c.entry.Key)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil {
		err = sameShard(&old, &c.entry)
	}
	if err != nil {
		return err
	}
	err = d.verify(ctx, old, false)
	if errors.Is(err, ErrCorrupt) {
		_, err = s.forget(d, old)
		return err
	}
	if err == nil {
		c.old = &old
	}
	return err
}

// sameShard returns ErrMismatch unless both are the same shard.
func sameShard(a, b *entry) error {
	if a.Root != b.Root || a.Slot != b.Slot {
		return fmt.Errorf("%w: segment %s is already held with another root or slot", ErrMismatch, a.Segment)
	}
	return nil
}

// synced ends a batch of commits: those that could be synced go into the
// index.
func (s *Store) synced(batch []*commit, err error) {
	if err == nil {
		s.counts.syncs.Add(1)
		s.enterIndex(batch)
		return
	}
	w := batch[0].writer
	w.dir.syncFailed(w.volume, err)
	for _, c := range batch {
		if c.err = err; isFull(err) {
			c.err = fmt.Errorf("%w: %w", ErrFull, err)
		}
		c.finish()
	}
}

// finish tells the waiting writer. What is to be settled has not ended.
func (c *commit) finish() {
	switch {
	case c.err != nil:
		c.writer.end(nil)
	case c.old == nil:
		c.writer.s.counts.shards.Add(1)
		c.writer.end(&c.entry)
	}
	close(c.done)
}

// enterIndex enters a batch of synced records of one directory into its index.
func (s *Store) enterIndex(batch []*commit) {
	d := batch[0].writer.dir
	s.index.Lock()
	var marked []Key
	err := d.hasFree(d.writeFloor())
	for _, c := range batch {
		if c.err == nil {
			c.err = err
		}
		if c.err == nil {
			c.err = s.enterOne(d, c)
		}
		if c.err == nil && c.entry.Live {
			marked = append(marked, c.entry.Key)
		}
	}
	if len(marked) > 0 {
		s.missing.Add(-int64(len(marked)))
		if err := s.unmark(d, marked); err != nil {
			d.log.Warn("shards that came late are still marked as missing; the next start sets that right", "error", err)
		}
		for _, key := range marked {
			s.changed(key.Group)
		}
	}
	s.index.Unlock()
	for _, c := range batch {
		c.finish()
	}
	d.checkpointIfDue()
}

// enterOne enters a record, unless another with its key came first. If a journal
// has shown already that it is missing, it is live.
func (s *Store) enterOne(d *dir, c *commit) error {
	holder, old, err := s.find(c.entry.Key)
	if err != nil {
		return err
	}
	if holder != nil {
		c.old = &old
		return sameShard(&old, &c.entry)
	}
	m, missing, err := s.lookupMark(c.entry.Key)
	if err != nil {
		return err
	}
	if !missing {
		return d.index.enter(c.entry)
	}
	if m.root != c.entry.Root {
		return fmt.Errorf("%w: the journal has segment %s with another root", ErrMismatch, c.entry.Segment)
	}
	c.entry.Live, c.entry.Seq = true, m.seq
	d.index.expect(shardKey(c.entry.Key))
	return d.index.update(func(txn *badger.Txn) error { return setEntry(txn, c.entry) })
}

// lookupMark finds the newest mark of a missing shard in any directory. The
// caller holds s.index.
func (s *Store) lookupMark(key Key) (newest mark, found bool, err error) {
	if s.missing.Load() == 0 {
		return mark{}, false, nil
	}
	for _, d := range s.dirs {
		m, ok, err := d.index.mark(key)
		if err != nil {
			return mark{}, false, err
		}
		if ok && m.seq > newest.seq {
			newest, found = m, true
		}
	}
	return newest, found, nil
}

// unmark takes out the marks of shards that d has now. Its own mark goes with
// the entry if the index loses its newest writes, and comes back with it. Those
// of other indexes do not, so the entry is made durable first.
func (s *Store) unmark(d *dir, keys []Key) error {
	own := change{}
	others := make([]change, len(s.dirs))
	elsewhere := false
	for i, other := range s.dirs {
		for _, key := range keys {
			_, marked, err := other.index.mark(key)
			if err != nil {
				return err
			}
			if !marked {
				continue
			}
			if other == d {
				own.unmark = append(own.unmark, key)
			} else {
				others[i].unmark, elsewhere = append(others[i].unmark, key), true
			}
		}
	}
	if len(own.unmark) > 0 {
		if err := d.enact(own); err != nil {
			return err
		}
	}
	if !elsewhere {
		return nil
	}
	if err := d.index.sync(); err != nil {
		return err
	}
	for i, other := range s.dirs {
		if len(others[i].unmark) == 0 {
			continue
		}
		if err := other.enact(others[i]); err != nil {
			return err
		}
	}
	return nil
}
