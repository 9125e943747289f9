// Package scrub reads all that a node holds again and again, at a slow pace, so
// that damage to disks is found, and healed, before it adds up.
package scrub

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// Store is what a Scrubber needs of shardstore.Store.
type Store interface {
	Usage() shardstore.Usage
	ShardsAfter(dir string, after shardstore.Key, limit int) ([]shardstore.Info, error)
	Verify(ctx context.Context, key shardstore.Key) error
}

// Config is what a Scrubber works with. All but Found and Logger is required.
type Config struct {
	Store  Store
	Period time.Duration // in which everything is read once
	Path   string        // of the file that remembers how far it has come
	Found  func()        // called after damage was found
	Now    func() time.Time
	Logger *slog.Logger // nil logs nothing
}

// Progress says how far scrubbing has come.
type Progress struct {
	Shards     int64     // read since the start of the process
	Bytes      int64     // of them
	Damaged    int64     // shards found damaged
	Unreadable int64     // times that a disk failed
	Began      time.Time // when this pass did; zero: none is under way
	Finished   time.Time // when the last pass did; zero: there was none
}

// A Scrubber scrubs. New makes it and Run runs it.
type Scrubber struct {
	c Config

	mu       sync.Mutex
	progress Progress
	place    place
	hurry    []chan struct{} // closed after a pass at full speed
	wake     chan struct{}
}

const (
	pageShards = 100 // chosen at a time
	// maxPause is how long a pause can be at most before the pace is worked out
	// again: what is held changes.
	maxPause = time.Minute
	// saveEvery is how much work a restart may do twice.
	saveEvery = time.Minute
	// maxAgain bounds the shards of a directory that are read again at its end
	// since the disk failed, and againTries how often.
	maxAgain   = 1000
	againTries = 3
)

// New makes a Scrubber that goes on where the last one on this file was.
func New(c Config) (*Scrubber, error) {
	if c.Store == nil || c.Period <= 0 || c.Path == "" || c.Now == nil {
		return nil, errors.New("scrub: Config is incomplete")
	}
	if c.Found == nil {
		c.Found = func() {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Scrubber{c: c, wake: make(chan struct{}, 1)}
	s.place = load(c.Path, c.Logger)
	s.progress.Began, s.progress.Finished = s.place.Began, s.place.Finished
	return s, nil
}

// Progress says how far it has come.
func (s *Scrubber) Progress() Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progress
}

// Now begins a pass over everything at full speed. The channel is closed when it
// is done.
func (s *Scrubber) Now() <-chan struct{} {
	done := make(chan struct{})
	s.mu.Lock()
	s.hurry = append(s.hurry, done)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return done
}

// hurried takes out who waits for a pass at full speed.
func (s *Scrubber) hurried() (waiting []chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting, s.hurry = s.hurry, nil
	return waiting
}

func (s *Scrubber) isHurried() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.hurry) > 0
}

// Run scrubs until ctx is done.
func (s *Scrubber) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if waiting := s.hurried(); len(waiting) > 0 {
			s.pass(ctx, true)
			for _, done := range waiting {
				close(done)
			}
			continue
		}
		if s.place.Began.IsZero() && s.c.Now().Sub(s.place.Finished) < s.c.Period {
			s.sleep(ctx, maxPause) // what is held was read within the period
			continue
		}
		s.pass(ctx, false)
	}
	s.save()
}

// pass reads everything once, or, at its slow pace, what is left of a pass that
// was begun. It ends early when a pass at full speed is wanted.
func (s *Scrubber) pass(ctx context.Context, fast bool) {
	if fast || s.place.Began.IsZero() {
		s.begin()
	}
	for _, d := range s.c.Store.Usage().Dirs {
		if d.ID == "" || s.place.has(d.ID) {
			continue
		}
		if !s.scrubDir(ctx, d.ID, fast) {
			return
		}
		s.place.finish(d.ID)
	}
	s.place.Began, s.place.Finished, s.place.Dirs = time.Time{}, s.c.Now(), nil
	s.mu.Lock()
	s.progress.Began, s.progress.Finished = time.Time{}, s.place.Finished
	s.mu.Unlock()
	s.save()
}

func (s *Scrubber) begin() {
	s.place = place{Began: s.c.Now(), Finished: s.place.Finished}
	s.mu.Lock()
	s.progress.Began = s.place.Began
	s.mu.Unlock()
}

// scrubDir reads all shards of a directory, and reports whether it came to the
// end.
func (s *Scrubber) scrubDir(ctx context.Context, id string, fast bool) bool {
	var again []shardstore.Key
	after := s.place.after(id)
	saved := s.c.Now()
	for {
		page, err := s.c.Store.ShardsAfter(id, after, pageShards)
		if err != nil {
			if ctx.Err() == nil {
				s.c.Logger.Warn("cannot scrub a data directory", "dir", id, "error", err)
			}
			return s.sleep(ctx, maxPause) && errors.Is(err, shardstore.ErrLost)
		}
		if len(page) == 0 {
			break
		}
		for _, info := range page {
			if s.verify(ctx, info) && len(again) < maxAgain {
				again = append(again, info.Key)
			}
			after = info.Key
			s.place.reach(id, after)
			if !fast && !s.pace(ctx, info.Size()) || ctx.Err() != nil {
				return false
			}
		}
		if now := s.c.Now(); now.Sub(saved) >= saveEvery {
			s.save()
			saved = now
		}
	}
	return s.scrubAgain(ctx, again)
}

// scrubAgain reads shards over which the disk failed once more, after it has read
// others: that tells a bad sector from a disk that is away.
func (s *Scrubber) scrubAgain(ctx context.Context, keys []shardstore.Key) bool {
	for range againTries {
		var still []shardstore.Key
		for _, key := range keys {
			if s.verify(ctx, shardstore.Info{Key: key}) {
				still = append(still, key)
			}
			if ctx.Err() != nil {
				return false
			}
		}
		keys = still
	}
	return true
}

// verify reads one shard, and reports whether it should be tried again.
func (s *Scrubber) verify(ctx context.Context, info shardstore.Info) (again bool) {
	err := s.c.Store.Verify(ctx, info.Key)
	if ctx.Err() != nil || errors.Is(err, shardstore.ErrNotFound) { // deleted meanwhile
		return false
	}
	s.mu.Lock()
	s.progress.Shards++
	if info.Layout.Required > 0 {
		s.progress.Bytes += info.Size()
	}
	switch {
	case errors.Is(err, shardstore.ErrCorrupt):
		s.progress.Damaged++
	case err != nil:
		s.progress.Unreadable++
	}
	s.mu.Unlock()
	switch {
	case errors.Is(err, shardstore.ErrCorrupt):
		s.c.Logger.Error("found a damaged shard; it will be made again from others",
			"segment", info.Segment, "group", info.Group, "error", err)
		s.c.Found()
	case err != nil:
		s.c.Logger.Warn("cannot read a shard", "segment", info.Segment, "group", info.Group, "error", err)
	}
	return errors.Is(err, shardstore.ErrUnreadable)
}

// pace waits as long as so many bytes may take for everything to be read once in
// the period, and reports whether the pass is to go on.
func (s *Scrubber) pace(ctx context.Context, size int64) bool {
	due := pause(size, s.c.Store.Usage().Used, s.c.Period)
	for due > 0 {
		step := min(due, maxPause)
		if !s.sleep(ctx, step) {
			return false
		}
		due -= step
	}
	return !s.isHurried()
}

// pause is what is due for size bytes of used.
func pause(size, used int64, period time.Duration) time.Duration {
	if used < size {
		used = size
	}
	return time.Duration(float64(period) * float64(size) / float64(max(used, 1)))
}

// sleep waits, and reports whether it did all the time.
func (s *Scrubber) sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.wake:
		return false
	case <-ctx.Done():
		return false
	}
}
