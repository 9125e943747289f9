package satclient

import (
	"context"

	"github.com/cairnstorage/cairn/proto/pb"
)

// The Metadata service, for uplinks. Requests and answers are the messages of
// proto/satellite.proto as they are.

// CreateBucket makes an empty bucket: ErrBucketExists, ErrBadRequest.
func (c *Client) CreateBucket(ctx context.Context, req *pb.CreateBucketRequest) (*pb.Bucket, error) {
	return call(ctx, c, false, c.meta.CreateBucket, req)
}

// DeleteBucket removes a bucket: ErrBucketNotFound, ErrBucketNotEmpty. While
// the answer says more, call again.
func (c *Client) DeleteBucket(ctx context.Context, req *pb.DeleteBucketRequest) (*pb.DeleteBucketResponse, error) {
	return call(ctx, c, false, c.meta.DeleteBucket, req)
}

// ListBuckets lists buckets by name.
func (c *Client) ListBuckets(ctx context.Context, req *pb.ListBucketsRequest) (*pb.ListBucketsResponse, error) {
	return call(ctx, c, true, c.meta.ListBuckets, req)
}

// Lease asks for order limits: ErrTooFewNodes, ErrGroupNotFound.
func (c *Client) Lease(ctx context.Context, req *pb.LeaseRequest) (*pb.LeaseResponse, error) {
	return call(ctx, c, true, c.meta.Lease, req)
}

// BeginUpload opens an upload of many calls: ErrBucketNotFound.
func (c *Client) BeginUpload(ctx context.Context, req *pb.BeginUploadRequest) (*pb.BeginUploadResponse, error) {
	return call(ctx, c, true, c.meta.BeginUpload, req)
}

// AddSegments commits segments to an upload: ErrUploadNotFound, ErrReceipts.
func (c *Client) AddSegments(ctx context.Context, req *pb.AddSegmentsRequest) (*pb.AddSegmentsResponse, error) {
	return call(ctx, c, true, c.meta.AddSegments, req)
}

// AbortUpload drops an upload and its segments: ErrUploadNotFound.
func (c *Client) AbortUpload(ctx context.Context, req *pb.AbortUploadRequest) (*pb.AbortUploadResponse, error) {
	return call(ctx, c, true, c.meta.AbortUpload, req)
}

// CommitObject makes an object visible: ErrBucketNotFound, ErrObjectExists,
// ErrUploadNotFound, ErrReceipts. Its nonce makes repeating it harmless.
func (c *Client) CommitObject(ctx context.Context, req *pb.CommitObjectRequest) (*pb.Object, error) {
	return call(ctx, c, true, c.meta.CommitObject, req)
}

// CommitObjects makes several objects visible in one step: ErrReceipts. What
// stands against one alone, Outcome tells. Its nonce makes repeating it harmless.
func (c *Client) CommitObjects(ctx context.Context, req *pb.CommitObjectsRequest) (*pb.CommitObjectsResponse, error) {
	return call(ctx, c, true, c.meta.CommitObjects, req)
}

// Outcome is why an object of several was not made: ErrBucketNotFound,
// ErrObjectExists, ErrObjectNotFound, ErrChanged, ErrBusy.
func Outcome(o *pb.Committed) error { return fromReason(o.GetReason()) }

// GetObject returns an object and, unless it is asked only for its state, where
// to read the beginning of the range: ErrBucketNotFound, ErrObjectNotFound.
func (c *Client) GetObject(ctx context.Context, req *pb.GetObjectRequest) (*pb.GetObjectResponse, error) {
	return call(ctx, c, true, c.meta.GetObject, req)
}

// ListObjects lists one page of a bucket: ErrBucketNotFound.
func (c *Client) ListObjects(ctx context.Context, req *pb.ListObjectsRequest) (*pb.ListObjectsResponse, error) {
	return call(ctx, c, true, c.meta.ListObjects, req)
}

// DeleteObjects removes up to 1,000 objects and says which it removed:
// ErrBucketNotFound. Repeated after a lost answer it says 'not found'.
func (c *Client) DeleteObjects(ctx context.Context, req *pb.DeleteObjectsRequest) (*pb.DeleteObjectsResponse, error) {
	return call(ctx, c, true, c.meta.DeleteObjects, req)
}

// CopyObject makes another object of the same segments: ErrBucketNotFound,
// ErrObjectNotFound, ErrObjectExists.
func (c *Client) CopyObject(ctx context.Context, req *pb.CopyObjectRequest) (*pb.Object, error) {
	return call(ctx, c, !req.Move && !req.IfAbsent, c.meta.CopyObject, req)
}
