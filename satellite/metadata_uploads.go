package satellite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// epochTries is how often a commit is judged anew because its group went on to
// another epoch meanwhile.
const epochTries = 4

// BeginUpload implements pb.MetadataServer.
func (m *metadataService) BeginUpload(ctx context.Context, req *pb.BeginUploadRequest) (*pb.BeginUploadResponse, error) {
	project, err := m.writes(ctx)
	if err != nil {
		return nil, err
	}
	u, err := m.meta.BeginUpload(ctx, project, req.Bucket, req.Key)
	if err != nil {
		return nil, err
	}
	return &pb.BeginUploadResponse{Upload: u.ID[:], Expires: u.Expires.Unix()}, nil
}

// AddSegments implements pb.MetadataServer.
func (m *metadataService) AddSegments(ctx context.Context, req *pb.AddSegmentsRequest) (*pb.AddSegmentsResponse, error) {
	project, err := m.writes(ctx)
	if err != nil {
		return nil, err
	}
	add := meta.AddRequest{Project: project, First: req.First}
	if add.Upload, err = uploadID(req.Upload); err != nil {
		return nil, err
	}
	if add.Extents, err = extentsOf(req.Extents); err != nil {
		return nil, err
	}
	var u meta.Upload
	err = m.verifier.commit(ctx, req.Segments, func(segments []meta.NewSegment) error {
		add.Segments = segments
		u, err = m.meta.AddSegments(ctx, add)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &pb.AddSegmentsResponse{Expires: u.Expires.Unix()}, nil
}

// AbortUpload implements pb.MetadataServer.
func (m *metadataService) AbortUpload(ctx context.Context, req *pb.AbortUploadRequest) (*pb.AbortUploadResponse, error) {
	project, err := m.writes(ctx)
	if err != nil {
		return nil, err
	}
	id, err := uploadID(req.Upload)
	if err != nil {
		return nil, err
	}
	if err := m.meta.AbortUpload(ctx, project, id); err != nil {
		return nil, err
	}
	return &pb.AbortUploadResponse{}, nil
}

// CommitObject implements pb.MetadataServer.
func (m *metadataService) CommitObject(ctx context.Context, req *pb.CommitObjectRequest) (*pb.Object, error) {
	project, err := m.writes(ctx)
	if err != nil {
		return nil, err
	}
	commit := meta.CommitRequest{
		Project:        project,
		Bucket:         req.Bucket,
		Key:            req.Key,
		Inline:         req.Inline,
		Size:           req.Size,
		SealedMetadata: req.SealedMetadata,
		IfAbsent:       req.IfAbsent,
		Nonce:          req.Nonce,
	}
	if len(req.Nonce) == 0 {
		return nil, errNoNonce
	}
	if commit.Upload, err = meta.ParseUploadID(req.Upload); err != nil {
		return nil, err
	}
	if commit.Extents, err = extentsOf(req.Extents); err != nil {
		return nil, err
	}
	var o meta.Object
	err = m.verifier.commit(ctx, req.Segments, func(segments []meta.NewSegment) error {
		commit.Segments = segments
		o, err = m.meta.Commit(ctx, commit)
		return err
	})
	if err != nil {
		return nil, err
	}
	return objectMessage(&o), nil
}

var errNoNonce = fmt.Errorf("%w: a commit needs a nonce of 16 random bytes", satclient.ErrBadRequest)

// uploadID reads the id of an upload that must be named.
func uploadID(b []byte) (meta.UploadID, error) {
	id, err := meta.ParseUploadID(b)
	if err == nil && id == (meta.UploadID{}) {
		err = fmt.Errorf("%w: no upload is named", satclient.ErrBadRequest)
	}
	return id, err
}

// extentsOf reads the extents of a request.
func extentsOf(messages []*pb.Extent) ([]meta.Extent, error) {
	if len(messages) > meta.MaxAdd {
		return nil, fmt.Errorf("%w: %d extents in one request, at most %d", satclient.ErrBadRequest, len(messages), meta.MaxAdd)
	}
	extents := make([]meta.Extent, len(messages))
	for i, e := range messages {
		id, err := order.SegmentIDFromBytes(e.GetSegment())
		if err != nil {
			return nil, fmt.Errorf("%w: extent %d: %w", satclient.ErrBadRequest, i, err)
		}
		extents[i] = meta.Extent{Segment: id, Offset: e.Offset, Length: e.Length}
	}
	return extents, nil
}

// verifier has the receipts of new segments verified before they are committed.
type verifier struct {
	satellite ident.ID
	meta      *meta.Store
	groups    interface {
		get(id uint32) (*group, error)
	}
	now func() time.Time
	// staging is how long nodes keep what is not committed. Receipts are good
	// for half of it, so that nodes learn of the commit in time.
	staging time.Duration
}

// commit verifies segments and gives them to write; again, when the epoch of
// a group went on in between. write may run several times.
func (v *verifier) commit(ctx context.Context, segments []*pb.Segment, write func([]meta.NewSegment) error) error {
	if len(segments) > meta.MaxAdd {
		return fmt.Errorf("%w: %d segments in one request, at most %d", satclient.ErrBadRequest, len(segments), meta.MaxAdd)
	}
	for try := 1; ; try++ {
		proposals, err := v.proposals(ctx, segments)
		if err != nil {
			return err
		}
		now := v.now()
		judged, err := judgement{now: now, oldest: now.Add(-v.staging / 2)}.judge(proposals)
		if err != nil {
			return err
		}
		if err := write(judged); !errors.Is(err, meta.ErrStaleEpoch) || try == epochTries {
			return err
		}
	}
}

// proposals finds the groups by which each segment is to be judged.
func (v *verifier) proposals(ctx context.Context, segments []*pb.Segment) ([]proposal, error) {
	type at struct {
		group uint32
		epoch uint64
	}
	past := make(map[at]*order.Group)
	proposals := make([]proposal, len(segments))
	for i, s := range segments {
		if s == nil {
			return nil, fmt.Errorf("%w: segment %d is empty", satclient.ErrBadRequest, i)
		}
		g, err := v.groups.get(s.Group)
		if err != nil {
			return nil, err
		}
		proposals[i] = proposal{segment: s, then: &g.Group, current: &g.Group}
		if s.Epoch == g.Epoch {
			continue
		}
		if s.Epoch == 0 || s.Epoch > g.Epoch {
			return nil, fmt.Errorf("%w: group %d is at epoch %d, not %d", satclient.ErrBadRequest, s.Group, g.Epoch, s.Epoch)
		}
		k := at{s.Group, s.Epoch}
		if past[k] == nil {
			if past[k], err = v.pastGroup(ctx, s.Group, s.Epoch); err != nil {
				return nil, err
			}
		}
		proposals[i].then = past[k]
	}
	return proposals, nil
}

// pastGroup reads a group as it was at an earlier epoch.
func (v *verifier) pastGroup(ctx context.Context, id uint32, epoch uint64) (*order.Group, error) {
	g, err := v.meta.GroupAt(ctx, id, epoch)
	if err != nil {
		return nil, err
	}
	return order.OpenGroup(g.Record, v.satellite)
}
