package shardstore

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// onSmallDisks runs a test on file systems of 112 MiB of its own, where they can
// be mounted: ext4, which allocates late, and one in memory.
func onSmallDisks(t *testing.T, test func(t *testing.T, disk string)) {
	t.Run("tmpfs", func(t *testing.T) {
		test(t, mounted(t, "-t", "tmpfs", "-o", "size=112m", "tmpfs"))
	})
	t.Run("ext4", func(t *testing.T) {
		image := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(image, 112<<20); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("mkfs.ext4", "-q", "-m", "0", image).CombinedOutput(); err != nil {
			t.Skipf("cannot make a file system: %v %s", err, out)
		}
		test(t, mounted(t, "-o", "loop", image))
	})
}

// mounted mounts a file system, or skips the test.
func mounted(t *testing.T, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", append(args, dir)...).CombinedOutput(); err != nil {
		t.Skipf("cannot mount a file system: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	return dir
}

// TestFullDisk fills a disk by many writers: they are refused before the
// reserve is gone, and nothing acknowledged is lost.
func TestFullDisk(t *testing.T) { onSmallDisks(t, testFullDisk) }

func testFullDisk(t *testing.T, disk string) {
	cfg := Config{Dirs: []string{filepath.Join(disk, "data")}, VolumeSize: 16 << 20}
	s := openStore(t, cfg)
	held := fillStore(t, s, 8)
	free, _, err := freeSpace(disk)
	if err != nil {
		t.Fatal(err)
	}
	if free < minReserve-(4<<20) || free > minReserve+(8<<20) {
		t.Errorf("%d bytes are free at the end, with a reserve of %d", free, int64(minReserve))
	}
	if u := s.Usage(); u.Free > 3<<20 || u.Shards != len(held) || u.Trouble() != "" {
		t.Errorf("usage: %+v", u)
	}
	s = checkHeld(t, s, cfg, held)
	// Half is deleted, and as much fits again.
	half := held[:len(held)/2]
	deleteAll(t, s, half)
	if more := fillStore(t, s, 8); len(more) < len(half)*8/10 {
		t.Errorf("after %d shards were deleted only %d had room", len(half), len(more))
	}
	checkHeld(t, s, cfg, held[len(held)/2:])
}

// Trouble is what is wrong with any directory.
func (u Usage) Trouble() string {
	all := ""
	for _, d := range u.Dirs {
		all += d.Trouble
	}
	return all
}

var fillNumber atomic.Uint64

// fillStore puts shards until there is no room for a small one.
func fillStore(t *testing.T, s *Store, writers int) []sample {
	t.Helper()
	var mu sync.Mutex
	var held []sample
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for {
				n := fillNumber.Add(1)
				size := 1 + int(n*7919%6000)
				if n%5 == 0 {
					size += largeShard / 64
				}
				one := newSample(n, 64*size)
				err := one.put(s)
				if errors.Is(err, ErrFull) {
					return
				}
				if err != nil {
					t.Errorf("put: %v", err)
					return
				}
				mu.Lock()
				held = append(held, one)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return held
}

func checkHeld(t *testing.T, s *Store, cfg Config, held []sample) *Store {
	t.Helper()
	for range 2 {
		for i, one := range held {
			if err := one.check(s); err != nil {
				t.Fatalf("shard %d of %d: %v", i, len(held), err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, cfg)
	}
	return s
}

func deleteAll(t *testing.T, s *Store, gone []sample) {
	t.Helper()
	byGroup := make(map[uint32][]Entry)
	for _, one := range gone {
		g := one.meta.Group
		cursor, err := s.Cursor(g)
		if err != nil {
			t.Fatal(err)
		}
		seq := cursor + uint64(len(byGroup[g])) + 1
		byGroup[g] = append(byGroup[g], Entry{Seq: seq, Segment: one.meta.Segment})
	}
	for g, entries := range byGroup {
		if err := s.Advance(g, entries); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDiskFilledByOthers has something else take all of the disk, down to the
// last byte, while shards are being written. Badger would die of SIGBUS if it
// were asked for anything then.
func TestDiskFilledByOthers(t *testing.T) { onSmallDisks(t, testDiskFilledByOthers) }

func testDiskFilledByOthers(t *testing.T, disk string) {
	cfg := Config{Dirs: []string{filepath.Join(disk, "data")}, VolumeSize: 16 << 20}
	s := openStore(t, cfg)
	var held []sample
	for i := range uint64(20) {
		one := newSample(i+1, 100_032)
		if err := one.put(s); err != nil {
			t.Fatal(err)
		}
		held = append(held, one)
	}
	// One that is written already, and one in the middle.
	written := newSample(1000, 100_032)
	w, err := written.write(s)
	if err != nil {
		t.Fatal(err)
	}
	middle, err := s.Create(context.Background(), newSample(1001, 1<<20).meta.Key, 1<<20, 10)
	if err != nil {
		t.Fatal(err)
	}
	filler := fillDisk(t, disk)
	if _, err := middle.Write(make([]byte, 64<<10)); !errors.Is(err, ErrFull) {
		t.Errorf("write on: %v", err)
	}
	middle.Abort()
	if _, err := w.Commit(context.Background(), written.meta); !errors.Is(err, ErrFull) {
		t.Errorf("commit: %v", err)
	}
	if err := newSample(1002, 64).put(s); !errors.Is(err, ErrFull) {
		t.Errorf("put: %v", err)
	}
	if err := s.Advance(held[0].meta.Group, []Entry{held[0].entry(1)}); !errors.Is(err, ErrFull) {
		t.Errorf("advance: %v", err)
	}
	for _, one := range held {
		if err := one.check(s); err != nil {
			t.Errorf("read from a full disk: %v", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := Open(cfg); !errors.Is(err, ErrFull) {
		t.Errorf("open on a full disk: %v", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	abandonIndexLock(t, cfg.Dirs[0])
	s = openStore(t, cfg)
	if err := newSample(1003, 64).put(s); err != nil {
		t.Errorf("put once there is room: %v", err)
	}
	checkHeld(t, s, cfg, held)
}

// abandonIndexLock makes an index that could not be closed look as if its
// process had ended.
func abandonIndexLock(t *testing.T, dir string) {
	t.Helper()
	copied := copyDir(t, dir)
	if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(copied))); err != nil {
		t.Fatal(err)
	}
}

// fillDisk takes all there is on a disk.
func fillDisk(t *testing.T, disk string) string {
	t.Helper()
	path := filepath.Join(disk, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for {
			if _, err := f.Write(make([]byte, size)); err != nil {
				break
			}
		}
	}
	return path
}

// TestFreeSpaceIsAsked needs no disk of its own: the figures are made up.
func TestFreeSpaceIsAsked(t *testing.T) {
	cfg := testConfig(t)
	var free atomic.Int64
	free.Store(100 << 20)
	cfg.Reserve = 16 << 20
	cfg.statfs = func(string) (int64, int64, error) { return free.Load(), 1 << 30, nil }
	s := openStore(t, cfg)
	one := newSample(1, 1<<20)
	w, err := one.write(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		free int64
		size int
		want error
	}{
		{16<<20 + 1<<16, 1 << 20, ErrFull}, {16<<20 + 1<<16, 4096, nil}, {16 << 20, 64, ErrFull}, {0, 64, ErrFull}, {1 << 30, 1 << 20, nil},
	} {
		free.Store(tt.free)
		if err := newSample(uint64(100+tt.free), tt.size).put(s); !errors.Is(err, tt.want) {
			t.Errorf("put %d bytes with %d free: %v", tt.size, tt.free, err)
		}
	}
	free.Store(1 << 20)
	if _, err := w.Commit(context.Background(), one.meta); !errors.Is(err, ErrFull) {
		t.Errorf("commit when there is no room for the index: %v", err)
	}
	free.Store(100 << 20)
	if err := one.put(s); err != nil {
		t.Error(err)
	}
}

// TestCapacity counts what is pledged to shards being written.
func TestCapacity(t *testing.T) {
	cfg := testConfig(t)
	cfg.Capacity = 1 << 20
	s := openStore(t, cfg)
	big := newSample(1, 600<<10)
	w, err := big.write(s)
	if err != nil {
		t.Fatal(err)
	}
	other := newSample(2, 600<<10)
	if err := other.put(s); !errors.Is(err, ErrFull) {
		t.Errorf("put above the capacity: %v", err)
	}
	w.Abort()
	if err := other.put(s); err != nil {
		t.Errorf("put after the other was aborted: %v", err)
	}
	u := s.Usage()
	if u.Capacity != 1<<20 || u.Used+u.Free != 1<<20 || u.Used < 600<<10 || u.Used > 620<<10 {
		t.Errorf("usage: %+v", u)
	}
	if err := s.Advance(other.meta.Group, []Entry{{Seq: 1, Segment: other.meta.Segment}}); err != nil {
		t.Fatal(err)
	}
	if err := big.put(s); err != nil {
		t.Errorf("put after the other was deleted: %v", err)
	}
}

// TestIndexReserve: the index is not touched when its own upkeep might not have
// room, its newest tables and two more being merged included.
func TestIndexReserve(t *testing.T) {
	cfg := testConfig(t)
	var free atomic.Int64
	free.Store(1 << 30)
	cfg.Reserve = 0
	cfg.statfs = func(string) (int64, int64, error) { return free.Load(), 1 << 30, nil }
	s := openStore(t, cfg)
	d := s.dirs[0]
	opts := indexOptions("")
	upkeep := opts.MemTableSize * int64(opts.NumLevelZeroTablesStall+opts.NumMemtables+1)
	if d.reserve != minReserve || d.indexFloor() < upkeep {
		t.Errorf("with a reserve of %d the index is touched above %d; it may need %d", d.reserve, d.indexFloor(), upkeep)
	}
	one := sameGroup(1)[0]
	mustPut(t, s, one)
	free.Store(upkeep - 1)
	if err := s.Advance(1, []Entry{one.entry(1)}); !errors.Is(err, ErrFull) {
		t.Errorf("advance: %v", err)
	}
	if _, err := s.ExpireStaged(func(uint32) time.Time { return time.Now().Add(time.Hour) }); !errors.Is(err, ErrFull) {
		t.Errorf("expire: %v", err)
	}
	free.Store(d.indexFloor())
	mustAdvance(t, s, 1, one.entry(1))
}
