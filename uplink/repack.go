package uplink

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/uplink/internal/names"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// A pack is deleted when nothing refers to it any more; what is deleted before
// takes up space until then. Nobody but who has the keys can take out what is
// left, so it is for an uplink to move that to new packs.

// RepackOptions says which packs to empty.
type RepackOptions struct {
	// Below: those of which less than this share is in use; 0 stands for a half.
	Below  float64
	DryRun bool // change nothing
}

// Repacked is what was found and done. Bytes are of ciphertext, before coding.
type Repacked struct {
	Packs int   // that there were
	Bytes int64 // in them
	Used  int64 // of these, by objects

	Sparse int   // packs that had to be emptied
	Freed  int64 // bytes of those of them that were, or would be
	Moved  int   // objects that are in new packs, or would be
	Kept   int   // objects that could not be moved, whose packs stay
}

// Repack moves what is left of mostly empty packs to new ones, for all buckets of
// the project. Objects stay what they are, copies go on to share what they
// share, and what changes meanwhile is left alone. It reads the names of all
// objects. The error, if there is no other, is about one of those that could not
// be moved.
func (p *Project) Repack(ctx context.Context, o RepackOptions) (Repacked, error) {
	if o.Below == 0 {
		o.Below = 0.5
	}
	s, err := p.survey(ctx)
	if err != nil {
		return Repacked{}, err
	}
	found, sparse := s.judge(o.Below)
	if o.DryRun {
		for _, u := range sparse {
			found.Moved += u.objects
			found.Freed += u.size
		}
		return found, nil
	}
	var failure error
	for len(sparse) > 0 {
		n, objects := 0, 0
		for n < len(sparse) && (n == 0 || objects+sparse[n].objects <= repackObjects) {
			objects += sparse[n].objects
			n++
		}
		m := mover{p: p, packs: make(map[order.SegmentID]*usage), found: &found}
		for _, u := range sparse[:n] {
			m.packs[u.id] = u
		}
		if err := m.run(ctx); err != nil {
			return found, err
		}
		failure = cmp.Or(failure, m.failure)
		sparse = sparse[n:]
	}
	return found, failure
}

const (
	// repackObjects is about how many objects are held to be moved at a time.
	repackObjects = 50_000
	// repackReaders is how many of them are read at once.
	repackReaders = 8
	// repackTogether is how many copies are moved in one step.
	repackTogether = packObjects / 2
)

// survey is how much of each segment is in use.
type survey map[order.SegmentID]*usage

type usage struct {
	id      order.SegmentID
	pack    bool
	size    int64 // ciphertext
	objects int
	extents []extent
	used    int64 // ciphertext
	left    int   // objects that are still there; set while it is emptied
}

type extent struct{ offset, length uint32 }

// survey reads where all objects are.
func (p *Project) survey(ctx context.Context) (survey, error) {
	s := make(survey)
	err := p.eachExtent(ctx, func(found foundExtent) error {
		u := s[found.segment]
		if u == nil {
			u = &usage{id: found.segment, size: found.size}
			s[found.segment] = u
		}
		u.pack = u.pack || found.secret.GetPacked()
		u.objects++
		u.extents = append(u.extents, extent{uint32(found.Offset), uint32(found.Length)})
		return nil
	})
	return s, err
}

// judge sums up and lists the packs that are used less than below, the
// emptiest first.
func (s survey) judge(below float64) (found Repacked, sparse []*usage) {
	for _, u := range s {
		if !u.pack {
			continue
		}
		slices.SortFunc(u.extents, func(a, b extent) int { return cmp.Compare(a.offset, b.offset) })
		for _, e := range slices.Compact(u.extents) { // copies have the same
			blocks := int64(e.length+seal.ChunkPlain-1)/seal.ChunkPlain + 1 // at most
			u.used += int64(e.length) + blocks*seal.Overhead
		}
		u.used, u.extents = min(u.used, u.size), nil
		found.Packs++
		found.Bytes += u.size
		found.Used += u.used
		if float64(u.used) < below*float64(u.size) {
			sparse = append(sparse, u)
		}
	}
	found.Sparse = len(sparse)
	slices.SortFunc(sparse, func(a, b *usage) int {
		return cmp.Or(cmp.Compare(a.used*b.size, b.used*a.size), bytes.Compare(a.id[:], b.id[:]))
	})
	return found, sparse
}

// foundExtent is an object that has one extent.
type foundExtent struct {
	*pb.Extent
	segment order.SegmentID
	size    int64 // of the segment
	name    name
	object  *pb.Object
	secret  *pb.ObjectSecret // nil, as the key, if it is under another passphrase
}

// eachExtent gives all objects of the project that have one extent.
func (p *Project) eachExtent(ctx context.Context, each func(foundExtent) error) error {
	for b, err := range p.Buckets(ctx) {
		if err != nil {
			return err
		}
		cipher, err := p.names(b.Name)
		if err != nil {
			return err
		}
		req := &pb.ListObjectsRequest{Bucket: b.Name, Recursive: true, WithMetadata: true, WithExtents: true}
		err = p.listPages(ctx, req, func(res *pb.ListObjectsResponse) error {
			sizes := make(map[string]int64)
			for _, place := range res.Segments {
				sizes[string(place.Id)] = int64(place.Size)
			}
			for _, item := range res.Items {
				if item.Extent == nil {
					continue
				}
				found := foundExtent{Extent: item.Extent, object: item.Object, size: sizes[string(item.Extent.Segment)]}
				if err := found.read(b.Name, cipher); err != nil {
					return err
				}
				if err := each(found); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrBucketNotFound) { // deleted meanwhile
			return at(err, "list", b.Name, "")
		}
	}
	return nil
}

// read checks and decrypts what the satellite says.
func (f *foundExtent) read(bucket string, cipher *names.Bucket) (err error) {
	if f.segment, err = order.SegmentIDFromBytes(f.Segment); err != nil {
		return fmt.Errorf("%w: the satellite's list: %w", ErrCorrupt, err)
	}
	size := uint64(f.size)
	if f.object == nil || size == 0 || f.Length < 1 || f.Length > size || f.Offset > size-f.Length {
		return fmt.Errorf("%w: the satellite lists %d bytes at %d of a segment of %d", ErrCorrupt, f.Length, f.Offset, size)
	}
	f.name = name{bucket: bucket, sealed: f.object.Key}
	if f.name.key, err = cipher.Decrypt(f.object.Key); err != nil {
		if errors.Is(err, names.ErrKey) {
			return nil
		}
		return fmt.Errorf("%w: the satellite's list: %w", ErrCorrupt, err)
	}
	f.name.metadata = cipher.Metadata(f.name.key)
	_, f.secret, err = openSecret(f.name.metadata, f.name.key, f.object)
	if errors.Is(err, ErrWrongKey) {
		err = nil
	}
	return err
}

// mover empties packs.
type mover struct {
	p     *Project
	packs map[order.SegmentID]*usage

	mu      sync.Mutex
	found   *Repacked
	failure error // the first
}

// content is what objects have in common that have the same extent.
type content struct {
	segment order.SegmentID
	offset  uint64
}

// run moves all objects in the packs.
func (m *mover) run(ctx context.Context) error {
	holders := make(map[content][]foundExtent)
	var order []content // what was stored together stays together
	err := m.p.eachExtent(ctx, func(found foundExtent) error {
		u := m.packs[found.segment]
		if u == nil {
			return nil
		}
		u.left++
		if !found.secret.GetPacked() || found.Length > MaxPacked {
			m.settle(found, errors.New("it is encrypted with another passphrase, or was not packed by this kind of uplink"))
			return nil
		}
		c := content{found.segment, found.Offset}
		if holders[c] == nil {
			order = append(order, c)
		}
		holders[c] = append(holders[c], found)
		return nil
	})
	if err != nil {
		return err
	}
	k := m.p.NewPacker(ctx)
	var reading errgroup.Group
	reading.SetLimit(repackReaders)
	for _, c := range order {
		for some := range slices.Chunk(holders[c], repackTogether) {
			reading.Go(func() error {
				m.move(ctx, k, some)
				return nil
			})
		}
	}
	_ = reading.Wait() // what fails is settled one by one
	_ = k.Flush()
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	for _, u := range m.packs {
		if u.left == 0 {
			m.found.Freed += u.size
		}
	}
	return nil
}

// move reads what objects have in common and gives it, with all of them, to a
// Packer. Their secrets stay as they are, and so do their content keys: only the
// place is another.
func (m *mover) move(ctx context.Context, k *Packer, objects []foundExtent) {
	plain, err := m.read(ctx, objects)
	if err != nil {
		for _, o := range objects {
			m.settle(o, err)
		}
		return
	}
	files := make([]*packedFile, len(objects))
	for i, o := range objects {
		files[i] = &packedFile{name: o.name, secret: o.secret, sealed: o.object.SealedMetadata, ifVersion: o.object.Version}
		files[i].done = func(_ Object, err error) { m.settle(o, err) }
		if i > 0 {
			files[i].same = files[0]
		}
	}
	files[0].plain = plain
	k.add(files...)
}

// read reads the content of the first of the objects that is still there.
func (m *mover) read(ctx context.Context, objects []foundExtent) ([]byte, error) {
	for _, o := range objects {
		d, err := m.p.open(ctx, o.name, DownloadOptions{})
		if errors.Is(err, ErrObjectNotFound) || errors.Is(err, ErrBucketNotFound) {
			continue
		}
		if err != nil {
			return nil, o.name.at(err, "move")
		}
		var plain []byte
		same := d.object.Version == string(o.object.Version)
		if same {
			plain = make([]byte, d.object.Size)
			_, err = io.ReadFull(d, plain)
		}
		d.Close()
		if same || err != nil {
			return plain, err
		}
	}
	return nil, ErrObjectChanged
}

// settle takes in what came of an object.
func (m *mover) settle(o foundExtent, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err == nil:
		m.found.Moved++
		m.packs[o.segment].left--
	case errors.Is(err, ErrObjectChanged), errors.Is(err, ErrObjectNotFound), errors.Is(err, ErrBucketNotFound):
		m.packs[o.segment].left--
	default:
		m.found.Kept++
		if m.failure == nil {
			m.failure = o.name.at(err, "move")
		}
	}
}
