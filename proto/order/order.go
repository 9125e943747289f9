// Package order holds the signed records by which the parties of a network
// prove to each other what was allowed and what was done: group records, order
// limits, receipts, journal heads, claims, audit reports and departures.
//
// A record travels as pb.Signed, whose body is kept exactly as it was signed.
// Sign makes one, Open checks the signature before it reads a byte of the
// body, and Check holds the opened record against the use it is put to. Every
// refusal wraps one of this package's errors, so that the caller can tell a
// forged record from an expired, foreign or stale one.
package order

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cairnstorage/cairn/proto/pb"
)

// What can be wrong with a record. Errors returned by this package wrap
// exactly one of them.
var (
	ErrMalformed = errors.New("record is malformed")
	ErrSignature = errors.New("signature is wrong")
	ErrExpired   = errors.New("record is outside its time")
	ErrPeer      = errors.New("record is for another peer")
	ErrAction    = errors.New("record is for another action")
	ErrGroup     = errors.New("record is for another group")
	ErrEpoch     = errors.New("record is for another epoch of the group")
	ErrAmount    = errors.New("order limit is used up")
	ErrSegment   = errors.New("record is for another segment")
)

// Refusal is the type of every error of this package. Reason is one of the
// errors above and Detail says more; neither holds anything that the other
// party must not see, so a refusal may be sent to it.
type Refusal struct {
	Reason error
	Detail string
}

// Error joins the reason and the detail.
func (r *Refusal) Error() string { return r.Reason.Error() + ": " + r.Detail }

// Unwrap returns the reason.
func (r *Refusal) Unwrap() error { return r.Reason }

func refuse(reason error, format string, args ...any) error {
	return &Refusal{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

const (
	// MaxBody is the most bytes the body of a record may have: room for a
	// group record of 255 slots.
	MaxBody = 16 << 10

	// Skew is by how much a record may seem to come from the future, since
	// clocks differ. An expiry has no such tolerance.
	Skew = 2 * time.Minute

	// LimitLife is how long a satellite's order limits last.
	LimitLife = time.Hour

	// MaxLimitLife is the longest life an order limit may claim. It bounds
	// how long a node remembers what was used of it.
	MaxLimitLife = 24 * time.Hour
)

// SegmentID names a segment. The uplink that makes the segment draws it.
type SegmentID [16]byte

// NewSegmentID draws a segment id from random.
func NewSegmentID(random io.Reader) (SegmentID, error) {
	var id SegmentID
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return SegmentID{}, fmt.Errorf("draw a segment id: %w", err)
	}
	return id, nil
}

// SegmentIDFromBytes takes an id of 16 bytes as it stands in a message. All
// zeros are refused, since that is what a missing id looks like.
func SegmentIDFromBytes(b []byte) (SegmentID, error) {
	var id SegmentID
	if len(b) != len(id) {
		return SegmentID{}, refuse(ErrMalformed, "segment id has %d bytes instead of %d", len(b), len(id))
	}
	copy(id[:], b)
	if id.IsZero() {
		return SegmentID{}, refuse(ErrMalformed, "segment id is all zeros")
	}
	return id, nil
}

// ParseSegmentID reads what String writes.
func ParseSegmentID(s string) (SegmentID, error) {
	b, err := hex.DecodeString(s)
	if err != nil {
		return SegmentID{}, refuse(ErrMalformed, "segment id %.40q is not hexadecimal", s)
	}
	return SegmentIDFromBytes(b)
}

// String is 32 hexadecimal digits.
func (id SegmentID) String() string { return hex.EncodeToString(id[:]) }

// IsZero tells an id that was never set.
func (id SegmentID) IsZero() bool { return id == SegmentID{} }

// Serial tells order limits apart. A node counts bytes by it.
type Serial [16]byte

// NewSerial draws a serial from random.
func NewSerial(random io.Reader) (Serial, error) {
	var s Serial
	if _, err := io.ReadFull(random, s[:]); err != nil {
		return Serial{}, fmt.Errorf("draw a serial: %w", err)
	}
	return s, nil
}

// String is 32 hexadecimal digits.
func (s Serial) String() string { return hex.EncodeToString(s[:]) }

// Action is what an order limit permits.
type Action int32

// The actions there are.
const (
	ActionPut = Action(pb.Action_ACTION_PUT)
	ActionGet = Action(pb.Action_ACTION_GET)
)

// String is "put", "get" or a number.
func (a Action) String() string {
	switch a {
	case ActionPut:
		return "put"
	case ActionGet:
		return "get"
	default:
		return fmt.Sprintf("action %d", int32(a))
	}
}
