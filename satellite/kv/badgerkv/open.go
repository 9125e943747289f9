package badgerkv

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/cairnstorage/cairn/satellite/kv"
)

// Open opens the store of c.Dir, or makes it. It returns kv.ErrDamaged when
// what is there cannot be everything that was acknowledged, and kv.ErrFull
// when there is no room to work; neither loses anything.
func Open(c Config) (*Store, error) {
	c.fill()
	if err := os.MkdirAll(filepath.Join(c.Dir, "log"), 0o700); err != nil {
		return nil, fmt.Errorf("badgerkv: cannot write in %s: %w", c.Dir, err)
	}
	lock, err := lockDir(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("badgerkv: %w", err)
	}
	s := &Store{
		dir:     c.Dir,
		log:     c.Logger,
		space:   space{dir: c.Dir, free: c.Free, reserve: c.Reserve, memTable: c.MemTable},
		lock:    lock,
		turn:    make(chan struct{}, 1),
		work:    make(chan struct{}, 1),
		gone:    make(chan struct{}),
		readers: make(map[uint64]int),
	}
	s.idle.L = &s.mu
	if err := s.open(c); err != nil {
		s.release()
		return nil, fmt.Errorf("badgerkv: opening the store in %s: %w", c.Dir, err)
	}
	s.turn <- struct{}{}
	go s.commitAll()
	return s, nil
}

func (c *Config) fill() {
	if c.Free == nil {
		c.Free = statfs
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.LogSegment == 0 {
		c.LogSegment = 16 << 20
	}
	if c.MemTable == 0 {
		c.MemTable = 16 << 20
	}
}

// open judges what is there, then opens it and replays the log.
func (s *Store) open(c Config) error {
	logDir, badgerDir := filepath.Join(c.Dir, "log"), filepath.Join(c.Dir, "badger")
	found, err := s.survey(logDir, badgerDir)
	if err != nil {
		return err
	}
	from, fresh, err := judge(found)
	if err != nil {
		return err
	}
	if fresh {
		if found.log, err = s.create(logDir); err != nil {
			return err
		}
	}
	if err := clearEngine(badgerDir); err != nil {
		return err
	}
	if found.tables != nil {
		s.space.compaction = found.tables.levels.compaction()
	}
	if err := s.space.checkOpen(found.log.replayed(from)); err != nil {
		return err
	}
	s.id = found.log.id
	if s.engine, err = openEngine(badgerDir, c.MemTable, s.log); err != nil {
		return err
	}
	s.writer = newLogWriter(logDir, s.id, c.LogSegment)
	if err := s.writer.resume(found.log.files, found.log.size); err != nil {
		return err
	}
	if err := s.replay(logDir, found, from); err != nil {
		return err
	}
	if s.anchor, err = openAnchor(c.Dir, s.id, s.applied); err != nil {
		return err
	}
	s.tidy()
	return nil
}

// survey hears all witnesses.
func (s *Store) survey(logDir, badgerDir string) (e evidence, err error) {
	if e.log, err = surveyLog(logDir); err != nil {
		return e, err
	}
	if e.tables, err = surveyTables(badgerDir, s.log); err != nil {
		return e, err
	}
	e.anchorID, e.acked, e.anchor, err = readAnchor(s.dir)
	return e, err
}

// create makes the log of a new store.
func (s *Store) create(logDir string) (*logSurvey, error) {
	var id storeID
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	w := newLogWriter(logDir, id, 0)
	if err := w.begin(firstSequence); err != nil {
		return nil, fmt.Errorf("making it: %w", err)
	}
	if err := w.close(); err != nil {
		return nil, err
	}
	// The directories' own names have to last, too.
	if err := errors.Join(syncDir(s.dir), syncDir(filepath.Dir(s.dir))); err != nil {
		return nil, err
	}
	return surveyLog(logDir)
}

// replay brings Badger up to the end of the log.
func (s *Store) replay(logDir string, found evidence, from uint64) error {
	s.applied = found.log.next - 1
	if n := found.log.next - from; n > 1 {
		s.log.Info("replaying the log", "store", s.dir, "records", n)
	}
	if found.log.torn {
		s.log.Info("dropped a record that was being written when the process ended", "store", s.dir)
	}
	err := replayLog(logDir, found.log, from, func(seq uint64, w writes) error {
		return s.engine.apply(seq, s.id, w)
	})
	if err != nil {
		return fmt.Errorf("replaying the log: %w", err)
	}
	s.engine.db.SetDiscardTs(s.applied)
	return nil
}

// release gives back what a failed open had taken.
func (s *Store) release() {
	if s.anchor != nil {
		s.anchor.f.Close()
	}
	if s.writer != nil && s.writer.f != nil {
		s.writer.close()
	}
	if s.engine != nil {
		if err := s.engine.db.Close(); err != nil {
			s.log.Warn("closing Badger", "store", s.dir, "error", err)
		}
	}
	s.lock.Close()
}

var _ kv.Store = (*Store)(nil)
