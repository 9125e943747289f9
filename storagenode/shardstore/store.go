package shardstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/dgraph-io/badger/v4"
)

// Config says where a store is and how large it may grow.
type Config struct {
	Dirs []string
	// Known has the id (DirUsage.ID) of each directory used before, by path.
	// One that holds nothing or another store is not touched: its disk may not
	// be mounted.
	Known      map[string]string
	Capacity   int64 // bytes in all directories together; 0: what the disks have
	Reserve    int64 // bytes to leave free on each disk; 0: 5 %, at least 64 MiB, at most 1 GiB
	VolumeSize int64 // bytes at which a new volume is begun; 0: 4 GiB
	MaxWriters int   // shards being written at a time; 0: 1,024
	Logger     *slog.Logger
	Now        func() time.Time
	Random     io.Reader // for new directories

	// Tests only.
	statfs func(path string) (free, total int64, err error)
	plenty int64 // see spacePlenty; 0 with a statfs: there never is
	punch  func(f *os.File, offset, length int64) error
	// whether room is made in volumes in path
	inPlace func(path string) bool
	// whether blocks are made before they are written in path
	allocates func(path string) bool
	// whether the file system of path makes blocks behind the end of a file
	foresees func(path string) bool
	spare    int // see filterSpare
}

func (cfg *Config) setDefaults() error {
	if len(cfg.Dirs) == 0 {
		return errors.New("shardstore: no data directory was given")
	}
	if cfg.Capacity < 0 || cfg.Reserve < 0 || cfg.VolumeSize < 0 || cfg.MaxWriters < 0 {
		return errors.New("shardstore: capacity, reserve, volume size and writers must not be negative")
	}
	if cfg.VolumeSize > maxVolume {
		return fmt.Errorf("shardstore: volume size must not be above %d", int64(maxVolume))
	}
	setDefault(&cfg.VolumeSize, maxVolume)
	setDefault(&cfg.MaxWriters, 1024)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.statfs == nil {
		cfg.statfs, cfg.plenty = freeSpace, spacePlenty
	}
	setDefault(&cfg.plenty, math.MaxInt64)
	setDefault(&cfg.spare, filterSpare)
	if cfg.punch == nil {
		cfg.punch = punch
	}
	if cfg.inPlace == nil {
		cfg.inPlace = overwritesInPlace
	}
	if cfg.allocates == nil {
		cfg.allocates = canAllocate
	}
	if cfg.foresees == nil {
		cfg.foresees = foreseesWrites
	}
	return nil
}

const maxVolume = 4 << 30

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// A Store holds shards. It is safe for concurrent use.
type Store struct {
	cfg    Config
	dirs   []*dir // those that could be opened
	absent []DirUsage

	// index is held while entries change, so that a look at all directories
	// and the change that follows from it are one step.
	index sync.Mutex

	// sweep is held while a group's shards are gone through to delete some;
	// dying tells these, for as long as that takes. It is guarded by index.
	sweep sync.Mutex
	dying func(key Key, seq uint64) bool

	missing   atomic.Int64 // keys with a mark in any directory
	revisions revisions
	counts    counts
	held      sync.Pool // of *held

	life   sync.RWMutex // read-held by every call, so that Close waits
	closed bool

	mu      sync.Mutex
	writers int
	turn    int // which directory is first among equals
}

// Open opens the store in cfg.Dirs, making what is missing in those that are
// not in cfg.Known. Directories that cannot be used are left out, as Usage
// says, as long as there is one that can. Errors: ErrLocked, ErrIndex, ErrLost,
// ErrFull, and those of the file system.
func Open(cfg Config) (*Store, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg}
	var failed []error
	for _, path := range cfg.Dirs {
		path = filepath.Clean(path)
		d, err := openDir(path, cfg.Known[path], &cfg)
		if err == nil {
			err = s.addDir(d)
		}
		if errors.Is(err, ErrLocked) {
			return nil, errors.Join(err, s.Close())
		}
		if err != nil {
			failed = append(failed, err)
			s.absent = append(s.absent, DirUsage{Path: path, Trouble: err.Error()})
			cfg.Logger.Error("data directory cannot be used", "data", path, "error", err)
		}
	}
	if len(s.dirs) == 0 {
		return nil, errors.Join(failed...)
	}
	if err := s.settleMarks(); err != nil {
		return nil, errors.Join(fmt.Errorf("settle what is missing: %w", err), s.Close())
	}
	return s, nil
}

func (s *Store) addDir(d *dir) error {
	for _, other := range s.dirs {
		if other.id == d.id {
			return errors.Join(fmt.Errorf("%s is a copy of %s: a store must not be used twice", d.path, other.path), d.release())
		}
	}
	s.dirs = append(s.dirs, d)
	return nil
}

// Close waits for calls under way and releases the directories. Shards that
// were not committed are lost.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	for _, d := range s.dirs {
		if d.hasFree(d.indexFloor()) == nil {
			errs = append(errs, d.setCheckpoint())
		}
		errs = append(errs, d.release())
	}
	return errors.Join(errs...)
}

// enter begins a call; exit ends it.
func (s *Store) enter() error {
	s.life.RLock()
	if s.closed {
		s.life.RUnlock()
		return ErrClosed
	}
	return nil
}

func (s *Store) exit() { s.life.RUnlock() }

// Create begins a shard of at most maxSize bytes of a segment with at most so
// many slots. Errors: ErrFull, ErrBusy.
func (s *Store) Create(ctx context.Context, key Key, maxSize int64, slots int) (*Writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if maxSize < 1 || maxSize > erasure.MaxSegment || slots < 1 || slots > maxSlots {
		return nil, fmt.Errorf("%w: no shard has %d bytes in %d slots", ErrMismatch, maxSize, slots)
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.exit()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writers >= s.cfg.MaxWriters {
		return nil, ErrBusy
	}
	w, err := s.newWriter(key, maxSize, slots)
	if err != nil {
		return nil, err
	}
	s.writers++
	return w, nil
}

// pickDir chooses the directory with the most room for each record that is
// already being written to it, so that disks fill evenly and share the work.
// The caller holds s.mu.
func (s *Store) pickDir(need int64) (*dir, error) {
	var best *dir
	var bestShare int64
	if s.capacityLeft() < need {
		return nil, fmt.Errorf("%w: the capacity of %d bytes is used up", ErrFull, s.cfg.Capacity)
	}
	s.turn++
	for i := range s.dirs {
		d := s.dirs[(s.turn+i)%len(s.dirs)]
		room := d.room()
		if room < need {
			continue
		}
		if share := room / int64(1+d.writers()); best == nil || share > bestShare {
			best, bestShare = d, share
		}
	}
	if best == nil {
		return nil, fmt.Errorf("%w: no disk has %d bytes above its reserve", ErrFull, need)
	}
	return best, nil
}

// capacityLeft is how much of the capacity is not used or pledged.
func (s *Store) capacityLeft() int64 {
	if s.cfg.Capacity == 0 {
		return 1<<63 - 1
	}
	left := s.cfg.Capacity
	for _, d := range s.dirs {
		left -= d.taken()
	}
	return max(0, left)
}

// lookup finds a shard in any directory.
func (s *Store) lookup(key Key) (*dir, entry, error) {
	d, e, err := s.find(key)
	if err == nil && d == nil {
		err = notFound(key)
	}
	return d, e, err
}

// find is lookup for a shard that there may well not be: the directory is nil
// then. Of two copies the live one counts: a process that is killed while a shard
// comes once more leaves a staged one, which expires.
func (s *Store) find(key Key) (holder *dir, found entry, err error) {
	for _, d := range s.dirs {
		e, ok, err := d.index.get(key)
		if err != nil {
			return nil, entry{}, err
		}
		if ok && e.Live {
			return d, e, nil
		}
		if ok && holder == nil {
			holder, found = d, e
		}
	}
	return holder, found, nil
}

func notFound(key Key) error {
	return fmt.Errorf("%w: segment %s, group %d", ErrNotFound, key.Segment, key.Group)
}

// Stat says what the index knows of a shard, or ErrNotFound.
func (s *Store) Stat(key Key) (Info, error) {
	if err := s.enter(); err != nil {
		return Info{}, err
	}
	defer s.exit()
	_, e, err := s.lookup(key)
	return e.Info, err
}

// Each calls f for every shard until it returns false. It shows the store as
// it was when the directory's turn came.
func (s *Store) Each(f func(Info) bool) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.exit()
	goOn := true
	for _, d := range s.dirs {
		err := d.index.view(func(txn *badger.Txn) error {
			return scan(txn, []byte{keyShard}, func(key, value []byte) error {
				var e entry
				if err := e.read(key, value); err != nil {
					return err
				}
				if goOn = f(e.Info); !goOn {
					return errStop
				}
				return nil
			})
		})
		if err != nil || !goOn {
			return err
		}
	}
	return nil
}

// Whole reports whether all data directories could be opened. If not, shards
// that are not found may well be held.
func (s *Store) Whole() bool { return len(s.absent) == 0 }

// Usage says how much of the disks is taken.
func (s *Store) Usage() Usage {
	u := Usage{Missing: int(s.missing.Load())}
	for _, d := range s.dirs {
		du := d.usage()
		u.Used += du.Used
		u.Free += du.Free
		u.Shards += du.Shards
		u.Staged += du.Staged
		u.Dirs = append(u.Dirs, du)
	}
	u.Dirs = append(u.Dirs, s.absent...)
	u.Free = min(u.Free, s.capacityLeft())
	u.Capacity = s.cfg.Capacity
	if u.Capacity == 0 {
		u.Capacity = u.Used + u.Free
	}
	return u
}
