package shardstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// filled is a closed store with some shards in one volume or more.
func filled(t *testing.T, sizes ...int) (Config, []sample) {
	t.Helper()
	cfg := testConfig(t)
	s := openStore(t, cfg)
	var samples []sample
	for i, size := range sizes {
		one := newSample(uint64(i+1), size)
		if err := one.put(s); err != nil {
			t.Fatal(err)
		}
		samples = append(samples, one)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return cfg, samples
}

// findings runs Fsck and gives the faults it found.
func findings(t *testing.T, dir string) (Report, []Fault) {
	t.Helper()
	before := snapshot(t, dir)
	var faults []Fault
	report, err := Fsck(context.Background(), dir, func(d Damage) {
		if d.String() == "" {
			t.Error("damage without a text")
		}
		faults = append(faults, d.Fault)
	})
	if err != nil {
		t.Fatalf("fsck: %v", err)
	}
	if !slices.Equal(before, snapshot(t, dir)) {
		t.Error("fsck has changed the directory")
	}
	return report, faults
}

// snapshot is every file of a directory with its content's hash.
func snapshot(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	for _, name := range listFiles(t, dir) {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		size, err := io.Copy(sum, f)
		f.Close()
		if err != nil {
			continue // a directory
		}
		all = append(all, fmt.Sprintf("%s %d %x", name, size, sum.Sum(nil)))
	}
	return all
}

func flip(t *testing.T, path string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, offset); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b, offset); err != nil {
		t.Fatal(err)
	}
}

func firstPlace(t *testing.T, cfg Config, one sample) place {
	t.Helper()
	s := openStore(t, cfg)
	defer s.Close()
	_, e, err := s.lookup(one.meta.Key)
	if err != nil {
		t.Fatal(err)
	}
	return e.place
}

// TestBitFlips flips a bit in each part of a volume. The other shards must be
// unharmed, the flip found, and the index rebuilt without the damaged shard.
func TestBitFlips(t *testing.T) {
	for name, tt := range map[string]struct {
		at      func(place) int64
		faults  []Fault // of fsck
		reads   bool    // plain reads go on
		rebuilt int     // shards found by a rebuild
	}{
		"volume header": {func(place) int64 { return 20 }, []Fault{FaultVolume}, true, 3},
		"record header": {func(p place) int64 { return p.offset + 20 }, []Fault{FaultJunk, FaultLost}, true, 2},
		"first byte":    {func(p place) int64 { return p.dataOffset() }, []Fault{FaultData}, true, 2},
		"last byte":     {func(p place) int64 { return p.dataOffset() + p.reserved - 1 }, []Fault{FaultData}, true, 2},
		"footer":        {func(p place) int64 { return p.footerOffset() + 60 }, []Fault{FaultFooter}, true, 2},
		"shard roots":   {func(p place) int64 { return p.footerOffset() + footerFixedSize + 5 }, []Fault{FaultFooter}, true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, samples := filled(t, 4096, 150_016, 64)
			p := firstPlace(t, cfg, samples[1])
			flip(t, volumePath(cfg.Dirs[0], p.volume), tt.at(p))
			report, faults := findings(t, cfg.Dirs[0])
			if !slices.Equal(faults, tt.faults) || report.Damages != len(faults) {
				t.Errorf("fsck found %v, want %v; %+v", faults, tt.faults, report)
			}
			s := openStore(t, cfg)
			for _, i := range []int{0, 2} {
				if err := samples[i].check(s); err != nil {
					t.Errorf("shard %d: %v", i, err)
				}
			}
			h, err := s.Open(samples[1].meta.Key)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.ReadAt(make([]byte, 150_016), 0); err != nil {
				t.Errorf("read: %v", err)
			}
			h.Close()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			refused := diskUse(t, cfg.Dirs[0])
			report, err = RebuildIndex(context.Background(), cfg.Dirs[0], func(Damage) {})
			if err != nil || report.Shards != tt.rebuilt {
				t.Errorf("rebuild: %+v, %v", report, err)
			}
			if now := diskUse(t, cfg.Dirs[0]); now != refused {
				t.Errorf("a rebuild has freed %d bytes", refused-now)
			}
			report, err = RebuildAndFree(context.Background(), cfg.Dirs[0], func(Damage) {})
			if err != nil || report.Shards != tt.rebuilt {
				t.Errorf("rebuild and free: %+v, %v", report, err)
			}
			freed := refused - diskUse(t, cfg.Dirs[0])
			if known := tt.rebuilt == 2 && name != "record header"; known != (freed >= p.reserved) || !known && freed != 0 {
				t.Errorf("freed %d bytes", freed)
			}
			s = openStore(t, cfg)
			if tt.rebuilt == 2 {
				if err := samples[1].put(s); err != nil {
					t.Errorf("put the damaged shard again: %v", err)
				}
			}
			for i := range samples {
				if err := samples[i].check(s); err != nil {
					t.Errorf("shard %d after the rebuild: %v", i, err)
				}
			}
		})
	}
}

// TestProveDamaged: a damaged shard is never proven, and a new copy of it is
// taken in.
func TestProveDamaged(t *testing.T) {
	cfg, samples := filled(t, 200_000)
	p := firstPlace(t, cfg, samples[0])
	flip(t, volumePath(cfg.Dirs[0], p.volume), p.dataOffset()+100_000)
	s := openStore(t, cfg)
	h, err := s.Open(samples[0].meta.Key)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Prove(25, 1); !errors.Is(err, ErrCorrupt) {
		t.Errorf("proof of a damaged part: %v", err)
	}
	if _, _, err := h.Prove(0, 1); err != nil {
		t.Errorf("proof of a sound part: %v", err)
	}
	h.Close()
	if err := s.Advance(samples[0].meta.Group, []Entry{samples[0].entry(1)}); err != nil {
		t.Fatal(err)
	}
	if err := samples[0].put(s); err != nil {
		t.Fatalf("put it again: %v", err)
	}
	if err := samples[0].check(s); err != nil {
		t.Error(err)
	}
	if info, err := s.Stat(samples[0].meta.Key); err != nil || !info.Live {
		t.Errorf("the new copy is not live: %+v, %v", info, err)
	}
	if u := s.Usage(); u.Shards != 1 || u.Missing != 0 || u.Staged != 0 {
		t.Errorf("usage: %+v", u)
	}
}

// entry is the journal's line for a committed shard.
func (s sample) entry(seq uint64) Entry {
	return Entry{Seq: seq, Live: true, Segment: s.meta.Segment, Root: s.meta.Root, Size: s.meta.Layout.Size}
}

// TestTruncatedVolume cuts a volume off at many places: what lies before the
// cut is unharmed, what lies behind is reported.
func TestTruncatedVolume(t *testing.T) {
	cfg, samples := filled(t, 8192, 70_016, 4096)
	var places []place
	for _, one := range samples {
		places = append(places, firstPlace(t, cfg, one))
	}
	for _, cut := range []int64{0, 50, pageSize, places[1].offset, places[1].offset + 10, places[1].dataOffset() + 5000,
		places[1].footerOffset() + 1, places[2].footerOffset() + 200} {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			t.Parallel()
			cut, dir := cut, copyDir(t, cfg.Dirs[0])
			if err := os.Truncate(volumePath(dir, places[0].volume), cut); err != nil {
				t.Fatal(err)
			}
			report, faults := findings(t, dir)
			cfg := cfg
			cfg.Dirs = []string{dir}
			s := openStore(t, cfg)
			whole := 0
			for i, one := range samples {
				sound := places[i].footerOffset()+footerSize(places[i].reserved, places[i].slots) <= cut
				if sound {
					whole++
				}
				if err := one.check(s); sound != (err == nil) || err != nil && !errors.Is(err, ErrCorrupt) {
					t.Errorf("shard %d, cut off: %v, check: %v", i, !sound, err)
				}
				if err := one.put(s); err != nil {
					t.Errorf("put shard %d again: %v", i, err)
				}
				if err := one.check(s); err != nil {
					t.Errorf("shard %d after it was put again: %v", i, err)
				}
			}
			if report.Shards != whole || len(faults) == 0 {
				t.Errorf("fsck found %v, %+v; %d shards are whole", faults, report, whole)
			}
		})
	}
}

// TestIndexSetBack opens a store whose index is older than its volumes, as
// after a power failure: shards are found in the volumes, and the journal, read
// from where the index was, says the rest.
func TestIndexSetBack(t *testing.T) {
	cfg := testConfig(t)
	cfg.VolumeSize = 200 << 10
	now := time.Unix(1_800_000_000, 0)
	cfg.Now = func() time.Time { return now }
	s := openStore(t, cfg)
	var journal []Entry
	var samples []sample
	step := func(from, to int) {
		for i := from; i < to; i++ {
			one := newSample(uint64(3*i), 30_016) // all of one group
			if err := one.put(s); err != nil {
				t.Fatal(err)
			}
			samples = append(samples, one)
			journal = append(journal, one.entry(uint64(len(journal)+1)))
			if i%3 == 0 {
				old := samples[i/2]
				journal = append(journal, Entry{Seq: uint64(len(journal) + 1), Segment: old.meta.Segment})
			}
			cursor, err := s.Cursor(one.meta.Group)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Advance(one.meta.Group, journal[cursor:]); err != nil {
				t.Fatal(err)
			}
		}
	}
	step(0, 12)
	old := copyDir(t, cfg.Dirs[0])
	step(12, 40)
	// One that was put, expired, and put again elsewhere.
	again := newSample(3*1000, 30_016)
	if err := again.put(s); err != nil {
		t.Fatal(err)
	}
	setBack := copyDir(t, cfg.Dirs[0])
	if n, err := s.ExpireStaged(func(uint32) time.Time { return now.Add(time.Hour) }); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if err := again.put(s); err != nil {
		t.Fatal(err)
	}
	for name, index := range map[string]string{"far": old, "near": setBack} {
		t.Run(name, func(t *testing.T) {
			cfg := cfg
			cfg.Dirs = []string{copyDir(t, cfg.Dirs[0])}
			path := filepath.Join(cfg.Dirs[0], indexDir)
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(path, os.DirFS(filepath.Join(index, indexDir))); err != nil {
				t.Fatal(err)
			}
			s := openStore(t, cfg)
			group := samples[0].meta.Group
			cursor, err := s.Cursor(group)
			if err != nil {
				t.Fatal(err)
			}
			if name == "far" && cursor >= uint64(len(journal)) {
				t.Fatalf("cursor %d was not set back", cursor)
			}
			if err := s.Advance(group, journal[cursor:]); err != nil {
				t.Fatal(err)
			}
			gone := make(map[Key]bool)
			for _, e := range journal {
				gone[Key{Segment: e.Segment, Group: group}] = !e.Live
			}
			for i, one := range samples {
				err := one.check(s)
				if gone[one.meta.Key] && !errors.Is(err, ErrNotFound) || !gone[one.meta.Key] && err != nil {
					t.Errorf("shard %d, deleted: %v: %v", i, gone[one.meta.Key], err)
				}
			}
			if err := again.check(s); err != nil {
				t.Errorf("the shard put again: %v", err)
			}
			if u := s.Usage(); u.Missing != 0 || u.Staged != 1 {
				t.Errorf("usage: %+v", u)
			}
		})
	}
}

// TestTornRecord has records of which not all has reached the disk before the
// power failed. They were never acknowledged and must not be taken up.
func TestTornRecord(t *testing.T) {
	cfg, samples := filled(t, 4096)
	old := copyDir(t, cfg.Dirs[0])
	s := openStore(t, cfg)
	torn := newSample(50, 100_032)
	if err := torn.put(s); err != nil {
		t.Fatal(err)
	}
	_, e, err := s.lookup(torn.meta.Key)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	for offset := e.offset; offset < e.offset+e.length(); offset += pageSize {
		dir := copyDir(t, cfg.Dirs[0])
		path := filepath.Join(dir, indexDir)
		if err := errors.Join(os.RemoveAll(path), os.CopyFS(path, os.DirFS(filepath.Join(old, indexDir)))); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(volumePath(dir, e.volume), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(make([]byte, pageSize), offset); err != nil {
			t.Fatal(err)
		}
		f.Close()
		cfg := cfg
		cfg.Dirs = []string{dir}
		s := openStore(t, cfg)
		if _, err := s.Stat(torn.meta.Key); !errors.Is(err, ErrNotFound) {
			t.Errorf("page %d of the record is missing, and it was taken up: %v", (offset-e.offset)/pageSize, err)
		}
		if err := samples[0].check(s); err != nil {
			t.Error(err)
		}
		s.Close()
	}
}

// TestStrangeVolumes: one that was just being made is no damage; one that is
// another directory's is never touched.
func TestStrangeVolumes(t *testing.T) {
	cfg, samples := filled(t, 4096)
	foreign, _ := filled(t, 4096)
	dir := cfg.Dirs[0]
	if err := os.WriteFile(volumePath(dir, 2), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, faults := findings(t, dir); len(faults) != 0 {
		t.Errorf("an empty volume: %v", faults)
	}
	s := openStore(t, cfg)
	mustPut(t, s, newSample(5, 64))
	if err := samples[0].check(s); err != nil {
		t.Error(err)
	}
	s.Close()
	data, err := os.ReadFile(volumePath(foreign.Dirs[0], 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(volumePath(dir, 9), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, faults := findings(t, dir); !slices.Equal(faults, []Fault{FaultVolume}) {
		t.Errorf("a foreign volume: %v", faults)
	}
	if s, err := Open(cfg); !errors.Is(err, errForeign) {
		t.Errorf("open with a foreign volume: %v", err)
		s.Close()
	}
}
