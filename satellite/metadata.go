package satellite

import (
	"context"
	"fmt"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// metadataService is the Metadata service, which uplinks call. Every call is
// authorised by its API key, bounded, validated, and only then does work.
type metadataService struct {
	pb.UnimplementedMetadataServer

	meta     *meta.Store
	leases   *leaser
	verifier *verifier
	// refusing returns why no writes are taken, or nil.
	refusing func() error
	// ready is refusing, after waiting for what has to come before any write.
	ready func(context.Context) error
}

// newMetadata makes the Metadata service of a satellite.
func newMetadata(s *Satellite) *metadataService {
	return &metadataService{
		meta:   s.meta,
		leases: s.leases,
		verifier: &verifier{
			satellite: s.key.ID(), meta: s.meta, groups: s.groups, now: s.now, staging: s.config.Staging,
		},
		refusing: s.refusing,
		ready:    s.ready,
	}
}

// reads authorises a call that changes nothing.
func (m *metadataService) reads(ctx context.Context) (meta.ProjectNumber, error) {
	return authorize(ctx, m.meta)
}

// writes authorises a call that changes something.
func (m *metadataService) writes(ctx context.Context) (meta.ProjectNumber, error) {
	project, err := authorize(ctx, m.meta)
	if err != nil {
		return 0, err
	}
	return project, m.ready(ctx)
}

// CreateBucket implements pb.MetadataServer.
func (m *metadataService) CreateBucket(ctx context.Context, req *pb.CreateBucketRequest) (*pb.Bucket, error) {
	project, err := m.writes(ctx)
	if err != nil {
		return nil, err
	}
	b, err := m.meta.CreateBucket(ctx, project, req.Name)
	if err != nil {
		return nil, err
	}
	return bucketMessage(b), nil
}

// DeleteBucket implements pb.MetadataServer.
func (m *metadataService) DeleteBucket(ctx context.Context, req *pb.DeleteBucketRequest) (*pb.DeleteBucketResponse, error) {
	project, err := m.writes(ctx)
	if err != nil {
		return nil, err
	}
	deleted, more, err := m.meta.DeleteBucket(ctx, project, req.Name, req.Force)
	if err != nil {
		return nil, err
	}
	return &pb.DeleteBucketResponse{Deleted: uint64(deleted), More: more}, nil
}

// ListBuckets implements pb.MetadataServer.
func (m *metadataService) ListBuckets(ctx context.Context, req *pb.ListBucketsRequest) (*pb.ListBucketsResponse, error) {
	project, err := m.reads(ctx)
	if err != nil {
		return nil, err
	}
	if len(req.After) > meta.MaxKey {
		return nil, fmt.Errorf("%w: after has %d bytes", satclient.ErrBadRequest, len(req.After))
	}
	buckets, more, err := m.meta.Buckets(ctx, project, req.After, pageSize(req.Limit))
	if err != nil {
		return nil, err
	}
	res := &pb.ListBucketsResponse{More: more}
	for _, b := range buckets {
		res.Buckets = append(res.Buckets, bucketMessage(b))
	}
	return res, nil
}

// Lease implements pb.MetadataServer.
func (m *metadataService) Lease(ctx context.Context, req *pb.LeaseRequest) (*pb.LeaseResponse, error) {
	project, err := m.reads(ctx)
	if err != nil {
		return nil, err
	}
	var leases []*pb.GroupLease
	switch order.Action(req.Action) {
	case order.ActionPut:
		leases, err = m.leaseToPut(ctx, project, req)
	case order.ActionGet:
		if len(req.Groups) == 0 {
			return nil, fmt.Errorf("%w: a lease to get needs groups", satclient.ErrBadRequest)
		}
		leases, err = m.leases.forGet(ctx, project, req.Groups)
	default:
		err = fmt.Errorf("%w: unknown action %d", satclient.ErrBadRequest, req.Action)
	}
	if err != nil {
		return nil, err
	}
	return &pb.LeaseResponse{Leases: leases}, nil
}

func (m *metadataService) leaseToPut(ctx context.Context, project meta.ProjectNumber, req *pb.LeaseRequest) ([]*pb.GroupLease, error) {
	if err := m.refusing(); err != nil {
		return nil, err
	}
	if len(req.Groups) > 0 {
		return nil, fmt.Errorf("%w: a put cannot choose its group", satclient.ErrBadRequest)
	}
	lease, err := m.leases.forPut(ctx, project, req.Exclude)
	if err != nil {
		return nil, err
	}
	return []*pb.GroupLease{lease}, nil
}

// pageSize is a page's limit as the store takes it; the store bounds it.
func pageSize(limit uint32) int { return int(min(limit, meta.MaxList)) }

func bucketMessage(b meta.Bucket) *pb.Bucket {
	return &pb.Bucket{Name: b.Name, Created: b.Created.UnixMilli()}
}
