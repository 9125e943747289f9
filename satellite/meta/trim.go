package meta

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/kv"
)

const (
	// trimWork bounds the entries that one transaction looks at, and noteWork
	// the groups, so that others need not wait long for their turn.
	trimWork = 1024
	noteWork = 512
	// momentsKept is into how many parts the time that tombstones are kept is
	// cut: by that much of it they may go late.
	momentsKept = 32
)

// TrimRequest says what is to be trimmed of the journals.
type TrimRequest struct {
	// Keep is for how long tombstones are kept at least.
	Keep time.Duration
	// Forget has the ids of segments forgotten with their tombstones. They may
	// be used again then, so no receipt for one may be good for longer than
	// Keep after its tombstone was written.
	Forget bool
}

// Trimmed counts what was dropped.
type Trimmed struct {
	Entries  int
	Segments int // ids forgotten
}

// Trim drops the entries of journals that do not count any more, once they are
// old enough, in bounded transactions, and raises the bases of the journals. It
// also notes how long the journals are now: entries are not dated, so it has to
// be called every now and then for their age to be known.
func (s *Store) Trim(ctx context.Context, r TrimRequest) (Trimmed, error) {
	var done Trimmed
	due, err := s.noteMoments(ctx, r.Keep)
	if err != nil {
		return done, err
	}
	for _, group := range sortedKeys(due) {
		if err := s.trimGroup(ctx, group, due[group], r.Forget, &done); err != nil {
			return done, err
		}
	}
	return done, nil
}

// noteMoments notes how long each journal is now, and returns up to where those
// are old enough that reach further than their base.
func (s *Store) noteMoments(ctx context.Context, keep time.Duration) (due map[uint32]uint64, err error) {
	groups, err := s.allGroups(ctx)
	if err != nil {
		return nil, err
	}
	due = make(map[uint32]uint64)
	now := s.now()
	for some := range slices.Chunk(groups, noteWork) {
		err := s.kv.Update(ctx, func(tx kv.Tx) error {
			for _, group := range some {
				h, err := getHead(tx, group)
				if err != nil {
					return err
				}
				old, err := noteMoment(tx, group, moment{now, h.Head}, keep)
				if err != nil {
					return err
				}
				if delete(due, group); old > h.Base {
					due[group] = old
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return due, nil
}

// allGroups returns the ids of all groups that are not lost.
func (s *Store) allGroups(ctx context.Context) (groups []uint32, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		groups = nil
		for pair, err := range r.Scan([]byte{kindHead}, []byte{kindHead + 1}) {
			if err != nil {
				return err
			}
			id, h, err := parseHead(pair)
			if err != nil {
				return err
			}
			if h.epoch != lostGroup {
				groups = append(groups, id)
			}
		}
		return nil
	})
	return groups, err
}

// moment is how long a journal was at a time.
type moment struct {
	at   time.Time
	head uint64
}

// noteMoment adds a moment to those of a group, unless there is a late one, and
// returns how long the journal was when it was long enough ago.
func noteMoment(tx kv.Tx, group uint32, now moment, keep time.Duration) (old uint64, err error) {
	before, err := getMoments(tx, group)
	if err != nil {
		return 0, err
	}
	after, old := before.note(now, keep)
	if slices.Equal(before, after) {
		return old, nil
	}
	return old, tx.Set(momentsKey(group), after.encode())
}

func getMoments(r kv.Reader, group uint32) (moments, error) {
	v, err := r.Get(momentsKey(group))
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeMoments(v)
}

// moments are those of one journal, in order. There are never many more than
// momentsKept.
type moments []moment

// note returns m with the present moment, and how long the journal was at the
// last one that is keep ago or longer. Those before that one are not needed any
// more. Moments to come, from before a clock was set back, tell nothing.
func (m moments) note(now moment, keep time.Duration) (after moments, old uint64) {
	after = slices.Clone(m)
	after = slices.DeleteFunc(after, func(x moment) bool { return x.at.After(now.at) })
	for len(after) > 1 && now.at.Sub(after[1].at) >= keep {
		after = after[1:]
	}
	if len(after) > 0 && now.at.Sub(after[0].at) >= keep {
		old = after[0].head
	}
	now.at = now.at.Add(time.Microsecond - 1).Truncate(time.Microsecond).UTC() // as it is stored, not too early
	if len(after) == 0 {
		return moments{now}, old
	}
	last := after[len(after)-1]
	if now.head > last.head && now.at.Sub(last.at) >= max(keep/momentsKept, time.Millisecond) {
		after = append(after, now)
	}
	return after, old
}

// trimGroup raises the base of a journal to upTo, step by step.
func (s *Store) trimGroup(ctx context.Context, group uint32, upTo uint64, forget bool, done *Trimmed) error {
	for more := true; more; {
		var step Trimmed
		err := s.kv.Update(ctx, func(tx kv.Tx) error {
			c := newChange(tx)
			h, err := c.head(group)
			if err != nil {
				return err
			}
			t := trimming{change: c, group: group, forget: forget}
			if err := t.raise(h, min(upTo, h.Head)); err != nil {
				return err
			}
			more, step = h.Base < min(upTo, h.Head), t.done
			return c.flush()
		})
		if err != nil {
			return err
		}
		done.Entries += step.Entries
		done.Segments += step.Segments
	}
	return nil
}

// trimming is one transaction that trims a journal.
type trimming struct {
	*change
	group  uint32
	forget bool
	done   Trimmed
}

// raise drops what does not count from behind the base up to upTo, as far as
// one transaction should, and raises the base to there.
func (t *trimming) raise(h *head, upTo uint64) error {
	seen := 0
	for pair, err := range t.tx.Scan(entryKey(t.group, h.Base+1), entryKey(t.group, upTo+1)) {
		if err != nil {
			return err
		}
		if seen == trimWork {
			return nil
		}
		seen++
		e, err := parseEntry(pair)
		if err != nil {
			return err
		}
		if err := t.drop(&e); err != nil {
			return err
		}
		h.Base = e.Seq
	}
	h.Base = max(h.Base, upTo)
	return nil
}

// drop drops an entry, unless it counts.
func (t *trimming) drop(e *Entry) error {
	s, err := getRecord(t.tx, e.Segment)
	known := err == nil
	if err != nil && !isNotFound(err) {
		return err
	}
	if e.Kind == pb.EntryKind_ENTRY_KIND_LIVE && known && s.refs > 0 && s.seq == e.Seq {
		return nil
	}
	t.done.Entries++
	if err := t.tx.Delete(entryKey(t.group, e.Seq)); err != nil {
		return err
	}
	if t.forget && known && s.refs == 0 && s.seq == e.Seq {
		t.done.Segments++
		return t.tx.Delete(segmentKey(e.Segment))
	}
	return nil
}

// getRecord reads the record of a segment, also of a buried one. It returns
// kv.ErrNotFound for one that never was or is forgotten.
func getRecord(r kv.Reader, id order.SegmentID) (segment, error) {
	v, err := r.Get(segmentKey(id))
	if err != nil {
		return segment{}, err
	}
	return decodeSegment(v)
}

// startOver drops from a journal what does not count and puts its end, and its
// base, beyond length: whoever has followed it to length or less has to compare
// what it holds with what is left.
func (s *Store) startOver(ctx context.Context, group uint32, length uint64) error {
	lost, err := s.isLost(ctx, group)
	if err != nil {
		return err
	}
	if !lost {
		var done Trimmed
		if err := s.trimGroup(ctx, group, ^uint64(0), false, &done); err != nil {
			return err
		}
	}
	return s.kv.Update(ctx, func(tx kv.Tx) error {
		c := newChange(tx)
		h, err := c.head(group)
		switch {
		case errors.Is(err, ErrGroupNotFound):
			// It keeps its id and this length, so that neither is ever
			// contested again, and nothing else.
			c.heads[group] = &head{Journal: Journal{Head: length}}
			err = raiseCounter(tx, counterGroup, group)
		case err == nil && h.epoch == lostGroup:
			h.Head = max(h.Head, length)
		case err == nil:
			h.Head = max(h.Head, length) + 1
			h.Base = h.Head
		}
		if err != nil {
			return err
		}
		return c.flush()
	})
}

// isLost tells a group that is not there, or of which only the length is left.
func (s *Store) isLost(ctx context.Context, group uint32) (lost bool, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		h, err := getHead(r, group)
		if lost = errors.Is(err, ErrGroupNotFound); lost {
			return nil
		}
		lost = h.epoch == lostGroup
		return err
	})
	return lost, err
}
