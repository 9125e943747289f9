package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// localFile is a regular file found below a directory.
type localFile struct {
	path     string // as the operating system takes it
	rel      string // below the directory, with slashes
	size     int64
	modified time.Time
}

// walkFiles gives every regular file below dir, by name. What is no regular
// file is skipped and told to skip; what cannot be read is told to fail.
func walkFiles(ctx context.Context, dir string, each func(localFile) error, skip func(path, why string), fail func(path string, err error)) error {
	top := dir
	if info, err := os.Lstat(dir); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		top += string(os.PathSeparator) // the link named on the command line is meant
	}
	return filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if path == top {
				return err
			}
			fail(path, err)
			return nil
		}
		if entry.IsDir() {
			return nil
		}
		if why := special(entry.Type()); why != "" {
			skip(path, why)
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			fail(path, err)
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return each(localFile{path, filepath.ToSlash(rel), info.Size(), info.ModTime()})
	})
}

// special says what a file that is not regular is.
func special(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return ""
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "not a regular file"
}
