package shardstore

import "sync/atomic"

// Stats is what a store has made durable since it was opened.
type Stats struct {
	Syncs  uint64 // of volumes, each for all shards that waited
	Shards uint64 // that were committed by them
}

type counts struct{ syncs, shards atomic.Uint64 }

// Stats says what was made durable so far.
func (s *Store) Stats() Stats {
	return Stats{Syncs: s.counts.syncs.Load(), Shards: s.counts.shards.Load()}
}
