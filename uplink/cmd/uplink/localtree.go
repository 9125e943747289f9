package main

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"sync"
)

// maxOpenDirs is how many directories of a tree are kept open. Objects come
// directory by directory, so a few are enough.
const maxOpenDirs = 64

// localTree is a directory that a tree of objects is copied to. Names are
// reached through it and through its subdirectories as they are open, so that
// none leads out of it, whatever links there are. It is safe for concurrent
// use.
type localTree struct {
	top     *os.Root
	durable bool // what is kept is on the disk

	mu   sync.Mutex
	dirs map[string]*treeDir // by their path below top; "." is top itself
}

type treeDir struct {
	root  *os.Root
	users int
}

// openTree makes the directory and opens it.
func openTree(dir string, durable bool) (*localTree, error) {
	if err := makeDirs(dir, durable); err != nil {
		return nil, err
	}
	top, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &localTree{top: top, durable: durable, dirs: make(map[string]*treeDir)}, nil
}

// create begins the file rel, which has slashes, and makes the directories it
// is in.
func (t *localTree) create(rel string, mode fs.FileMode) (*partial, error) {
	dir, name := path.Split(rel)
	dir = path.Clean(dir)
	d, err := t.acquire(dir)
	if err != nil {
		return nil, err
	}
	return createIn(d.root, func() error { return t.release(d) }, name, mode, t.durable)
}

func (t *localTree) acquire(dir string) (*treeDir, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d := t.dirs[dir]; d != nil {
		d.users++
		return d, nil
	}
	if err := t.top.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	for made := dir; t.durable && made != "."; made = path.Dir(made) {
		if err := syncDir(t.top, path.Dir(made)); err != nil {
			return nil, err
		}
	}
	root, err := t.top.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	d := &treeDir{root: root, users: 1}
	t.dirs[dir] = d
	return d, nil
}

// release gives a directory back. When many are open, those that nobody uses
// are closed.
func (t *localTree) release(d *treeDir) (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d.users--
	if len(t.dirs) <= maxOpenDirs {
		return nil
	}
	for dir, d := range t.dirs {
		if d.users == 0 {
			err = errors.Join(err, d.root.Close())
			delete(t.dirs, dir)
		}
	}
	return err
}

// close closes all directories. All files have to be kept or discarded before.
func (t *localTree) close() error {
	err := t.top.Close()
	for _, d := range t.dirs {
		err = errors.Join(err, d.root.Close())
	}
	return err
}
