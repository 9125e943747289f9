package badgerkv

import (
	"log/slog"
)

// Config says where a store lives and how it behaves.
type Config struct {
	// Dir holds everything. It is made if missing, and locked.
	Dir string
	// Reserve is the free space of Dir's file system, in bytes, below which
	// Update returns kv.ErrFull; 0 means 5 % of the file system, at least
	// 64 MiB and at most 1 GiB. It is more when Badger needs more for merging
	// its tables: about the size of the whole store while that is small, then
	// some hundred MiB.
	Reserve int64
	// Free reports the free and total bytes of the file system that holds dir;
	// nil means what the operating system says.
	Free func(dir string) (free, total int64, err error)
	// Logger gets what Badger and the store have to say; nil means
	// slog.Default().
	Logger *slog.Logger
	// LogSegment is the size in bytes after which a new log file is begun;
	// 0 means 16 MiB.
	LogSegment int64
	// MemTable is the size in bytes of Badger's memory tables, at least 4 MiB;
	// 0 means 16 MiB. There are up to three; what is in them is in the log, too,
	// and is replayed after a crash.
	MemTable int64
}
