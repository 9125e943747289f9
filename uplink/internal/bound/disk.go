package bound

import (
	"errors"
	"io"
	"os"
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
	files []*shardFile
	shard int // bytes
}

func newDisk(dir string, scheme erasure.Scheme) (*disk, error) {
	d := &disk{shard: erasure.MaxStripes(scheme.Required) * erasure.ChunkSize}
	for range scheme.Total {
		file, err := newShardFile(dir)
		if err != nil {
			return nil, errors.Join(err, d.close())
		}
		d.files = append(d.files, file)
	}
	return d, nil
}

func (d *disk) close() error { return closeAll(d.files) }

func closeAll(files []*shardFile) error {
	var failures []error
	for _, f := range files {
		failures = append(failures, f.Close())
	}
	return errors.Join(failures...)
}

// write writes to all files as nodes do: append a shard in frames, then sync.
func (d *disk) write(duration time.Duration) (spent, error) {
	for _, f := range d.files {
		if err := f.empty(); err != nil {
			return spent{}, err
		}
	}
	return onFiles(d.files, duration, func(f *shardFile, buffer []byte) (int64, error) {
		return f.appendShard(d.shard, buffer)
	})
}

// read reads so many of them back, which costs processors but no disk, since what
// was just written is in memory.
func (d *disk) read(count int, duration time.Duration) (spent, error) {
	return onFiles(d.files[:count], duration, func(f *shardFile, buffer []byte) (read int64, err error) {
		return f.copyTo(io.Discard, buffer)
	})
}

// onFiles does the work on all files, again and again for the duration or until
// that is enough.
func onFiles(files []*shardFile, duration time.Duration, work func(*shardFile, []byte) (int64, error)) (spent, error) {
	var all atomic.Int64
	return atOnce(files, duration, func(f *shardFile, until time.Time) (done int64, err error) {
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

// A shardFile is written as a node's volume is. It has no name, so that nothing is
// left of it whatever ends the process.
type shardFile struct {
	*os.File
	allocates bool
	end       int64 // of what is written
	made      int64 // up to where there are blocks, if the file allocates them
}

func newShardFile(dir string) (*shardFile, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return nil, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	file, err := os.CreateTemp(dir, "bound.*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &shardFile{File: file, allocates: fs.Type == unix.EXT4_SUPER_MAGIC}, nil
}

func (f *shardFile) empty() error {
	f.end, f.made = 0, 0
	return f.Truncate(0)
}

// append writes a frame behind what is there.
func (f *shardFile) append(frame []byte) error {
	if f.allocates && f.end+int64(len(frame)) > f.made {
		if err := unix.Fallocate(int(f.Fd()), 0, f.made, ahead); err != nil {
			return &os.PathError{Op: "allocate", Path: f.Name(), Err: err}
		}
		f.made += ahead
	}
	n, err := f.WriteAt(frame, f.end)
	f.end += int64(n)
	return err
}

// appendShard writes a shard of so many bytes behind what is there and syncs it.
func (f *shardFile) appendShard(size int, buffer []byte) (int64, error) {
	for done := 0; done < size; done += len(buffer) {
		if err := f.append(buffer[:min(size-done, len(buffer))]); err != nil {
			return 0, err
		}
	}
	return int64(size), f.Sync()
}

// copyTo reads the file from its beginning.
func (f *shardFile) copyTo(w io.Writer, buffer []byte) (copied int64, err error) {
	for copied < f.end {
		n, err := f.ReadAt(buffer[:min(int64(len(buffer)), f.end-copied)], copied)
		if err != nil {
			return copied, err
		}
		if _, err := w.Write(buffer[:n]); err != nil {
			return copied, err
		}
		copied += int64(n)
	}
	return copied, nil
}
