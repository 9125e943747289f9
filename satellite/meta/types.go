package meta

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
)

// Limits of what one request or record may hold.
const (
	MaxKey            = 4 << 10    // bytes of an encrypted object key
	MaxInline         = 4<<10 + 16 // bytes of an inline object's ciphertext
	MaxSealedMetadata = 8 << 10    // bytes
	MaxExtents        = 1 << 16    // of one object: 4 TiB in full segments
	MaxAdd            = 128        // segments or extents in one request
	MaxList           = 1000       // items of one page
	MaxDelete         = 1000       // keys in one request
	MaxCommit         = 1000       // objects in one request
	MaxProjectName    = 64         // bytes
)

// ProjectID names a project in API keys.
type ProjectID [16]byte

func (id ProjectID) String() string { return hex.EncodeToString(id[:]) }

// ProjectNumber names a project within one satellite. It is what the calls
// below take; look the project up once per request to get it.
type ProjectNumber uint32

// Project is a customer's space of buckets.
type Project struct {
	ID      ProjectID
	Number  ProjectNumber
	Name    string
	Created time.Time
	// Secret is the root key of the project's API keys (macaroons).
	Secret [32]byte
	// Salt and KeyCheck belong to the passphrase that the first access grant
	// was made with; the passphrase itself never comes here.
	Salt     [16]byte
	KeyCheck [16]byte
}

// ProjectUsage counts what the objects of a project hold.
type ProjectUsage struct {
	Project
	Usage
}

// Usage counts objects.
type Usage struct {
	Objects uint64
	Bytes   uint64 // plaintext
}

// Bucket is a named set of objects.
type Bucket struct {
	Name    string
	Created time.Time
}

// Version tells the successive contents of an object key apart. Later ones are
// greater: it is a time in microseconds above 12 random bits.
type Version uint64

// Bytes returns the 8 bytes that stand for v on the wire.
func (v Version) Bytes() []byte { return binary.BigEndian.AppendUint64(nil, uint64(v)) }

// Created returns when the version was made, to the microsecond.
func (v Version) Created() time.Time { return time.UnixMicro(int64(v >> versionRandomBits)).UTC() }

// ParseVersion undoes Bytes; no bytes are version 0, which stands for the
// newest. The error is ErrInvalid.
func ParseVersion(b []byte) (Version, error) {
	switch len(b) {
	case 0:
		return 0, nil
	case 8:
		return Version(binary.BigEndian.Uint64(b)), nil
	}
	return 0, fmt.Errorf("%w: an object version has 8 bytes, not %d", ErrInvalid, len(b))
}

// Object is an object as the satellite sees it: sealed, under a sealed name.
type Object struct {
	Key            []byte
	Version        Version
	Size           uint64 // plaintext bytes
	Segments       int    // number of extents
	SealedMetadata []byte
	Inline         []byte // ciphertext of an object without extents
}

// Extent is a run of an object's plaintext within a segment, in bytes.
type Extent struct {
	Segment order.SegmentID
	Offset  uint64
	Length  uint64
}

// NewSegment is a stored segment whose receipts the caller has verified.
type NewSegment struct {
	ID    order.SegmentID
	Group uint32
	// Epoch is the group's epoch that the receipts were judged by and whose
	// slots Held speaks of.
	Epoch uint64
	Size  int64 // ciphertext bytes
	Root  merkle.Hash
	Held  []byte // bit i (LSB first): slot i gave a receipt
}

// Place says where a live segment is.
type Place struct {
	ID    order.SegmentID
	Group uint32
	Size  int64
	Root  merkle.Hash
}

// Entry is one line of a group's journal. Root, Size and Held are set for live
// entries only.
type Entry struct {
	Seq     uint64
	Kind    pb.EntryKind
	Segment order.SegmentID
	Root    merkle.Hash
	Size    int64
	Held    []byte
}

// Group is a placement group at one epoch. Record is the signed record,
// exactly as it is handed out.
type Group struct {
	ID     uint32
	Epoch  uint64
	Record *pb.Signed
}

// GroupState is a group with the state of its journal.
type GroupState struct {
	Group
	Journal
}

// Journal sums up a group's journal.
type Journal struct {
	Head     uint64 // seq of the newest entry; 0 when there is none
	Segments uint64 // live
	Bytes    uint64 // ciphertext of live segments
	// Base is up to where the journal has been trimmed: of the entries up to
	// there only those are left that count. Whoever has followed it to Base or
	// further has missed nothing.
	Base uint64
}

// JournalPage is a stretch of a group's journal.
type JournalPage struct {
	Entries []Entry // ascending
	// Through is up to where the page covers the journal, from behind the
	// entry that it was asked for after.
	Through uint64
	// Sparse: only those entries are there that count. A page is sparse when
	// it begins below Base, and goes no further than that.
	Sparse bool
	Journal
}

// Node is what the satellite keeps of a storage node.
type Node struct {
	ID        ident.ID
	Addresses []string // multiaddrs without /p2p
	Capacity  uint64   // bytes, as are Used and Free
	Used      uint64
	Free      uint64
	Version   string
	Operator  string
	FirstSeen time.Time // to the second, as LastSeen
	LastSeen  time.Time
	Remote    netip.Addr // where it last came from; zero: not known
}

// UploadID names an upload in progress.
type UploadID [16]byte

func (id UploadID) String() string { return hex.EncodeToString(id[:]) }

// ParseUploadID takes the 16 bytes of the wire; none are the zero id, which
// stands for no upload. The error is ErrInvalid.
func ParseUploadID(b []byte) (id UploadID, err error) {
	if len(b) != 0 && len(b) != len(id) {
		return id, fmt.Errorf("%w: an upload id has 16 bytes, not %d", ErrInvalid, len(b))
	}
	copy(id[:], b)
	return id, nil
}

// Upload is an upload in progress.
type Upload struct {
	ID       UploadID
	Expires  time.Time // to the second; AddSegments moves it on
	Segments uint64    // added so far
}

// Stats counts what a satellite keeps.
type Stats struct {
	Projects uint64
	Objects  uint64
	Bytes    uint64 // plaintext of all objects
	Segments uint64 // live
	Stored   uint64 // ciphertext bytes of live segments
	Groups   uint64
	Uploads  uint64 // in progress
	Entries  uint64 // of all journals
}

// Trouble is a state in which the satellite refuses writes until its operator
// has decided: nodes proved that journals were once longer than they are.
type Trouble struct {
	Text  string
	Since time.Time
	// Heads holds by group the length of its journal that was proved.
	Heads map[uint32]uint64
}
