package meta

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cairnstorage/cairn/satellite/kv"
)

// lostGroup is the epoch of a group that was lost with its journal: a node
// proved that it once was there, and the operator accepted the loss.
const lostGroup = 0

// PutGroup stores a group's first or next epoch, and what is new of the slots that
// have other holders with it, of which it sets Given: no entry of the journal lies
// between. ErrStaleEpoch when there is one already, or the one before is missing.
func (s *Store) PutGroup(ctx context.Context, g Group, seats ...*Seat) error {
	if g.ID == 0 || g.Record == nil {
		return fmt.Errorf("%w: a group needs an id and a signed record", ErrInvalid)
	}
	for i := range seats {
		if err := seats[i].check(); err != nil {
			return err
		}
		if seats[i].Group != g.ID {
			return fmt.Errorf("%w: a slot of group %d with group %d", ErrInvalid, seats[i].Group, g.ID)
		}
	}
	return s.kv.Update(ctx, func(tx kv.Tx) error {
		h, err := getHead(tx, g.ID)
		if err != nil && !errors.Is(err, ErrGroupNotFound) {
			return err
		}
		if g.Epoch != h.epoch+1 {
			return fmt.Errorf("%w: group %d has epoch %d, so the next is not %d", ErrStaleEpoch, g.ID, h.epoch, g.Epoch)
		}
		h.epoch = g.Epoch
		if err := raiseCounter(tx, counterGroup, g.ID); err != nil {
			return err
		}
		if err := tx.Set(groupKey(g.ID, g.Epoch), encodeSigned(g.Record)); err != nil {
			return err
		}
		for _, n := range seats {
			n.Given = h.Head
			if err := tx.Set(seatKey(g.ID, n.Slot), n.encode()); err != nil {
				return err
			}
		}
		return tx.Set(headKey(g.ID), h.encode())
	})
}

// raiseCounter makes a counter at least n.
func raiseCounter(tx kv.Tx, counter string, n uint32) error {
	have, err := getCounter(tx, counter)
	if err != nil || have >= n {
		return err
	}
	return tx.Set(counterKey(counter), putUvarint(nil, uint64(n)))
}

// NextGroup returns the lowest id that no group ever had.
func (s *Store) NextGroup(ctx context.Context) (id uint32, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		id, err = getCounter(r, counterGroup)
		return err
	})
	return id + 1, err
}

// Groups returns every group at its newest epoch, by id.
func (s *Store) Groups(ctx context.Context) (groups []GroupState, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		groups = nil
		heads := []byte{kindHead}
		for pair, err := range r.Scan(heads, kv.PrefixEnd(heads)) {
			if err != nil {
				return err
			}
			id, h, err := parseHead(pair)
			if err != nil {
				return err
			}
			if h.epoch == lostGroup {
				continue
			}
			g, err := getGroup(r, id, h.epoch)
			if err != nil {
				return err
			}
			groups = append(groups, GroupState{Group: g, Journal: h.Journal})
		}
		return nil
	})
	return groups, err
}

func parseHead(pair kv.Pair) (uint32, head, error) {
	if len(pair.Key) != 5 {
		return 0, head{}, fmt.Errorf("%w: journal head under key %x", ErrDamaged, pair.Key)
	}
	h, err := decodeHead(pair.Value)
	return binary.BigEndian.Uint32(pair.Key[1:]), h, err
}

func getGroup(r kv.Reader, id uint32, epoch uint64) (Group, error) {
	v, err := r.Get(groupKey(id, epoch))
	if isNotFound(err) {
		return Group{}, fmt.Errorf("%w: %d at epoch %d", ErrGroupNotFound, id, epoch)
	}
	if err != nil {
		return Group{}, err
	}
	record, err := decodeSigned(v)
	return Group{ID: id, Epoch: epoch, Record: record}, err
}

// GroupAt returns a group's record at an epoch, also a past one; epoch 0 is
// the newest. Error: ErrGroupNotFound.
func (s *Store) GroupAt(ctx context.Context, id uint32, epoch uint64) (g Group, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		at := epoch
		if at == 0 {
			h, err := getHead(r, id)
			if err != nil {
				return err
			}
			at = h.epoch
		}
		g, err = getGroup(r, id, at)
		return err
	})
	return g, err
}

// Journals returns the state of the journals of the groups named; unknown
// groups are missing in the result.
func (s *Store) Journals(ctx context.Context, groups []uint32) (map[uint32]Journal, error) {
	found := make(map[uint32]Journal, len(groups))
	err := s.kv.View(ctx, func(r kv.Reader) error {
		for _, id := range groups {
			h, err := getHead(r, id)
			if errors.Is(err, ErrGroupNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			found[id] = h.Journal
		}
		return nil
	})
	return found, err
}

// Entries returns the page of a group's journal that begins behind the entry
// numbered after and has up to limit entries (0: MaxList), as of one moment.
// Error: ErrGroupNotFound.
func (s *Store) Entries(ctx context.Context, group uint32, after uint64, limit int) (p JournalPage, err error) {
	limit = pageLimit(limit, MaxList)
	err = s.kv.View(ctx, func(r kv.Reader) error {
		h, err := getHead(r, group)
		if err != nil {
			return err
		}
		p = JournalPage{Through: after, Journal: h.Journal, Sparse: after < h.Base}
		return p.read(r, group, limit)
	})
	if err != nil {
		return JournalPage{}, err
	}
	return p, nil
}

// read adds the entries behind p.Through, as many as may be in one page.
func (p *JournalPage) read(r kv.Reader, group uint32, limit int) error {
	end := p.Head
	if p.Sparse {
		end = p.Base
	}
	if p.Through >= end {
		return nil
	}
	for pair, err := range r.Scan(entryKey(group, p.Through+1), entryKey(group, end+1)) {
		if err != nil {
			return err
		}
		if len(p.Entries) == limit {
			return nil
		}
		e, err := parseEntry(pair)
		if err != nil {
			return err
		}
		if !p.Sparse && e.Seq != p.Through+1 {
			return fmt.Errorf("%w: group %d lacks journal entry %d", ErrDamaged, group, p.Through+1)
		}
		p.Entries = append(p.Entries, e)
		p.Through = e.Seq
	}
	if !p.Sparse && p.Through != end {
		return fmt.Errorf("%w: group %d lacks journal entry %d", ErrDamaged, group, p.Through+1)
	}
	p.Through = end
	return nil
}

// parseEntry reads a journal entry and its number, apart from the memory of the
// pair.
func parseEntry(pair kv.Pair) (Entry, error) {
	if len(pair.Key) != 1+4+8 {
		return Entry{}, fmt.Errorf("%w: journal entry under key %x", ErrDamaged, pair.Key)
	}
	return decodeEntry(binary.BigEndian.Uint64(pair.Key[5:]), bytes.Clone(pair.Value))
}
