package shardstore

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// A tidier has an index compacted when that is due, and only then. Badger's
// compactors wake up forty times a second to see whether there is work, which
// would be most of what an idle node costs. So the index is open without them,
// and for as long as there is something to compact it is open with them: opening
// it anew is the one way to start and end them. That costs milliseconds, once for
// tens of thousands of shards.
type tidier struct {
	room   func() error // whether the disk has room for a new database
	busy   atomic.Bool  // a goroutine of tidy is at work
	ended  chan struct{}
	end    func() // closes ended
	worker sync.WaitGroup
}

func newTidier() *tidier {
	ended := make(chan struct{})
	hasRoom := func() error { return nil }
	return &tidier{room: hasRoom, ended: ended, end: sync.OnceFunc(func() { close(ended) })}
}

// stop waits until nothing is at work, and nothing will be.
func (t *tidier) stop() {
	t.end()
	t.worker.Wait()
}

// tidyIfDue starts compacting when db, which the caller uses, needs it.
func (x *index) tidyIfDue(db *badger.DB) {
	if x.busy.Load() || db.Opts().ReadOnly || isTidy(db) || !x.busy.CompareAndSwap(false, true) {
		return
	}
	x.worker.Go(func() {
		defer x.busy.Store(false)
		x.tidy()
	})
}

// isTidy reports whether Badger would compact nothing: it scores levels that are
// over their size with 1 and more, others not at all.
func isTidy(db *badger.DB) bool {
	return !slices.ContainsFunc(db.Levels(), func(level badger.LevelInfo) bool { return level.Score >= 1 })
}

// tidy compacts the index until it is tidy, even with the table that closing adds,
// or the tidier is stopped.
func (x *index) tidy() {
	quiet := indexOptions(x.path)
	for !x.isTidy() {
		x.reopen(quiet.WithNumCompactors(2).WithNumLevelZeroTablesStall(2 * quiet.NumLevelZeroTables))
		for !x.isTidy() {
			if !x.pause(100 * time.Millisecond) {
				return
			}
		}
		x.reopen(quiet)
	}
}

func (x *index) isTidy() bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.db != nil && isTidy(x.db)
}

// reopen puts another database over the same files in the place of the one there
// is. If it cannot be opened, the index is broken until it can.
func (x *index) reopen(options badger.Options) {
	if !x.lockUnused() {
		return
	}
	defer x.mu.Unlock()
	_ = x.db.Close() // what it could not put into tables is in its log
	for {
		if x.db, x.broken = openBadger(options); x.broken == nil {
			return
		}
		x.db = nil
		x.mu.Unlock()
		again := x.pause(time.Second)
		x.mu.Lock()
		if !again {
			return
		}
	}
}

// lockUnused locks mu as soon as nobody uses the database and the disk has room for
// a new one: Badger waits for room for ever. It only tries: behind a lock that is
// waited for, those would be stuck who read two indexes, or one of them twice.
func (x *index) lockUnused() bool {
	for {
		pause := time.Second
		if x.room() == nil {
			if x.mu.TryLock() {
				if x.pause(0) {
					return true
				}
				x.mu.Unlock()
				return false
			}
			pause = time.Millisecond
		}
		if !x.pause(pause) {
			return false
		}
	}
}

// pause reports false, at once, when the tidier is stopped.
func (t *tidier) pause(d time.Duration) bool {
	select {
	case <-t.ended:
		return false
	default:
	}
	select {
	case <-t.ended:
		return false
	case <-time.After(d):
		return true
	}
}
