package badgerkv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/internal/tree"
)

// maxBatch is the size in bytes at which updates wait for the batch under way,
// so that memory stays bounded when the disk is slow.
const maxBatch = 16 << 20

// Store is a kv.Store on one machine's disk.
type Store struct {
	dir    string
	id     storeID
	log    *slog.Logger
	lock   *os.File
	engine *engine
	writer *logWriter // the committer's
	anchor *anchor    // the committer's
	counts counts

	turn chan struct{} // held by the update that runs
	work chan struct{} // tells the committer that a batch waits; cap 1
	gone chan struct{} // closed when the committer has ended

	mu      sync.Mutex
	space   space
	idle    sync.Cond // signalled when a reader ends; its Locker is mu
	applied uint64    // newest record that is visible
	// overlay holds the writes of the batches that are not applied yet.
	overlay  tree.Map[pendingWrite]
	inflight *batch // being written
	waiting  *batch // collecting updates
	// failures counts the batches that were taken back: an update that saw
	// such a batch's writes must run again.
	failures uint64
	broken   error
	closing  bool
	readers  map[uint64]int // open transactions by the record they read at
}

// pendingWrite is a value, or nil for a deletion, of an update not yet applied.
type pendingWrite struct {
	value []byte
	of    *update
}

// update is one that wrote. Its number is that of its batch, once it has one.
type update struct{ seq uint64 }

// batch collects the writes of updates that become durable together.
type batch struct {
	seq     uint64
	updates int
	writes  writes
	size    int
	room    int64 // on the disk, when the batch began
	done    chan struct{}
	err     error // set before done is closed
}

func (b *batch) wait() error {
	<-b.done
	return b.err
}

// View implements kv.Store.
func (s *Store) View(ctx context.Context, fn func(kv.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return kv.ErrClosed
	}
	at := s.applied
	s.readers[at]++
	s.mu.Unlock()
	defer s.endRead(at)
	r := &reader{engine: s.engine, at: at}
	defer r.close()
	return fn(r)
}

func (s *Store) endRead(at uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readers[at]--; s.readers[at] == 0 {
		delete(s.readers, at)
	}
	s.idle.Broadcast()
}

// Update implements kv.Store. The functions of all updates run one after
// another, each in its caller's goroutine and on the state that the one before
// left; the committer makes them durable in batches.
func (s *Store) Update(ctx context.Context, fn func(kv.Tx) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		select {
		case <-s.turn:
		case <-ctx.Done():
			return ctx.Err()
		}
		seen, again, err := s.run(fn)
		if again {
			continue
		}
		// Even an error or an answer without writes may rest on what others
		// wrote a moment ago. It must not be told before that is durable.
		if seen != nil {
			if lost := seen.wait(); lost != nil {
				return lost
			}
		}
		return err
	}
}

// run runs fn in its turn. seen is the batch that has fn's writes, or else the
// newest whose writes it could see.
func (s *Store) run(fn func(kv.Tx) error) (seen *batch, again bool, err error) {
	defer func() { s.turn <- struct{}{} }()
	t, failures, err := s.begin()
	if err != nil {
		return nil, false, err
	}
	defer s.endRead(t.at)
	defer t.close()
	fnErr := fn(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	var room int64
	if fnErr == nil && len(t.writes) > 0 {
		room, fnErr = s.room(t)
	}
	switch {
	case s.failures != failures:
		return nil, true, nil
	case s.broken != nil:
		return nil, false, s.broken
	case fnErr != nil || len(t.writes) == 0:
		return s.newestBatch(), false, fnErr
	}
	return s.enqueue(t, room), false, nil
}

// room returns kv.ErrFull unless there is room for t's writes beside those of
// the waiting batch. The disk is asked once for a batch.
func (s *Store) room(t *tx) (int64, error) {
	size := int64(t.size)
	if s.waiting != nil {
		size += int64(s.waiting.size)
		if size <= s.waiting.room {
			return s.waiting.room, nil
		}
	}
	return s.space.check(size)
}

// begin starts an update's transaction on all that ran before.
func (s *Store) begin() (t *tx, failures uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closing:
			return nil, 0, kv.ErrClosed
		case s.broken != nil:
			return nil, 0, s.broken
		}
		full := s.waiting
		if full == nil || full.size < maxBatch {
			break
		}
		s.mu.Unlock()
		<-full.done
		s.mu.Lock()
	}
	s.readers[s.applied]++
	r := reader{engine: s.engine, at: s.applied}
	return &tx{reader: r, base: s.overlay, view: s.overlay, update: new(update), writes: make(writes)}, s.failures, nil
}

func (s *Store) newestBatch() *batch {
	if s.waiting != nil {
		return s.waiting
	}
	return s.inflight
}

// enqueue adds t's writes to the waiting batch. room is what the disk has.
func (s *Store) enqueue(t *tx, room int64) *batch {
	b := s.waiting
	if b == nil {
		b = &batch{seq: s.applied + 1, writes: make(writes), done: make(chan struct{})}
		if s.inflight != nil {
			b.seq = s.inflight.seq + 1
		}
		s.waiting = b
	}
	t.update.seq = b.seq
	for key, value := range t.writes {
		b.writes[key] = value
	}
	if s.overlay.Same(t.base) {
		s.overlay = t.view
	} else { // a batch was applied since
		for key, value := range t.writes {
			s.overlay = s.overlay.Set([]byte(key), pendingWrite{value, t.update})
		}
	}
	b.size += t.size
	b.room = room
	b.updates++
	select {
	case s.work <- struct{}{}:
	default:
	}
	return b
}

// Close implements kv.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		<-s.gone
		return nil
	}
	s.closing = true
	for len(s.readers) > 0 {
		s.idle.Wait()
	}
	s.mu.Unlock()
	close(s.work)
	<-s.gone // it has written what waited
	err := s.engine.db.Close()
	if err != nil {
		err = fmt.Errorf("closing Badger: %w", err)
	}
	return errors.Join(err, s.anchor.sync(), s.writer.close(), s.anchor.f.Close(), s.lock.Close())
}
