package storagenode

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// journalPage is the most entries asked for at a time.
const journalPage = 1000

// errBaseMoved means that the journal was trimmed again while it was compared
// with what is held.
var errBaseMoved = errors.New("the journal was trimmed meanwhile; the next check-in tries again")

// A page is a part of a group's journal.
type page struct {
	end     uint64 // of the journal, at its newest entry
	base    uint64 // up to where it was trimmed
	through uint64 // up to where the page goes
	sparse  bool   // the page begins before the base
	entries []shardstore.Entry
}

// page asks for the part of a journal that begins behind the entry numbered
// after. The satellite's word on where the journal ends is kept before anything
// is done by it: what the node has done it can then show to have been in the
// journal.
func (f *follower) page(ctx context.Context, group uint32, after uint64) (page, error) {
	res, err := f.client.Journal(ctx, &pb.JournalRequest{Group: group, After: after, Limit: journalPage})
	if err != nil {
		return page{}, err
	}
	head, err := order.OpenHead(res.Head, f.satellite.ID)
	if err != nil {
		return page{}, fmt.Errorf("head of the journal: %w", err)
	}
	if head.Group != group {
		return page{}, fmt.Errorf("head of the journal is that of group %d", head.Group)
	}
	if err := f.contest(ctx, head); err != nil {
		return page{}, err
	}
	p, err := readPage(res, after, head.Seq)
	if err != nil {
		return page{}, err
	}
	return p, f.state.setHead(res.Head, head)
}

// readPage reads a page that begins behind after, of a journal that ends at end.
func readPage(res *pb.JournalResponse, after, end uint64) (page, error) {
	p := page{end: end, base: res.Base, through: res.Through, sparse: res.Sparse}
	if end <= after {
		return p, nil // there is nothing to be read
	}
	last := end
	if p.sparse {
		last = p.base
	}
	if p.base > end || p.sparse != (after < p.base) || p.through <= after || p.through > last {
		return page{}, fmt.Errorf("the satellite gave a page from %d to %d (sparse: %v) of a journal that was trimmed to %d and ends at %d",
			after, p.through, p.sparse, p.base, end)
	}
	number := after
	for _, m := range res.Entries {
		e, err := journalEntry(m)
		if err == nil && (e.Seq <= number || e.Seq > p.through || !p.sparse && e.Seq != number+1) {
			err = fmt.Errorf("it has number %d", m.Seq)
		}
		if err != nil {
			return page{}, fmt.Errorf("journal entry after %d: %w", number, err)
		}
		number = e.Seq
		p.entries = append(p.entries, e)
	}
	if !p.sparse && number != p.through {
		return page{}, fmt.Errorf("the satellite gave no entry after %d, though the page goes to %d", number, p.through)
	}
	return p, nil
}

func journalEntry(m *pb.Entry) (e shardstore.Entry, err error) {
	e.Seq = m.GetSeq()
	if e.Segment, err = order.SegmentIDFromBytes(m.GetSegment()); err != nil {
		return e, err
	}
	switch m.Kind {
	case pb.EntryKind_ENTRY_KIND_TOMBSTONE:
		return e, nil
	case pb.EntryKind_ENTRY_KIND_LIVE:
	default:
		return e, fmt.Errorf("unknown kind %v", m.Kind)
	}
	e.Live = true
	if m.Size == 0 || m.Size > erasure.MaxSegment {
		return e, fmt.Errorf("segment of %d bytes", m.Size)
	}
	e.Size = int64(m.Size)
	e.Root, err = merkle.HashFromBytes(m.Root)
	return e, err
}

// resync compares what is held with all that is left of a journal up to where it
// was trimmed, and deletes what is not there any more: its tombstone has gone by
// unseen.
func (f *follower) resync(ctx context.Context, group uint32, base uint64) error {
	f.log.Info("comparing what is held with a journal that was trimmed", "group", group, "base", base)
	after := uint64(0)
	return f.store.Resync(group, base, func() ([]shardstore.Entry, error) {
		for after < base {
			p, err := f.page(ctx, group, after)
			if err != nil {
				return nil, err
			}
			if !p.sparse || p.base != base {
				return nil, fmt.Errorf("%w: from %d to %d", errBaseMoved, base, p.base)
			}
			after = p.through
			if len(p.entries) > 0 {
				return p.entries, nil
			}
		}
		return nil, nil
	})
}
