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

// space guards the reserve: Badger writes through mapped memory, so a full
// disk would kill the process. It is never let run full.
type space struct {
	dir     string
	free    func(string) (free, total int64, err error)
	reserve int64 // 0: derived from the total
}

// limit returns the reserve in force on a file system of total bytes.
func (s *space) limit(total int64) int64 {
	if s.reserve != 0 {
		return s.reserve
	}
	return min(max(total/20, 64<<20), 1<<30)
}

// check returns kv.ErrFull when writing n bytes would reach into the reserve.
func (s *space) check(n int64) error {
	free, total, err := s.free(s.dir)
	if err != nil {
		return err
	}
	if limit := s.limit(total); free-n < limit {
		return fmt.Errorf("%w: %s has %d MiB free and keeps %d MiB; free some space",
			kv.ErrFull, s.dir, free>>20, limit>>20)
	}
	return nil
}

// checkOpen returns kv.ErrFull when there is not even room for what opening
// the store writes: the replayed bytes and Badger's files.
func (s *space) checkOpen(replay int64) error {
	free, total, err := s.free(s.dir)
	if err != nil {
		return err
	}
	need := min(s.limit(total)/4+2*replay, s.limit(total))
	if free < need {
		return fmt.Errorf("%w: %s has %d MiB free and needs %d MiB to start; free some space",
			kv.ErrFull, s.dir, free>>20, need>>20)
	}
	return nil
}
