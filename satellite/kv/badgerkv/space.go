package badgerkv

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cairnstorage/cairn/satellite/kv"
)

// statfs is Config.Free by default.
func statfs(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("asking for the free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}

// space guards the room that must stay free. Badger writes through mapped
// memory, from goroutines of its own and at times of its own, so on a full disk
// it would end the process with SIGBUS.
type space struct {
	dir      string
	free     func(string) (free, total int64, err error)
	reserve  int64 // 0: derived from the total
	memTable int64
	// compaction is what Badger may take at any time to merge the tables
	// there are.
	compaction int64
}

// check returns how many bytes may be written, and kv.ErrFull when n would take
// room that must stay free.
func (s *space) check(n int64) (left int64, err error) {
	left, keep, err := s.left()
	if err != nil {
		return 0, err
	}
	if left < n {
		return 0, fmt.Errorf("%w: %s has %d MiB free and keeps %d MiB; free some space", kv.ErrFull, s.dir, (left+keep)>>20, keep>>20)
	}
	return left, nil
}

// left is how many bytes are free beyond those that must stay so: the reserve,
// or what Badger needs if that is more.
func (s *space) left() (left, keep int64, err error) {
	free, total, err := s.free(s.dir)
	if err != nil {
		return 0, 0, err
	}
	reserve := s.reserve
	if reserve == 0 {
		reserve = min(max(total/20, 64<<20), 1<<30)
	}
	// Memory tables under way to disk, their .mem files and the log, twice
	// over: the store must come up again with what is left.
	keep = max(reserve, s.compaction+10*s.memTable)
	return free - keep, keep, nil
}

// checkOpen returns kv.ErrFull when opening, with replay bytes to replay, might
// fill the disk.
func (s *space) checkOpen(replay int64) error {
	free, _, err := s.free(s.dir)
	if err != nil {
		return err
	}
	need := s.compaction + replay + 4<<20 // files that Badger begins
	if free < need {
		return fmt.Errorf("%w: %s has %d MiB free and needs %d MiB to start; free some space", kv.ErrFull, s.dir, free>>20, need>>20)
	}
	return nil
}

// levels says how large the tables of each of Badger's levels are.
type levels [16]struct{ total, largest int64 }

func (l *levels) add(level int, size int64) {
	at := &l[min(level, len(l)-1)]
	at.total += size
	at.largest = max(at.largest, size)
}

// compaction bounds what Badger's two compactors take while they merge: one
// all of level 0 with the first level below that has tables, the other one
// table with those it overlaps in the next level, about ten. What a merge
// writes is no more than what it reads, which goes only afterwards.
func (l *levels) compaction() int64 {
	fromZero := l[0].total
	for i := 1; i < len(l); i++ {
		if l[i].total > 0 {
			fromZero += l[i].total
			break
		}
	}
	var further int64
	for i := 1; i+1 < len(l); i++ {
		if l[i].total > 0 {
			further = max(further, l[i].largest+min(l[i+1].total, 12*l[i+1].largest))
		}
	}
	need := fromZero + further
	return need + need/10 // tables have indices, too
}
