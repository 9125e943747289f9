package meta

import "errors"

// Errors of this package, usually wrapped with what they are about. Errors of
// package kv (ErrFull above all) come through unchanged.
var (
	// ErrInvalid: a name, key, size or extent is out of bounds or does not fit
	// the rest of the request. The text says what to change.
	ErrInvalid = errors.New("meta: invalid request")

	ErrProjectNotFound = errors.New("meta: no such project")
	ErrProjectExists   = errors.New("meta: project exists")

	ErrBucketNotFound = errors.New("meta: no such bucket")
	ErrBucketExists   = errors.New("meta: bucket exists")
	ErrBucketNotEmpty = errors.New("meta: bucket is not empty")

	ErrObjectNotFound = errors.New("meta: no such object")
	ErrObjectExists   = errors.New("meta: object exists")
	// ErrChanged: the object has another version than the one asked for.
	ErrChanged = errors.New("meta: object was changed meanwhile")

	// ErrTooMuch: what an object of several would replace is too much for one
	// transaction; commit it on its own.
	ErrTooMuch = errors.New("meta: too much to replace in one transaction")

	// ErrUploadNotFound: never begun, committed, aborted or expired.
	ErrUploadNotFound = errors.New("meta: no such upload")

	// ErrSegmentExists: the id of a segment said to be new is taken, or was.
	ErrSegmentExists = errors.New("meta: segment id is taken")
	// ErrSegmentUnknown: an extent names a segment that is neither new in this
	// request nor a live one of the same project.
	ErrSegmentUnknown = errors.New("meta: no such segment")

	ErrGroupNotFound = errors.New("meta: no such group")
	// ErrStaleEpoch: the group has moved on from the epoch that the receipts
	// were judged by; judge them again.
	ErrStaleEpoch = errors.New("meta: group has another epoch")

	// ErrNonceReused: the nonce belongs to an earlier, different commit.
	ErrNonceReused = errors.New("meta: nonce was used for another commit")

	// ErrOtherSatellite: the store belongs to another identity.
	ErrOtherSatellite = errors.New("meta: store belongs to another satellite")
	// ErrFormat: the store has a format that this version does not know.
	ErrFormat = errors.New("meta: store has an unknown format")
	// ErrDamaged: a stored value cannot be right. It is never served.
	ErrDamaged = errors.New("meta: stored value is damaged")
)
