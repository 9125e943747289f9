package satellite

import (
	"context"
	"fmt"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// GetObject implements pb.MetadataServer. An answer has as many extents as one
// page of the store, and a lease for each of their groups.
func (m *metadataService) GetObject(ctx context.Context, req *pb.GetObjectRequest) (*pb.GetObjectResponse, error) {
	project, err := m.reads(ctx)
	if err != nil {
		return nil, err
	}
	version, err := meta.ParseVersion(req.Version)
	if err != nil {
		return nil, err
	}
	got, err := m.meta.Get(ctx, meta.GetRequest{
		Project:  project,
		Bucket:   req.Bucket,
		Key:      req.Key,
		Version:  version,
		StatOnly: req.StatOnly,
		Offset:   req.Offset,
		Length:   req.Length,
		Limit:    maxLeases,
	})
	if err != nil {
		return nil, err
	}
	res := &pb.GetObjectResponse{
		Object:      objectMessage(&got.Object),
		FirstOffset: got.FirstOffset,
		FirstIndex:  uint32(got.FirstIndex),
		Extents:     make([]*pb.Extent, len(got.Extents)),
		Segments:    make([]*pb.SegmentPlace, len(got.Places)),
	}
	for i := range got.Extents {
		res.Extents[i] = extentMessage(&got.Extents[i])
	}
	groups := make([]uint32, len(got.Places))
	for i := range got.Places {
		res.Segments[i] = placeMessage(&got.Places[i])
		groups[i] = got.Places[i].Group
	}
	res.Leases, err = m.leases.forGet(ctx, project, groups)
	if err != nil {
		return nil, err
	}
	return res, nil
}

// ListObjects implements pb.MetadataServer.
func (m *metadataService) ListObjects(ctx context.Context, req *pb.ListObjectsRequest) (*pb.ListObjectsResponse, error) {
	project, err := m.reads(ctx)
	if err != nil {
		return nil, err
	}
	if len(req.Prefix) > meta.MaxKey || len(req.After) > meta.MaxKey+1 {
		return nil, fmt.Errorf("%w: prefix of %d bytes, after of %d", satclient.ErrBadRequest, len(req.Prefix), len(req.After))
	}
	page, err := m.meta.List(ctx, meta.ListRequest{
		Project:      project,
		Bucket:       req.Bucket,
		Prefix:       req.Prefix,
		After:        req.After,
		Limit:        pageSize(req.Limit),
		Recursive:    req.Recursive,
		WithMetadata: req.WithMetadata,
		WithExtents:  req.WithExtents,
		WithInline:   req.WithInline,
	})
	if err != nil {
		return nil, err
	}
	res := &pb.ListObjectsResponse{More: page.More, Next: page.Next, Items: make([]*pb.ListItem, len(page.Items))}
	for i := range page.Items {
		item := &page.Items[i]
		if item.Prefix != nil {
			res.Items[i] = &pb.ListItem{Prefix: item.Prefix}
		} else {
			res.Items[i] = &pb.ListItem{Object: objectMessage(&item.Object)}
		}
		if item.Extent != nil {
			res.Items[i].Extent = extentMessage(item.Extent)
		}
	}
	for i := range page.Places {
		res.Segments = append(res.Segments, placeMessage(&page.Places[i]))
	}
	return res, nil
}

// DeleteObjects implements pb.MetadataServer.
func (m *metadataService) DeleteObjects(ctx context.Context, req *pb.DeleteObjectsRequest) (*pb.DeleteObjectsResponse, error) {
	project, err := m.writes(ctx)
	if err != nil {
		return nil, err
	}
	if len(req.Versions) > meta.MaxDelete {
		return nil, fmt.Errorf("%w: %d versions, at most %d", satclient.ErrBadRequest, len(req.Versions), meta.MaxDelete)
	}
	versions := make([]meta.Version, len(req.Versions))
	for i, version := range req.Versions {
		if versions[i], err = meta.ParseVersion(version); err != nil {
			return nil, err
		}
	}
	found, err := m.meta.DeleteObjects(ctx, meta.DeleteRequest{
		Project:  project,
		Bucket:   req.Bucket,
		Keys:     req.Keys,
		Versions: versions,
	})
	if err != nil {
		return nil, err
	}
	return &pb.DeleteObjectsResponse{Found: found}, nil
}

// CopyObject implements pb.MetadataServer.
func (m *metadataService) CopyObject(ctx context.Context, req *pb.CopyObjectRequest) (*pb.Object, error) {
	project, err := m.writes(ctx)
	if err != nil {
		return nil, err
	}
	version, err := meta.ParseVersion(req.Version)
	if err != nil {
		return nil, err
	}
	o, err := m.meta.Copy(ctx, meta.CopyRequest{
		Project:        project,
		Bucket:         req.Bucket,
		Key:            req.Key,
		Version:        version,
		ToBucket:       req.ToBucket,
		ToKey:          req.ToKey,
		SealedMetadata: req.SealedMetadata,
		Move:           req.Move,
		IfAbsent:       req.IfAbsent,
	})
	if err != nil {
		return nil, err
	}
	return objectMessage(&o), nil
}

func extentMessage(e *meta.Extent) *pb.Extent {
	return &pb.Extent{Segment: e.Segment[:], Offset: e.Offset, Length: e.Length}
}

func placeMessage(p *meta.Place) *pb.SegmentPlace {
	return &pb.SegmentPlace{Id: p.ID[:], Group: p.Group, Size: uint64(p.Size), Root: p.Root[:]}
}

func objectMessage(o *meta.Object) *pb.Object {
	return &pb.Object{
		Key:            o.Key,
		Version:        o.Version.Bytes(),
		Size:           o.Size,
		Created:        o.Version.Created().UnixMilli(),
		SealedMetadata: o.SealedMetadata,
		Inline:         o.Inline,
		Segments:       uint32(o.Segments),
	}
}
