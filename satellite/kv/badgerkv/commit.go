package badgerkv

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/internal/tree"
)

// commitAll is the committer: it writes batches, one after another, until the
// store closes. While it writes one, the next collects.
func (s *Store) commitAll() {
	defer close(s.gone)
	for range s.work {
		for b := s.take(); b != nil; b = s.take() {
			err := s.commit(b)
			if err != nil {
				s.fail(b, err)
				continue
			}
			s.publish(b)
		}
	}
}

// take makes the waiting batch the one in flight.
func (s *Store) take() *batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inflight, s.waiting = s.waiting, nil
	return s.inflight
}

// commit makes a batch durable, then gives it to Badger.
func (s *Store) commit(b *batch) error {
	begun, since := len(s.writer.files), time.Now()
	if err := s.writer.append(b.seq, b.writes); err != nil {
		return err
	}
	s.counts.written(b, since)
	if err := s.engine.apply(b.seq, s.id, b.writes); err != nil {
		return err
	}
	if err := s.anchor.set(b.seq); err != nil {
		// The log has the record; only a witness is missing.
		s.log.Warn("anchor not written", "store", s.dir, "error", err)
	}
	if len(s.writer.files) > begun {
		s.tidy()
	}
	return nil
}

// tidy drops the log files that Badger's tables have made superfluous, and
// takes the measure of the tables. What fails here is tried again with the next
// file.
func (s *Store) tidy() {
	newest, sizes, err := s.engine.flushed()
	s.mu.Lock()
	s.space.compaction = sizes.compaction()
	s.mu.Unlock()
	if err == nil {
		err = s.writer.trim(newest)
	}
	if err == nil {
		err = s.anchor.sync()
	}
	if err != nil {
		s.log.Warn("log not trimmed", "store", s.dir, "error", err)
	}
}

// publish makes a batch visible and acknowledges it.
func (s *Store) publish(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied = b.seq
	s.inflight = nil
	if s.waiting == nil {
		s.overlay = tree.Map[pendingWrite]{}
	} else {
		for key := range b.writes {
			if w, ok := s.overlay.Get([]byte(key)); ok && w.of.seq == b.seq {
				s.overlay = s.overlay.Delete([]byte(key))
			}
		}
	}
	// No open or future transaction reads older versions than this.
	oldest := s.applied
	for at := range s.readers {
		oldest = min(oldest, at)
	}
	s.engine.db.SetDiscardTs(oldest)
	close(b.done)
}

// fail takes back a batch, and with it the one that collected on top of it.
// Unless the log is as before, the store takes no more writes.
func (s *Store) fail(b *batch, err error) {
	switch {
	case errors.Is(err, errTaken) && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)):
		err = fmt.Errorf("%w: %w", kv.ErrFull, err)
	case errors.Is(err, errTaken):
		// as it is
	default:
		err = fmt.Errorf("%w: %w", kv.ErrBroken, err)
		s.log.Error("store refuses writes until it is opened again", "store", s.dir, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(err, kv.ErrBroken) {
		s.broken = err
	}
	s.failures++
	s.overlay = tree.Map[pendingWrite]{}
	for _, lost := range []*batch{b, s.waiting} {
		if lost != nil {
			lost.err = err
			close(lost.done)
		}
	}
	s.inflight, s.waiting = nil, nil
}
