package meta

import (
	"bytes"
	"context"
	"fmt"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/satellite/kv"
)

const defaultExtents = 64 // in an answer to Get

// Get returns an object and where its bytes are. Errors: ErrInvalid (range
// beyond the end), ErrBucketNotFound, ErrObjectNotFound.
func (s *Store) Get(ctx context.Context, q GetRequest) (got Got, err error) {
	if err := checkKey(q.Key); err != nil {
		return Got{}, err
	}
	err = s.kv.View(ctx, func(r kv.Reader) error {
		got, err = get(r, &q)
		return err
	})
	if err != nil {
		return Got{}, err
	}
	return got, nil
}

func get(r kv.Reader, q *GetRequest) (Got, error) {
	b, err := getBucketRef(r, q.Project, q.Bucket)
	if err != nil {
		return Got{}, err
	}
	o, v, err := getVersion(r, b, q.Key, q.Version)
	if err != nil {
		return Got{}, err
	}
	got := Got{Object: Object{
		Key: q.Key, Version: v, Size: o.size, Segments: o.segments(),
		SealedMetadata: o.sealed, Inline: o.inline,
	}}
	if q.StatOnly {
		got.Inline = nil
		return got, nil
	}
	if q.Offset > o.size {
		return Got{}, fmt.Errorf("%w: offset %d is beyond the object's %d bytes", ErrInvalid, q.Offset, o.size)
	}
	end := o.size
	if q.Length > 0 && q.Length < o.size-q.Offset {
		end = q.Offset + q.Length
	}
	if o.segments() == 0 || q.Offset == end {
		return got, nil
	}
	var first place
	limit := pageLimit(q.Limit, defaultExtents)
	if o.form == formList {
		got.Extents, first, err = listRange(r, o.list, q.Offset, end, limit)
	} else {
		got.Extents, first = cover(o.extents, place{}, q.Offset, end, limit)
	}
	if err != nil {
		return Got{}, err
	}
	got.FirstOffset, got.FirstIndex = first.offset, first.index
	got.Places, err = places(r, got.Extents)
	return got, err
}

// getVersion reads one version of an object, or the newest for 0.
func getVersion(r kv.Reader, b bucketRef, key []byte, v Version) (content, Version, error) {
	if v == 0 {
		o, v, found, err := newest(r, b, key)
		if err == nil && !found {
			err = ErrObjectNotFound
		}
		return o, v, err
	}
	raw, err := r.Get(versionKey(b, key, v))
	if isNotFound(err) {
		return content{}, 0, ErrObjectNotFound
	}
	if err != nil {
		return content{}, 0, err
	}
	o, err := decodeContent(raw)
	return o, v, err
}

// places looks up where the extents' segments are.
func places(r kv.Reader, extents []Extent) ([]Place, error) {
	found := make([]Place, 0, len(extents))
	seen := make(map[order.SegmentID]bool, len(extents))
	for i := range extents {
		id := extents[i].Segment
		if seen[id] {
			continue
		}
		seen[id] = true
		s, err := getSegment(r, id)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		e, err := getEntry(r, s.group, s.seq)
		if err != nil {
			return nil, err
		}
		found = append(found, Place{ID: id, Group: s.group, Size: e.Size, Root: e.Root})
	}
	return found, nil
}

// DeleteObjects deletes objects, each key on its own, and tells which it
// deleted. After an error some may be gone. Errors: ErrInvalid,
// ErrBucketNotFound.
func (s *Store) DeleteObjects(ctx context.Context, r DeleteRequest) ([]bool, error) {
	if err := checkDelete(&r); err != nil {
		return nil, err
	}
	found := make([]bool, len(r.Keys))
	for done, first := 0, true; first || done < len(found); first = false {
		next := done
		err := s.kv.Update(ctx, func(tx kv.Tx) (err error) {
			next, err = deleteSome(tx, &r, done, found)
			return err
		})
		if err != nil {
			return nil, err
		}
		done = next
	}
	return found, nil
}

func checkDelete(r *DeleteRequest) error {
	switch {
	case len(r.Keys) > MaxDelete:
		return fmt.Errorf("%w: %d keys, at most %d", ErrInvalid, len(r.Keys), MaxDelete)
	case len(r.Versions) > 0 && len(r.Versions) != len(r.Keys):
		return fmt.Errorf("%w: %d versions for %d keys", ErrInvalid, len(r.Versions), len(r.Keys))
	}
	for _, key := range r.Keys {
		if err := checkKey(key); err != nil {
			return err
		}
	}
	return nil
}

// deleteSome deletes the keys from index i on, as many as one transaction
// should, and returns the index of the next.
func deleteSome(tx kv.Tx, r *DeleteRequest, i int, found []bool) (int, error) {
	c := newChange(tx)
	b, ref, err := c.bucket(r.Project, r.Bucket)
	if err != nil {
		return i, err
	}
	for ; i < len(r.Keys) && c.work < batchWork; i++ {
		o, v, there, err := newest(tx, ref, r.Keys[i])
		if err != nil {
			return i, err
		}
		if len(r.Versions) > 0 && r.Versions[i] != 0 {
			there = there && v == r.Versions[i]
		}
		if found[i] = there; !there {
			continue
		}
		if err := c.remove(b, &version{versionKey(ref, r.Keys[i], v), o}); err != nil {
			return i, err
		}
	}
	return i, c.flush()
}

// Copy makes another object of the same segments, in one transaction; a copy
// onto itself replaces the metadata. Errors: ErrInvalid, ErrBucketNotFound,
// ErrObjectNotFound, ErrObjectExists, ErrChanged.
func (s *Store) Copy(ctx context.Context, r CopyRequest) (object Object, err error) {
	if err := checkCopy(&r); err != nil {
		return Object{}, err
	}
	v, err := s.newVersion()
	if err != nil {
		return Object{}, err
	}
	err = s.kv.Update(ctx, func(tx kv.Tx) error {
		c := newChange(tx)
		if object, err = c.copy(&r, v); err != nil {
			return err
		}
		return c.flush()
	})
	if err != nil {
		return Object{}, err
	}
	return object, nil
}

func checkCopy(r *CopyRequest) error {
	if err := checkKey(r.Key); err != nil {
		return err
	}
	if err := checkKey(r.ToKey); err != nil {
		return err
	}
	if len(r.SealedMetadata) > MaxSealedMetadata {
		return fmt.Errorf("%w: metadata of %d bytes, at most %d", ErrInvalid, len(r.SealedMetadata), MaxSealedMetadata)
	}
	return nil
}

func (c *change) copy(r *CopyRequest, v Version) (Object, error) {
	from, fromRef, err := c.bucket(r.Project, r.Bucket)
	if err != nil {
		return Object{}, err
	}
	to, toRef, err := c.bucket(r.Project, r.ToBucket)
	if err != nil {
		return Object{}, err
	}
	old, have, found, err := newest(c.tx, fromRef, r.Key)
	switch {
	case err != nil:
		return Object{}, err
	case !found:
		return Object{}, ErrObjectNotFound
	case r.Version != 0 && r.Version != have:
		return Object{}, ErrChanged
	}
	if err := c.share(r.Project, &old); err != nil {
		return Object{}, err
	}
	o := old
	o.sealed = r.SealedMetadata
	object, err := c.put(to, toRef, r.ToKey, v, &o, r.IfAbsent)
	if err != nil {
		return Object{}, err
	}
	itself := fromRef == toRef && bytes.Equal(r.Key, r.ToKey)
	if r.Move && !itself { // onto itself: put has removed the source
		err = c.remove(from, &version{versionKey(fromRef, r.Key, have), old})
	}
	return object, err
}

// share counts one more object that has this content.
func (c *change) share(p ProjectNumber, o *content) error {
	if o.form == formList {
		return c.shareList(o.list)
	}
	return c.hold(p, nil, o.extents)
}
