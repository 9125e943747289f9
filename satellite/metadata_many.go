package satellite

import (
	"context"
	"fmt"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// CommitObjects implements pb.MetadataServer.
func (m *metadataService) CommitObjects(ctx context.Context, req *pb.CommitObjectsRequest) (*pb.CommitObjectsResponse, error) {
	project, err := m.writes(ctx)
	if err != nil {
		return nil, err
	}
	commit := meta.CommitManyRequest{Project: project, Nonce: req.Nonce}
	if len(req.Nonce) == 0 {
		return nil, errNoNonce
	}
	if commit.Objects, err = newObjects(req.Objects); err != nil {
		return nil, err
	}
	var outcomes []meta.Outcome
	err = m.verifier.commit(ctx, req.Segments, func(segments []meta.NewSegment) error {
		commit.Segments = segments
		outcomes, err = m.meta.CommitMany(ctx, commit)
		return err
	})
	if err != nil {
		return nil, err
	}
	res := &pb.CommitObjectsResponse{Objects: make([]*pb.Committed, len(outcomes))}
	for i := range outcomes {
		res.Objects[i] = committed(&outcomes[i])
	}
	return res, nil
}

// newObjects reads the objects of a request.
func newObjects(messages []*pb.NewObject) ([]meta.NewObject, error) {
	if len(messages) > meta.MaxCommit {
		return nil, fmt.Errorf("%w: %d objects in one request, at most %d", satclient.ErrBadRequest, len(messages), meta.MaxCommit)
	}
	objects := make([]meta.NewObject, len(messages))
	for i, o := range messages {
		if o == nil {
			return nil, fmt.Errorf("%w: object %d is empty", satclient.ErrBadRequest, i)
		}
		extents, err := extentsOf(o.Extents)
		if err != nil {
			return nil, fmt.Errorf("object %d: %w", i, err)
		}
		version, err := meta.ParseVersion(o.IfVersion)
		if err != nil {
			return nil, err
		}
		objects[i] = meta.NewObject{
			Bucket: o.Bucket, Key: o.Key, Extents: extents, Inline: o.Inline, Size: o.Size,
			SealedMetadata: o.SealedMetadata, IfAbsent: o.IfAbsent, IfVersion: version,
		}
	}
	return objects, nil
}

// committed is what became of one object.
func committed(o *meta.Outcome) *pb.Committed {
	if o.Err != nil {
		return &pb.Committed{Reason: satclient.Reason(fault(o.Err))}
	}
	return &pb.Committed{Version: o.Version.Bytes(), Created: o.Version.Created().UnixMilli()}
}
