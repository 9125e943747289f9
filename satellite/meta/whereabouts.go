package meta

import (
	"context"

	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/satellite/kv"
)

// Whereabouts is what a group's journal says of a segment.
type Whereabouts struct {
	Live bool // in this group; the rest is of its live entry
	Seq  uint64
	Size int64
	Root merkle.Hash
}

// Whereabouts looks segments up in a group's journal, as of one moment.
func (s *Store) Whereabouts(ctx context.Context, group uint32, segments []order.SegmentID) (found []Whereabouts, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		found = make([]Whereabouts, len(segments))
		for i, id := range segments {
			if found[i], err = whereabouts(r, group, id); err != nil {
				return err
			}
		}
		return nil
	})
	return found, err
}

func whereabouts(r kv.Reader, group uint32, id order.SegmentID) (Whereabouts, error) {
	s, err := getRecord(r, id)
	if isNotFound(err) || err == nil && (s.refs == 0 || s.group != group) {
		return Whereabouts{}, nil
	}
	if err != nil {
		return Whereabouts{}, err
	}
	e, err := getEntry(r, group, s.seq)
	return Whereabouts{Live: true, Seq: s.seq, Size: e.Size, Root: e.Root}, err
}

// LiveAfter returns up to limit of the entries of a group's journal that count,
// behind after and up to upTo, and up to where it has looked: at upTo there are
// no more.
func (s *Store) LiveAfter(ctx context.Context, group uint32, after, upTo uint64, limit int) (live []Entry, through uint64, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		live, through = nil, max(after, upTo)
		if after >= upTo {
			return nil
		}
		seen := 0
		for pair, err := range r.Scan(entryKey(group, after+1), entryKey(group, upTo+1)) {
			if err != nil {
				return err
			}
			e, err := parseEntry(pair)
			if err != nil {
				return err
			}
			if seen == limit {
				through = e.Seq - 1
				return nil
			}
			seen++
			counts, err := countsNow(r, &e)
			if err != nil {
				return err
			}
			if counts {
				live = append(live, e)
			}
		}
		return nil
	})
	return live, through, err
}
