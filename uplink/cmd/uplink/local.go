package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// partial is a file that is being written beside its target and takes its
// place only when it is whole. Without a directory it is a device or pipe.
type partial struct {
	*os.File
	dir      *os.Root
	release  func() error // of the directory, once it need not be kept open
	durable  bool         // keep has it on the disk
	name     string       // of the target, within dir
	temp     string       // of the file as yet
	mode     fs.FileMode  // to be set, unless zero
	modified time.Time    // to be set, unless zero
}

// createPartial begins a file name in an existing directory. A durable one is
// on the disk once it is kept, under its name; else that is left to the system.
func createPartial(dir, name string, mode fs.FileMode, durable bool) (*partial, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return createIn(root, root.Close, name, mode, durable)
}

// createIn begins the file name in dir, which is released when that is done.
func createIn(dir *os.Root, release func() error, name string, mode fs.FileMode, durable bool) (*partial, error) {
	p := &partial{dir: dir, release: release, durable: durable, name: name}
	if err := p.create(mode); err != nil {
		_ = release()
		return nil, err
	}
	return p, nil
}

func (p *partial) create(mode fs.FileMode) error {
	switch info, err := p.dir.Lstat(p.name); {
	case err == nil && info.IsDir():
		return &fs.PathError{Op: "write", Path: filepath.Join(p.dir.Name(), p.name), Err: errors.New("is a directory")}
	case err == nil && info.Mode().IsRegular():
		p.mode = info.Mode().Perm() // as a write into the file would leave it
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	p.temp = ".cairn-" + hex.EncodeToString(random[:]) + ".part"
	var err error
	p.File, err = p.dir.OpenFile(p.temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	return p.named(err)
}

// named has an error of the file tell the name of the target, not the one that
// the file has as yet.
func (p *partial) named(err error) error {
	var failed *fs.PathError
	if p.dir == nil || !errors.As(err, &failed) || filepath.Base(failed.Path) != p.temp {
		return err
	}
	return &fs.PathError{Op: "write", Path: filepath.Join(p.dir.Name(), p.name), Err: failed.Err}
}

// keep has the file take the place of its target.
func (p *partial) keep() error {
	if p.dir == nil {
		return p.Close() // a device or pipe is what it is
	}
	if err := p.finish(); err != nil {
		return err
	}
	if err := p.dir.Rename(p.temp, p.name); err != nil {
		return err
	}
	p.temp = ""
	if p.durable {
		if err := syncDir(p.dir, "."); err != nil {
			return err
		}
	}
	release := p.release
	p.release = nil
	return release()
}

// finish writes all but the name.
func (p *partial) finish() error {
	if p.mode != 0 {
		if err := p.Chmod(p.mode); err != nil {
			return err
		}
	}
	if !p.modified.IsZero() {
		if err := p.dir.Chtimes(p.temp, time.Time{}, p.modified); err != nil {
			return err
		}
	}
	if p.durable {
		if err := p.Sync(); err != nil {
			return err
		}
	}
	return p.Close()
}

// discard removes the file unless it was kept, and releases what it holds.
func (p *partial) discard() {
	p.Close()
	if p.temp != "" {
		p.dir.Remove(p.temp)
	}
	if p.release != nil {
		_ = p.release()
	}
}

// syncDir has the names in a directory below root on the disk.
func syncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// makeDirs makes a directory and those it is in, if durable on the disk, too.
func makeDirs(dir string, durable bool) error {
	there := filepath.Clean(dir)
	for {
		if _, err := os.Stat(there); err == nil || filepath.Dir(there) == there {
			break
		}
		there = filepath.Dir(there)
	}
	err := os.MkdirAll(dir, 0o777)
	if errors.Is(err, fs.ErrExist) {
		return &fs.PathError{Op: "write below", Path: filepath.Clean(dir), Err: unix.ENOTDIR}
	}
	if err != nil || !durable {
		return err
	}
	for made := filepath.Clean(dir); made != there; made = filepath.Dir(made) {
		root, err := os.OpenRoot(filepath.Dir(made))
		if err != nil {
			return err
		}
		err = syncDir(root, ".")
		root.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// checkLocalName reports why the rest of an object key below a prefix cannot
// be a file below a directory.
func checkLocalName(rel string) error {
	switch {
	case rel == "":
		return errors.New("the key has no name below the prefix")
	case strings.HasSuffix(rel, "/"):
		return errors.New("the key ends in a slash, which no file name can")
	case !filepath.IsLocal(filepath.FromSlash(rel)), strings.ContainsRune(rel, 0):
		return errors.New("as a file name the key would lead out of the target directory")
	}
	for name := range strings.SplitSeq(rel, "/") {
		switch {
		case name == "" || name == "." || name == "..":
			return fmt.Errorf("the key has a part %q, which no file can be called", name)
		case len(name) > 255:
			return errors.New("a part of the key is longer than the 255 bytes of a file name")
		case filepath.Separator != '/' && strings.ContainsRune(name, filepath.Separator):
			return fmt.Errorf("the key has a part %q, which no file can be called", name)
		}
	}
	return nil
}
