// Package badgerkv is a kv.Store on one machine's disk: a log of its own makes
// updates durable, Badger holds the state and keeps it sorted.
//
// Badger alone would sync once per transaction, drops every later write behind
// one flipped bit of its write-ahead log without a word, and dies of SIGBUS on a
// full disk. So Badger runs without syncing, and its .mem files are thrown away
// at every start; what counts is
//
//	DIR/lock      held while the store is open
//	DIR/log/      records of all updates that Badger's tables may lack
//	DIR/badger/   tables, which Badger writes and syncs as a whole
//	DIR/anchor    the number of the last acknowledged record
//
// One committer goroutine writes all updates that wait as one record (numbered
// from 1 without gaps), syncs it once, gives it to Badger in managed mode as a
// commit at the timestamp of that number, and only then makes it visible and
// acknowledges it. Badger flushes its memory tables in order, and every record
// ends with a write to the same key, so if T is the newest timestamp in Badger's
// tables then they hold every record before T, whatever compaction drops. Open
// replays the log from T on, and log files whose records are all before T are
// removed.
//
// Open compares these witnesses before it changes anything and refuses with
// kv.ErrDamaged when together they cannot show everything that was
// acknowledged: a gap or a damaged record that the tables do not cover, a log
// that ends before the anchor or the tables do, tables older than the log's
// beginning, a damaged table.
package badgerkv
