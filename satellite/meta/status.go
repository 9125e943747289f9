package meta

import (
	"context"
	"errors"
	"maps"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/kv"
)

// Stats counts what there is.
func (s *Store) Stats(ctx context.Context) (st Stats, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		st = Stats{}
		projects, err := allProjects(r)
		if err != nil {
			return err
		}
		st.Projects = uint64(len(projects))
		for i := range projects {
			st.Objects += projects[i].Objects
			st.Bytes += projects[i].Bytes
		}
		for pair, err := range r.Scan([]byte{kindHead}, []byte{kindHead + 1}) {
			if err != nil {
				return err
			}
			_, h, err := parseHead(pair)
			if err != nil {
				return err
			}
			if h.epoch == lostGroup {
				continue
			}
			st.Groups++
			st.Segments += h.Segments
			st.Stored += h.Bytes
		}
		for _, err := range r.Scan([]byte{kindUpload}, []byte{kindUpload + 1}) {
			if err != nil {
				return err
			}
			st.Uploads++
		}
		return nil
	})
	return st, err
}

// Trouble returns the trouble the satellite is in; nil when there is none.
func (s *Store) Trouble(ctx context.Context) (t *Trouble, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		t, err = getTrouble(r)
		return err
	})
	return t, err
}

func getTrouble(r kv.Reader) (*Trouble, error) {
	v, err := r.Get(troubleKey())
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t, err := decodeTrouble(v)
	if err != nil {
		return nil, err
	}
	return &t, nil
}

// AddTrouble notes proof that a group's journal was once head entries long,
// and returns all the trouble there is. The first text stays.
func (s *Store) AddTrouble(ctx context.Context, group uint32, head uint64, text string) (all Trouble, err error) {
	now := s.timestamp()
	err = s.kv.Update(ctx, func(tx kv.Tx) error {
		t, err := getTrouble(tx)
		if err != nil {
			return err
		}
		if t == nil {
			t = &Trouble{Text: text, Since: now, Heads: map[uint32]uint64{}}
		}
		t.Heads[group] = max(t.Heads[group], head)
		all = *t
		return tx.Set(troubleKey(), t.encode())
	})
	return all, err
}

// ClearTrouble accepts the loss: the journals are filled up to the lengths that
// were proved, so that nodes follow them again, what they say is said again
// behind that, and the trouble is forgotten. Nothing should be written meanwhile.
func (s *Store) ClearTrouble(ctx context.Context) error {
	for {
		t, err := s.Trouble(ctx)
		if err != nil || t == nil {
			return err
		}
		if err := s.fillAll(ctx); err != nil {
			return err
		}
		for _, group := range sortedKeys(t.Heads) {
			if err := s.sayAgain(ctx, group, t.Heads[group]); err != nil {
				return err
			}
		}
		err = s.kv.Update(ctx, func(tx kv.Tx) error {
			if now, err := getTrouble(tx); err != nil || now == nil || !maps.Equal(now.Heads, t.Heads) {
				return err // more was proved meanwhile
			}
			return tx.Delete(troubleKey())
		})
		if err != nil {
			return err
		}
	}
}

// fillAll fills the journals that the trouble names.
func (s *Store) fillAll(ctx context.Context) error {
	for more := true; more; {
		err := s.kv.Update(ctx, func(tx kv.Tx) error {
			more = false
			t, err := getTrouble(tx)
			if err != nil || t == nil {
				return err
			}
			c := newChange(tx)
			for _, group := range sortedKeys(t.Heads) {
				if err := c.fill(group, t.Heads[group]); err != nil {
					return err
				}
			}
			if err := c.flush(); err != nil {
				return err
			}
			more = c.work >= batchWork
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fill appends filler entries until a journal has this length, as far as one
// transaction should. A group that was lost keeps its id and this length, so
// that neither is ever contested again, and nothing else.
func (c *change) fill(group uint32, length uint64) error {
	h, err := c.head(group)
	if errors.Is(err, ErrGroupNotFound) {
		c.heads[group] = &head{Journal: Journal{Head: length}}
		return raiseCounter(c.tx, counterGroup, group)
	}
	if err == nil && h.epoch == lostGroup {
		h.Head = max(h.Head, length)
		return nil
	}
	if err != nil {
		return err
	}
	for ; h.Head < length && c.work < batchWork; c.work++ {
		e := Entry{Kind: pb.EntryKind_ENTRY_KIND_TOMBSTONE}
		if err := c.appendEntry(group, h, &e); err != nil {
			return err
		}
	}
	return nil
}

// sayAgain appends again what a journal says up to length, where that counts
// still. Between the rollback and its proof entries may have got numbers that
// nodes had dealt with already, as other entries; no one can tell now which, and
// to deal with an entry twice does no harm.
func (s *Store) sayAgain(ctx context.Context, group uint32, length uint64) error {
	for after := uint64(0); after < length; {
		var next uint64
		err := s.kv.Update(ctx, func(tx kv.Tx) error {
			next = min(after+batchWork, length)
			c := newChange(tx)
			h, err := c.head(group)
			if errors.Is(err, ErrGroupNotFound) || err == nil && h.epoch == lostGroup {
				next = length
				return nil
			}
			if err != nil {
				return err
			}
			for seq := after + 1; seq <= next; seq++ {
				if err := c.again(group, h, seq); err != nil {
					return err
				}
			}
			return c.flush()
		})
		if err != nil {
			return err
		}
		after = next
	}
	return nil
}

// again appends one entry again, unless it is filler or was overtaken.
func (c *change) again(group uint32, h *head, seq uint64) error {
	e, err := getEntry(c.tx, group, seq)
	if err != nil || e.Segment == (order.SegmentID{}) {
		return err
	}
	if e.Kind != pb.EntryKind_ENTRY_KIND_LIVE {
		return c.appendEntry(group, h, &e)
	}
	s, err := getSegment(c.tx, e.Segment)
	if errors.Is(err, ErrSegmentUnknown) || err == nil && s.seq != seq {
		return nil // its tombstone follows, or it was said again already
	}
	if err != nil {
		return err
	}
	if err := c.appendEntry(group, h, &e); err != nil {
		return err
	}
	s.seq = e.Seq
	return c.tx.Set(segmentKey(e.Segment), s.encode())
}
