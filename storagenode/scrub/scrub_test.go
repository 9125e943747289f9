package scrub

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// fakeStore holds names of shards and remembers which were read.
type fakeStore struct {
	mu     sync.Mutex
	dirs   map[string][]shardstore.Key
	broken map[shardstore.Key]error
	reads  map[shardstore.Key]int
	order  []shardstore.Key
	read   func(shardstore.Key)
}

func newFake(dirs, shards int) *fakeStore {
	f := &fakeStore{dirs: map[string][]shardstore.Key{}, broken: map[shardstore.Key]error{}, reads: map[shardstore.Key]int{}}
	for d := range dirs {
		for i := range shards {
			id := fmt.Sprintf("dir%d", d)
			f.dirs[id] = append(f.dirs[id], shardstore.Key{Group: uint32(i/10 + 1), Segment: order.SegmentID{byte(i), byte(d + 1)}})
		}
	}
	return f
}

func (f *fakeStore) Usage() (u shardstore.Usage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(f.dirs)) {
		u.Dirs = append(u.Dirs, shardstore.DirUsage{ID: id})
		u.Used += int64(len(f.dirs[id])) * 64
	}
	u.Dirs = append(u.Dirs, shardstore.DirUsage{Trouble: "away"})
	return u
}

func (f *fakeStore) ShardsAfter(dir string, after shardstore.Key, limit int) (page []shardstore.Info, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range f.dirs[dir] {
		if key.Group > after.Group || key.Group == after.Group && slices.Compare(key.Segment[:], after.Segment[:]) > 0 {
			page = append(page, shardstore.Info{Key: key, Layout: erasure.Layout{Required: 4, Total: 10, Size: 256}})
		}
		if len(page) == limit {
			break
		}
	}
	return page, nil
}

func (f *fakeStore) Verify(_ context.Context, key shardstore.Key) error {
	f.mu.Lock()
	f.reads[key]++
	f.order = append(f.order, key)
	err, read := f.broken[key], f.read
	f.mu.Unlock()
	if read != nil {
		read(key)
	}
	return err
}

func start(t *testing.T, f *fakeStore, path string, found func()) *Scrubber {
	t.Helper()
	s, err := New(Config{Store: f, Period: 1000 * time.Hour, Path: path, Found: found, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return s
}

func TestPassAtFullSpeed(t *testing.T) {
	f := newFake(3, 250)
	damaged, unread := f.dirs["dir1"][17], f.dirs["dir2"][3]
	f.broken[damaged], f.broken[unread] = shardstore.ErrCorrupt, shardstore.ErrUnreadable
	found := 0
	s := start(t, f, filepath.Join(t.TempDir(), "scrub.json"), func() { found++ })
	<-s.Now()
	p := s.Progress()
	for id, keys := range f.dirs {
		for _, key := range keys {
			want := 1
			if key == unread {
				want += againTries
			}
			if f.reads[key] != want && !(id == "dir0" && f.reads[key] == want+1) { // the slow pass may have begun
				t.Fatalf("%v of %s was read %d times, not %d", key, id, f.reads[key], want)
			}
		}
	}
	if found != 1 || p.Damaged != 1 || p.Unreadable != 1+againTries || p.Finished.IsZero() || p.Bytes < 750*64 {
		t.Errorf("found %d times; %+v", found, p)
	}
}

// A pass goes on where it was when the process ended.
func TestGoesOn(t *testing.T) {
	f := newFake(2, 30)
	path := filepath.Join(t.TempDir(), "scrub.json")
	ctx, cancel := context.WithCancel(t.Context())
	f.read = func(shardstore.Key) {
		if len(f.order) == 40 {
			cancel()
		}
	}
	config := Config{Store: f, Period: time.Nanosecond, Path: path, Now: time.Now}
	first, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	first.Run(ctx)
	if len(f.order) != 40 {
		t.Fatalf("%d shards were read", len(f.order))
	}
	ctx, cancel = context.WithCancel(t.Context())
	f.read = func(shardstore.Key) {
		if len(f.order) == 60 {
			cancel()
		}
	}
	second, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	second.Run(ctx)
	for key, n := range f.reads {
		// What was read last may be read again, nothing else.
		if n > 1 && key != f.order[39] {
			t.Errorf("%v was read %d times", key, n)
		}
	}
}

func TestPlaceThatIsDamaged(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "cut off": `{"began":"2026-`, "no shard": `{"began":"2026-01-02T03:04:05Z","dirs":{"dir0":"1 zz"}}`,
		"no group": `{"began":"2026-01-02T03:04:05Z","dirs":{"dir0":"x 00000000000000000000000000000000"}}`,
	} {
		path := filepath.Join(t.TempDir(), "scrub.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f := newFake(1, 5)
		s := start(t, f, path, nil)
		<-s.Now()
		f.mu.Lock()
		if len(f.reads) != 5 {
			t.Errorf("%s: %d of 5 shards were read", name, len(f.reads))
		}
		f.mu.Unlock()
	}
}

func TestPause(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		size, used int64
		period     time.Duration
		want       time.Duration
	}{
		{0, 0, day, 0}, {1, 1, day, day}, {1, 24, day, time.Hour}, {10, 5, day, day}, {1 << 20, 1 << 40, 30 * day, 30 * day >> 20},
	} {
		if got := pause(c.size, c.used, c.period); (got - c.want).Abs() > time.Microsecond {
			t.Errorf("%d of %d in %v: %v, want %v", c.size, c.used, c.period, got, c.want)
		}
	}
}

func TestConfig(t *testing.T) {
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "incomplete") {
		t.Error(err)
	}
}
