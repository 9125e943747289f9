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
)

// partial is a file that is being written beside its target and takes its
// place only when it is whole. It is reached through a root, so that no name
// leads out of the directory it belongs to; without one it is a device or pipe.
type partial struct {
	*os.File
	root     *os.Root
	ownsRoot bool
	name     string // of the target, within root
	temp     string // of the file as yet
	mode     fs.FileMode
	modified time.Time // to be set, unless zero
}

// createPartial begins a file name in an existing directory.
func createPartial(dir, name string, mode fs.FileMode) (*partial, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	p, err := createIn(root, name, mode)
	if err != nil {
		root.Close()
		return nil, err
	}
	p.ownsRoot = true
	return p, nil
}

// createIn begins the file name within root and makes its parent directories.
func createIn(root *os.Root, name string, mode fs.FileMode) (*partial, error) {
	dir := filepath.Dir(name)
	if dir != "." {
		if err := root.MkdirAll(dir, 0o777); err != nil {
			return nil, err
		}
	}
	p := &partial{root: root, name: name}
	switch info, err := root.Lstat(name); {
	case err == nil && info.IsDir():
		return nil, &fs.PathError{Op: "write", Path: filepath.Join(root.Name(), name), Err: errors.New("is a directory")}
	case err == nil && info.Mode().IsRegular():
		p.mode = info.Mode().Perm() // as a write into the file would leave it
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	p.temp = filepath.Join(dir, ".cairn-"+hex.EncodeToString(random[:])+".part")
	file, err := root.OpenFile(p.temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return nil, err
	}
	p.File = file
	return p, nil
}

// keep makes the file durable under its name.
func (p *partial) keep() error {
	if p.root == nil { // a device or pipe is what it is
		return p.Close()
	}
	err := p.finish()
	if err == nil {
		err = p.root.Rename(p.temp, p.name)
	}
	if err != nil {
		return err
	}
	p.temp = ""
	return syncDir(p.root, filepath.Dir(p.name))
}

// finish writes all but the name.
func (p *partial) finish() error {
	if p.mode != 0 {
		if err := p.Chmod(p.mode); err != nil {
			return err
		}
	}
	if err := p.Sync(); err != nil {
		return err
	}
	if err := p.Close(); err != nil {
		return err
	}
	if p.modified.IsZero() {
		return nil
	}
	return p.root.Chtimes(p.temp, time.Time{}, p.modified)
}

// discard removes the file unless it was kept, and releases what it holds.
func (p *partial) discard() {
	p.Close()
	if p.temp != "" {
		p.root.Remove(p.temp)
		p.temp = ""
	}
	if p.ownsRoot {
		p.root.Close()
	}
}

func syncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
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
