package shardstore

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
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
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}

// dataSync makes what was written to f durable.
func dataSync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}

// punch gives the file system back the pages of f from offset on.
func punch(f *os.File, offset, length int64) error {
	const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	for {
		err := unix.Fallocate(int(f.Fd()), mode, offset, length)
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &fs.PathError{Op: "punch a hole into", Path: f.Name(), Err: err}
		}
	}
}

// nextData is the first offset from offset on, in whole pages, at which f has
// data and no hole; ok is false when there is none.
func nextData(f *os.File, offset int64) (next int64, ok bool, err error) {
	next, err = unix.Seek(int(f.Fd()), offset, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return 0, false, nil
	case err != nil:
		return 0, false, &fs.PathError{Op: "seek", Path: f.Name(), Err: err}
	}
	return max(next/pageSize*pageSize, offset), true, nil
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
