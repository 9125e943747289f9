// Package shardstore keeps a storage node's shards on its disks.
//
// Shards lie in large append-only volume files whose records describe
// themselves; a Badger database beside them is only an index and can always be
// made again from the volumes. FORMAT.md describes what is on disk.
package shardstore

import (
	"errors"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/storagenode/internal/durable"
)

// What the store refuses, and why. Errors returned by this package wrap them.
var (
	// ErrNotFound: the store holds no such shard.
	ErrNotFound = errors.New("shard is not held here")
	// ErrFull: the disks, less their reserve, or the capacity are used up.
	ErrFull = errors.New("no room for the shard")
	// ErrBusy: too many shards are being written; try again later.
	ErrBusy = errors.New("too many shards are being written")
	// ErrMismatch: the bytes or the roots do not belong together, or another
	// shard is already held under the same key.
	ErrMismatch = errors.New("shard does not match its roots")
	// ErrTooLong: more bytes were written than were announced at Create.
	ErrTooLong = errors.New("shard is longer than announced")
	// ErrCorrupt: the shard was damaged on disk.
	ErrCorrupt = errors.New("shard was damaged on disk")
	// ErrUnreadable: the disk failed to read the shard, which may be sound.
	ErrUnreadable = errors.New("disk failed to read the shard")
	// ErrLocked: another process uses the data directory.
	ErrLocked = durable.ErrLocked
	// ErrIndex: the index is missing or damaged and has to be made again.
	ErrIndex = errors.New("index is missing or damaged")
	// ErrLost: a directory that should hold a store holds none.
	ErrLost = errors.New("directory holds no store")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
)

// A Key names a shard: a node holds at most one of a segment in each group.
type Key struct {
	Segment order.SegmentID
	Group   uint32
}

// Meta is what comes with a shard and lies beside it.
type Meta struct {
	Key
	Slot       int // which shard of the segment this is
	Layout     erasure.Layout
	Root       merkle.Hash   // of the segment
	ShardRoots []merkle.Hash // of all slots
	Created    time.Time     // whole seconds; set by Commit when zero
}

// Info is what the index knows of a shard.
type Info struct {
	Key
	Slot    int
	Layout  erasure.Layout
	Root    merkle.Hash // of the segment
	Created time.Time   // when it was committed here
	Live    bool        // its group's journal has confirmed it
	Seq     uint64      // live: the number of its live journal entry; else 0
}

// Size is the number of the shard's bytes.
func (i Info) Size() int64 { return i.Layout.ShardSize() }

// An Entry is one line of a group's journal, as far as the store cares.
type Entry struct {
	Seq     uint64 // from 1 on
	Segment order.SegmentID
	Live    bool        // else a tombstone
	Root    merkle.Hash // live entries: of the segment
	Size    int64       // live entries: of the segment, in bytes of ciphertext
}

// A Missing is a live journal entry whose shard is not held.
type Missing struct {
	Seq     uint64
	Segment order.SegmentID
	Size    int64       // of the segment, in bytes of ciphertext
	Root    merkle.Hash // of the segment
}

// Usage says how much of the disks is taken.
type Usage struct {
	Capacity int64 // bytes that shards may take up in all
	Used     int64 // bytes they take up
	Free     int64 // bytes that still may be put
	Shards   int   // committed shards
	Staged   int   // of those, not yet confirmed by a journal
	Missing  int   // live journal entries without their shard
	Dirs     []DirUsage
}

// DirUsage is Usage for one data directory.
type DirUsage struct {
	Path    string
	ID      string // for Config.Known; empty when the directory cannot be used
	Used    int64
	Free    int64
	Shards  int
	Staged  int
	Missing int // as far as this directory knows: others may know of the same
	// Unreadable is how many shards the disk failed to read; see Store.Verify.
	Unreadable int
	Trouble    string // why the directory cannot be used, or empty
}
