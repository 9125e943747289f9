package uplink

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/uplink/internal/names"
)

// Bucket is a named collection of objects. Its name is not encrypted.
type Bucket struct {
	Name    string
	Created time.Time
}

// CreateBucket makes an empty bucket. Errors: ErrName, ErrBucketExists.
func (p *Project) CreateBucket(ctx context.Context, name string) (Bucket, error) {
	if err := names.CheckBucket(name); err != nil {
		return Bucket{}, err
	}
	b, err := p.sat.CreateBucket(ctx, &pb.CreateBucketRequest{Name: name})
	if err != nil {
		return Bucket{}, at(err, "create", name, "")
	}
	return bucketOf(b), nil
}

// DeleteBucket removes a bucket, and with force all objects in it. Errors:
// ErrBucketNotFound, ErrBucketNotEmpty.
func (p *Project) DeleteBucket(ctx context.Context, name string, force bool) error {
	if err := names.CheckBucket(name); err != nil {
		return err
	}
	for {
		res, err := p.sat.DeleteBucket(ctx, &pb.DeleteBucketRequest{Name: name, Force: force})
		if err != nil {
			return at(err, "delete", name, "")
		}
		if !res.More {
			return nil
		}
	}
}

// Buckets yields the project's buckets by name. An error ends it.
func (p *Project) Buckets(ctx context.Context) iter.Seq2[Bucket, error] {
	return func(yield func(Bucket, error) bool) {
		after := ""
		for {
			res, err := p.sat.ListBuckets(ctx, &pb.ListBucketsRequest{After: after})
			if err != nil {
				yield(Bucket{}, fmt.Errorf("list buckets: %w", err))
				return
			}
			for _, b := range res.Buckets {
				if b.Name <= after {
					yield(Bucket{}, fmt.Errorf("list buckets: %w: the satellite's list is out of order", ErrCorrupt))
					return
				}
				after = b.Name
				if !yield(bucketOf(b), nil) {
					return
				}
			}
			if !res.More || len(res.Buckets) == 0 {
				return
			}
		}
	}
}

func bucketOf(b *pb.Bucket) Bucket {
	return Bucket{Name: b.Name, Created: time.UnixMilli(b.Created)}
}
