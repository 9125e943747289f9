// Package wire is the framing of shard streams: a type, a length and a payload
// at a time, over any byte stream.
//
// Control frames carry one protobuf message of shard.proto, data frames carry
// shard bytes as they are. Every length is held against its bound before
// anything is allocated or read for it, and nothing is read beyond the frame
// that was asked for, so payload goes straight from the stream to the
// caller's buffer.
package wire

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/pb"
)

const (
	// HeaderSize is the bytes before a payload: a type and a big-endian
	// length of 32 bits.
	HeaderSize = 5

	// MaxControl is the most payload bytes of a control frame.
	MaxControl = 64 << 10

	// MaxData is the most payload bytes of a data frame.
	MaxData = 256 << 10

	// MaxGet is the most bytes one Get may ask for.
	MaxGet = 16 << 20

	// MaxPipelined is the most requests of a get stream that may wait for
	// their answers.
	MaxPipelined = 64

	// MaxInventory is the most shards in one page of an inventory.
	MaxInventory = 500

	// Protocol names shard streams to the transport, AuditProtocol audit
	// streams.
	Protocol      = "/cairn/shard/1"
	AuditProtocol = "/cairn/audit/1"
)

// ErrFrame says that what arrived is not a frame, is cut off, or has no place
// there. The stream cannot go on after it.
var ErrFrame = errors.New("bad frame")

// frameError is an ErrFrame whose text may be shown to the other party.
type frameError struct{ detail string }

func (e *frameError) Error() string { return ErrFrame.Error() + ": " + e.detail }
func (e *frameError) Unwrap() error { return ErrFrame }

func badFrame(format string, args ...any) error {
	return &frameError{detail: fmt.Sprintf(format, args...)}
}

// Type says what a frame carries.
type Type uint8

// Frame types. Those below 64 are sent by whoever asks a node for something,
// those above by nodes; data goes both ways.
const (
	TypeOpen      Type = 1
	TypePutBegin  Type = 2
	TypeData      Type = 3
	TypePutEnd    Type = 4
	TypePutCancel Type = 5
	TypeGet       Type = 6
	TypeProve     Type = 7
	TypeRoots     Type = 8
	TypeAudit     Type = 9
	TypeInventory Type = 10

	TypePutDone       Type = 65
	TypeProof         Type = 66
	TypeFail          Type = 67
	TypeSegmentRoots  Type = 68
	TypeAuditAnswer   Type = 69
	TypeAuditDone     Type = 70
	TypeInventoryPage Type = 73 // not 71 or 72, with which requests of HTTP begin
)

// String is the name of the frame's message.
func (t Type) String() string {
	switch t {
	case TypeOpen:
		return "Open"
	case TypePutBegin:
		return "PutBegin"
	case TypeData:
		return "Data"
	case TypePutEnd:
		return "PutEnd"
	case TypePutCancel:
		return "PutCancel"
	case TypeGet:
		return "Get"
	case TypeProve:
		return "Prove"
	case TypeRoots:
		return "Roots"
	case TypeAudit:
		return "Audit"
	case TypeInventory:
		return "Inventory"
	case TypePutDone:
		return "PutDone"
	case TypeProof:
		return "Proof"
	case TypeFail:
		return "Fail"
	case TypeSegmentRoots:
		return "SegmentRoots"
	case TypeAuditAnswer:
		return "AuditAnswer"
	case TypeAuditDone:
		return "AuditDone"
	case TypeInventoryPage:
		return "InventoryPage"
	default:
		return fmt.Sprintf("type %d", uint8(t))
	}
}

// typeOf is the frame type that carries m, 0 if none does.
func typeOf(m proto.Message) Type {
	switch m.(type) {
	case *pb.Open:
		return TypeOpen
	case *pb.PutBegin:
		return TypePutBegin
	case *pb.PutEnd:
		return TypePutEnd
	case *pb.PutCancel:
		return TypePutCancel
	case *pb.Get:
		return TypeGet
	case *pb.Prove:
		return TypeProve
	case *pb.PutDone:
		return TypePutDone
	case *pb.Proof:
		return TypeProof
	case *pb.Fail:
		return TypeFail
	case *pb.Roots:
		return TypeRoots
	case *pb.Audit:
		return TypeAudit
	case *pb.Inventory:
		return TypeInventory
	case *pb.SegmentRoots:
		return TypeSegmentRoots
	case *pb.AuditAnswer:
		return TypeAuditAnswer
	case *pb.AuditDone:
		return TypeAuditDone
	case *pb.InventoryPage:
		return TypeInventoryPage
	default:
		return 0
	}
}

// Header is what stands before a payload.
type Header struct {
	Type   Type
	Length int // bytes of payload
}

// check refuses unknown types and lengths out of bounds.
func (h Header) check() error {
	switch h.Type {
	case TypeData:
		if h.Length == 0 {
			return badFrame("Data is empty")
		}
		if h.Length > MaxData {
			return badFrame("Data has %d bytes, more than %d", h.Length, MaxData)
		}
	case TypeOpen, TypePutBegin, TypePutEnd, TypePutCancel, TypeGet, TypeProve, TypeRoots, TypeAudit, TypeInventory,
		TypePutDone, TypeProof, TypeFail, TypeSegmentRoots, TypeAuditAnswer, TypeAuditDone, TypeInventoryPage:
		if h.Length > MaxControl {
			return badFrame("%s has %d bytes, more than %d", h.Type, h.Length, MaxControl)
		}
	default:
		return badFrame("%s is unknown", h.Type)
	}
	return nil
}

// Unexpected is the error for a frame that has no place where it stands, for
// example "Data before PutBegin". It wraps ErrFrame.
func Unexpected(h Header, where string) error {
	return badFrame("%s %s", h.Type, where)
}
