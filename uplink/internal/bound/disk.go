package bound

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/wire"
)

// enough is about how much is written to measure a disk, which may be memory.
const enough = 1 << 30

// ahead is how far nodes on ext4 have the file system make blocks ahead, in bytes.
const ahead = 1 << 20

// disk is as many files in one directory as there would be nodes.
type disk struct {
	files     []*os.File
	shard     int // bytes
	allocates bool
}

func newDisk(dir string, scheme erasure.Scheme) (*disk, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return nil, err
	}
	d := &disk{shard: erasure.MaxStripes(scheme.Required) * erasure.ChunkSize, allocates: fs.Type == unix.EXT4_SUPER_MAGIC}
	for i := range scheme.Total {
		file, err := os.Create(filepath.Join(dir, "bound."+strconv.Itoa(i)))
		if err != nil {
			return nil, errors.Join(err, d.close())
		}
		d.files = append(d.files, file)
	}
	return d, nil
}

func (d *disk) close() error {
	var failures []error
	for _, f := range d.files {
		failures = append(failures, f.Close(), os.Remove(f.Name()))
	}
	return errors.Join(failures...)
}

// write writes to all files as nodes do: append a shard in frames, then sync.
func (d *disk) write(duration time.Duration) (spent, error) {
	for _, f := range d.files {
		if err := f.Truncate(0); err != nil {
			return spent{}, err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return spent{}, err
		}
	}
	return onFiles(d.files, duration, func(f *os.File, buffer []byte) (int64, error) {
		return d.appendShard(f, buffer)
	})
}

// read reads so many of them back, which costs processors but no disk, since what
// was just written is in memory.
func (d *disk) read(count int, duration time.Duration) (spent, error) {
	return onFiles(d.files[:count], duration, readBack)
}

// onFiles does the work on all files, again and again for the duration or until
// that is enough.
func onFiles(files []*os.File, duration time.Duration, work func(*os.File, []byte) (int64, error)) (spent, error) {
	var all atomic.Int64
	return atOnce(files, duration, func(f *os.File, until time.Time) (done int64, err error) {
		buffer := make([]byte, wire.MaxData)
		for first := true; first || all.Load() < enough && time.Now().Before(until); first = false {
			n, err := work(f, buffer)
			if err != nil {
				return done, err
			}
			done += n
			all.Add(n)
		}
		return done, nil
	})
}

// appendShard writes a shard behind what is there and syncs it.
func (d *disk) appendShard(f *os.File, buffer []byte) (int64, error) {
	begin, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	for done := 0; done < d.shard; {
		if d.allocates && done%ahead == 0 {
			if err := unix.Fallocate(int(f.Fd()), 0, begin+int64(done), int64(min(ahead, d.shard-done))); err != nil {
				return 0, err
			}
		}
		n, err := f.Write(buffer[:min(d.shard-done, len(buffer))])
		if err != nil {
			return 0, err
		}
		done += n
	}
	return int64(d.shard), f.Sync()
}

// readBack reads a file from its beginning.
func readBack(f *os.File, buffer []byte) (read int64, err error) {
	for {
		n, err := f.ReadAt(buffer, read)
		read += int64(n)
		if errors.Is(err, io.EOF) {
			return read, nil
		}
		if err != nil {
			return read, err
		}
	}
}
