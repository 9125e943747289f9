package shardstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/order"
)

func blocks(t *testing.T, path string) int64 {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Sys().(*syscall.Stat_t).Blocks * 512
}

// TestSameShardAtOnce: of many writers of one shard all succeed, one record stays,
// and all are told how old that is.
func TestSameShardAtOnce(t *testing.T) {
	cfg := testConfig(t)
	cfg.Dirs = append(cfg.Dirs, tempDir(t))
	s := openStore(t, cfg)
	one := newSample(1, 30_016)
	other := withKey(newSample(4, 30_016), one.meta.Key)
	var wg sync.WaitGroup
	var mu sync.Mutex
	wins := make(map[bool]int)
	created := make(map[time.Time]bool)
	for i := range 16 {
		wg.Go(func() {
			mine := one
			if i%4 == 0 {
				mine = other
			}
			var held Info
			w, err := mine.write(s)
			if err == nil {
				mine.meta.Created = time.Unix(int64(1_700_000_000+i), 0)
				held, err = w.Commit(context.Background(), mine.meta)
			}
			if err != nil && !errors.Is(err, ErrMismatch) {
				t.Errorf("put: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				wins[i%4 == 0]++
				created[held.Created] = true
			}
		})
	}
	wg.Wait()
	if len(wins) != 1 || wins[false] != 0 && wins[false] != 12 || wins[true] != 0 && wins[true] != 4 {
		t.Errorf("successes: %v", wins)
	}
	if held, err := s.Stat(one.meta.Key); err != nil || len(created) != 1 || !created[held.Created] {
		t.Errorf("what is held is of %s, the writers were told of %v, %v", held.Created, created, err)
	}
	u := s.Usage()
	if u.Shards != 1 || u.Used != (place{reserved: 30_016, slots: 10}).onDisk(30_016) {
		t.Errorf("usage: %+v", u)
	}
	s.Close() // which gives up the room that was made ahead
	onDisk := diskUse(t, cfg.Dirs[0]) + diskUse(t, cfg.Dirs[1])
	if onDisk > u.Used+4*pageSize {
		t.Errorf("%d bytes are on disk, %d used", onDisk, u.Used)
	}
}

// TestEverythingAtOnce is for the race detector: puts, reads, journals and
// expiry side by side.
func TestEverythingAtOnce(t *testing.T) {
	cfg := testConfig(t)
	cfg.VolumeSize = 1 << 20
	s := openStore(t, cfg)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range uint64(4) {
		wg.Go(func() {
			for n := range uint64(30) {
				one := newSample(1000*i+n, 64*int(1+n*37%900))
				if err := one.put(s); err != nil {
					t.Errorf("put: %v", err)
				}
				err := one.check(s)
				if err != nil && !errors.Is(err, ErrNotFound) {
					t.Errorf("check: %v", err)
				}
			}
		})
	}
	var side sync.WaitGroup
	side.Go(func() {
		for seq := uint64(1); ; seq++ {
			select {
			case <-stop:
				return
			default:
			}
			one := newSample(3*(seq%40), 64)
			if err := s.Advance(one.meta.Group, []Entry{{Seq: seq, Segment: one.meta.Segment}}); err != nil {
				t.Errorf("advance: %v", err)
			}
			if _, err := s.ExpireStaged(func(g uint32) time.Time { return time.Now().Add(time.Duration(g) - time.Second) }); err != nil {
				t.Errorf("expire: %v", err)
			}
			s.Usage()
			if err := s.Each(func(Info) bool { return true }); err != nil {
				t.Errorf("each: %v", err)
			}
		}
	})
	wg.Wait()
	close(stop)
	side.Wait()
}

func TestClosed(t *testing.T) {
	s := openStore(t, testConfig(t))
	one := newSample(1, 4096)
	mustPut(t, s, one)
	w, err := s.Create(context.Background(), newSample(2, 4096).meta.Key, 64<<10, 10)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.Open(one.meta.Key)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, err1 := s.Create(context.Background(), one.meta.Key, 64, 10)
	_, err2 := s.Open(one.meta.Key)
	_, err3 := s.Stat(one.meta.Key)
	_, err4 := s.Cursor(1)
	_, err5 := w.Write(make([]byte, maxHeld))
	_, err6 := w.Commit(context.Background(), newSample(2, 4096).meta)
	w.Abort()
	_, err7 := s.ExpireStaged(func(uint32) time.Time { return time.Time{} })
	for i, err := range []error{err1, err2, err3, err4, err5, err6, err7, s.Advance(1, nil), s.Each(nil), closedCalls(s)} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("call %d after Close: %v", i+1, err)
		}
	}
	if _, err := h.ReadAt(make([]byte, 1), 0); err == nil {
		t.Error("read from a closed store")
	}
	h.Close()
}

// closedCalls is one error of many calls, unless one of them has none.
func closedCalls(s *Store) error {
	_, err1 := s.ShardsAfter("", Key{}, 1)
	_, err2 := s.Inventory(1, order.SegmentID{}, 1)
	_, _, err3 := s.MissingRuns(1)
	_, err4 := s.Release(1)
	_, err5 := s.Groups()
	for _, err := range []error{err1, err2, err3, err4, err5, s.Rewind(), s.Missing(1, nil), s.Verify(context.Background(), Key{}),
		s.Resync(1, 1, inPages(nil, 1))} {
		if !errors.Is(err, ErrClosed) {
			return err
		}
	}
	return ErrClosed
}

func TestLimits(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxWriters = 2
	s := openStore(t, cfg)
	a, err := newSample(1, 64).write(s)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newSample(2, 64).write(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := newSample(3, 64).put(s); !errors.Is(err, ErrBusy) {
		t.Errorf("third writer: %v", err)
	}
	a.Abort()
	a.Abort()
	b.Abort()
	mustPut(t, s, newSample(3, 64))
	for _, size := range []int64{-1, 0, 64<<20 + 1, 1 << 62} {
		if _, err := s.Create(context.Background(), newSample(4, 64).meta.Key, size, 10); !errors.Is(err, ErrMismatch) {
			t.Errorf("create with %d bytes: %v", size, err)
		}
	}
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Create(done, newSample(4, 64).meta.Key, 64, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("create when the caller has left: %v", err)
	}
}

func TestDirectories(t *testing.T) {
	cfg := testConfig(t)
	s := openStore(t, cfg)
	if _, err := Open(cfg); !errors.Is(err, ErrLocked) {
		t.Errorf("second store in the directory: %v", err)
	}
	if _, err := Fsck(context.Background(), cfg.Dirs[0], nil); !errors.Is(err, ErrLocked) {
		t.Errorf("fsck beside the store: %v", err)
	}
	if _, err := RebuildIndex(context.Background(), cfg.Dirs[0], nil); !errors.Is(err, ErrLocked) {
		t.Errorf("rebuild beside the store: %v", err)
	}
	id := s.Usage().Dirs[0].ID
	s.Close()

	file := filepath.Join(tempDir(t), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	twice := cfg
	twice.Dirs = []string{cfg.Dirs[0], copyDir(t, cfg.Dirs[0])}
	s = openStore(t, twice)
	if u := s.Usage(); u.Dirs[0].Trouble != "" || u.Dirs[1].Trouble == "" {
		t.Errorf("a copy of the directory was taken: %+v", u)
	}
	s.Close()
	for name, c := range map[string]Config{
		"no directory":      {},
		"a file":            {Dirs: []string{file}},
		"below a file":      {Dirs: []string{filepath.Join(file, "dir")}},
		"negative capacity": {Dirs: cfg.Dirs, Capacity: -1},
		"large volumes":     {Dirs: cfg.Dirs, VolumeSize: 5 << 30},
		"another store":     {Dirs: cfg.Dirs, Known: map[string]string{cfg.Dirs[0]: "ff" + id[2:]}},
	} {
		if s, err := Open(c); err == nil {
			s.Close()
			t.Errorf("%s: opened", name)
		}
	}
	for name, inspect := range map[string]func(context.Context, string, func(Damage)) (Report, error){"fsck": Fsck, "rebuild": RebuildIndex} {
		if _, err := inspect(context.Background(), tempDir(t), nil); !errors.Is(err, ErrLost) {
			t.Errorf("%s of an empty directory: %v", name, err)
		}
	}
}

// TestSyncFails: a failed sync acknowledges nothing, and the directory takes no
// more, as nobody knows what the disk has.
func TestSyncFails(t *testing.T) {
	cfg := testConfig(t)
	s := openStore(t, cfg)
	mustPut(t, s, newSample(1, 4096))
	d := s.dirs[0]
	w, err := newSample(2, 4096).write(s)
	if err != nil {
		t.Fatal(err)
	}
	d.active.file.Close() // the disk is pulled out
	if _, err := w.Commit(context.Background(), newSample(2, 4096).meta); err == nil {
		t.Error("committed without a disk")
	}
	s.synced([]*commit{{writer: w, done: make(chan struct{})}}, syscall.EIO)
	if err := newSample(3, 4096).put(s); err == nil || s.Usage().Trouble() == "" {
		t.Errorf("put to a failed directory: %v", err)
	}
}

// TestSyncFailsOnce: what was written before a failed sync is not acknowledged
// by a later one, even if that succeeds.
func TestSyncFailsOnce(t *testing.T) {
	s := openStore(t, testConfig(t))
	first, second := newSample(1, 4096), newSample(2, 4096)
	w1, err := first.write(s)
	if err != nil {
		t.Fatal(err)
	}
	w2, err := second.write(s)
	if err != nil {
		t.Fatal(err)
	}
	c, err := w1.prepare(t.Context(), &first.meta)
	if err != nil || w1.volume != w2.volume {
		t.Fatal(err)
	}
	good := w1.volume.file
	bad, err := os.Open(good.Name())
	if err != nil {
		t.Fatal(err)
	}
	bad.Close()
	w1.volume.queue(c)
	w1.volume.file = bad
	w1.volume.await(c, s.synced)
	w1.volume.file = good
	if <-c.done; c.err == nil {
		t.Error("committed without a sync")
	}
	if _, err := w2.Commit(t.Context(), second.meta); err == nil {
		t.Error("committed on a volume that has lost bytes")
	}
	if _, err := s.Stat(second.meta.Key); !errors.Is(err, ErrNotFound) {
		t.Errorf("stat: %v", err)
	}
}

// TestOpenWhileDeleted: a shard is held or not, even at the moment at which its
// volume goes with it.
func TestOpenWhileDeleted(t *testing.T) {
	cfg := testConfig(t)
	cfg.VolumeSize = 10 << 10 // one shard each
	s := openStore(t, cfg)
	x := sameGroup(200)
	mustPut(t, s, x...)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for _, one := range x {
				for gone := false; !gone; {
					h, err := s.Open(one.meta.Key)
					if gone = err != nil; !gone {
						h.Close()
					} else if !errors.Is(err, ErrNotFound) {
						t.Error(err)
					}
				}
			}
		})
	}
	for i, one := range x {
		mustAdvance(t, s, one.meta.Group, Entry{Seq: uint64(i + 1), Segment: one.meta.Segment})
	}
	wg.Wait()
}
