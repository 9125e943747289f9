package shardstore

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cairnstorage/cairn/storagenode/internal/durable"
	"golang.org/x/sys/unix"
)

// All that this package asks of the operating system beyond package os.

// freeSpace is how many bytes of the file system that holds path are free for
// this process, and how many it has in all.
func freeSpace(path string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), nil
}

// overwritesInPlace reports whether the file system that holds path keeps a block
// where it is when it is written anew.
func overwritesInPlace(path string) bool {
	return isOn(path, unix.EXT4_SUPER_MAGIC) || isOn(path, unix.XFS_SUPER_MAGIC)
}

// canAllocate reports whether the file system that holds path gains by being told
// of blocks before they are written.
func canAllocate(path string) bool { return isOn(path, unix.EXT4_SUPER_MAGIC) }

// foreseesWrites reports whether the file system that holds path makes blocks behind
// the end of a file when it becomes longer. They stay when it then goes on elsewhere.
func foreseesWrites(path string) bool { return isOn(path, unix.XFS_SUPER_MAGIC) }

// isOn reports whether path is on a file system of a type; see statfs(2).
func isOn(path string, kind int64) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && int64(st.Type) == kind
}

// call runs a system call on f until no signal interrupts it. A file that is
// being closed stays open for that long, so that its number cannot be another's
// meanwhile. Errors: os.ErrClosed, among others.
func call(op string, f *os.File, run func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	err = unix.EINTR
	for err == unix.EINTR {
		if raw.Control(func(fd uintptr) { err = run(int(fd)) }) != nil {
			err = os.ErrClosed
		}
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: f.Name(), Err: err}
	}
	return nil
}

// dataSync makes what was written to f durable.
func dataSync(f *os.File) error { return call("fdatasync", f, unix.Fdatasync) }

// writeBoth writes a, and b behind it.
func writeBoth(f *os.File, a, b []byte, offset int64) error {
	for len(a)+len(b) > 0 {
		var n int
		err := call("write", f, func(fd int) (err error) {
			n, err = unix.Pwritev(fd, [][]byte{a, b}, offset)
			if n == 0 && err == nil {
				err = io.ErrShortWrite
			}
			return err
		})
		if err != nil {
			return err
		}
		offset += int64(n)
		inA := min(n, len(a))
		a, b = a[inA:], b[n-inA:]
	}
	return nil
}

// allocate has the file system find blocks for a part of f, which then is as long
// as that, at least. Until they are written they are like a hole.
func allocate(f *os.File, offset, length int64) error {
	return call("allocate", f, func(fd int) error { return unix.Fallocate(fd, 0, offset, length) })
}

// punch gives the file system back the pages of f from offset on.
func punch(f *os.File, offset, length int64) error {
	const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	return call("punch a hole into", f, func(fd int) error { return unix.Fallocate(fd, mode, offset, length) })
}

// cannotPunch tells the error of a file system that cannot make holes.
func cannotPunch(err error) bool { return errors.Is(err, unix.EOPNOTSUPP) }

// nextData is the first offset from offset on, in whole pages, at which f has
// data and no hole; ok is false when there is none.
func nextData(f *os.File, offset int64) (next int64, ok bool, err error) {
	err = call("seek", f, func(fd int) (err error) {
		next, err = unix.Seek(fd, offset, unix.SEEK_DATA)
		return err
	})
	if errors.Is(err, unix.ENXIO) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	return max(next/pageSize*pageSize, offset), true, nil
}

// dropCache asks the system to forget what it has of f in memory, so that the
// disk itself is read, and what was read once does not displace what is read
// often. It may decline.
func dropCache(f *os.File, offset, length int64) {
	_ = call("advise on", f, func(fd int) error { return unix.Fadvise(fd, offset, length, unix.FADV_DONTNEED) })
}

// isFull tells errors that mean that no room is left.
func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

const identityFile = "store.json"

// identityJSON is the content of a data directory's identity file. Every
// volume header repeats it.
type identityJSON struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	Secret  string `json:"secret"`
}

func writeIdentity(dir string, d identity) error {
	data, err := json.MarshalIndent(identityJSON{
		Version: formatVersion,
		ID:      hex.EncodeToString(d.id[:]),
		Secret:  hex.EncodeToString(d.secret[:]),
	}, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, identityFile), append(data, '\n'))
}

// readIdentity reads a data directory's identity file. Errors wrap
// fs.ErrNotExist or errFormat, among others.
func readIdentity(dir string) (identity, error) {
	path := filepath.Join(dir, identityFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return identity{}, err
	}
	var j identityJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return identity{}, fmt.Errorf("%s is damaged: %w: %w", path, errFormat, err)
	}
	if j.Version > formatVersion {
		return identity{}, fmt.Errorf("%s: version %d is newer than this program", path, j.Version)
	}
	id, err1 := hex.DecodeString(j.ID)
	secret, err2 := hex.DecodeString(j.Secret)
	var d identity
	if err1 != nil || err2 != nil || len(id) != len(d.id) || len(secret) != len(d.secret) {
		return identity{}, fmt.Errorf("%s is damaged: %w", path, errFormat)
	}
	copy(d.id[:], id)
	copy(d.secret[:], secret)
	return d, nil
}
