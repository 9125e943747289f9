package meta

import (
	"context"
	"math"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/kv"
)

const (
	// pickTries is how many numbers Pick looks at.
	pickTries = 512
	// pickAhead is how many entries it goes on from the last of them.
	pickAhead = 4096
)

// First returns the number of the first entry that is left of a group's journal,
// or that of the next one, if none is.
func (s *Store) First(ctx context.Context, group uint32) (first uint64, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		h, err := getHead(r, group)
		if err != nil {
			return err
		}
		first = h.Head + 1
		for pair, err := range r.Scan(entryKey(group, 0), entryKey(group, first)) {
			if err != nil {
				return err
			}
			e, err := parseEntry(pair)
			first = e.Seq
			return err
		}
		return nil
	})
	return first, err
}

// Pick draws numbers of a group's journal until one of them is of a live entry
// that counts. After pickTries it takes the next one behind the last number; of
// those that want says no to none is taken. There may be none.
func (s *Store) Pick(ctx context.Context, group uint32, draw func() uint64, want func(seq uint64) bool) (e Entry, ok bool, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		var seq uint64
		for range pickTries {
			seq = draw()
			if e, ok, err = liveAt(r, group, seq); ok || err != nil {
				return err
			}
		}
		e, ok, err = nextCounting(r, group, seq, want)
		return err
	})
	return e, ok, err
}

// Counts says whether an entry of a group's journal is live, of that segment,
// and nothing has buried it.
func (s *Store) Counts(ctx context.Context, group uint32, seq uint64, segment order.SegmentID) (counts bool, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		e, ok, err := liveAt(r, group, seq)
		counts = ok && e.Segment == segment
		return err
	})
	return counts, err
}

// liveAt returns an entry if it is live and counts.
func liveAt(r kv.Reader, group uint32, seq uint64) (Entry, bool, error) {
	v, err := r.Get(entryKey(group, seq))
	if isNotFound(err) {
		return Entry{}, false, nil
	}
	if err != nil {
		return Entry{}, false, err
	}
	e, err := decodeEntry(seq, v)
	if err != nil {
		return Entry{}, false, err
	}
	ok, err := countsNow(r, &e)
	return e, ok, err
}

// countsNow says whether an entry is live and that of its segment.
func countsNow(r kv.Reader, e *Entry) (bool, error) {
	if e.Kind != pb.EntryKind_ENTRY_KIND_LIVE {
		return false, nil
	}
	s, err := getRecord(r, e.Segment)
	if isNotFound(err) {
		return false, nil
	}
	return err == nil && s.refs > 0 && s.seq == e.Seq, err
}

// nextCounting returns the next entry from seq on that is live, counts, and is
// wanted.
func nextCounting(r kv.Reader, group uint32, seq uint64, want func(uint64) bool) (Entry, bool, error) {
	seen := 0
	for pair, err := range r.Scan(entryKey(group, seq), entryKey(group, math.MaxUint64)) {
		if err != nil {
			return Entry{}, false, err
		}
		if seen++; seen > pickAhead {
			break
		}
		e, err := parseEntry(pair)
		if err != nil {
			return Entry{}, false, err
		}
		if ok, err := countsNow(r, &e); err != nil || ok && want(e.Seq) {
			return e, ok, err
		}
	}
	return Entry{}, false, nil
}
