package main

import (
	"time"

	"github.com/cairnstorage/cairn/uplink"
)

// job is one file or object to be copied.
type job struct {
	from, to location
	size     int64         // -1 when not known beforehand
	modified time.Time     // of a local source
	rel      string        // of an object in a tree: its key below the prefix
	object   uplink.Object // of a tree, as it was listed
}

// target says where a single source goes: into a target that is a directory,
// under its own name, else to the target itself. IsDir tells a local target
// that exists as a directory.
func target(from, to location, isDir bool) (location, error) {
	if !isDir && !to.isDir() {
		return to, nil
	}
	name, err := from.name()
	if err != nil {
		return location{}, err
	}
	return to.join(name), nil
}

// asDirKey is the prefix that all keys below a remote location begin with.
func (l location) asDirKey() string {
	if l.key == "" {
		return ""
	}
	return l.asDir().key
}

// direction is between which kinds of places a copy goes.
type direction int

const (
	upload direction = iota
	download
	serverSide
)

// checkCopy refuses pairs of places that nothing can be copied between, before
// anything is done.
func checkCopy(from []location, to location, recursive bool) (direction, error) {
	for _, l := range from {
		if l.remote != from[0].remote {
			return 0, usagef("the sources must be all local or all remote")
		}
		if l.std && (recursive || len(from) > 1) {
			return 0, usagef("standard input can only be copied alone")
		}
		if l.remote && l.bucket == "" {
			return 0, usagef("%q names all buckets; copy one at a time", l)
		}
		if l.remote && !recursive && l.isDir() {
			return 0, usagef("%q is a bucket or prefix; copy what is below it with -r", l)
		}
	}
	switch {
	case !from[0].remote && !to.remote:
		return 0, usagef("neither %s nor %s is a URL of the form cairn://BUCKET/KEY", from[0], to)
	case to.remote && to.bucket == "":
		return 0, usagef("%q lacks the bucket; write cairn://BUCKET/KEY", to)
	case to.std && (recursive || len(from) > 1):
		return 0, usagef("only one object can go to standard output; use cp without -r, or cat")
	case !from[0].remote:
		return upload, nil
	case to.remote:
		return serverSide, nil
	}
	return download, nil
}
