package shardstore

import (
	"errors"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/cairnstorage/cairn/proto/order"
)

// inPages gives entries to Resync, so many at a time.
func inPages(entries []Entry, size int) func() ([]Entry, error) {
	return func() ([]Entry, error) {
		page := entries[:min(len(entries), size)]
		entries = entries[len(page):]
		return page, nil
	}
}

func mustResync(t *testing.T, s *Store, group uint32, to uint64, entries ...Entry) {
	t.Helper()
	if err := s.Resync(group, to, inPages(entries, 2)); err != nil {
		t.Fatal(err)
	}
}

func wantCursor(t *testing.T, s *Store, group uint32, want uint64) {
	t.Helper()
	if seq, err := s.Cursor(group); seq != want || err != nil {
		t.Errorf("cursor of group %d: %d, %v, want %d", group, seq, err, want)
	}
}

// TestResync: a node comes back after all tombstones were trimmed, also such of
// what it held before it went. Wherever the process ends, it gets there.
func TestResync(t *testing.T) {
	cfg, _, _ := twoDirs(t)
	s := openStore(t, cfg)
	x := sameGroup(12)
	kept, again, buried, lost, gone, came, staged, missing, ahead, wrong, late, healed :=
		x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8], x[9], x[10], x[11]
	other := withKey(newSample(77, 4096), wrong.meta.Key)
	mustPut(t, s, kept, again, buried, came, staged, ahead, other)
	mustAdvance(t, s, 1, kept.entry(1), again.entry(2), buried.entry(3), lost.entry(4), gone.entry(5), healed.entry(6))
	// Then it was away, and missed these: gone, buried, lost and what had begun
	// and ended meanwhile were deleted; again was told of once more.
	journal := []Entry{
		kept.entry(1), healed.entry(6), came.entry(10), missing.entry(12), again.entry(14), wrong.entry(15),
		{Seq: 20, Segment: late.meta.Segment}, late.entry(21), {Seq: 22, Segment: order.SegmentID{9}},
	}
	check := func(s *Store) {
		t.Helper()
		wantSeq(t, s, kept, 1)
		wantSeq(t, s, again, 14)
		wantSeq(t, s, came, 10)
		wantSeq(t, s, staged, 0)
		wantSeq(t, s, ahead, 0)
		for i, one := range []sample{buried, lost, gone} {
			if _, err := s.Stat(one.meta.Key); !errors.Is(err, ErrNotFound) {
				t.Errorf("deleted shard %d: %v", i, err)
			}
		}
		wantMissing(t, s, 1, missing.missing(12), wrong.missing(15), late.missing(21), healed.missing(6))
		wantUsage(t, s, 5, 2, 4)
		wantCursor(t, s, 1, 25)
	}
	var crashed [][]string
	rest := inPages(journal, 2)
	err := s.Resync(1, 25, func() ([]Entry, error) {
		var copied []string
		for _, dir := range cfg.Dirs {
			copied = append(copied, copyDir(t, dir))
		}
		crashed = append(crashed, copied)
		return rest()
	})
	if err != nil {
		t.Fatal(err)
	}
	check(s)
	mustResync(t, s, 1, 25, journal...)
	check(s)
	s.Close()
	s = openStore(t, cfg)
	check(s)
	mustAdvance(t, s, 1, ahead.entry(26))
	wantSeq(t, s, ahead, 26)
	mustResync(t, s, 1, 25, journal...) // an answer that is late
	wantSeq(t, s, ahead, 26)
	wantCursor(t, s, 1, 26)
	for i, dirs := range crashed {
		cfg.Dirs = dirs
		s := openStore(t, cfg)
		wantCursor(t, s, 1, 6)
		if i > 0 {
			wantSeq(t, s, buried, 3)
		}
		mustResync(t, s, 1, 25, journal...)
		check(s)
		s.Close()
	}
}

// TestResyncRollback: a satellite has lost entries, given out some of their
// numbers again and then trimmed its journal behind them all.
func TestResyncRollback(t *testing.T) {
	s := openStore(t, testConfig(t))
	x := sameGroup(6)
	kept, lower, higher, lost, taker, marked := x[0], x[1], x[2], x[3], x[4], x[5]
	mustPut(t, s, kept, lower, higher, lost)
	mustAdvance(t, s, 1, kept.entry(1), higher.entry(2), lost.entry(3), marked.entry(4), lower.entry(5))
	wantUsage(t, s, 4, 0, 1)
	mustResync(t, s, 1, 7, kept.entry(1), lower.entry(2), taker.entry(3), higher.entry(4))
	for range 2 {
		wantSeq(t, s, kept, 1)
		wantSeq(t, s, lower, 2)
		wantSeq(t, s, higher, 4)
		wantUsage(t, s, 3, 0, 1)
		wantMissing(t, s, 1, taker.missing(3))
		mustAdvance(t, s, 1, Entry{Seq: 8, Segment: order.SegmentID{9}})
	}
	wantCursor(t, s, 1, 8)
}

// TestResyncFails: when the journal cannot be read to its end, nothing is
// deleted that it did not bury, and the cursor stays.
func TestResyncFails(t *testing.T) {
	s := openStore(t, testConfig(t))
	x := sameGroup(4)
	mustPut(t, s, x...)
	mustAdvance(t, s, 1, x[0].entry(1), x[1].entry(2))
	errGone := errors.New("the satellite is gone")
	for name, pages := range map[string][][]Entry{
		"no answer":    {{x[2].entry(3)}, nil},
		"out of order": {{x[2].entry(3)}, {x[3].entry(3)}},
		"no number":    {{x[2].entry(0)}},
		"too far":      {{x[2].entry(3), x[3].entry(11)}},
	} {
		err := s.Resync(1, 10, func() ([]Entry, error) {
			if len(pages[0]) == 0 {
				return nil, errGone
			}
			page := pages[0]
			pages = pages[1:]
			return page, nil
		})
		if err == nil || (name == "no answer") != errors.Is(err, errGone) {
			t.Errorf("%s: %v", name, err)
		}
		wantSeq(t, s, x[0], 1)
		wantSeq(t, s, x[1], 2)
		wantCursor(t, s, 1, 2)
	}
	mustResync(t, s, 1, 10)
	wantUsage(t, s, 1, 1, 0) // the one that no page got to is staged
	wantCursor(t, s, 1, 10)
}

// TestDeleteBeside deletes much while shards come for marks that go, and others
// are found damaged. Nothing of the group is left alive or missing.
func TestDeleteBeside(t *testing.T) {
	for name, del := range map[string]func(s *Store) error{
		"resync":  func(s *Store) error { return s.Resync(1, 1e6, inPages(nil, 1)) },
		"release": func(s *Store) error { _, err := s.Release(1); return err },
	} {
		t.Run(name, func(t *testing.T) {
			cfg, _, _ := twoDirs(t)
			s := openStore(t, cfg)
			const count = 3 * advanceBatch / 2
			x := make([]sample, 2*count)
			var journal []Entry
			for i := range x {
				x[i] = newSample(uint64(3*i), 64)
				journal = append(journal, x[i].entry(uint64(i+1)))
			}
			held, late := x[:count], x[count:]
			mustPut(t, s, held...)
			mustAdvance(t, s, 1, journal...)
			wantUsage(t, s, count, 0, count)
			for i := 0; i < count; i += 7 {
				harm(t, s, held[i], recordHeaderSize)
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := len(late) - 1; i >= 0; i-- { // against the direction of the sweep
					if err := late[i].put(s); err != nil {
						t.Errorf("put: %v", err)
					}
				}
			})
			wg.Go(func() {
				for i := count - 1; i >= 0; i-- {
					err := s.Verify(t.Context(), held[i].meta.Key)
					if err != nil && !errors.Is(err, ErrNotFound) && (!errors.Is(err, ErrCorrupt) || i%7 != 0) {
						t.Errorf("verify shard %d: %v", i, err)
					}
				}
			})
			if err := del(s); err != nil {
				t.Error(err)
			}
			wg.Wait()
			u := s.Usage()
			if u.Shards != u.Staged || u.Missing != 0 {
				t.Errorf("%d shards are live, %d missing", u.Shards-u.Staged, u.Missing)
			}
			wantMissing(t, s, 1)
		})
	}
}

// TestRelease gives up one group of three, with more than fits a batch and in
// two directories, of which one is away at first.
func TestRelease(t *testing.T) {
	cfg, a, b := twoDirs(t)
	s := openStore(t, cfg)
	known := map[string]string{b: s.Usage().Dirs[1].ID}
	held, total := 0, 0
	var journal []Entry
	for n := range uint64(3 * (advanceBatch + 50)) {
		one := newSample(n, 64)
		if total++; one.meta.Group == 1 {
			journal = append(journal, one.entry(uint64(len(journal)+1)))
			if held++; held%10 == 0 {
				held--
				total--
				continue
			}
		}
		mustPut(t, s, one)
	}
	mustAdvance(t, s, 1, journal[:advanceBatch]...)
	before := s.Usage()
	s.Close()
	if err := os.Rename(b, b+"-away"); err != nil {
		t.Fatal(err)
	}
	cfg.Known = known
	s = openStore(t, cfg)
	revision := s.Revision(1)
	first, err := s.Release(1)
	if err != nil || first == 0 || first == held {
		t.Errorf("released %d shards of %d, %v", first, held, err)
	}
	if s.Revision(1) == revision {
		t.Error("the revision has stayed")
	}
	wantCursor(t, s, 1, 0)
	if groups, err := s.Groups(); !slices.Equal(groups, []uint32{2, 3}) || err != nil {
		t.Errorf("groups %v, %v", groups, err)
	}
	s.Close()
	if err := os.Rename(b+"-away", b); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, cfg)
	if groups, err := s.Groups(); !slices.Equal(groups, []uint32{1, 2, 3}) || err != nil {
		t.Errorf("groups %v, %v", groups, err)
	}
	second, err := s.Release(1)
	if err != nil || first+second != held {
		t.Errorf("released %d and %d shards of %d, %v", first, second, held, err)
	}
	if n, err := s.Release(1); n != 0 || err != nil {
		t.Errorf("released %d shards once more, %v", n, err)
	}
	wantUsage(t, s, total-held, total-held, 0)
	if u := s.Usage(); u.Used != before.Used/int64(before.Shards)*int64(u.Shards) {
		t.Errorf("used %d bytes, %d before", u.Used, before.Used)
	}
	s.Close()
	for _, dir := range []string{a, b} {
		if report, faults := findings(t, dir); len(faults) != 0 || report.Pending != 0 {
			t.Errorf("fsck: %v, %+v", faults, report)
		}
	}
}

// TestGivenUp: a directory is taken out of service. The journals, read again,
// tell what was in it; and all is well should it ever come back.
func TestGivenUp(t *testing.T) {
	cfg, a, b := twoDirs(t)
	s := openStore(t, cfg)
	x := sameGroup(40)
	var journal []Entry
	for i, one := range x {
		journal = append(journal, one.entry(uint64(i+1)))
	}
	mustPut(t, s, x...)
	mustAdvance(t, s, 1, journal...)
	lost := s.Usage().Dirs[1].Shards
	s.Close()
	cfg.Dirs = []string{a}
	s = openStore(t, cfg)
	wantUsage(t, s, 40-lost, 0, 0) // it takes the others for held
	if err := s.Rewind(); err != nil {
		t.Fatal(err)
	}
	wantCursor(t, s, 1, 0)
	mustAdvance(t, s, 1, journal...)
	wantUsage(t, s, 40-lost, 0, lost)
	for _, one := range x[:20] {
		if _, err := s.Stat(one.meta.Key); err != nil {
			mustPut(t, s, one)
		}
	}
	s.Close()
	cfg.Dirs = []string{a, b}
	s = openStore(t, cfg)
	if u := s.Usage(); u.Missing != 0 || u.Shards <= 40 {
		t.Errorf("usage: %+v", u)
	}
	mustVerify(t, s, x...)
	wantUsage(t, s, 40, 0, 0)
	s.Close()
	// The same with a journal that was trimmed.
	cfg.Dirs = []string{b}
	lost = 40 - s.Usage().Dirs[1].Shards
	s = openStore(t, cfg)
	wantUsage(t, s, 40-lost, 0, 0)
	mustResync(t, s, 1, 40, journal...)
	wantUsage(t, s, 40-lost, 0, lost)
}
