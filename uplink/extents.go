package uplink

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/uplink/internal/keys"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// extents is what is known so far of where an object's bytes are. The satellite
// tells it a page at a time. It is safe for concurrent use.
type extents struct {
	p       *Project
	name    name
	version []byte
	content keys.Content
	packed  bool // the object is an extent of a pack
	size    int64
	blamed  excluded

	mu    sync.Mutex       // held while a page is asked for
	known []*segmentReader // by start
}

// at returns the extent that holds the byte at offset, which lies below size.
// What is known already is not asked for again; the range up to end says how
// much is worth asking for.
func (e *extents) at(ctx context.Context, offset, end int64) (*segmentReader, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.find(offset); s != nil {
		return s, nil
	}
	page, err := e.p.sat.GetObject(ctx, &pb.GetObjectRequest{
		Bucket: e.name.bucket, Key: e.name.sealed, Version: e.version,
		Offset: uint64(offset), Length: uint64(end - offset),
	})
	if err != nil {
		return nil, err
	}
	if err := e.add(page); err != nil {
		return nil, err
	}
	s := e.find(offset)
	if s == nil {
		return nil, fmt.Errorf("%w: the satellite does not say where byte %d is", ErrCorrupt, offset)
	}
	return s, nil
}

func (e *extents) find(offset int64) *segmentReader {
	i, exact := slices.BinarySearchFunc(e.known, offset, func(s *segmentReader, offset int64) int {
		return int(min(max(s.start-offset, -1), 1))
	})
	if !exact {
		i--
	}
	if i < 0 || offset >= e.known[i].end() {
		return nil
	}
	return e.known[i]
}

// add takes in a page.
func (e *extents) add(page *pb.GetObjectResponse) error {
	leases, err := e.p.leases.learn(page.Leases)
	if err != nil {
		return err
	}
	schemes := make(map[uint32]*order.Group)
	for _, l := range leases {
		schemes[l.group.ID] = l.group
	}
	places := make(map[string]*pb.SegmentPlace)
	for _, place := range page.Segments {
		places[string(place.Id)] = place
	}
	start, index := int64(page.FirstOffset), page.FirstIndex
	for _, extent := range page.Extents {
		place := places[string(extent.Segment)]
		if place == nil || schemes[place.Group] == nil {
			return fmt.Errorf("%w: the satellite does not say where segment %x is", ErrCorrupt, extent.Segment)
		}
		s, err := e.reader(place, schemes[place.Group])
		if err != nil {
			return fmt.Errorf("%w: the satellite's record of a segment: %w", ErrCorrupt, err)
		}
		s.index, s.start, s.length, s.offset = index, start, int64(extent.Length), int64(extent.Offset)
		if err := e.admit(s); err != nil {
			return err
		}
		e.insert(s)
		start, index = s.end(), index+1
	}
	return nil
}

// admit checks what the satellite says of an extent and gives it its key.
func (e *extents) admit(s *segmentReader) error {
	if !e.packed {
		s.cipher = seal.NewSegment(e.content, s.id, uint64(s.start))
		return s.check(e.size)
	}
	if s.start != 0 || s.length != e.size {
		return fmt.Errorf("%w: the satellite has extent %d of a packed object with %d bytes of %d", ErrCorrupt, s.index, s.length, e.size)
	}
	var err error
	if s.blocks, err = seal.Blocks(s.layout, s.offset, s.length); err != nil {
		return fmt.Errorf("%w: the satellite's record of an extent: %w", ErrCorrupt, err)
	}
	s.cipher = seal.NewExtent(e.content, s.id, uint64(s.offset))
	return nil
}

func (e *extents) reader(place *pb.SegmentPlace, group *order.Group) (*segmentReader, error) {
	s := &segmentReader{transfers: e.p.transfers, blamed: &e.blamed, log: e.p.log, group: place.Group}
	var err error
	if s.id, err = order.SegmentIDFromBytes(place.Id); err != nil {
		return nil, err
	}
	if s.layout, err = group.Scheme.Layout(int64(place.Size)); err != nil {
		return nil, err
	}
	s.root, err = merkle.HashFromBytes(place.Root)
	return s, err
}

// insert keeps the extent unless it is known.
func (e *extents) insert(s *segmentReader) {
	i, exact := slices.BinarySearchFunc(e.known, s.start, func(s *segmentReader, start int64) int {
		return int(min(max(s.start-start, -1), 1))
	})
	if !exact {
		e.known = slices.Insert(e.known, i, s)
	}
}
