package meta

import (
	"errors"
	"fmt"

	"github.com/cairnstorage/cairn/satellite/kv"
)

// A list holds the extents of an object that was uploaded in several calls, a
// page for each call, so that no value grows with the object. A page is found
// by the object offset at which it starts. Copies share a list and count on
// it; the list holds one reference to a segment for each extent.

func getList(r kv.Reader, id UploadID) (list, error) {
	v, err := r.Get(listKey(id))
	if err != nil {
		return list{}, fmt.Errorf("%w: list %s: %w", ErrDamaged, id, err)
	}
	return decodeList(v)
}

// shareList adds one object to those that use a list.
func (c *change) shareList(id UploadID) error {
	l, err := getList(c.tx, id)
	if err != nil {
		return err
	}
	l.refs++
	return c.tx.Set(listKey(id), l.encode())
}

// dropList takes one object from those that use a list; the last one takes the
// list with it.
func (c *change) dropList(id UploadID) error {
	l, err := getList(c.tx, id)
	if err != nil {
		return err
	}
	if l.refs > 1 {
		l.refs--
		return c.tx.Set(listKey(id), l.encode())
	}
	if _, err := c.dropPages(id, MaxExtents); err != nil {
		return err
	}
	return c.tx.Delete(listKey(id))
}

// dropPages drops pages, the last ones first, until about most extents are
// gone. More says whether pages are left.
func (c *change) dropPages(id UploadID, most int) (more bool, err error) {
	var keys [][]byte
	var extents []Extent
	prefix := pagesKey(id)
	for pair, err := range c.tx.Scan(prefix, kv.PrefixEnd(prefix)) {
		if err != nil {
			return false, err
		}
		if len(extents) >= most {
			more = true
			break
		}
		p, err := decodePage(pair.Value)
		if err != nil {
			return false, err
		}
		keys = append(keys, append([]byte(nil), pair.Key...))
		extents = append(extents, p.extents...)
	}
	for _, k := range keys {
		if err := c.tx.Delete(k); err != nil {
			return false, err
		}
	}
	return more, c.drop(extents)
}

// listRange returns up to most extents of a list from the one that holds
// offset on, until end, with the offset and index of the first.
func listRange(r kv.Reader, id UploadID, offset, end uint64, most int) (extents []Extent, first place, err error) {
	p, at, err := pageAt(r, id, offset)
	if err != nil {
		return nil, first, err
	}
	for {
		run, start := cover(p.extents, place{at, int(p.first)}, offset, end, most-len(extents))
		if len(extents) == 0 {
			first = start
		}
		extents = append(extents, run...)
		for i := range p.extents {
			at += p.extents[i].Length
		}
		if at >= end || len(extents) >= most {
			return extents, first, nil
		}
		v, err := r.Get(pageKey(id, at))
		if err != nil {
			return nil, first, fmt.Errorf("%w: list %s at %d: %w", ErrDamaged, id, at, err)
		}
		if p, err = decodePage(v); err != nil {
			return nil, first, err
		}
	}
}

// pageAt returns the page that holds offset, and where it starts.
func pageAt(r kv.Reader, id UploadID, offset uint64) (page, uint64, error) {
	for pair, err := range r.Scan(pageKey(id, offset), kv.PrefixEnd(pagesKey(id))) {
		if err != nil {
			return page{}, 0, err
		}
		p, err := decodePage(pair.Value)
		return p, pageStart(pair.Key), err
	}
	return page{}, 0, fmt.Errorf("%w: list %s has no page at %d", ErrDamaged, id, offset)
}

// place is where an extent stands in its object.
type place struct {
	offset uint64 // plaintext bytes before it
	index  int
}

// cover returns up to most of the extents that overlap offset … end, and where
// the first of them stands, when extents[0] stands at start.
func cover(extents []Extent, start place, offset, end uint64, most int) ([]Extent, place) {
	at := start
	from := 0
	for from < len(extents) && at.offset+extents[from].Length <= offset {
		at.offset += extents[from].Length
		at.index++
		from++
	}
	to, reach := from, at.offset
	for to < len(extents) && to-from < most && reach < end {
		reach += extents[to].Length
		to++
	}
	return extents[from:to], at
}

// findPage returns the page of a list that begins with the extent of this
// index, or kv.ErrNotFound. The last pages are looked at first.
func findPage(r kv.Reader, id UploadID, first uint64) (page, error) {
	prefix := pagesKey(id)
	for pair, err := range r.Scan(prefix, kv.PrefixEnd(prefix)) {
		if err != nil {
			return page{}, err
		}
		p, err := decodePage(pair.Value)
		if err != nil {
			return page{}, err
		}
		if p.first == first {
			return p, nil
		}
		if p.first < first {
			break
		}
	}
	return page{}, kv.ErrNotFound
}

func isNotFound(err error) bool { return errors.Is(err, kv.ErrNotFound) }
