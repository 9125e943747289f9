package uplink

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"time"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/satclient"
	"github.com/cairnstorage/cairn/uplink/internal/keys"
	"github.com/cairnstorage/cairn/uplink/internal/names"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// Object is what is known of an object without reading it.
type Object struct {
	Key      string
	Size     int64             // plaintext bytes
	Created  time.Time         // when the satellite took it in
	Modified time.Time         // as its uploader said; zero when not said or not asked for
	Metadata map[string]string // as its uploader said
	Segments int               // 0 for an object that is small enough to be kept inline
	Version  string            // tells it from what had or will have its key; opaque bytes

	listed *listing // where it is, if it was listed with ListOptions.Places and is inline or packed
}

// Stat returns an object with its metadata. Errors: ErrBucketNotFound,
// ErrObjectNotFound, ErrWrongKey.
func (p *Project) Stat(ctx context.Context, bucket, key string) (Object, error) {
	n, err := p.name(bucket, key)
	if err != nil {
		return Object{}, err
	}
	_, secret, o, err := p.stat(ctx, n)
	if err != nil {
		return Object{}, n.at(err, "stat")
	}
	return objectOf(key, o, secret), nil
}

// stat fetches an object's record and opens its secret.
func (p *Project) stat(ctx context.Context, n name) (keys.Content, *pb.ObjectSecret, *pb.Object, error) {
	res, err := p.sat.GetObject(ctx, &pb.GetObjectRequest{Bucket: n.bucket, Key: n.sealed, StatOnly: true})
	if err != nil {
		return keys.Content{}, nil, nil, err
	}
	content, secret, err := n.open(res.Object)
	return content, secret, res.Object, err
}

// open opens the secret of an object and checks the satellite's record by it.
func (n name) open(o *pb.Object) (keys.Content, *pb.ObjectSecret, error) {
	if o == nil {
		return keys.Content{}, nil, fmt.Errorf("%w: the satellite's answer holds no object", ErrCorrupt)
	}
	return openSecret(n.metadata, n.key, o)
}

func openSecret(key [keys.Size]byte, what string, o *pb.Object) (keys.Content, *pb.ObjectSecret, error) {
	secret, err := seal.OpenSecret(key, o.SealedMetadata)
	switch {
	case errors.Is(err, seal.ErrOpen):
		return keys.Content{}, nil, errWrongKey(fmt.Sprintf("the metadata of %q", what))
	case err != nil:
		return keys.Content{}, nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	case secret.Size != o.Size:
		return keys.Content{}, nil, fmt.Errorf("%w: %q has %d bytes by the satellite and %d by its uploader", ErrCorrupt, what, o.Size, secret.Size)
	}
	return keys.Content(secret.ContentKey), secret, nil
}

// objectOf joins what the satellite and, if asked for, the uploader say.
func objectOf(key string, o *pb.Object, secret *pb.ObjectSecret) Object {
	object := Object{
		Key:      key,
		Size:     int64(o.Size),
		Created:  time.UnixMilli(o.Created),
		Segments: int(o.Segments),
		Version:  string(o.Version),
	}
	if secret != nil {
		object.Metadata = maps.Clone(secret.Metadata)
		if secret.Modified != 0 {
			object.Modified = time.UnixMilli(secret.Modified)
		}
	}
	return object
}

// What one call to a satellite deletes at most: objects, and bytes of their
// keys, so that it is a quick transaction.
const (
	maxDelete      = 1000
	maxDeleteBytes = 1 << 20
)

// Delete removes an object. Errors: ErrBucketNotFound, ErrObjectNotFound.
func (p *Project) Delete(ctx context.Context, bucket, key string) error {
	found, err := p.DeleteMany(ctx, bucket, []string{key})
	if err != nil {
		return err
	}
	if !found[0] {
		return at(ErrObjectNotFound, "delete", bucket, key)
	}
	return nil
}

// DeleteVersion removes an object unless it has been replaced since o was
// read. That it is gone is no error. Errors: ErrBucketNotFound, ErrObjectChanged.
func (p *Project) DeleteVersion(ctx context.Context, bucket string, o Object) error {
	n, err := p.name(bucket, o.Key)
	if err != nil {
		return err
	}
	if o.Version == "" {
		return n.at(errors.New("the version to delete is not given"), "delete")
	}
	res, err := p.sat.DeleteObjects(ctx, &pb.DeleteObjectsRequest{
		Bucket: bucket, Keys: [][]byte{n.sealed}, Versions: [][]byte{[]byte(o.Version)},
	})
	switch {
	case err != nil:
		return n.at(err, "delete")
	case len(res.Found) == 1 && res.Found[0]:
		return nil
	}
	// It was replaced, or deleted, perhaps by a first try whose answer was lost.
	present, err := p.sat.GetObject(ctx, &pb.GetObjectRequest{Bucket: bucket, Key: n.sealed, StatOnly: true})
	switch {
	case errors.Is(err, ErrObjectNotFound):
		return nil
	case err == nil && string(present.GetObject().GetVersion()) == o.Version:
		err = fmt.Errorf("%w: the satellite neither deletes the object nor has another version", ErrCorrupt)
	case err == nil:
		err = ErrObjectChanged
	}
	return n.at(err, "delete")
}

// DeleteMany removes any number of objects and says for each whether it was
// there. After an error, those not said to be found may have been removed too.
func (p *Project) DeleteMany(ctx context.Context, bucket string, objectKeys []string) ([]bool, error) {
	cipher, err := p.names(bucket)
	if err != nil {
		return nil, err
	}
	sealed := make([][]byte, len(objectKeys))
	for i, key := range objectKeys { // before anything is deleted
		if sealed[i], err = cipher.Encrypt(key); err != nil {
			return nil, err
		}
	}
	found := make([]bool, 0, len(objectKeys))
	for batch := range deleteBatches(sealed) {
		res, err := p.sat.DeleteObjects(ctx, &pb.DeleteObjectsRequest{Bucket: bucket, Keys: batch})
		if err == nil && len(res.Found) != len(batch) {
			err = fmt.Errorf("%w: the satellite answered for %d of %d objects", ErrCorrupt, len(res.Found), len(batch))
		}
		if err != nil {
			what := ""
			if len(objectKeys) == 1 {
				what = objectKeys[0]
			}
			return append(found, make([]bool, len(objectKeys)-len(found))...), at(err, "delete", bucket, what)
		}
		found = append(found, res.Found...)
	}
	return found, nil
}

// deleteBatches cuts keys into what one call may delete.
func deleteBatches(sealed [][]byte) iter.Seq[[][]byte] {
	return func(yield func([][]byte) bool) {
		for len(sealed) > 0 {
			n, size := 0, 0
			for n < len(sealed) && n < maxDelete && (n == 0 || size+len(sealed[n]) <= maxDeleteBytes) {
				size += len(sealed[n])
				n++
			}
			if !yield(sealed[:n]) {
				return
			}
			sealed = sealed[n:]
		}
	}
}

// CopyOptions says how a copy or move differs from its source.
type CopyOptions struct {
	Metadata map[string]string // replaces that of the source unless nil
	IfAbsent bool              // fail with ErrObjectExists instead of replacing
}

// Copy makes another object with the content of one; no data moves. Errors:
// ErrBucketNotFound, ErrObjectNotFound, ErrObjectExists, ErrWrongKey.
func (p *Project) Copy(ctx context.Context, bucket, key, toBucket, toKey string, o CopyOptions) (Object, error) {
	return p.copy(ctx, bucket, key, toBucket, toKey, o, false)
}

// Move is Copy that deletes the source in the same step. Moving an object to
// its own name changes nothing but its metadata.
func (p *Project) Move(ctx context.Context, bucket, key, toBucket, toKey string, o CopyOptions) (Object, error) {
	return p.copy(ctx, bucket, key, toBucket, toKey, o, !(bucket == toBucket && key == toKey))
}

// maxCopyTries is how often a copy is tried whose source is replaced between
// its two steps.
const maxCopyTries = 5

func (p *Project) copy(ctx context.Context, bucket, key, toBucket, toKey string, o CopyOptions, move bool) (Object, error) {
	from, err := p.name(bucket, key)
	if err != nil {
		return Object{}, err
	}
	to, err := p.name(toBucket, toKey)
	if err != nil {
		return Object{}, err
	}
	doing := "copy"
	if move {
		doing = "move"
	}
	for try := 1; ; try++ {
		object, retry, err := p.copyVersion(ctx, from, to, o, move)
		if err == nil {
			return object, nil
		}
		if !retry || try == maxCopyTries {
			return Object{}, from.at(err, doing)
		}
	}
}

// copyVersion reads the source's newest version, seals its secret for the
// target's name and has the satellite link the segments. With retry the source
// was replaced in between.
func (p *Project) copyVersion(ctx context.Context, from, to name, o CopyOptions, move bool) (object Object, retry bool, err error) {
	_, secret, source, err := p.stat(ctx, from)
	if err != nil {
		return Object{}, false, err
	}
	if o.Metadata != nil {
		secret.Metadata = o.Metadata
	}
	sealed, err := seal.Secret(to.metadata, secret, p.rand)
	if err != nil {
		return Object{}, false, err
	}
	made, err := p.sat.CopyObject(ctx, &pb.CopyObjectRequest{
		Bucket: from.bucket, Key: from.sealed, Version: source.Version,
		ToBucket: to.bucket, ToKey: to.sealed,
		SealedMetadata: sealed, Move: move, IfAbsent: o.IfAbsent,
	})
	if err != nil {
		return Object{}, errors.Is(err, satclient.ErrChanged), err
	}
	return objectOf(to.key, made, secret), false, nil
}

// CheckKey reports, as an error that wraps ErrName, why key cannot name an
// object: a key is 1 to 1,024 bytes of UTF-8 without NUL.
func CheckKey(key string) error { return names.CheckKey(key) }

// CheckBucket reports, as an error that wraps ErrName, why name cannot name a
// bucket: the rules are those of S3.
func CheckBucket(name string) error { return names.CheckBucket(name) }
