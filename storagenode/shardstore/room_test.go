package shardstore

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// ends are where the records of the first volume end, and where its data does.
func ends(t *testing.T, dir string, samples []sample, s *Store) (records, data int64) {
	t.Helper()
	for _, one := range samples {
		_, e, err := s.lookup(one.meta.Key)
		if err != nil {
			t.Fatal(err)
		}
		if e.volume == 1 {
			records = max(records, e.offset+e.length())
		}
	}
	f, err := os.Open(volumePath(dir, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at := int64(0); ; data = at {
		next, ok, err := nextData(f, at)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return records, data
		}
		at = next + pageSize
	}
}

// roomConfig is a store that makes room wherever it is.
func roomConfig(t *testing.T) Config {
	cfg := testConfig(t)
	cfg.inPlace = func(string) bool { return true }
	return cfg
}

func smallSamples(count int) (all []sample) {
	for n := range count {
		all = append(all, newSample(uint64(n+1), 64*(1+n*37%300)))
	}
	return all
}

// TestRoom: there is room behind small records while the store is open, and none
// once it is closed, or opened again after a kill. Meanwhile fsck finds no fault.
func TestRoom(t *testing.T) {
	cfg := roomConfig(t)
	dir := cfg.Dirs[0]
	samples := smallSamples(20)
	s := openStore(t, cfg)
	mustPut(t, s, samples...)
	records, data := ends(t, dir, samples, s)
	if want := roundUp(records, roomAhead); data != want {
		t.Errorf("records end at %d and zeros at %d, want %d", records, data, want)
	}
	killed := cfg
	killed.Dirs = []string{copyDir(t, dir)}
	if _, faults := findings(t, killed.Dirs[0]); len(faults) != 0 {
		t.Errorf("after a kill: %v", faults)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]Config{"stopped": cfg, "killed": killed} {
		s := openStore(t, cfg)
		if got, data := ends(t, cfg.Dirs[0], samples, s); got != records || data != records {
			t.Errorf("%s: records end at %d and data at %d, want %d", name, got, data, records)
		}
		for _, one := range samples {
			if err := one.check(s); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		var entries []Entry
		for i, one := range samples {
			entries = append(entries, Entry{Seq: uint64(i + 1), Segment: one.meta.Segment})
		}
		for group := range uint32(4) {
			mustAdvance(t, s, group, entries...)
		}
		mustPut(t, s, newSample(1000, 64)) // in a volume of its own
		s.Close()
		s = openStore(t, cfg)
		if _, err := os.Stat(volumePath(cfg.Dirs[0], 1)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a volume of which nothing is left is there: %v", name, err)
		}
		s.Close()
	}
}

// TestNoRoom: large records are not written twice, and no room is made where
// space is short or it would be of no use.
func TestNoRoom(t *testing.T) {
	large := []sample{newSample(1, 64<<10), newSample(2, 100_032)}
	short := roomConfig(t)
	short.statfs = freeSpace // and there is never plenty
	copying := testConfig(t)
	copying.inPlace = func(string) bool { return false }
	for _, test := range []struct {
		cfg     Config
		samples []sample
	}{{roomConfig(t), large}, {short, smallSamples(5)}, {copying, smallSamples(5)}} {
		s := openStore(t, test.cfg)
		mustPut(t, s, test.samples...)
		if records, data := ends(t, test.cfg.Dirs[0], test.samples, s); records != data {
			t.Errorf("records end at %d, data at %d", records, data)
		}
	}
}

// TestRoomAtOnce writes records of many sizes at once: room is never made where
// a record is being written, also not at the end of a volume.
func TestRoomAtOnce(t *testing.T) {
	cfg := roomConfig(t)
	cfg.VolumeSize = 3*roomAhead + 5*pageSize
	s := openStore(t, cfg)
	const writers, each = 8, 40
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				n := w*each + i
				if err := newSample(uint64(n+1), 64*(1+n*7919%1500)).put(s); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	for n := range writers * each {
		if err := newSample(uint64(n+1), 64*(1+n*7919%1500)).check(s); err != nil {
			t.Errorf("shard %d: %v", n, err)
		}
	}
	volumes, err := filepath.Glob(filepath.Join(cfg.Dirs[0], volumesDir, "*.vol"))
	if err != nil || len(volumes) < 10 {
		t.Fatalf("%d volumes: %v", len(volumes), err)
	}
	for _, name := range volumes {
		if st, err := os.Stat(name); err != nil || st.Size() > cfg.VolumeSize {
			t.Errorf("%s has %d bytes, more than %d: %v", name, st.Size(), cfg.VolumeSize, err)
		}
	}
	s.Close()
	if _, faults := findings(t, cfg.Dirs[0]); len(faults) != 0 {
		t.Error(faults)
	}
}
