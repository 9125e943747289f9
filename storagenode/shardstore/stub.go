package shardstore

import (
	"context"
	"log/slog"
	"time"

	"github.com/cairnstorage/cairn/proto/merkle"
)

// Config says where a store is and how large it may grow.
type Config struct {
	Dirs       []string
	Known      map[string]string // ids of directories used before, by path: one that holds another store, or none, is not touched
	Capacity   int64             // bytes in all directories together; 0: what the disks have
	Reserve    int64             // bytes to leave free on each disk; 0: 5 %, at least 64 MiB, at most 1 GiB
	VolumeSize int64             // bytes at which a new volume is begun; 0: 4 GiB
	MaxWriters int               // shards written at a time; 0: 1,024
	Logger     *slog.Logger
	Now        func() time.Time
}

// A Store holds shards. It is safe for concurrent use.
type Store struct{}

// Open opens the store in cfg.Dirs, making what is missing.
func Open(cfg Config) (*Store, error) { return nil, ErrClosed }

// Close waits for writers and releases the directories.
func (s *Store) Close() error { return nil }

// Create begins a shard of at most maxSize bytes. Errors: ErrFull, ErrBusy.
func (s *Store) Create(ctx context.Context, key Key, maxSize int64) (*Writer, error) {
	return nil, ErrFull
}

// A Writer takes in one shard.
type Writer struct{}

// Write appends to the shard. Errors: ErrTooLong, ErrFull.
func (w *Writer) Write(p []byte) (int, error) { return 0, ErrFull }

// Size is the number of bytes written so far.
func (w *Writer) Size() int64 { return 0 }

// Commit makes the shard durable: when it returns nil, a crash does not lose it. Errors: ErrMismatch, ErrFull. The Writer is finished in any case.
func (w *Writer) Commit(ctx context.Context, m Meta) error { return nil }

// Abort gives up the shard. After Commit it does nothing.
func (w *Writer) Abort() {}

// Stat says what the index knows of a shard, or ErrNotFound.
func (s *Store) Stat(key Key) (Info, error) { return Info{}, ErrNotFound }

// Open opens a shard for reading, or returns ErrNotFound.
func (s *Store) Open(key Key) (*Shard, error) { return nil, ErrNotFound }

// A Shard is open for reading, also while it is being deleted.
type Shard struct{}

// Info is what the index knows of the shard.
func (h *Shard) Info() Info { return Info{} }

// Meta reads what lies beside the shard, or returns ErrCorrupt.
func (h *Shard) Meta() (Meta, error) { return Meta{}, ErrCorrupt }

// ReadAt reads shard bytes as io.ReaderAt does.
func (h *Shard) ReadAt(p []byte, off int64) (int, error) { return 0, ErrCorrupt }

// Prove makes the proof for count leaves from first on. Errors: merkle.ErrRange, ErrCorrupt.
func (h *Shard) Prove(first, count int) (merkle.Proof, []byte, error) {
	return merkle.Proof{}, nil, ErrCorrupt
}

// Close lets go of the shard.
func (h *Shard) Close() error { return nil }

// Each calls f for every shard until it returns false.
func (s *Store) Each(f func(Info) bool) error { return nil }

// Usage says how much of the disks is taken.
func (s *Store) Usage() Usage { return Usage{} }

// Cursor is up to where every directory has followed the group's journal.
func (s *Store) Cursor(group uint32) uint64 { return 0 }

// Advance does what the group's journal says, up to seq: it confirms live shards, deletes those with a tombstone, and remembers which live ones are not held.
func (s *Store) Advance(group uint32, seq uint64, entries []Entry) error { return nil }

// ExpireStaged deletes staged shards of a group committed before the time that before returns for it.
func (s *Store) ExpireStaged(before func(group uint32) time.Time) (int, error) { return 0, nil }
