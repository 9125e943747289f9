package shardstore

import (
	"errors"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

func filterKey(n int) []byte {
	e := stagedEntry(n % 65536)
	e.Segment[15] = byte(n >> 16)
	return shardKey(e.Key)
}

func TestFilter(t *testing.T) {
	for _, count := range []int{0, 1, 63, 64, 65, 1000, 100_000} {
		f := newFilter(count)
		for n := range count {
			f.add(filterKey(n))
		}
		for n := range count {
			if f.lacks(filterKey(n)) {
				t.Fatalf("one of %d keys, number %d, is not known", count, n)
			}
		}
		const others = 20_000
		mistaken := 0
		for n := range others {
			mistaken += btoi(!f.lacks(filterKey(count + n)))
		}
		if count < 64 && mistaken > others/4 || count >= 1000 && mistaken > others/20 {
			t.Errorf("with %d keys, %d of %d others are taken for known", count, mistaken, others)
		}
	}
}

// awaitFilter waits until a filter is in use and none is being made.
func awaitFilter(t *testing.T, x *index) (now *filter) {
	t.Helper()
	await(t, "there is a filter", func() bool {
		x.known.mu.Lock()
		defer x.known.mu.Unlock()
		now = x.known.now.Load()
		return now != nil && x.known.next == nil
	})
	return now
}

// A filter that is full is made anew, and then knows of all there is, but not of
// what was deleted.
func TestFilterIsMadeAnew(t *testing.T) {
	x := newIndex(t, t.TempDir())
	defer x.close()
	const kept = 40
	marked := Key{Group: 9}
	x.size, x.spare = func() int { return kept }, 100
	x.expect(missingKey(marked))
	err := x.update(func(txn *badger.Txn) error { return txn.Set(missingKey(marked), (&mark{seq: 1}).encode()) })
	if err != nil {
		t.Fatal(err)
	}
	if x.lacks(filterKey(0)) {
		t.Error("without a filter, a key is taken for unknown")
	}
	x.learn()
	first := awaitFilter(t, x)
	if want := kept + kept/2 + x.spare - 1; first.room != want {
		t.Errorf("the first filter has room for %d keys more, want %d", first.room, want)
	}
	for n := range 2000 {
		e := stagedEntry(n)
		if err := x.enter(e); err != nil {
			t.Fatal(err)
		}
		if n < kept {
			continue
		}
		err := x.supersede(func(txn *badger.Txn, _ func(Key) bool) error { return deleteEntry(txn, e) }, []entry{e})
		if err != nil {
			t.Fatal(err)
		}
		if n%50 == 0 {
			awaitFilter(t, x)
		}
	}
	last := awaitFilter(t, x)
	if last == first || len(last.lines) != len(first.lines) {
		t.Errorf("the filter has %d lines, made anew: %v, and had %d", len(last.lines), last != first, len(first.lines))
	}
	for n := range kept {
		if x.lacks(shardKey(stagedEntry(n).Key)) {
			t.Errorf("entry %d is not known", n)
		}
	}
	if _, ok, err := x.mark(marked); !ok || err != nil {
		t.Errorf("the mark: %v, %v", ok, err)
	}
	deleted := 0
	for n := kept; n < 2000; n++ {
		deleted += btoi(x.lacks(shardKey(stagedEntry(n).Key)))
	}
	if deleted < 1500 {
		t.Errorf("of 1960 deleted entries the filter knows %d", 1960-deleted)
	}
}

// What was there before a start is known, and so is what comes while it is being
// learned.
func TestFilterAfterStart(t *testing.T) {
	cfg := testConfig(t)
	s := openStore(t, cfg)
	var all []sample
	for i := range 30 {
		if i == 20 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openStore(t, cfg)
		}
		sample := newSample(uint64(i), 640)
		all = append(all, sample)
		if err := sample.put(s); err != nil {
			t.Fatal(err)
		}
	}
	x := s.dirs[0].index
	awaitFilter(t, x)
	for i, sample := range all {
		if x.lacks(shardKey(sample.meta.Key)) {
			t.Errorf("shard %d is not known", i)
		}
	}
	if !x.lacks(shardKey(newSample(1000, 64).meta.Key)) {
		t.Error("a shard is known that never was there")
	}
}

// A filter that cannot be made anew stays, which is slower but not wrong, and is
// tried again.
func TestFilterThatCannotBeMade(t *testing.T) {
	x := newIndex(t, t.TempDir())
	defer x.close()
	x.spare = 10
	x.learn()
	first := awaitFilter(t, x)
	x.room = func() error { return ErrFull } // no fresh entry can go to Badger
	for n := range 50 {
		if err := x.enter(stagedEntry(n)); err != nil {
			t.Fatal(err)
		}
		awaitFilter(t, x)
	}
	if awaitFilter(t, x) != first || first.room < 0 {
		t.Errorf("a filter was made without what is fresh: %v; room for %d", x.known.now.Load() != first, first.room)
	}
	x.room = func() error { return nil }
	for n := 50; awaitFilter(t, x) == first; n++ {
		if n > 100 {
			t.Fatal("it is not tried again")
		}
		if err := x.enter(stagedEntry(n)); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 51 {
		if x.lacks(shardKey(stagedEntry(n).Key)) {
			t.Errorf("entry %d is not known", n)
		}
	}
}

// Closing does not wait until all keys of a large index are read.
func TestFilterIsGivenUp(t *testing.T) {
	x := newIndex(t, t.TempDir())
	for n := range 3000 {
		if err := x.enter(stagedEntry(n)); err != nil {
			t.Fatal(err)
		}
	}
	x.tidier.stop()
	if found, err := x.fill(newFilter(10)); !errors.Is(err, ErrClosed) || found > 1000 {
		t.Errorf("%d keys were read, %v", found, err)
	}
	if err := x.close(); err != nil {
		t.Error(err)
	}
}
