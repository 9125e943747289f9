package uplink

import (
	"errors"
	"fmt"

	"github.com/cairnstorage/cairn/satellite/satclient"
	"github.com/cairnstorage/cairn/uplink/internal/names"
)

// Errors to be told apart with errors.Is. What a call returns wraps one of them
// and says more.
var (
	// ErrName: a bucket name or object key breaks the rules.
	ErrName = names.ErrName
	// ErrBucketNotFound: the project has no such bucket.
	ErrBucketNotFound = satclient.ErrBucketNotFound
	// ErrBucketExists: the project has a bucket of that name already.
	ErrBucketExists = satclient.ErrBucketExists
	// ErrBucketNotEmpty: the bucket still holds objects.
	ErrBucketNotEmpty = satclient.ErrBucketNotEmpty
	// ErrObjectNotFound: there is no object of that key.
	ErrObjectNotFound = satclient.ErrObjectNotFound
	// ErrObjectExists: the key is taken and IfAbsent was asked.
	ErrObjectExists = satclient.ErrObjectExists
	// ErrObjectChanged: the object was replaced since it was read.
	ErrObjectChanged = satclient.ErrChanged
	// ErrDenied: the access grant does not allow this.
	ErrDenied = satclient.ErrDenied
	// ErrTooFewNodes: too few storage nodes are online to write, or to read.
	ErrTooFewNodes = satclient.ErrTooFewNodes
	// ErrRefusing: the satellite takes no writes; its operator has to act.
	ErrRefusing = satclient.ErrRefusing
	// ErrSatelliteUnreachable: the satellite did not answer.
	ErrSatelliteUnreachable = satclient.ErrUnavailable
	// ErrWrongKey: a name or metadata does not decrypt, because it was written
	// under another passphrase than that of this access grant.
	ErrWrongKey = errors.New("encrypted with another passphrase")
	// ErrCorrupt: what came back does not verify and cannot be recovered.
	ErrCorrupt = errors.New("data is corrupt")
	// ErrAborted: the upload was aborted, or failed earlier.
	ErrAborted = errors.New("upload was aborted")
	// ErrClosed: the project or download was closed.
	ErrClosed = errors.New("already closed")
)

// errWrongKey says which thing does not decrypt and what to do about it.
func errWrongKey(what string) error {
	return fmt.Errorf("%w: %s does not decrypt; use the access grant it was uploaded with, or one made with the same passphrase", ErrWrongKey, what)
}

// at adds to err what was being done, and to what.
func at(err error, doing, bucket, key string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", doing, locator(bucket, key), err)
}

// locator is how an object is written on the command line.
func locator(bucket, key string) string {
	if key == "" {
		return "cairn://" + bucket
	}
	return "cairn://" + bucket + "/" + key
}
