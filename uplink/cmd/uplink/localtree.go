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
	top   *os.Root
	eager bool // each name is made durable at once, not all of them by close

	mu   sync.Mutex
	dirs map[string]*treeDir // by their path below top; "." is top itself
	err  error               // the first failure to make a directory durable
}

type treeDir struct {
	root  *os.Root
	users int
}

// openTree makes the directory and opens it.
func openTree(dir string, eager bool) (*localTree, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	top, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &localTree{top: top, eager: eager, dirs: make(map[string]*treeDir)}, nil
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
	return createIn(d.root, func() error { return t.done(d) }, name, mode)
}

// done ends the use of a directory by one file.
func (t *localTree) done(d *treeDir) error {
	defer t.release(d)
	if t.eager {
		return syncDir(d.root)
	}
	return nil
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
func (t *localTree) release(d *treeDir) {
	t.mu.Lock()
	d.users--
	var idle []*treeDir
	if len(t.dirs) > maxOpenDirs {
		for dir, d := range t.dirs {
			if d.users == 0 {
				idle = append(idle, d)
				delete(t.dirs, dir)
			}
		}
	}
	t.mu.Unlock()
	for _, d := range idle {
		t.note(closeSynced(d.root))
	}
}

func (t *localTree) note(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
}

// close makes every name durable. All files have to be kept or discarded
// before.
func (t *localTree) close() error {
	for _, d := range t.dirs {
		t.note(closeSynced(d.root))
	}
	return errors.Join(t.err, closeSynced(t.top))
}
