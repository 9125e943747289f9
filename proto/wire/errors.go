package wire

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
)

// What a node can say of a request besides the errors of package order. Errors
// from a Fail frame wrap one of them, or one of order's.
var (
	ErrInternal = errors.New("node has an internal error")
	ErrRequest  = errors.New("request is out of order or out of bounds")
	ErrDenied   = errors.New("request is not permitted")
	ErrNotFound = errors.New("node does not hold the shard")
	ErrFull     = errors.New("node has no room for the shard")
	ErrMismatch = errors.New("shard does not match its roots")
	ErrBusy     = errors.New("node is busy")
	ErrCorrupt  = errors.New("shard is damaged on the node")
)

// codes is the one table of errors and codes. An error becomes the code of the
// first row it wraps; a code becomes the first row that has it.
var codes = [...]struct {
	code pb.Code
	err  error
}{
	{pb.Code_CODE_INTERNAL, ErrInternal},
	{pb.Code_CODE_BAD_REQUEST, ErrRequest},
	{pb.Code_CODE_DENIED, ErrDenied},
	{pb.Code_CODE_EXPIRED, order.ErrExpired},
	{pb.Code_CODE_EXHAUSTED, order.ErrAmount},
	{pb.Code_CODE_STALE_EPOCH, order.ErrEpoch},
	{pb.Code_CODE_NOT_FOUND, ErrNotFound},
	{pb.Code_CODE_FULL, ErrFull},
	{pb.Code_CODE_MISMATCH, ErrMismatch},
	{pb.Code_CODE_BUSY, ErrBusy},
	{pb.Code_CODE_CORRUPT, ErrCorrupt},
	// From here on one way only.
	{pb.Code_CODE_BAD_REQUEST, ErrFrame},
	{pb.Code_CODE_BAD_REQUEST, order.ErrMalformed},
	{pb.Code_CODE_DENIED, order.ErrSignature},
	{pb.Code_CODE_DENIED, order.ErrPeer},
	{pb.Code_CODE_DENIED, order.ErrAction},
	{pb.Code_CODE_DENIED, order.ErrGroup},
	{pb.Code_CODE_MISMATCH, order.ErrSegment},
}

// maxMessage is the most bytes of text a Fail carries.
const maxMessage = 256

// Error is a failure as the other party is told of it.
type Error struct {
	Code    pb.Code
	Message string
}

// Errorf makes an Error whose text the other party will read, so it must hold
// nothing private.
func Errorf(code pb.Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Error is the meaning of the code, and the message if there is one.
func (e *Error) Error() string {
	meaning := e.Unwrap().Error()
	switch {
	case e.Message == "":
		return meaning
	case strings.HasPrefix(e.Message, meaning): // a refusal by package order says it itself
		return e.Message
	default:
		return meaning + ": " + e.Message
	}
}

// Unwrap returns the error that the code stands for, so that errors.Is works
// on both sides of a stream alike.
func (e *Error) Unwrap() error {
	for _, row := range codes {
		if row.code == e.Code {
			return row.err
		}
	}
	return ErrInternal
}

// ToFail turns any error into what may be told of it. Only text that was meant
// for the other party goes along: that of an Error, of a refusal by package
// order, of a bad frame. An error that is not in the table becomes
// CODE_INTERNAL and says nothing more.
func ToFail(err error) *pb.Fail {
	var told *Error
	if errors.As(err, &told) {
		return &pb.Fail{Code: known(told.Code), Message: clean(told.Message)}
	}
	for _, row := range codes {
		if errors.Is(err, row.err) {
			return &pb.Fail{Code: row.code, Message: clean(public(err))}
		}
	}
	return &pb.Fail{Code: pb.Code_CODE_INTERNAL}
}

// FromFail turns what a node said into an error of type *Error. Codes this
// version does not know become CODE_INTERNAL.
func FromFail(f *pb.Fail) error {
	return &Error{Code: known(f.GetCode()), Message: clean(f.GetMessage())}
}

func known(code pb.Code) pb.Code {
	for _, row := range codes {
		if row.code == code {
			return code
		}
	}
	return pb.Code_CODE_INTERNAL
}

// public is the part of an error's text that was made for the other party.
func public(err error) string {
	var refusal *order.Refusal
	var frame *frameError
	switch {
	case errors.As(err, &refusal):
		return refusal.Error()
	case errors.As(err, &frame):
		return frame.detail
	default:
		return ""
	}
}

// clean makes text from, or for, a stranger short, printable and valid UTF-8.
func clean(s string) string {
	if len(s) > maxMessage {
		s = s[:maxMessage]
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}
