package uplink

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/uplink/internal/keys"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// Small files that lie in one pack are read together: the ciphertext of the pack
// from the first of them to the last, and each is opened as it comes by. A list
// says where they are, so that the satellite need not be asked for each. What fails
// in this is read again by itself, which finds out who is to blame.

const (
	// unpackRuns is how many stretches of packs are read at once.
	unpackRuns = 2
	// unpackReady is how many files that were read together are in memory at most.
	unpackReady = 16
	// unpackGap is how many bytes that nobody wants are read on the way to the next
	// that somebody does: about what asking for those apart would cost.
	unpackGap = 96 << 10
)

// listing is where the content of an object is, as a list told it.
type listing struct {
	sealed  []byte // the object's key
	content keys.Content
	inline  []byte           // ciphertext of an inline object
	place   *pb.SegmentPlace // otherwise
	offset  int64
}

// listedOf returns where an inline or packed object is, or nil if the list did not
// tell.
func listedOf(o *pb.Object, content keys.Content, packed bool, extent *pb.Extent, place *pb.SegmentPlace) *listing {
	if len(o.Inline) > 0 {
		return &listing{sealed: o.Key, content: content, inline: o.Inline}
	}
	if !packed || extent == nil || place == nil || extent.Length != o.Size || o.Size < 1 || o.Size > MaxPacked || extent.Offset >= place.Size {
		return nil
	}
	return &listing{sealed: o.Key, content: content, place: place, offset: int64(extent.Offset)}
}

// DownloadAll begins to read objects, as they were listed, and hands each over to
// each once it can be read, or the error why it cannot: in no order and several at
// once, parallel at most. A Download is closed when each returns. Those listed with
// ListOptions.Places are read together where they were stored together. Errors are
// those of Download.
func (p *Project) DownloadAll(ctx context.Context, bucket string, objects []Object, parallel int, each func(i int, d *Download, err error)) {
	u := unpacker{p: p, ctx: ctx, bucket: bucket, objects: objects, each: each, room: make(chan struct{}, unpackReady)}
	runs, single := u.plan()
	u.handing.SetLimit(max(parallel, 1))
	var reading errgroup.Group
	reading.SetLimit(1 + unpackRuns)
	reading.Go(func() error {
		for _, i := range single {
			u.alone(i)
		}
		return nil
	})
	for _, r := range runs {
		reading.Go(func() error {
			u.read(r)
			return nil
		})
	}
	_ = reading.Wait() // what fails is handed over
	_ = u.handing.Wait()
}

// unpacker carries out one DownloadAll.
type unpacker struct {
	p       *Project
	ctx     context.Context
	bucket  string
	objects []Object
	each    func(int, *Download, error)
	handing errgroup.Group
	room    chan struct{} // a token for each file that was read together with others
	slabs   slabs         // their contents
}

// A run is packed objects that lie in one pack, near one another.
type run struct {
	place   *pb.SegmentPlace
	objects []int // by offset
	end     int64 // at most, in the ciphertext
}

// plan finds out what to read together and what alone.
func (u *unpacker) plan() (runs []*run, single []int) {
	var packed []int
	for i := range u.objects {
		if l := u.objects[i].listed; l != nil && l.inline == nil {
			packed = append(packed, i)
		} else {
			single = append(single, i)
		}
	}
	slices.SortFunc(packed, func(i, j int) int {
		a, b := u.objects[i].listed, u.objects[j].listed
		return cmp.Or(bytes.Compare(a.place.Id, b.place.Id), cmp.Compare(a.offset, b.offset))
	})
	var all []*run
	for _, i := range packed {
		o := &u.objects[i]
		if len(all) == 0 || !all[len(all)-1].continues(o.listed) {
			all = append(all, &run{place: o.listed.place})
		}
		r := all[len(all)-1]
		r.objects = append(r.objects, i)
		blocks := o.Size/seal.ChunkPlain + 2 // at most
		r.end = max(r.end, o.listed.offset+o.Size+blocks*seal.Overhead)
	}
	for _, r := range all {
		if len(r.objects) > 1 {
			runs = append(runs, r)
		} else {
			single = append(single, r.objects...)
		}
	}
	return runs, single
}

// continues tells whether an object lies in the pack of the run and not far behind
// its end.
func (r *run) continues(l *listing) bool {
	return bytes.Equal(r.place.Id, l.place.Id) && l.offset <= r.end+unpackGap
}

// alone hands over an object that is read by itself, when it is its turn. If a list
// told where it is that is believed first, but what was listed may be there no more.
func (u *unpacker) alone(i int) {
	switch l := u.objects[i].listed; {
	case l == nil:
		u.again(i)
		return
	case l.inline != nil:
		u.handing.Go(func() error {
			u.openInline(i)
			return nil
		})
		return
	}
	plain, err := u.hold(i)
	if err != nil {
		u.again(i)
		return
	}
	u.handing.Go(func() error {
		defer u.drop(plain)
		d, err := u.p.openListed(u.ctx, u.bucket, &u.objects[i])
		if err == nil {
			_, err = io.ReadFull(d, plain.bytes)
			d.Close()
		}
		if err != nil {
			u.download(i)
			return nil
		}
		u.hand(i, plain.bytes)
		return nil
	})
}

// openInline hands over an inline object.
func (u *unpacker) openInline(i int) {
	o := &u.objects[i]
	plain, err := seal.OpenInline(o.listed.content, o.listed.inline)
	if err != nil || int64(len(plain)) != o.Size {
		u.download(i)
		return
	}
	u.hand(i, plain)
}

// again hands over an object as the satellite has it now.
func (u *unpacker) again(i int) {
	u.handing.Go(func() error {
		u.download(i)
		return nil
	})
}

func (u *unpacker) download(i int) {
	d, err := u.p.Download(u.ctx, u.bucket, u.objects[i].Key, DownloadOptions{})
	if err != nil {
		u.each(i, nil, err)
		return
	}
	defer d.Close()
	u.each(i, d, nil)
}

// hold waits for memory for the content of an object. Whoever is handing one over
// already must not wait for it.
func (u *unpacker) hold(i int) (slabCut, error) {
	select {
	case u.room <- struct{}{}:
		return u.slabs.take(int(u.objects[i].Size)), nil
	case <-u.ctx.Done():
		return slabCut{}, context.Cause(u.ctx)
	}
}

func (u *unpacker) drop(plain slabCut) {
	plain.release()
	<-u.room
}

// hand hands over an object that was read.
func (u *unpacker) hand(i int, plain []byte) {
	o := &u.objects[i]
	d := &Download{name: name{bucket: u.bucket, key: o.Key, sealed: o.listed.sealed}, object: *o, inline: plain, length: o.Size}
	d.ctx, d.cancel = context.WithCancelCause(u.ctx)
	defer d.Close()
	u.each(i, d, nil)
}

// openListed is open for an object by what a list told.
func (p *Project) openListed(ctx context.Context, bucket string, o *Object) (*Download, error) {
	l := o.listed
	e := &extents{p: p, name: name{bucket: bucket, key: o.Key, sealed: l.sealed}, version: []byte(o.Version),
		content: l.content, packed: true, size: o.Size}
	s, err := e.listed(ctx, l.place)
	if err != nil {
		return nil, err
	}
	s.offset, s.length = l.offset, o.Size
	if err := e.admit(s); err != nil {
		return nil, err
	}
	e.insert(s)
	d := &Download{name: e.name, object: *o, extents: e, length: o.Size}
	d.ctx, d.cancel = context.WithCancelCause(ctx)
	return d, nil
}

// listed is the reader of a segment that a list told of.
func (e *extents) listed(ctx context.Context, place *pb.SegmentPlace) (*segmentReader, error) {
	session, err := e.p.transfers.getFrom(ctx, place.Group)
	if err != nil {
		return nil, err
	}
	return e.reader(place, session.lease.group)
}

// read hands over the objects of a run.
func (u *unpacker) read(r *run) {
	e := &extents{p: u.p}
	s, err := e.listed(u.ctx, r.place)
	if err != nil {
		for _, i := range r.objects {
			u.again(i)
		}
		return
	}
	s.length = s.layout.Size
	e.size = s.length
	e.insert(s)
	files := u.files(s.layout, r.objects)
	if len(files) == 0 {
		return
	}
	c := ciphertext{layout: s.layout, at: files[0].offset}
	c.reader = newRangeReader(u.ctx, e, files[0].offset, files[len(files)-1].end)
	defer c.reader.close()
	for i, f := range files {
		if err := u.take(&c, f); err != nil {
			for _, f := range files[i:] {
				u.again(f.index)
			}
			return
		}
	}
}

// A fileInPack is an object that is about to be read together with others.
type fileInPack struct {
	index       int
	offset, end int64 // in the ciphertext
	blocks      []seal.Block
}

// files finds out where in a pack objects lie. Those that share bytes with the one
// before, as copies do, and those that cannot be there are read alone.
func (u *unpacker) files(layout erasure.Layout, objects []int) (files []*fileInPack) {
	end := int64(0)
	for _, i := range objects {
		o := &u.objects[i]
		f := &fileInPack{index: i, offset: o.listed.offset}
		var err error
		if f.blocks, err = seal.Blocks(layout, f.offset, o.Size); err != nil || f.offset < end {
			u.alone(i)
			continue
		}
		last := f.blocks[len(f.blocks)-1]
		start, _ := seal.SpanSealed(layout, last.Chunk)
		f.end = start + int64(last.Within+last.Size)
		end = f.end
		files = append(files, f)
	}
	return files
}

// take reads a file and hands it over. One that does not open is left for itself.
func (u *unpacker) take(c *ciphertext, f *fileInPack) error {
	plain, err := u.hold(f.index)
	if err != nil {
		return err
	}
	err = f.open(c, u.objects[f.index].listed, plain.bytes)
	switch {
	case err == nil:
		u.handing.Go(func() error {
			defer u.drop(plain)
			u.hand(f.index, plain.bytes)
			return nil
		})
		return nil
	case errors.Is(err, seal.ErrOpen):
		err = nil
		defer u.again(f.index)
	}
	u.drop(plain)
	return err
}

// open reads the file's blocks and opens them into the memory given.
func (f *fileInPack) open(c *ciphertext, l *listing, into []byte) error {
	cipher := seal.NewExtent(l.content, [16]byte(l.place.Id), uint64(l.offset))
	for i, b := range f.blocks {
		sealed, err := c.block(b)
		if err != nil {
			return err
		}
		if into, err = cipher.Open(into[:0], sealed, uint64(i)); err != nil {
			return err
		}
		into = into[len(into):cap(into)]
	}
	return nil
}

// ciphertext is that of a segment as it comes, chunk by chunk.
type ciphertext struct {
	layout erasure.Layout
	reader *rangeReader
	at     int64  // where piece lies
	piece  []byte // of one chunk
}

// block returns the ciphertext of a block, which is valid until the next call.
// Blocks have to be asked for in order.
func (c *ciphertext) block(b seal.Block) (sealed []byte, err error) {
	start, _ := seal.SpanSealed(c.layout, b.Chunk)
	start += int64(b.Within)
	for start >= c.at+int64(len(c.piece)) {
		c.at += int64(len(c.piece))
		if c.piece, err = c.reader.more(); err != nil {
			return nil, err
		}
	}
	return c.piece[start-c.at:][:b.Size:b.Size], nil
}
