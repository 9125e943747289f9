package meta

import (
	"bytes"
	"context"
	"fmt"

	"github.com/cairnstorage/cairn/satellite/kv"
)

const (
	// maxPageBytes ends a page early, so that an answer stays well within a
	// message.
	maxPageBytes = 1 << 20
	// patience is how many objects below a prefix are stepped over one by one
	// before a new scan is started behind them all, which costs more than a
	// few steps.
	patience = 16
	// extentSize is about what an extent and its place take of an answer.
	extentSize = 100
)

// List returns one page of objects. It is one consistent state; a listing of
// several pages shows every object that was there all the time exactly once.
// Errors: ErrInvalid, ErrBucketNotFound.
func (s *Store) List(ctx context.Context, q ListRequest) (page ListPage, err error) {
	if err := checkComponents(q.Prefix); err != nil {
		return ListPage{}, fmt.Errorf("prefix: %w", err)
	}
	err = s.kv.View(ctx, func(r kv.Reader) error {
		b, err := getBucketRef(r, q.Project, q.Bucket)
		if err != nil {
			return err
		}
		l := lister{ListRequest: q, base: objectsKey(b)}
		l.Limit = pageLimit(q.Limit, MaxList)
		if err := l.begin(); err != nil {
			return err
		}
		for again := true; again; {
			if again, err = l.scan(r); err != nil {
				return err
			}
		}
		page = l.page
		if len(l.extents) > 0 {
			page.Places, err = places(r, l.extents)
		}
		return err
	})
	if err != nil {
		return ListPage{}, err
	}
	return page, nil
}

// lister collects a page.
type lister struct {
	ListRequest
	base []byte // objectsKey
	from []byte // where to scan on
	end  []byte
	// last is the prefix or the object (with endOfKey) that was taken last:
	// what begins with it is passed over.
	last    []byte
	skipped int
	size    int
	page    ListPage
	extents []Extent
}

// begin finds where the page starts. Objects whose key is the prefix itself
// are not below it.
func (l *lister) begin() error {
	under := append(bytes.Clone(l.base), l.Prefix...)
	l.end = kv.PrefixEnd(under)
	l.from = append(under, afterKey)
	after := bytes.TrimSuffix(l.After, []byte{endOfKey})
	if len(l.After) == 0 {
		return nil
	}
	isObject := len(after) < len(l.After) && checkComponents(after) == nil
	if !isObject {
		after = l.After
	}
	if err := checkComponents(after); err != nil || len(after) == 0 {
		return fmt.Errorf("%w: a listing goes on after the next of an earlier page", ErrInvalid)
	}
	pos := append(bytes.Clone(l.base), after...)
	if isObject || l.Recursive {
		pos = append(pos, afterKey)
	} else {
		pos = kv.PrefixEnd(pos)
	}
	if bytes.Compare(pos, l.from) > 0 {
		l.from = pos
	}
	return nil
}

// scan takes items until the page is full, the objects end or it is better to
// begin a new scan further on; then it returns true.
func (l *lister) scan(r kv.Reader) (again bool, err error) {
	if bytes.Compare(l.from, l.end) >= 0 {
		return false, nil
	}
	for pair, err := range r.Scan(l.from, l.end) {
		if err != nil {
			return false, err
		}
		raw := pair.Key[len(l.base):]
		if l.last != nil && bytes.HasPrefix(raw, l.last) {
			if l.skipped++; l.skipped > patience {
				l.from = kv.PrefixEnd(append(bytes.Clone(l.base), l.last...))
				l.skipped = 0
				return true, nil
			}
			continue
		}
		if len(l.page.Items) == l.Limit || l.size >= maxPageBytes {
			l.page.More = true
			return false, nil
		}
		if err := l.take(pair); err != nil {
			return false, err
		}
	}
	return false, nil
}

// take adds an object, or the prefix it lies below, to the page.
func (l *lister) take(pair kv.Pair) error {
	key, v, err := parseVersionKey(pair.Key)
	if err != nil {
		return err
	}
	l.skipped = 0
	if !l.Recursive {
		rest := key[len(l.Prefix):]
		end, err := componentEnd(rest)
		if err != nil {
			return fmt.Errorf("%w: object under key %x", ErrDamaged, pair.Key)
		}
		if end < len(rest) {
			prefix := bytes.Clone(key[:len(l.Prefix)+end])
			l.add(Item{Prefix: prefix}, prefix)
			return nil
		}
	}
	o, err := decodeContent(pair.Value)
	if err != nil {
		return err
	}
	key = bytes.Clone(key)
	item := Item{Object: Object{Key: key, Version: v, Size: o.size, Segments: o.segments()}}
	if l.WithMetadata {
		item.SealedMetadata = bytes.Clone(o.sealed)
	}
	if l.WithInline {
		item.Inline = bytes.Clone(o.inline)
	}
	if l.WithExtents && len(o.extents) == 1 {
		item.Extent = &o.extents[0]
		l.extents = append(l.extents, o.extents[0])
		l.size += extentSize
	}
	l.add(item, append(key[:len(key):len(key)], endOfKey))
	return nil
}

func (l *lister) add(item Item, last []byte) {
	l.page.Items = append(l.page.Items, item)
	l.page.Next = last
	l.last = last
	l.size += 64 + len(last) + len(item.SealedMetadata) + len(item.Inline)
}
