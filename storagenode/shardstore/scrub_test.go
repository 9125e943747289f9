package shardstore

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"testing"
)

func mustVerify(t *testing.T, s *Store, samples ...sample) {
	t.Helper()
	for _, one := range samples {
		if err := s.Verify(t.Context(), one.meta.Key); err != nil {
			t.Fatal(err)
		}
	}
}

func placeOf(t *testing.T, s *Store, one sample) (*dir, place) {
	t.Helper()
	d, e, err := s.lookup(one.meta.Key)
	if err != nil {
		t.Fatal(err)
	}
	return d, e.place
}

// harm flips a bit of a shard on disk.
func harm(t *testing.T, s *Store, one sample, at int64) {
	t.Helper()
	d, p := placeOf(t, s, one)
	flip(t, volumePath(d.path, p.volume), p.offset+at)
}

// TestVerifyDrops: a damaged shard goes, with its space, and is missing if it
// was live; the others stay.
func TestVerifyDrops(t *testing.T) {
	cfg := testConfig(t)
	s := openStore(t, cfg)
	x := make([]sample, 3)
	for i := range x {
		x[i] = newSample(uint64(3*i), 200_000)
	}
	sound, live, staged := x[0], x[1], x[2]
	mustPut(t, s, x...)
	mustAdvance(t, s, 1, sound.entry(1), live.entry(2))
	mustVerify(t, s, x...)
	harm(t, s, live, 100_000)
	harm(t, s, staged, 150_000)
	before, revision := diskUse(t, cfg.Dirs[0]), s.Revision(1)
	for _, one := range x[1:] {
		if err := s.Verify(t.Context(), one.meta.Key); !errors.Is(err, ErrCorrupt) {
			t.Errorf("verify a damaged shard: %v", err)
		}
		if err := s.Verify(t.Context(), one.meta.Key); !errors.Is(err, ErrNotFound) {
			t.Errorf("verify it again: %v", err)
		}
	}
	if freed := before - diskUse(t, cfg.Dirs[0]); freed < 2*200_000 {
		t.Errorf("only %d bytes were freed", freed)
	}
	if s.Revision(1) == revision {
		t.Error("the loss changes no revision")
	}
	mustVerify(t, s, sound)
	for range 2 {
		wantUsage(t, s, 1, 0, 1)
		wantMissing(t, s, 1, live.missing(2))
		s.Close()
		s = openStore(t, cfg)
	}
	mustPut(t, s, live)
	wantUsage(t, s, 2, 0, 0)
	if info, err := s.Stat(live.meta.Key); err != nil || !info.Live || info.Seq != 2 {
		t.Errorf("the healed shard: %+v, %v", info, err)
	}
}

// TestVerifyCancelled: a caller that leaves is told nothing of the shard.
func TestVerifyCancelled(t *testing.T) {
	s := openStore(t, testConfig(t))
	one := newSample(1, 4096)
	mustPut(t, s, one)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Verify(done, one.meta.Key); !errors.Is(err, context.Canceled) {
		t.Errorf("verify: %v", err)
	}
	if u := s.Usage(); u.Shards != 1 || u.Dirs[0].Unreadable != 0 {
		t.Errorf("usage: %+v", u)
	}
}

// TestUnreadable: what the disk fails to read stays until it has failed three
// times over it and read other shards in between.
func TestUnreadable(t *testing.T) {
	cfg := testConfig(t)
	cfg.VolumeSize = 10 << 10 // one shard each
	s := openStore(t, cfg)
	x := sameGroup(2)
	bad, good := x[0], x[1]
	mustPut(t, s, x...)
	mustAdvance(t, s, 1, bad.entry(1), good.entry(2))
	breakVolume := func() (mend func()) {
		d, p := placeOf(t, s, bad)
		v := d.volumes[p.volume]
		f, err := os.Open(d.path) // of which no byte can be read
		if err != nil {
			t.Fatal(err)
		}
		was := v.file
		v.file = f
		return func() { v.file = was; f.Close() }
	}
	fails := func(unreadable int) {
		t.Helper()
		if err := s.Verify(t.Context(), bad.meta.Key); !errors.Is(err, ErrUnreadable) || errors.Is(err, ErrCorrupt) {
			t.Errorf("verify: %v", err)
		}
		wantUsage(t, s, 2, 0, 0)
		if n := s.Usage().Dirs[0].Unreadable; n != unreadable {
			t.Errorf("%d shards are unreadable, want %d", n, unreadable)
		}
	}
	mend := breakVolume()
	for range 5 {
		fails(1) // no other was read: it may be the disk
	}
	mend()
	mustVerify(t, s, bad)
	mend = breakVolume()
	fails(1)
	for range unreadableTries - 2 {
		mustVerify(t, s, good)
		fails(1)
		fails(1)
	}
	mustVerify(t, s, good)
	if err := s.Verify(t.Context(), bad.meta.Key); !errors.Is(err, ErrCorrupt) {
		t.Errorf("the last try: %v", err)
	}
	mend()
	wantUsage(t, s, 1, 0, 1)
	wantMissing(t, s, 1, bad.missing(1))
}

// TestSecondCopy: of a shard that was put again while its directory was away,
// one sound copy stays.
func TestSecondCopy(t *testing.T) {
	for name, tt := range map[string]struct {
		live  [2]uint64 // by which entry each copy is live, or 0
		harm  []int
		stays int // or -1
	}{
		"both staged":          {[2]uint64{0, 0}, nil, 0},
		"first live":           {[2]uint64{1, 0}, nil, 0},
		"second live":          {[2]uint64{0, 1}, nil, 1},
		"second said later":    {[2]uint64{1, 2}, nil, 1},
		"first damaged":        {[2]uint64{1, 1}, []int{0}, 1},
		"second damaged":       {[2]uint64{1, 1}, []int{1}, 0},
		"live damaged":         {[2]uint64{1, 0}, []int{0}, 1},
		"both damaged":         {[2]uint64{1, 1}, []int{0, 1}, -1},
		"both staged, damaged": {[2]uint64{0, 0}, []int{0, 1}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, a, b := twoDirs(t)
			one := newSample(0, 100_032)
			newest := uint64(0)
			for i, dir := range []string{a, b} {
				alone := cfg
				alone.Dirs = []string{dir}
				s := openStore(t, alone)
				mustPut(t, s, one)
				if seq := tt.live[i]; seq != 0 {
					mustAdvance(t, s, one.meta.Group, one.entry(seq))
					newest = max(newest, seq)
				}
				if slices.Contains(tt.harm, i) {
					harm(t, s, one, 50_000)
				}
				s.Close()
			}
			s := openStore(t, cfg)
			err := s.Verify(t.Context(), one.meta.Key)
			if (tt.stays < 0) != errors.Is(err, ErrCorrupt) || tt.stays >= 0 && err != nil {
				t.Errorf("verify: %v", err)
			}
			// A staged copy counts when its directory has read the journal.
			lost := newest > 0 && (tt.stays < 0 || name == "live damaged")
			if missing := s.Usage().Missing; missing != btoi(lost) {
				t.Errorf("%d shards are missing", missing)
			}
			for i, dir := range s.Usage().Dirs {
				if (dir.Shards == 1) != (i == tt.stays) {
					t.Errorf("directory %d: %+v", i, dir)
				}
			}
			mustAdvance(t, s, one.meta.Group, one.entry(max(newest, 1)))
			if tt.stays < 0 {
				wantUsage(t, s, 0, 0, 1)
				return
			}
			wantUsage(t, s, 1, 0, 0)
			if err := one.check(s); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestShardsAfter pages through a directory, also where the last page ended in
// another run of the process, and whatever was deleted since.
func TestShardsAfter(t *testing.T) {
	cfg, _, _ := twoDirs(t)
	s := openStore(t, cfg)
	var x []sample
	for n := range uint64(40) {
		x = append(x, newSample(n, 64))
	}
	mustPut(t, s, x...)
	want := 0
	for _, dir := range s.Usage().Dirs {
		var after Key
		for {
			page, err := s.ShardsAfter(dir.ID, after, 3)
			if err != nil {
				t.Fatal(err)
			}
			for _, info := range page {
				if bytes.Compare(shardKey(after), shardKey(info.Key)) >= 0 {
					t.Errorf("%v comes after %v", info.Key, after)
				}
				after = info.Key
				want++
			}
			if len(page) < 3 {
				break
			}
			mustAdvance(t, s, after.Group, Entry{Seq: uint64(want), Segment: after.Segment})
			s.Close()
			s = openStore(t, cfg)
		}
	}
	if want != len(x) {
		t.Errorf("%d shards of %d", want, len(x))
	}
	if _, err := s.ShardsAfter("00", Key{}, 3); !errors.Is(err, ErrLost) {
		t.Errorf("shards of an unknown directory: %v", err)
	}
}
