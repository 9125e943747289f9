package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// DownloadOptions says what part of an object to read. The zero value is all.
type DownloadOptions struct {
	Offset int64 // bytes from the beginning
	Length int64 // bytes; 0 or less: to the end
}

// A Download reads an object, or a part of it, at the version it had when the
// download began. Nothing is handed on that does not verify. It is for one
// goroutine, but ReadAt may be called from many.
type Download struct {
	name    name
	object  Object
	extents *extents
	inline  []byte // the content, of an object that is kept inline
	from    int64  // the part of the object
	length  int64
	ctx     context.Context
	cancel  context.CancelCauseFunc
	reading sync.WaitGroup // ReadAt calls

	position int64        // in the part
	reader   *rangeReader // continues there; nil: to be made
}

// Download begins to read an object. The context bounds the whole download,
// which has to be closed. Errors: ErrBucketNotFound, ErrObjectNotFound,
// ErrWrongKey.
func (p *Project) Download(ctx context.Context, bucket, key string, o DownloadOptions) (*Download, error) {
	n, err := p.name(bucket, key)
	if err != nil {
		return nil, err
	}
	d, err := p.open(ctx, n, o)
	if err != nil {
		return nil, n.at(err, "download")
	}
	return d, nil
}

// open is one round trip to the satellite: the object, where its segments are,
// and the order limits to get them.
func (p *Project) open(ctx context.Context, n name, o DownloadOptions) (*Download, error) {
	if o.Offset < 0 {
		return nil, fmt.Errorf("offset %d is negative", o.Offset)
	}
	page, err := p.sat.GetObject(ctx, &pb.GetObjectRequest{
		Bucket: n.bucket, Key: n.sealed, Offset: uint64(o.Offset), Length: uint64(max(o.Length, 0)),
	})
	if err != nil {
		return nil, err
	}
	content, secret, err := n.open(page.Object)
	if err != nil {
		return nil, err
	}
	d := &Download{name: n, object: objectOf(n.key, page.Object, secret), from: o.Offset}
	if d.length = d.object.Size - o.Offset; d.length < 0 {
		return nil, fmt.Errorf("offset %d is beyond the end of the object at %d", o.Offset, d.object.Size)
	}
	if o.Length > 0 {
		d.length = min(d.length, o.Length)
	}
	if len(page.Object.Inline) > 0 {
		if d.inline, err = seal.OpenInline(content, page.Object.Inline); err != nil || int64(len(d.inline)) != d.object.Size {
			return nil, fmt.Errorf("%w: the inline content does not verify", ErrCorrupt)
		}
	} else {
		d.extents = &extents{p: p, name: n, version: page.Object.Version, content: content, packed: secret.Packed, size: d.object.Size}
		if err := d.extents.add(page); err != nil {
			return nil, err
		}
	}
	d.ctx, d.cancel = context.WithCancelCause(ctx)
	return d, nil
}

// Object is the object being read.
func (d *Download) Object() Object { return d.object }

// Read reads the next bytes.
func (d *Download) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	r, err := d.sequential()
	if err != nil {
		return 0, err
	}
	if r == nil {
		n := copy(p, d.inlineAt(d.position))
		d.position += int64(n)
		if n == 0 {
			err = io.EOF
		}
		return n, err
	}
	n, err := r.read(p)
	d.position += int64(n)
	return n, d.explain(err)
}

// WriteTo writes the rest to w.
func (d *Download) WriteTo(w io.Writer) (written int64, err error) {
	r, err := d.sequential()
	if err != nil {
		return 0, err
	}
	if r == nil {
		n, err := w.Write(d.inlineAt(d.position))
		d.position += int64(n)
		return int64(n), err
	}
	r.whole()
	for {
		piece, err := r.more()
		if err == io.EOF {
			return written, nil
		}
		if err != nil {
			return written, d.explain(err)
		}
		n, err := w.Write(piece)
		d.position += int64(n)
		written += int64(n)
		if err != nil {
			r.rest = piece[n:]
			return written, err
		}
	}
}

// sequential returns the reader for the bytes from the position on; none for an
// inline object.
func (d *Download) sequential() (*rangeReader, error) {
	if d.ctx.Err() != nil {
		return nil, d.explain(context.Cause(d.ctx))
	}
	if d.inline == nil && d.extents != nil && d.reader == nil {
		d.reader = newRangeReader(d.ctx, d.extents, d.from+d.position, d.from+d.length)
	}
	return d.reader, nil
}

// inlineAt is the content of an inline object from a position on.
func (d *Download) inlineAt(position int64) []byte {
	return d.inline[:d.from+d.length][d.from+min(position, d.length):]
}

// ReadAt reads at an offset, counted from the beginning of the part that is
// downloaded, and does not move the position of Read. It may be called from many
// goroutines at once.
func (d *Download) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, errors.New("offset is negative")
	}
	if d.ctx.Err() != nil {
		return 0, d.explain(context.Cause(d.ctx))
	}
	if offset >= d.length {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), d.length-offset)]
	n := 0
	var err error
	if d.extents == nil {
		n = copy(want, d.inlineAt(offset))
	} else {
		d.reading.Add(1)
		defer d.reading.Done()
		r := newRangeReader(d.ctx, d.extents, d.from+offset, d.from+offset+int64(len(want)))
		defer r.close()
		n, err = io.ReadFull(readerFunc(r.read), want)
	}
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, d.explain(err)
}

// readerFunc is an io.Reader.
type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Seek sets the position of the next Read or WriteTo within the part that is
// downloaded.
func (d *Download) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += d.position
	case io.SeekEnd:
		offset += d.length
	}
	if offset < 0 {
		return d.position, errors.New("seek to before the beginning")
	}
	if offset != d.position && d.reader != nil {
		d.reader.close()
		d.reader = nil
	}
	d.position = offset
	return offset, nil
}

// explain says in which object an error occurred. The ends of reading are not
// errors.
func (d *Download) explain(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return d.name.at(err, "download")
}

// Close ends the download.
func (d *Download) Close() error {
	d.cancel(ErrClosed)
	if d.reader != nil {
		d.reader.close()
		d.reader = nil
	}
	d.reading.Wait()
	return nil
}
