package satclient

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Errors that a satellite answers with. Both sides use these values: the
// server turns them into a gRPC status with ToStatus, the client gets them back
// from every call, wrapped together with the server's explanation.
var (
	// ErrBadRequest: the request is malformed or out of bounds.
	ErrBadRequest error = &kind{"BAD_REQUEST", codes.InvalidArgument, "bad request"}
	// ErrDenied: no API key, or one that does not allow this.
	ErrDenied error = &kind{"DENIED", codes.PermissionDenied, "access denied"}
	// ErrProjectNotFound: the satellite has no such project.
	ErrProjectNotFound error = &kind{"PROJECT_NOT_FOUND", codes.NotFound, "project not found"}
	// ErrProjectExists: there is a project of that name already.
	ErrProjectExists error = &kind{"PROJECT_EXISTS", codes.AlreadyExists, "project already exists"}
	// ErrBucketNotFound: the project has no such bucket.
	ErrBucketNotFound error = &kind{"BUCKET_NOT_FOUND", codes.NotFound, "bucket not found"}
	// ErrBucketExists: the project has a bucket of that name already.
	ErrBucketExists error = &kind{"BUCKET_EXISTS", codes.AlreadyExists, "bucket already exists"}
	// ErrBucketNotEmpty: the bucket still holds objects.
	ErrBucketNotEmpty error = &kind{"BUCKET_NOT_EMPTY", codes.FailedPrecondition, "bucket is not empty"}
	// ErrObjectNotFound: there is no object of that key, or not that version.
	ErrObjectNotFound error = &kind{"OBJECT_NOT_FOUND", codes.NotFound, "object not found"}
	// ErrObjectExists: if_absent was asked and the key exists.
	ErrObjectExists error = &kind{"OBJECT_EXISTS", codes.AlreadyExists, "object already exists"}
	// ErrChanged: the object has another version than the one named.
	ErrChanged error = &kind{"CHANGED", codes.Aborted, "object was changed meanwhile"}
	// ErrUploadNotFound: the upload is unknown, aborted, committed or expired.
	ErrUploadNotFound error = &kind{"UPLOAD_NOT_FOUND", codes.NotFound, "upload not found"}
	// ErrGroupNotFound: there is no such placement group, or no such journal
	// for the caller.
	ErrGroupNotFound error = &kind{"GROUP_NOT_FOUND", codes.NotFound, "placement group not found"}
	// ErrReceipts: the receipts do not show that the segment is stored. Upload
	// the segment again.
	ErrReceipts error = &kind{"RECEIPTS", codes.FailedPrecondition, "segment is not shown to be stored"}
	// ErrTooFewNodes: no group has enough storage nodes online with room. Try
	// later.
	ErrTooFewNodes error = &kind{"TOO_FEW_NODES", codes.ResourceExhausted, "too few storage nodes"}
	// ErrRefusing: the satellite refuses writes, because its disk is full or
	// its store is in trouble. Its operator has to act; reads go on.
	ErrRefusing error = &kind{"REFUSING", codes.FailedPrecondition, "satellite refuses writes"}
	// ErrBusy: too many requests at once. Try later.
	ErrBusy error = &kind{"BUSY", codes.ResourceExhausted, "satellite is busy"}
	// ErrUnavailable: the satellite cannot be reached or is shutting down.
	ErrUnavailable error = &kind{"UNAVAILABLE", codes.Unavailable, "satellite is unreachable"}
	// ErrUnimplemented: the satellite is older than this call.
	ErrUnimplemented error = &kind{"UNIMPLEMENTED", codes.Unimplemented, "not supported by this satellite"}
	// ErrInternal: the satellite failed; its log says why.
	ErrInternal error = &kind{"INTERNAL", codes.Internal, "satellite failed internally"}
)

// table is the one place where errors and wire codes meet. When a status
// carries no reason, the first row with its code is taken.
var table = []error{
	ErrBadRequest, ErrDenied,
	ErrObjectNotFound, ErrObjectExists, ErrChanged, ErrUploadNotFound, ErrGroupNotFound,
	ErrProjectNotFound, ErrProjectExists, ErrBucketNotFound, ErrBucketExists, ErrBucketNotEmpty,
	ErrReceipts, ErrTooFewNodes, ErrRefusing, ErrBusy,
	ErrUnavailable, ErrUnimplemented, ErrInternal,
}

// domain marks the error details as ours.
const domain = "cairn"

// maxMessage bounds the explanation that travels with an error, in bytes.
const maxMessage = 1024

// kind is one row of the table.
type kind struct {
	reason string
	code   codes.Code
	text   string
}

func (k *kind) Error() string { return k.text }

// remote is an error as a satellite told it: its kind and its words.
type remote struct {
	kind    *kind
	message string
}

func (r *remote) Error() string { return r.message }
func (r *remote) Unwrap() error { return r.kind }

// ToStatus returns the gRPC status error for err, which a server hands to
// gRPC. An error outside the table becomes ErrInternal and its text stays at
// home; Known tells, so that the caller logs it. Nil stays nil.
func ToStatus(err error) error {
	if err == nil {
		return nil
	}
	var k *kind
	switch {
	case errors.As(err, &k):
		return k.status(clip(err.Error()))
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "request was cancelled")
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "request took too long")
	}
	k = ErrInternal.(*kind)
	return k.status(k.text)
}

// Known tells whether ToStatus lets err's text travel.
func Known(err error) bool {
	var k *kind
	return errors.As(err, &k) && k != ErrInternal ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func (k *kind) status(message string) error {
	st := status.New(k.code, message)
	detailed, err := st.WithDetails(&errdetails.ErrorInfo{Reason: k.reason, Domain: domain})
	if err != nil {
		return st.Err()
	}
	return detailed.Err()
}

// FromStatus returns the error that a gRPC call's error stands for: one of
// this package's values, wrapped with the server's words, or a context error.
// Nil stays nil.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	switch st.Code() {
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	}
	return fromKind(find(st), st)
}

// find returns the table row of a status: by reason, else by code.
func find(st *status.Status) *kind {
	for _, detail := range st.Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if !ok || info.Domain != domain {
			continue
		}
		if k := byReason(info.Reason); k != nil {
			return k
		}
	}
	switch st.Code() {
	case codes.Unauthenticated:
		return ErrDenied.(*kind)
	case codes.ResourceExhausted: // gRPC itself: a message was too large
		return ErrBadRequest.(*kind)
	}
	for _, row := range table {
		if k := row.(*kind); k.code == st.Code() {
			return k
		}
	}
	return ErrInternal.(*kind)
}

// Reason is the word that an error of the table goes by on the wire, within
// an answer that is about more.
func Reason(err error) string {
	var k *kind
	if !errors.As(err, &k) {
		k = ErrInternal.(*kind)
	}
	return k.reason
}

// fromReason undoes Reason; no reason is no error.
func fromReason(reason string) error {
	if reason == "" {
		return nil
	}
	if k := byReason(reason); k != nil {
		return k
	}
	return ErrInternal
}

// byReason returns the table row of a reason, or nil.
func byReason(reason string) *kind {
	for _, row := range table {
		if k := row.(*kind); k.reason == reason {
			return k
		}
	}
	return nil
}

func fromKind(k *kind, st *status.Status) error {
	message := clip(unwrapDial(st.Message()))
	switch {
	case message == "":
		message = k.text
	case !strings.Contains(message, k.text):
		message = k.text + ": " + message
	}
	return &remote{k, message}
}

// unwrapDial takes what gRPC wraps around the error of a dial off it.
func unwrapDial(s string) string {
	if _, dial, ok := strings.Cut(s, "Error while dialing: "); ok {
		return strings.TrimSuffix(dial, `"`)
	}
	return s
}

// clip keeps a message short and printable: it ends up on a terminal.
func clip(s string) string {
	if len(s) > maxMessage {
		s = s[:maxMessage]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\ufffd' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
}
