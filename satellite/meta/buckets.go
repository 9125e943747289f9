package meta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/cairnstorage/cairn/satellite/kv"
)

// batchWork bounds what one transaction of a long deletion deals with, in
// objects plus extents, so that others need not wait long for their turn.
const batchWork = 4096

// CreateBucket makes a bucket. Errors: ErrInvalid (name rules), ErrBucketExists.
func (s *Store) CreateBucket(ctx context.Context, project ProjectNumber, name string) (Bucket, error) {
	if err := CheckBucketName(name); err != nil {
		return Bucket{}, err
	}
	r := bucketRecord{created: s.timestamp()}
	err := s.kv.Update(ctx, func(tx kv.Tx) error {
		k := bucketKey(project, name)
		_, err := tx.Get(k)
		if err == nil {
			return fmt.Errorf("%w: %q", ErrBucketExists, name)
		}
		if !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		if r.number, err = next(tx, counterBucket); err != nil {
			return err
		}
		return tx.Set(k, r.encode())
	})
	if err != nil {
		return Bucket{}, err
	}
	return Bucket{Name: name, Created: r.created}, nil
}

// CheckBucketName checks a bucket name by the rules of S3. Error: ErrInvalid.
func CheckBucketName(name string) error {
	refuse := func(rule string) error {
		return fmt.Errorf("%w: bucket name %.80q: %s", ErrInvalid, name, rule)
	}
	if len(name) < 3 || len(name) > 63 {
		return refuse("use 3 to 63 characters")
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return refuse("use lower-case letters, digits, hyphens and dots only")
		}
	}
	alnum := func(c byte) bool { return c != '-' && c != '.' }
	if !alnum(name[0]) || !alnum(name[len(name)-1]) {
		return refuse("begin and end with a letter or digit")
	}
	if strings.Contains(name, "..") {
		return refuse("no two dots in a row")
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return refuse("it must not look like an IP address")
	}
	return nil
}

func getBucket(r kv.Reader, p ProjectNumber, name string) (bucketRecord, error) {
	v, err := r.Get(bucketKey(p, name))
	if errors.Is(err, kv.ErrNotFound) {
		return bucketRecord{}, fmt.Errorf("%w: %.80q", ErrBucketNotFound, name)
	}
	if err != nil {
		return bucketRecord{}, err
	}
	return decodeBucket(v)
}

func getBucketRef(r kv.Reader, p ProjectNumber, name string) (bucketRef, error) {
	b, err := getBucket(r, p, name)
	return bucketRef{p, b.number}, err
}

// DeleteBucket removes an empty bucket; with force it first deletes objects, a
// bounded number a call: when more, call again. deleted counts objects. Uploads
// in progress are left to expire. Errors: ErrBucketNotFound, ErrBucketNotEmpty.
func (s *Store) DeleteBucket(ctx context.Context, project ProjectNumber, name string, force bool) (deleted int, more bool, err error) {
	err = s.kv.Update(ctx, func(tx kv.Tx) error {
		deleted, more = 0, false
		c := newChange(tx)
		b, ref, err := c.bucket(project, name)
		if err != nil {
			return err
		}
		var batch []version
		most := batchWork
		if !force {
			most = 1
		}
		if batch, more, err = firstVersions(tx, objectsKey(ref), most); err != nil {
			return err
		}
		if len(batch) > 0 && !force {
			return fmt.Errorf("%w: %q", ErrBucketNotEmpty, name)
		}
		for i := range batch {
			if err := c.remove(b, &batch[i]); err != nil {
				return err
			}
		}
		deleted = len(batch)
		if more {
			return c.flush()
		}
		delete(c.buckets, string(bucketKey(project, name)))
		if err := c.flush(); err != nil {
			return err
		}
		return tx.Delete(bucketKey(project, name))
	})
	if err != nil {
		return 0, false, err
	}
	return deleted, more, nil
}

// version is one version of an object, read and to be dealt with.
type version struct {
	key []byte // versionKey
	content
}

// work is what removing v counts for: its extents, and itself by the length of
// its key, so that no transaction becomes too big.
func (v *version) work() int { return 1 + len(v.key)/256 + v.segments() }

// firstVersions reads the first versions under a prefix, up to most work. More
// says whether there are others.
func firstVersions(r kv.Reader, prefix []byte, most int) (batch []version, more bool, err error) {
	work := 0
	for pair, err := range r.Scan(prefix, kv.PrefixEnd(prefix)) {
		if err != nil {
			return nil, false, err
		}
		if work >= most {
			return batch, true, nil
		}
		content, err := decodeContent(bytes.Clone(pair.Value))
		if err != nil {
			return nil, false, err
		}
		v := version{bytes.Clone(pair.Key), content}
		batch = append(batch, v)
		work += v.work()
	}
	return batch, false, nil
}

// remove deletes a version of an object of bucket b.
func (c *change) remove(b *bucketRecord, v *version) error {
	if err := c.release(&v.content); err != nil {
		return err
	}
	b.usage.Objects--
	b.usage.Bytes -= v.size
	c.work += v.work()
	return c.tx.Delete(v.key)
}

// release drops what a content refers to.
func (c *change) release(o *content) error {
	if o.form == formList {
		return c.dropList(o.list)
	}
	return c.drop(o.extents)
}

// Buckets lists up to limit (0: MaxList) buckets of a project, by name, with
// names after the one given.
func (s *Store) Buckets(ctx context.Context, project ProjectNumber, after string, limit int) (buckets []Bucket, more bool, err error) {
	limit = pageLimit(limit, MaxList)
	err = s.kv.View(ctx, func(r kv.Reader) error {
		buckets, more = nil, false
		prefix := bucketsKey(project)
		start := prefix
		if after != "" {
			start = append(bucketKey(project, after), 0)
		}
		for pair, err := range r.Scan(start, kv.PrefixEnd(prefix)) {
			if err != nil {
				return err
			}
			if len(buckets) == limit {
				more = true
				return nil
			}
			b, err := decodeBucket(pair.Value)
			if err != nil {
				return err
			}
			buckets = append(buckets, Bucket{Name: string(pair.Key[len(prefix):]), Created: b.created})
		}
		return nil
	})
	return buckets, more, err
}

// pageLimit returns the limit a page has when want were asked for.
func pageLimit(want, most int) int {
	if want <= 0 || want > most {
		return most
	}
	return want
}
