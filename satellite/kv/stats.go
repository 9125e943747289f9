package kv

import "time"

// Stats is what an engine has written since it was opened.
type Stats struct {
	Updates uint64        // acknowledged that wrote something
	Batches uint64        // in which they were made durable together
	Bytes   uint64        // of keys and values in them
	Syncing time.Duration // spent making them durable
	Free    int64         // bytes that may be written before ErrFull, about; never negative
}

// Counted is a Store that counts.
type Counted interface {
	Store
	// Stats says what was counted so far. It fails when the disk cannot be asked.
	Stats() (Stats, error)
}
