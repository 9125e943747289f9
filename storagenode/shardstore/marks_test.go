package shardstore

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func expireAll(t *testing.T, s *Store) {
	t.Helper()
	if _, err := s.ExpireStaged(func(uint32) time.Time { return time.Now().Add(time.Hour) }); err != nil {
		t.Fatal(err)
	}
}

// setIndexBack puts an older copy of a closed store's index in place.
func setIndexBack(t *testing.T, dir, old string) {
	t.Helper()
	path := filepath.Join(dir, indexDir)
	if err := errors.Join(os.RemoveAll(path), os.CopyFS(path, os.DirFS(filepath.Join(old, indexDir)))); err != nil {
		t.Fatal(err)
	}
}

// twoDirs is a store in two directories.
func twoDirs(t *testing.T) (cfg Config, a, b string) {
	cfg = testConfig(t)
	a, b = cfg.Dirs[0], tempDir(t)
	cfg.Dirs = []string{a, b}
	return cfg, a, b
}

// TestStragglerPowerLoss: a shard that came after its journal entry stays live
// when the power fails before its entry is in the index, in which the cursor is
// past it already.
func TestStragglerPowerLoss(t *testing.T) {
	for _, dirs := range []int{1, 2} {
		cfg := testConfig(t)
		if dirs == 2 {
			cfg, _, _ = twoDirs(t)
		}
		s := openStore(t, cfg)
		x := sameGroup(3)
		late, never := x[1], x[2]
		mustPut(t, s, x[0], newSample(1000, 4096)) // so that there are volumes
		mustAdvance(t, s, 1, x[0].entry(1), late.entry(2), never.entry(3))
		var old []string
		for _, dir := range cfg.Dirs {
			old = append(old, copyDir(t, dir))
		}
		mustPut(t, s, late)
		wantUsage(t, s, 3, 1, 1)
		d, _, err := s.lookup(late.meta.Key)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for i, dir := range cfg.Dirs {
			if dir == d.path {
				setIndexBack(t, dir, old[i])
			}
		}
		s = openStore(t, cfg)
		wantUsage(t, s, 3, 1, 1)
		expireAll(t, s)
		if err := late.check(s); err != nil {
			t.Errorf("%d directories: an acknowledged shard: %v", dirs, err)
		}
		wantUsage(t, s, 2, 0, 1)
		wantSeq(t, s, late, 2)
	}
}

// TestMarksDiffer: a directory was away when the journal told of a missing
// segment again. The last number counts.
func TestMarksDiffer(t *testing.T) {
	for _, first := range []int{0, 1} {
		cfg, a, b := twoDirs(t)
		both := cfg.Dirs
		one := sameGroup(1)[0]
		s := openStore(t, cfg)
		mustAdvance(t, s, 1, one.entry(1))
		s.Close()
		cfg.Dirs = both[first : first+1]
		s = openStore(t, cfg)
		mustAdvance(t, s, 1, one.entry(5))
		s.Close()
		cfg.Dirs = []string{a, b}
		s = openStore(t, cfg)
		var got []Missing
		if err := s.Missing(1, func(m Missing) bool { got = append(got, m); return true }); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, []Missing{one.missing(5)}) {
			t.Errorf("missing: %v", got)
		}
		mustPut(t, s, one)
		wantSeq(t, s, one, 5)
		wantMissing(t, s, 1)
	}
}

// TestMarkLeft: a process ended after a late shard was entered, before its mark
// was taken out; and a shard of another root than the journal's was written but
// never acknowledged.
func TestMarkLeft(t *testing.T) {
	cfg := testConfig(t)
	s := openStore(t, cfg)
	x := sameGroup(2)
	wrong := withKey(newSample(77, 4096), x[1].meta.Key)
	mustPut(t, s, x[0], wrong)
	marks := make(map[Key]mark)
	for _, one := range x {
		marks[one.meta.Key] = mark{seq: 1, size: one.meta.Layout.Size, root: one.meta.Root}
	}
	if err := s.dirs[0].enact(change{mark: marks, fresh: len(marks)}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = openStore(t, cfg)
	wantUsage(t, s, 1, 0, 1)
	mustPut(t, s, x[1])
	wantUsage(t, s, 2, 0, 0)
}

// TestMarkEverywhere: the directory that was the first to hear of a missing
// shard is away when that comes.
func TestMarkEverywhere(t *testing.T) {
	cfg, a, b := twoDirs(t)
	s := openStore(t, cfg)
	one := sameGroup(1)[0]
	mustAdvance(t, s, 1, one.entry(1))
	wantUsage(t, s, 0, 0, 1)
	s.Close()
	cfg.Dirs = []string{b}
	s = openStore(t, cfg)
	mustPut(t, s, one)
	wantUsage(t, s, 1, 0, 0)
	s.Close()
	cfg.Dirs = []string{a, b}
	s = openStore(t, cfg)
	wantUsage(t, s, 1, 0, 0)
	mustAdvance(t, s, 1, one.entry(1))
	wantUsage(t, s, 1, 0, 0)
	mustAdvance(t, s, 1, Entry{Seq: 2, Segment: one.meta.Segment})
	wantUsage(t, s, 0, 0, 0)
}

// TestMarkBeforeShard: the mark is in a directory that comes before that of the
// shard, whose disk was away.
func TestMarkBeforeShard(t *testing.T) {
	cfg, a, b := twoDirs(t)
	cfg.Dirs = []string{b}
	s := openStore(t, cfg)
	x := sameGroup(2)
	mustPut(t, s, x[0])
	s.Close()
	cfg.Dirs = []string{a}
	s = openStore(t, cfg)
	mustAdvance(t, s, 1, x[0].entry(1), x[1].entry(2))
	wantUsage(t, s, 0, 0, 2)
	s.Close()
	cfg.Dirs = []string{a, b}
	s = openStore(t, cfg)
	wantUsage(t, s, 1, 0, 1)
	mustAdvance(t, s, 1, x[0].entry(1), x[1].entry(2), Entry{Seq: 3, Segment: x[1].meta.Segment})
	wantUsage(t, s, 1, 0, 0)
	for _, d := range s.Usage().Dirs {
		if d.Missing != 0 {
			t.Errorf("marks are left: %+v", d)
		}
	}
}

// TestDamagedPowerLoss: the power fails before it is durable that a damaged
// shard was dropped, while another directory's mark for it is.
func TestDamagedPowerLoss(t *testing.T) {
	cfg, _, _ := twoDirs(t)
	s := openStore(t, cfg)
	one := sameGroup(1)[0]
	mustPut(t, s, one)
	mustAdvance(t, s, 1, one.entry(1))
	harm(t, s, one, 1000)
	d, _ := placeOf(t, s, one)
	before := copyDir(t, d.path)
	for range 2 {
		if err := s.Verify(t.Context(), one.meta.Key); !errors.Is(err, ErrCorrupt) {
			t.Errorf("verify: %v", err)
		}
		wantMissing(t, s, 1, one.missing(1))
		s.Close()
		if before != "" {
			if err := errors.Join(os.RemoveAll(d.path), os.CopyFS(d.path, os.DirFS(before))); err != nil {
				t.Fatal(err)
			}
			before = ""
			s = openStore(t, cfg)
			wantUsage(t, s, 1, 0, 0)
			wantMissing(t, s, 1)
			wantSeq(t, s, one, 1)
		}
	}
	s = openStore(t, cfg)
	wantMissing(t, s, 1, one.missing(1))
}

// TestDamagedLiveIsMissing: a live shard that was damaged is missing in all
// directories until it is put again.
func TestDamagedLiveIsMissing(t *testing.T) {
	cfg, _, _ := twoDirs(t)
	s := openStore(t, cfg)
	one := sameGroup(1)[0]
	mustPut(t, s, one)
	mustAdvance(t, s, 1, one.entry(1))
	d, e, err := s.lookup(one.meta.Key)
	if err != nil {
		t.Fatal(err)
	}
	if dropped, err := s.forget(d, e); !dropped || err != nil {
		t.Fatal(err)
	}
	wantUsage(t, s, 0, 0, 1)
	mustPut(t, s, one)
	wantUsage(t, s, 1, 0, 0)
}
