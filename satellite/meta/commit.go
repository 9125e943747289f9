package meta

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/satellite/kv"
)

const nonceLen = 16

// Commit makes an object visible and returns it without metadata and inline
// bytes. Errors: ErrInvalid, ErrBucketNotFound, ErrObjectExists,
// ErrUploadNotFound, ErrSegmentExists, ErrSegmentUnknown, ErrGroupNotFound,
// ErrStaleEpoch, ErrNonceReused.
func (s *Store) Commit(ctx context.Context, r CommitRequest) (Object, error) {
	total, err := checkCommit(&r)
	if err != nil {
		return Object{}, err
	}
	v, err := s.newVersion()
	if err != nil {
		return Object{}, err
	}
	digest := r.digest()
	var object Object
	err = s.once(ctx, r.Project, r.Nonce, func(raw []byte) (err error) {
		object, err = r.repeated(raw, digest)
		return err
	}, func(c *change) (record []byte, err error) {
		object, err = c.commit(&r, total, v)
		n := nonceRecord{digest, object.Version, object.Size, uint64(object.Segments)}
		return n.encode(), err
	})
	if err != nil {
		return Object{}, err
	}
	return object, nil
}

// repeated returns the result of the commit that r repeats.
func (r *CommitRequest) repeated(raw []byte, digest [16]byte) (Object, error) {
	if !bytes.HasPrefix(raw, digest[:]) {
		return Object{}, ErrNonceReused
	}
	n, err := decodeNonce(raw)
	return Object{Key: r.Key, Version: n.version, Size: n.size, Segments: int(n.segments)}, err
}

// commit writes the object of a request whose extents have total bytes.
func (c *change) commit(r *CommitRequest, total uint64, v Version) (Object, error) {
	b, ref, err := c.bucket(r.Project, r.Bucket)
	if err != nil {
		return Object{}, err
	}
	o := content{size: r.Size, sealed: r.SealedMetadata, extents: r.Extents, inline: r.Inline}
	if len(r.Inline) > 0 {
		o.form = formInline
	}
	if r.Upload != (UploadID{}) {
		total, err = c.finish(r, ref, &o)
	} else {
		err = c.hold(r.Project, r.Segments, r.Extents)
	}
	if err != nil {
		return Object{}, err
	}
	if o.form != formInline && total != r.Size {
		return Object{}, fmt.Errorf("%w: size is %d bytes, the extents have %d", ErrInvalid, r.Size, total)
	}
	return c.put(b, ref, r.Key, v, &o, r.IfAbsent)
}

// finish turns an upload into the content of its object.
func (c *change) finish(r *CommitRequest, b bucketRef, o *content) (total uint64, err error) {
	u, err := getUpload(c.tx, r.Project, r.Upload)
	if err != nil {
		return 0, err
	}
	if u.bucket != b || string(u.key) != string(r.Key) {
		return 0, fmt.Errorf("%w: upload %s was begun for another object", ErrInvalid, r.Upload)
	}
	if u.count == 0 {
		if err := c.hold(r.Project, r.Segments, r.Extents); err != nil {
			return 0, err
		}
		return totalLength(r.Extents), c.tx.Delete(uploadKey(r.Upload))
	}
	if o.form == formInline {
		return 0, fmt.Errorf("%w: an object has segments or inline bytes, not both", ErrInvalid)
	}
	if err := c.addPage(r.Upload, &u, u.count, r.Segments, r.Extents); err != nil {
		return 0, err
	}
	o.form, o.extents, o.list, o.count = formList, nil, r.Upload, u.count
	l := list{refs: 1}
	if err := c.tx.Set(listKey(r.Upload), l.encode()); err != nil {
		return 0, err
	}
	return u.size, c.tx.Delete(uploadKey(r.Upload))
}

// put makes o the present version of a key, after what it refers to was
// counted, and removes the version before.
func (c *change) put(b *bucketRecord, ref bucketRef, key []byte, v Version, o *content, ifAbsent bool) (Object, error) {
	old, before, found, err := newest(c.tx, ref, key)
	if err != nil {
		return Object{}, err
	}
	if !found {
		return c.replace(b, ref, key, v, o, nil)
	}
	if ifAbsent {
		return Object{}, ErrObjectExists
	}
	return c.replace(b, ref, key, max(v, before+1), o, &version{versionKey(ref, key, before), old})
}

// replace writes a version of a key and removes the one before, if any.
func (c *change) replace(b *bucketRecord, ref bucketRef, key []byte, v Version, o *content, before *version) (Object, error) {
	if before != nil {
		if err := c.remove(b, before); err != nil {
			return Object{}, err
		}
	}
	b.usage.Objects++
	b.usage.Bytes += o.size
	object := Object{Key: key, Version: v, Size: o.size, Segments: o.segments()}
	return object, c.tx.Set(versionKey(ref, key, v), o.encode())
}

// newest reads the present version of an object.
func newest(r kv.Reader, b bucketRef, key []byte) (o content, v Version, found bool, err error) {
	prefix := objectKey(b, key)
	for pair, err := range r.Scan(prefix, kv.PrefixEnd(prefix)) {
		if err != nil {
			return o, 0, false, err
		}
		if _, v, err = parseVersionKey(pair.Key); err != nil {
			return o, 0, false, err
		}
		o, err = decodeContent(append([]byte(nil), pair.Value...))
		return o, v, err == nil, err
	}
	return o, 0, false, nil
}

// newVersion makes the version of something written now.
func (s *Store) newVersion() (Version, error) {
	var b [2]byte
	if _, err := io.ReadFull(s.rand, b[:]); err != nil {
		return 0, err
	}
	low := binary.BigEndian.Uint16(b[:]) >> (16 - versionRandomBits)
	return Version(s.now().UnixMicro()<<versionRandomBits | int64(low)), nil
}

// timestamp is now to the microsecond, as it is stored.
func (s *Store) timestamp() time.Time { return time.UnixMicro(s.now().UnixMicro()).UTC() }

// window numbers the stretches of time by which nonces expire.
func (s *Store) window() uint32 { return uint32(s.now().Unix() / int64(s.nonceTTL/time.Second)) }

// findNonce looks for the result of an earlier commit, also of one after which
// the clock was set back a little. It returns nil if there is none.
func findNonce(r kv.Reader, window uint32, p ProjectNumber, nonce []byte) ([]byte, error) {
	for _, w := range [...]uint32{window + 1, window, window - 1} {
		v, err := r.Get(nonceKey(w, p, nonce))
		if !isNotFound(err) {
			return v, err
		}
	}
	return nil, nil
}

// digest is over all that makes a commit what it is. Epochs and slots held are
// left out: they may be judged anew for a repeat.
func (r *CommitRequest) digest() (d [16]byte) {
	b := make([]byte, 0, 256+len(r.Inline)+len(r.SealedMetadata)+26*len(r.Extents)+64*len(r.Segments))
	b = putString(b, r.Bucket)
	b = putBytes(b, r.Key)
	b = append(b, r.Upload[:]...)
	b = putSegments(b, r.Segments)
	b = putExtents(b, r.Extents)
	b = putBytes(b, r.Inline)
	b = putUvarint(b, r.Size)
	b = putBytes(b, r.SealedMetadata)
	if r.IfAbsent {
		b = append(b, 1)
	}
	sum := sha256.Sum256(b)
	copy(d[:], sum[:])
	return d
}

// putSegments appends what makes the segments of a commit what they are.
func putSegments(b []byte, segments []NewSegment) []byte {
	b = putUvarint(b, uint64(len(segments)))
	for i := range segments {
		n := &segments[i]
		b = append(append(b, n.ID[:]...), n.Root[:]...)
		b = putUvarint(putUvarint(b, uint64(n.Group)), uint64(n.Size))
	}
	return b
}

// checkCommit checks what can be checked without the store and returns the
// bytes that the extents have.
func checkCommit(r *CommitRequest) (total uint64, err error) {
	if err := checkKey(r.Key); err != nil {
		return 0, err
	}
	if total, err = checkContent(r.Segments, r.Extents); err != nil {
		return 0, err
	}
	if err := checkNonce(r.Nonce); err != nil {
		return 0, err
	}
	return total, checkObject(r.SealedMetadata, r.Inline, r.Extents, r.Size)
}

func checkNonce(nonce []byte) error {
	if len(nonce) != 0 && len(nonce) != nonceLen {
		return fmt.Errorf("%w: a nonce has %d bytes, not %d", ErrInvalid, len(nonce), nonceLen)
	}
	return nil
}

// checkObject checks what an object is to be made of, extents apart.
func checkObject(sealed, inline []byte, extents []Extent, size uint64) error {
	switch {
	case len(sealed) > MaxSealedMetadata:
		return fmt.Errorf("%w: metadata of %d bytes, at most %d", ErrInvalid, len(sealed), MaxSealedMetadata)
	case len(inline) > MaxInline:
		return fmt.Errorf("%w: %d inline bytes, at most %d", ErrInvalid, len(inline), MaxInline)
	case len(inline) > 0 && len(extents) > 0:
		return fmt.Errorf("%w: an object has segments or inline bytes, not both", ErrInvalid)
	case len(inline) > 0 && size > uint64(len(inline)):
		return fmt.Errorf("%w: size is %d bytes, the inline bytes are %d", ErrInvalid, size, len(inline))
	case size > math.MaxInt64:
		return fmt.Errorf("%w: object of more than 2^63 bytes", ErrInvalid)
	}
	return nil
}

// checkContent checks new segments and extents on their own.
func checkContent(segments []NewSegment, extents []Extent) (total uint64, err error) {
	if len(segments) > MaxAdd || len(extents) > MaxAdd {
		return 0, fmt.Errorf("%w: %d segments and %d extents in one request, at most %d: add them in several",
			ErrInvalid, len(segments), len(extents), MaxAdd)
	}
	for i := range segments {
		n := &segments[i]
		switch {
		case n.ID == order.SegmentID{}:
			return 0, fmt.Errorf("%w: segment without id", ErrInvalid)
		case n.Size <= 0 || n.Size > erasure.MaxSegment:
			return 0, fmt.Errorf("%w: segment %s of %d bytes, at most %d", ErrInvalid, n.ID, n.Size, erasure.MaxSegment)
		case len(n.Held) > (erasure.MaxTotal+7)/8:
			return 0, fmt.Errorf("%w: segment %s is held by too many slots", ErrInvalid, n.ID)
		}
	}
	for i := range extents {
		if e := &extents[i]; e.Length == 0 || e.Length > erasure.MaxSegment || e.Offset > erasure.MaxSegment {
			return 0, fmt.Errorf("%w: extent %d at %d with %d bytes", ErrInvalid, i, e.Offset, e.Length)
		}
	}
	return totalLength(extents), nil
}

func totalLength(extents []Extent) (total uint64) {
	for i := range extents {
		total += extents[i].Length
	}
	return total
}
