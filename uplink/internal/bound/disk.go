package bound

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/wire"
)

// enough is about how much is written to measure a disk, which may be memory.
const enough = 1 << 30

// measureDisk writes to as many files as there would be nodes, as they do:
// append a shard in frames, then sync. Then it reads the data shards back, which
// costs processors but no disk, since what was just written is in memory.
func measureDisk(dir string, c Config) (write, read spent, err error) {
	files := make([]*os.File, c.Scheme.Total)
	for i := range files {
		path := filepath.Join(dir, "bound."+strconv.Itoa(i))
		if files[i], err = os.Create(path); err != nil {
			return write, read, err
		}
		defer os.Remove(path)
		defer files[i].Close()
	}
	shard := erasure.MaxStripes(c.Scheme.Required) * erasure.ChunkSize
	write, err = onFiles(files, c.Duration, func(f *os.File, buffer []byte) (int64, error) {
		return appendShard(f, shard, buffer)
	})
	if err != nil {
		return write, read, err
	}
	read, err = onFiles(files[:c.Scheme.Required], c.Duration/4, readBack)
	return write, read, err
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

func appendShard(f *os.File, size int, buffer []byte) (int64, error) {
	for left := size; left > 0; {
		n, err := f.Write(buffer[:min(left, len(buffer))])
		if err != nil {
			return 0, err
		}
		left -= n
	}
	return int64(size), f.Sync()
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
