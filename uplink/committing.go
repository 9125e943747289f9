package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

const (
	// segmentsPerCall is how many segments the satellite is told of at once.
	segmentsPerCall = 8
	// unregisteredTime is how long a segment waits for others to be told of with
	// them. Receipts are good for hours, and a slow source may take days.
	unregisteredTime = 10 * time.Minute
	// abortTimeout bounds telling the satellite that an upload is given up. It
	// would find out by itself, later.
	abortTimeout = 5 * time.Second
)

// checkBucket finds out before too much is sent for nothing that there is no
// such bucket.
func (u *Upload) checkBucket() {
	_, err := u.p.sat.ListObjects(u.ctx, &pb.ListObjectsRequest{Bucket: u.name.bucket, Limit: 1})
	if errors.Is(err, ErrBucketNotFound) {
		u.fail(err)
	}
}

// register tells the satellite of segments that have settled, in order, when
// there are more than a commit can carry or they have waited for long.
func (u *Upload) register() error {
	u.committing.Lock()
	defer u.committing.Unlock()
	for {
		batch := u.unregistered()
		few := len(batch) <= segmentsPerCall
		batch = batch[:min(len(batch), segmentsPerCall)]
		if len(batch) == 0 || !settled(batch) || few && time.Since(batch[0].delivery.began) < unregisteredTime {
			return nil
		}
		switch err := u.addSegments(u.ctx, batch); {
		case errors.Is(err, ErrSatelliteUnreachable):
			return nil // there is time until the commit
		case err != nil:
			return err
		}
	}
}

// unregistered lists the segments that the satellite does not know of.
func (u *Upload) unregistered() []*placement {
	u.placing.Lock()
	defer u.placing.Unlock()
	return u.placed[u.registered:len(u.placed):len(u.placed)]
}

// settled tells whether none of the segments can get further receipts.
func settled(placed []*placement) bool {
	for _, o := range placed {
		select {
		case <-o.stored:
		default:
			return false
		}
		select {
		case <-o.delivery.settled:
		default:
			return false
		}
	}
	return true
}

// addSegments adds segments to the upload at the satellite, which is begun there
// when they are the first. The caller holds the lock.
func (u *Upload) addSegments(ctx context.Context, placed []*placement) error {
	if u.upload == nil {
		begun, err := u.p.sat.BeginUpload(ctx, &pb.BeginUploadRequest{Bucket: u.name.bucket, Key: u.name.sealed})
		if err != nil {
			return err
		}
		u.upload = begun.Upload
	}
	segments, extents := messages(placed)
	_, err := u.p.sat.AddSegments(ctx, &pb.AddSegmentsRequest{
		Upload: u.upload, First: uint64(u.registered), Segments: segments, Extents: extents,
	})
	if err != nil {
		return err
	}
	u.registered += len(placed)
	return nil
}

// messages is the segments as the satellite is told of them, each filled by one
// extent.
func messages(placed []*placement) (segments []*pb.Segment, extents []*pb.Extent) {
	for _, o := range placed {
		segments = append(segments, o.delivery.message())
		extents = append(extents, &pb.Extent{Segment: o.segment.id[:], Length: uint64(o.segment.plain)})
	}
	return segments, extents
}

// commitSegments makes the object of the segments.
func (u *Upload) commitSegments() (Object, error) {
	u.committing.Lock()
	defer u.committing.Unlock()
	rest := u.unregistered()
	for len(rest) > segmentsPerCall {
		if err := u.addSegments(u.ctx, rest[:segmentsPerCall]); err != nil {
			return Object{}, err
		}
		rest = u.unregistered()
	}
	segments, extents := messages(rest)
	return u.commitObject(&pb.CommitObjectRequest{Upload: u.upload, Segments: segments, Extents: extents})
}

// commitInline makes an object that is small enough to be kept by the satellite
// itself.
func (u *Upload) commitInline() (Object, error) {
	sealed, err := seal.Inline(u.content, u.small)
	if err != nil {
		return Object{}, err
	}
	return u.commitObject(&pb.CommitObjectRequest{Inline: sealed})
}

func (u *Upload) commitObject(req *pb.CommitObjectRequest) (Object, error) {
	secret := u.secret()
	var err error
	if req.SealedMetadata, err = seal.Secret(u.name.metadata, secret, u.p.rand); err != nil {
		return Object{}, err
	}
	req.Nonce = make([]byte, 16)
	if _, err := io.ReadFull(u.p.rand, req.Nonce); err != nil {
		return Object{}, fmt.Errorf("draw a nonce: %w", err)
	}
	req.Bucket, req.Key, req.Size, req.IfAbsent = u.name.bucket, u.name.sealed, uint64(u.size), u.options.IfAbsent
	o, err := u.p.sat.CommitObject(u.ctx, req)
	if err != nil {
		return Object{}, err
	}
	return objectOf(u.name.key, o, secret), nil
}

// secret is what the satellite keeps for the object without being able to read
// it.
func (u *Upload) secret() *pb.ObjectSecret {
	return &pb.ObjectSecret{
		ContentKey: u.content[:], Size: uint64(u.size),
		Modified: u.options.Modified.UnixMilli(), Metadata: u.options.Metadata,
	}
}

// abandon tells the satellite that the upload will not be committed.
func (u *Upload) abandon() {
	if u.upload == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(u.ctx), abortTimeout)
	defer cancel()
	if _, err := u.p.sat.AbortUpload(ctx, &pb.AbortUploadRequest{Upload: u.upload}); err != nil {
		u.p.log.Warn("could not tell the satellite that an upload is aborted; it will expire", "error", err)
	}
}
