package shardstore

import (
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// syncing is a volume with nothing in it, whose syncs are counted.
type syncing struct {
	*volume
	t       *testing.T
	batches atomic.Int32
}

func newSyncing(t *testing.T) *syncing {
	f, err := os.Create(filepath.Join(t.TempDir(), "volume"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &syncing{volume: newVolume(1, f), t: t}
}

func (v *syncing) submit() *commit {
	c := &commit{done: make(chan struct{}, 1)}
	v.queue(c)
	return c
}

func (v *syncing) finish(batch []*commit, err error) {
	v.batches.Add(1)
	for _, c := range batch {
		c.err = err
		close(c.done) // panics if that happens twice
	}
}

func (v *syncing) awaitIt(c *commit) { v.await(c, v.finish) }

// eventually waits for what others do.
func (v *syncing) eventually(what string, holds func() bool) {
	v.t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			v.t.Fatalf("not in ten seconds: %s", what)
		}
	}
}

func (v *syncing) locked(holds func() bool) func() bool {
	return func() bool {
		v.syncMu.Lock()
		defer v.syncMu.Unlock()
		return holds()
	}
}

// While one sync goes on, others come: those that are awaited are served by the
// next, with those that nobody awaits yet, of which none may be made to lead.
func TestNextLeads(t *testing.T) {
	v := newSyncing(t)
	var wg sync.WaitGroup
	v.flush.Lock()
	first := v.submit()
	wg.Go(func() { v.awaitIt(first) })
	v.eventually("the first has begun to sync", v.locked(func() bool { return !first.queued }))
	early := v.submit()
	var rest []*commit
	for range 3 {
		c := v.submit()
		rest = append(rest, c)
		wg.Go(func() { v.awaitIt(c) })
	}
	v.eventually("the others wait", v.locked(func() bool { return rest[0].awaited && rest[1].awaited && rest[2].awaited }))
	v.flush.Unlock()
	over := make(chan struct{})
	go func() { wg.Wait(); close(over) }()
	select {
	case <-over:
	case <-time.After(10 * time.Second):
		t.Fatal("those that wait are not served: nobody leads")
	}
	v.awaitIt(early) // which has been served
	if n := v.batches.Load(); n != 2 {
		t.Errorf("%d syncs for the first and those that came during its own", n)
	}
	v.awaitIt(v.submit())
}

// Nobody leads for one that is queued but not awaited; it leads once it is.
func TestLeadsWhenAwaited(t *testing.T) {
	v := newSyncing(t)
	late := v.submit()
	v.eventually("nothing", func() bool { return !v.led })
	v.flush.Lock()
	first := v.submit()
	done := make(chan struct{})
	go func() { v.awaitIt(first); close(done) }()
	v.eventually("the first has begun to sync", v.locked(func() bool { return !first.queued }))
	later := v.submit()
	v.flush.Unlock()
	<-done
	v.awaitIt(late)
	if n := v.batches.Load(); n != 1 {
		t.Errorf("%d syncs for two that were queued when the first began", n)
	}
	v.awaitIt(later)
	if n := v.batches.Load(); n != 2 || v.led {
		t.Errorf("%d syncs with one that came during the first, led: %t", n, v.led)
	}
}

// Many that come all the time, some of which see to something else before they
// wait, are each done once.
func TestManyLead(t *testing.T) {
	for _, processors := range []int{1, 2, 8} {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
		v := newSyncing(t)
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				for j := range 200 {
					one, other := v.submit(), v.submit()
					if (i+j)%3 == 0 {
						runtime.Gosched()
					}
					v.awaitIt(one)
					v.awaitIt(other)
					if one.queued || other.queued || one.err != nil || other.err != nil {
						t.Error("it was not synced")
					}
				}
			})
		}
		wg.Wait()
		if v.led || len(v.waiting) > 0 {
			t.Errorf("%d processors: led %t, %d wait", processors, v.led, len(v.waiting))
		}
	}
}

// On one processor those that can run have their shards queued before the first
// of them blocks it. Now and then the scheduler has that one go on sooner.
func TestSyncForAllThatCanRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const all, tries = 32, 5
	most := 0
	for range tries {
		most = max(most, syncedFirst(newSyncing(t), all))
	}
	if most < all/8 {
		t.Errorf("of %d that came together %d were synced first", all, most)
	}
}

// syncedFirst has so many come together and tells how many the first sync served.
func syncedFirst(v *syncing, count int) (first int) {
	var wg sync.WaitGroup
	var once sync.Once
	begin := make(chan struct{})
	for range count {
		wg.Go(func() {
			<-begin
			v.await(v.submit(), func(batch []*commit, err error) {
				once.Do(func() { first = len(batch) })
				v.finish(batch, err)
			})
		})
	}
	close(begin)
	wg.Wait()
	return first
}
