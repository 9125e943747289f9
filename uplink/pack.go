package uplink

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/satclient"
	"github.com/cairnstorage/cairn/uplink/internal/keys"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// What a pack holds at most: bytes of files, objects, and bytes of the request
// that makes them appear, which the satellite takes in one transaction.
const (
	packBytes    = 12 << 20
	packObjects  = 1000
	packMetadata = 3 << 20
)

type packLimits struct{ bytes, objects, metadata int }

// A pack is files that are stored together: those in a segment that they share,
// and smaller ones inline.
type pack struct {
	files    []*packedFile
	packed   []*packedFile // those in the segment
	bytes    int           // of these
	metadata int           // bytes, about

	id     order.SegmentID
	layout erasure.Layout
	chunks [][]packedBlock // by index, in the order in which they lie there
}

// packedBlock is a block of a file of a pack.
type packedBlock struct {
	seal.Block
	file   *packedFile
	number int // in its extent
}

// packedFile is a file of a pack.
type packedFile struct {
	name      name
	secret    *pb.ObjectSecret
	sealed    []byte // the secret
	inline    []byte // ciphertext; nil: it is in the segment
	plain     []byte
	room      slabCut     // where plain lies; none once that is sealed
	same      *packedFile // it has the extent of that one
	ifAbsent  bool
	ifVersion []byte
	done      func(Object, error)

	offset int64         // of the extent
	cipher *seal.Segment // of the extent

	object Object // what came of it
	err    error
}

func (p *Project) newPackedFile(n name, plain []byte, o UploadOptions) (*packedFile, error) {
	content, err := keys.NewContent(p.rand)
	if err != nil {
		return nil, err
	}
	if o.Modified.IsZero() {
		o.Modified = p.now()
	}
	f := &packedFile{name: n, ifAbsent: o.IfAbsent, secret: &pb.ObjectSecret{
		ContentKey: content[:], Size: uint64(len(plain)), Modified: o.Modified.UnixMilli(), Metadata: o.Metadata,
	}}
	if len(plain) > seal.MaxInline {
		f.plain, f.secret.Packed = plain, true
	} else if f.inline, err = seal.Inline(content, plain); err != nil {
		return nil, err
	}
	f.sealed, err = seal.Secret(n.metadata, f.secret, p.rand)
	return f, err
}

// weight is about how many bytes of a request the file takes.
func (f *packedFile) weight() int {
	return 80 + len(f.name.bucket) + len(f.name.sealed) + len(f.sealed) + len(f.inline)
}

// fits tells whether a pack that is not empty can take files, too.
func (pk *pack) fits(files []*packedFile, most packLimits) bool {
	bytes, metadata := pk.bytes, pk.metadata
	for _, f := range files {
		bytes, metadata = bytes+len(f.plain), metadata+f.weight()
	}
	return len(pk.files)+len(files) <= most.objects && bytes <= most.bytes && metadata <= most.metadata
}

func (pk *pack) add(f *packedFile) {
	pk.files = append(pk.files, f)
	pk.metadata += f.weight()
	if f.inline == nil && f.same == nil {
		pk.packed = append(pk.packed, f)
		pk.bytes += len(f.plain)
	}
}

// message is the object as it is committed.
func (f *packedFile) message(segment []byte) *pb.NewObject {
	o := &pb.NewObject{
		Bucket: f.name.bucket, Key: f.name.sealed, Inline: f.inline, Size: f.secret.Size,
		SealedMetadata: f.sealed, IfAbsent: f.ifAbsent, IfVersion: f.ifVersion,
	}
	if f.inline == nil {
		at := f
		if f.same != nil {
			at = f.same
		}
		o.Extents = []*pb.Extent{{Segment: segment, Offset: uint64(at.offset), Length: f.secret.Size}}
	}
	return o
}

// settle takes in what the satellite says of the object.
func (f *packedFile) settle(made *pb.Committed) {
	if f.err = satclient.Outcome(made); f.err != nil {
		return
	}
	o := &pb.Object{Size: f.secret.Size, Version: made.Version, Created: made.Created}
	if f.inline == nil {
		o.Segments = 1
	}
	f.object = objectOf(f.name.key, o, f.secret)
}

// everyFile and inSegment are kinds of files.
func everyFile(*packedFile) bool   { return true }
func inSegment(f *packedFile) bool { return f.inline == nil }

// left lists the files of a kind that have not failed.
func (pk *pack) left(of func(*packedFile) bool) (files []*packedFile) {
	for _, f := range pk.files {
		if f.err == nil && of(f) {
			files = append(files, f)
		}
	}
	return files
}

// fail gives up what is left of a kind.
func (pk *pack) fail(err error, of func(*packedFile) bool) {
	for _, f := range pk.left(of) {
		f.err = err
	}
}

// plan gives every file its place in a segment of this scheme.
func (pk *pack) plan(scheme erasure.Scheme) error {
	sizes := make([]int64, len(pk.packed))
	for i, f := range pk.packed {
		sizes[i] = int64(len(f.plain))
	}
	layout, offsets, err := seal.Plan(sizes, scheme.Required, scheme.Total)
	if err != nil {
		return err
	}
	pk.layout, pk.chunks = layout, make([][]packedBlock, layout.Stripes()*layout.Required)
	for i, f := range pk.packed {
		f.offset, f.cipher = offsets[i], seal.NewExtent(keys.Content(f.secret.ContentKey), pk.id, uint64(offsets[i]))
		blocks, err := seal.Blocks(layout, f.offset, sizes[i])
		if err != nil {
			return err
		}
		for number, b := range blocks {
			pk.chunks[b.Chunk] = append(pk.chunks[b.Chunk], packedBlock{b, f, number})
		}
	}
	for _, blocks := range pk.chunks {
		slices.SortFunc(blocks, func(a, b packedBlock) int { return cmp.Compare(a.Within, b.Within) })
	}
	return nil
}

// seal fills the data chunks of a stripe with the blocks that lie in them, and
// with zeros between.
func (pk *pack) seal(chunks [][]byte, stripe int) {
	for slot, chunk := range chunks {
		end := 0
		for _, b := range pk.chunks[stripe*pk.layout.Required+slot] {
			clear(chunk[end:b.Within])
			end = b.Within + b.Size
			b.file.cipher.Seal(chunk[b.Within:b.Within], b.file.plain[b.Start:b.Start+int64(b.Plain())], uint64(b.number))
		}
		clear(chunk[end:])
	}
}

// sealed says that no plaintext is needed any more: should the segment have to go
// to another group, its chunks are there.
func (pk *pack) sealed() {
	for _, f := range pk.files {
		f.room.release()
		f.plain, f.room = nil, slabCut{}
	}
}

// carry brings the files to a group as one segment, and returns that as it is
// committed, once it is durable.
func (k *Packer) carry(pk *pack) (segment *pb.Segment, err error) {
	c := carrier{p: k.p, t: k.p.transfers, coding: k.coding}
	var fail context.CancelCauseFunc
	c.ctx, fail = context.WithCancelCause(k.ctx)
	defer fail(nil)
	defer c.park()
	session, err := c.take()
	if err != nil {
		return nil, err
	}
	if pk.id, err = order.NewSegmentID(k.p.rand); err != nil {
		return nil, err
	}
	if err := pk.plan(session.scheme()); err != nil {
		return nil, err
	}
	memory := c.t.put.share()
	defer memory.close()
	s := newSegmentWriter(pk.id, session, pk.seal, pk.layout.Stripes())
	o := &placement{segment: s, delivery: s.first}
	var tasks sync.WaitGroup
	defer func() {
		if err != nil {
			o.delivery.cut(ErrAborted)
		}
		tasks.Wait()
		s.release()
	}()
	if err := c.fill(s, session, memory, pk.layout, &tasks, fail); err != nil {
		return nil, err
	}
	tasks.Wait()
	pk.sealed()
	if err := c.place(o); err != nil {
		return nil, err
	}
	c.linger([]*placement{o})
	return o.delivery.message(), nil
}

// fill has all batches of a segment sealed, coded and sent.
func (c *carrier) fill(s *segmentWriter, session *putSession, memory *share, l erasure.Layout, tasks *sync.WaitGroup, fail func(error)) error {
	// What is kept until the segment is stored, and a batch's parity.
	batches := (l.Stripes() + batchStripes - 1) / batchStripes
	memory.promise(batches*l.Required + 2*l.Total)
	for first := 0; first < l.Stripes(); first += batchStripes {
		if err := session.pace(c.ctx); err != nil {
			return err
		}
		if err := c.turn(); err != nil {
			return err
		}
		buffers, err := c.gather(memory, session, func() {})
		if err != nil {
			<-c.coding
			return err
		}
		b := sealedBatch(l, first, buffers)
		index := s.add(b)
		tasks.Go(func() {
			defer func() { <-c.coding }()
			if err := s.carry(index, b); err != nil {
				fail(err)
			}
		})
	}
	s.close()
	return nil
}

// sealedBatch is the stripes of a segment from one on, to be filled with
// ciphertext.
func sealedBatch(l erasure.Layout, first int, buffers []*buffer) *batch {
	b := newBatch(l.Required, l.Stripes()-first, buffers)
	b.stripes = b.limit
	b.last = l.ChunkSize(first + b.stripes - 1)
	b.hashes = make([]merkle.Hash, 0, b.stripes*len(buffers))
	return b
}
