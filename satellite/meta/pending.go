package meta

import (
	"context"
	"errors"

	"github.com/cairnstorage/cairn/proto/ident"
)

const versionRandomBits = 12

var errPending = errors.New("meta: not written yet")

func (s *Store) claim(ctx context.Context, id ident.ID) error { return errPending }

// CreateProject makes a project and returns it with its number, secret and
// creation time filled in. Name: 1–64 bytes of printable ASCII, no space or
// slash. Errors: ErrInvalid, ErrProjectExists.
func (s *Store) CreateProject(ctx context.Context, name string, salt, keyCheck [16]byte) (Project, error) {
	return Project{}, errPending
}

// Project returns the project of an API key. Error: ErrProjectNotFound.
func (s *Store) Project(ctx context.Context, id ProjectID) (Project, error) {
	return Project{}, errPending
}

// ProjectByName returns a project and what it holds. Error: ErrProjectNotFound.
func (s *Store) ProjectByName(ctx context.Context, name string) (ProjectUsage, error) {
	return ProjectUsage{}, errPending
}

// Projects returns all projects by name.
func (s *Store) Projects(ctx context.Context) ([]ProjectUsage, error) { return nil, errPending }

// CreateBucket makes a bucket. Errors: ErrInvalid (name rules), ErrBucketExists.
func (s *Store) CreateBucket(ctx context.Context, project ProjectNumber, name string) (Bucket, error) {
	return Bucket{}, errPending
}

// DeleteBucket removes an empty bucket; with force it first deletes objects, a
// bounded number a call: when more, call again. deleted counts objects.
// Errors: ErrBucketNotFound, ErrBucketNotEmpty.
func (s *Store) DeleteBucket(ctx context.Context, project ProjectNumber, name string, force bool) (deleted int, more bool, err error) {
	return 0, false, errPending
}

// Buckets lists up to limit (0: MaxList) buckets of a project with names after the one given.
func (s *Store) Buckets(ctx context.Context, project ProjectNumber, after string, limit int) (buckets []Bucket, more bool, err error) {
	return nil, false, errPending
}

// BeginUpload opens an upload for an object key. Errors: ErrInvalid, ErrBucketNotFound.
func (s *Store) BeginUpload(ctx context.Context, project ProjectNumber, bucket string, key []byte) (Upload, error) {
	return Upload{}, errPending
}

// AddSegments enters new segments in their groups' journals and has the upload
// hold them. Errors: ErrInvalid, ErrUploadNotFound, ErrSegmentExists,
// ErrSegmentUnknown, ErrGroupNotFound, ErrStaleEpoch.
func (s *Store) AddSegments(ctx context.Context, r AddRequest) (Upload, error) {
	return Upload{}, errPending
}

// AbortUpload drops an upload and what it holds. Error: ErrUploadNotFound.
func (s *Store) AbortUpload(ctx context.Context, project ProjectNumber, id UploadID) error {
	return errPending
}

// Commit makes an object visible and returns it without metadata and inline
// bytes. Errors: ErrInvalid, ErrBucketNotFound, ErrObjectExists,
// ErrUploadNotFound, ErrSegmentExists, ErrSegmentUnknown, ErrGroupNotFound,
// ErrStaleEpoch, ErrNonceReused.
func (s *Store) Commit(ctx context.Context, r CommitRequest) (Object, error) {
	return Object{}, errPending
}

// Get returns an object and where its bytes are. Errors: ErrInvalid (range
// beyond the end), ErrBucketNotFound, ErrObjectNotFound.
func (s *Store) Get(ctx context.Context, r GetRequest) (Got, error) { return Got{}, errPending }

// List returns one page of objects. Errors: ErrInvalid, ErrBucketNotFound.
func (s *Store) List(ctx context.Context, r ListRequest) (ListPage, error) {
	return ListPage{}, errPending
}

// DeleteObjects deletes objects, each key on its own, and tells which were
// there. Errors: ErrInvalid, ErrBucketNotFound; after an error some may be gone.
func (s *Store) DeleteObjects(ctx context.Context, project ProjectNumber, bucket string, keys [][]byte) (found []bool, err error) {
	return nil, errPending
}

// Copy makes another object of the same segments, in one transaction. Errors:
// ErrInvalid, ErrBucketNotFound, ErrObjectNotFound, ErrObjectExists, ErrChanged.
func (s *Store) Copy(ctx context.Context, r CopyRequest) (Object, error) {
	return Object{}, errPending
}

// Expire removes a bounded number of uploads and nonces past their time.
func (s *Store) Expire(ctx context.Context) (Expired, error) { return Expired{}, errPending }

// PutGroup stores a group's first or next epoch. ErrStaleEpoch when another
// came before.
func (s *Store) PutGroup(ctx context.Context, g Group) error { return errPending }

// Groups returns every group at its newest epoch, by id.
func (s *Store) Groups(ctx context.Context) ([]GroupState, error) { return nil, errPending }

// GroupAt returns a group's record at an epoch, also a past one; epoch 0 is
// the newest. Error: ErrGroupNotFound.
func (s *Store) GroupAt(ctx context.Context, id uint32, epoch uint64) (Group, error) {
	return Group{}, errPending
}

// Journals returns the state of the journals of the groups named; unknown
// groups are missing in the result.
func (s *Store) Journals(ctx context.Context, groups []uint32) (map[uint32]Journal, error) {
	return nil, errPending
}

// Entries returns up to limit entries of a group's journal after seq, and its
// head, as of one moment. Error: ErrGroupNotFound.
func (s *Store) Entries(ctx context.Context, group uint32, after uint64, limit int) ([]Entry, Journal, error) {
	return nil, Journal{}, errPending
}

// PutNodes stores nodes.
func (s *Store) PutNodes(ctx context.Context, nodes []Node) error { return errPending }

// Nodes returns every node by id.
func (s *Store) Nodes(ctx context.Context) ([]Node, error) { return nil, errPending }

// Stats counts what there is.
func (s *Store) Stats(ctx context.Context) (Stats, error) { return Stats{}, errPending }

// Trouble returns the trouble the satellite is in; nil when there is none.
func (s *Store) Trouble(ctx context.Context) (*Trouble, error) { return nil, errPending }

// AddTrouble notes that a group's journal was once head entries long.
func (s *Store) AddTrouble(ctx context.Context, group uint32, head uint64, text string) (Trouble, error) {
	return Trouble{}, errPending
}

// ClearTrouble accepts the loss: journals are filled up to the lengths that
// were proved, so that nodes follow them again, and writes go on.
func (s *Store) ClearTrouble(ctx context.Context) error { return errPending }

