package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cairnstorage/cairn/scripts/benchmark/results"
)

// place is where a network keeps everything: on a disk, whose fsync counts, or
// in memory, where only processors do.
type place struct {
	Name string `json:"name"` // "disk" or "tmpfs"
	Dir  string `json:"dir"`

	dir     string // made below Dir, and removed
	mounted bool   // dir is a mount of its own
}

// findPlaces makes a directory on a disk and one on tmpfs. Neither passes for
// the other; what cannot be had is left out and said.
func findPlaces(disk, memory string) ([]place, error) {
	if disk == "" {
		disk = os.TempDir()
	}
	var places []place
	isMemory, err := inMemory(disk)
	if err != nil {
		return nil, err
	}
	if isMemory {
		progress("%s is on tmpfs, so nothing is measured on a disk: choose one with -dir", disk)
	} else if places, err = addPlace(places, results.OnDisk, disk); err != nil {
		return nil, err
	}
	if memory == "" {
		memory = "/dev/shm"
	}
	if isMemory, err = inMemory(memory); err != nil || !isMemory {
		p, err := mountTmpfs(disk)
		if err != nil {
			progress("no tmpfs can be had (%s is none, and: %v), so all is measured on the disk alone", memory, err)
		} else {
			places = append(places, p)
		}
	} else if places, err = addPlace(places, results.OnTmpfs, memory); err != nil {
		return nil, err
	}
	if len(places) == 0 {
		return nil, errors.New("there is neither a disk nor a tmpfs to measure on: choose them with -dir and -tmpfs")
	}
	return places, nil
}

func addPlace(places []place, name, parent string) ([]place, error) {
	parent, err := filepath.Abs(parent)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, "cairn-bench.")
	if err != nil {
		return nil, err
	}
	var free unix.Statfs_t
	if err := unix.Statfs(dir, &free); err != nil {
		return nil, err
	}
	progress("%s: %s, %.0f GiB free", name, parent, float64(free.Bavail)*float64(free.Bsize)/(1<<30))
	return append(places, place{Name: name, Dir: parent, dir: dir}), nil
}

// inMemory tells whether a directory is on a file system in memory.
func inMemory(dir string) (bool, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return false, fmt.Errorf("%s: %w", dir, err)
	}
	return int64(fs.Type) == unix.TMPFS_MAGIC || int64(fs.Type) == unix.RAMFS_MAGIC, nil
}

// mountTmpfs mounts one of its own, which takes a privilege.
func mountTmpfs(parent string) (place, error) {
	dir, err := os.MkdirTemp(parent, "cairn-bench-tmpfs.")
	if err != nil {
		return place{}, err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		return place{}, errors.Join(fmt.Errorf("mount: %w", err), os.Remove(dir))
	}
	return place{Name: results.OnTmpfs, Dir: dir, dir: dir, mounted: true}, nil
}

func (p place) remove() error {
	if p.mounted {
		if err := unix.Unmount(p.dir, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", p.dir, err)
		}
	}
	return os.RemoveAll(p.dir)
}
