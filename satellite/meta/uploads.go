package meta

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/cairnstorage/cairn/satellite/kv"
)

// BeginUpload opens an upload for an object key. Errors: ErrInvalid,
// ErrBucketNotFound.
func (s *Store) BeginUpload(ctx context.Context, project ProjectNumber, bucket string, key []byte) (Upload, error) {
	if err := checkKey(key); err != nil {
		return Upload{}, err
	}
	var id UploadID
	if _, err := io.ReadFull(s.rand, id[:]); err != nil {
		return Upload{}, err
	}
	u := upload{key: key, expires: s.uploadExpiry()}
	err := s.kv.Update(ctx, func(tx kv.Tx) error {
		ref, err := getBucketRef(tx, project, bucket)
		if err != nil {
			return err
		}
		u.bucket = ref
		if err := tx.Set(expiryKey(u.expires.Unix(), id), nil); err != nil {
			return err
		}
		return tx.Set(uploadKey(id), u.encode())
	})
	if err != nil {
		return Upload{}, err
	}
	return Upload{ID: id, Expires: u.expires}, nil
}

func (s *Store) uploadExpiry() time.Time {
	return s.now().Add(s.uploadTTL).Truncate(time.Second).UTC()
}

// getUpload returns an upload of the project that can still be used.
func getUpload(r kv.Reader, project ProjectNumber, id UploadID) (upload, error) {
	v, err := r.Get(uploadKey(id))
	if isNotFound(err) {
		return upload{}, fmt.Errorf("%w: %s", ErrUploadNotFound, id)
	}
	if err != nil {
		return upload{}, err
	}
	u, err := decodeUpload(v)
	if err == nil && (u.bucket.project != project || u.aborting) {
		err = fmt.Errorf("%w: %s", ErrUploadNotFound, id)
	}
	return u, err
}

// AddSegments enters new segments in their groups' journals and has the upload
// hold them. Errors: ErrInvalid, ErrUploadNotFound, ErrSegmentExists,
// ErrSegmentUnknown, ErrGroupNotFound, ErrStaleEpoch.
func (s *Store) AddSegments(ctx context.Context, r AddRequest) (Upload, error) {
	if _, err := checkContent(r.Segments, r.Extents); err != nil {
		return Upload{}, err
	}
	var u upload
	err := s.kv.Update(ctx, func(tx kv.Tx) (err error) {
		if u, err = getUpload(tx, r.Project, r.Upload); err != nil {
			return err
		}
		u.expires = s.uploadExpiry()
		c := newChange(tx)
		if r.First < u.count {
			err = sameAsBefore(tx, &r)
		} else {
			err = c.addPage(r.Upload, &u, r.First, r.Segments, r.Extents)
		}
		if err != nil {
			return err
		}
		if err := c.flush(); err != nil {
			return err
		}
		return tx.Set(uploadKey(r.Upload), u.encode())
	})
	if err != nil {
		return Upload{}, err
	}
	return Upload{ID: r.Upload, Expires: u.expires, Segments: u.count}, nil
}

// addPage appends a page to an upload, which the caller writes.
func (c *change) addPage(id UploadID, u *upload, first uint64, segments []NewSegment, extents []Extent) error {
	if first != u.count {
		return fmt.Errorf("%w: the upload has %d segments, so the next are not from %d on", ErrInvalid, u.count, first)
	}
	if u.count+uint64(len(extents)) > MaxExtents {
		return fmt.Errorf("%w: an object has at most %d extents: use larger segments", ErrInvalid, MaxExtents)
	}
	if err := c.hold(u.bucket.project, segments, extents); err != nil {
		return err
	}
	if len(extents) == 0 {
		return nil
	}
	p := page{first: first, extents: extents}
	if err := c.tx.Set(pageKey(id, u.size), p.encode()); err != nil {
		return err
	}
	u.count += uint64(len(extents))
	u.size += totalLength(extents)
	if u.size > math.MaxInt64 {
		return fmt.Errorf("%w: object of more than 2^63 bytes", ErrInvalid)
	}
	return nil
}

// sameAsBefore checks that r repeats an earlier call.
func sameAsBefore(r kv.Reader, add *AddRequest) error {
	p, err := findPage(r, add.Upload, add.First)
	if err == nil && !slices.Equal(p.extents, add.Extents) || isNotFound(err) {
		return fmt.Errorf("%w: other segments were added from index %d on before", ErrInvalid, add.First)
	}
	return err
}

// AbortUpload drops an upload and what it holds. Error: ErrUploadNotFound.
func (s *Store) AbortUpload(ctx context.Context, project ProjectNumber, id UploadID) error {
	err := s.kv.View(ctx, func(r kv.Reader) error {
		_, err := getUpload(r, project, id)
		return err
	})
	if err != nil {
		return err
	}
	_, err = s.takeApart(ctx, id, func(*upload) bool { return true }, nil)
	return err
}

// takeApart removes an upload that is due, in bounded steps. From the first
// one on nobody else can use it, and should the steps be cut short, it expires
// at once. note is the expiry key that led here, or nil; an upload that is not
// due is noted for its later time.
func (s *Store) takeApart(ctx context.Context, id UploadID, due func(*upload) bool, note []byte) (gone bool, err error) {
	for more := true; more; {
		err := s.kv.Update(ctx, func(tx kv.Tx) error {
			more, gone = false, false
			v, err := tx.Get(uploadKey(id))
			if isNotFound(err) {
				return forget(tx, note)
			}
			if err != nil {
				return err
			}
			u, err := decodeUpload(v)
			if err != nil {
				return err
			}
			if !u.aborting && !due(&u) {
				if err := forget(tx, note); err != nil {
					return err
				}
				return tx.Set(expiryKey(u.expires.Unix(), id), nil)
			}
			gone = true
			more, err = removeSome(tx, id, &u)
			if err != nil || more {
				return err
			}
			return forget(tx, note)
		})
		if err != nil {
			return false, err
		}
	}
	return gone, nil
}

func forget(tx kv.Tx, key []byte) error {
	if key == nil {
		return nil
	}
	return tx.Delete(key)
}

// removeSome removes what one transaction should of an upload, and the upload
// itself when no more is left.
func removeSome(tx kv.Tx, id UploadID, u *upload) (more bool, err error) {
	c := newChange(tx)
	if more, err = c.dropPages(id, batchWork); err != nil {
		return false, err
	}
	if err := c.flush(); err != nil {
		return false, err
	}
	if !more {
		return false, tx.Delete(uploadKey(id))
	}
	u.aborting = true
	u.expires = time.Unix(1, 0)
	if err := tx.Set(expiryKey(u.expires.Unix(), id), nil); err != nil {
		return false, err
	}
	return true, tx.Set(uploadKey(id), u.encode())
}
