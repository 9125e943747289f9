package meta

import (
	"encoding/binary"
	"fmt"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
)

// The key layout. Numbers are big-endian; ^ marks bitwise inverted ones, so
// that the newest comes first. Values are in values.go.
//
//	'v'                                       format and owner of the store
//	'k' name                                  counter: the last number given out
//	'p' project id                            project
//	'P' project name                          project id
//	'b' project:4 bucket name                 bucket with its usage
//	'o' project:4 bucket:4 key 0x00 ^version:8 object
//	'l' list id:16                            list: extents of a long object
//	'x' list id:16 ^start:8                   page: extents from object offset start on
//	'u' upload id:16                          upload in progress; its list has the same id
//	'e' expires:8 upload id:16                when to look at an upload, at the latest
//	'n' window:4 project:4 nonce:16           result of a commit
//	's' segment id:16                         live or buried segment
//	'g' group:4 ^epoch:8                      signed group record
//	'h' group:4                               head of a group's journal
//	'j' group:4 seq:8                         journal entry
//	'm' group:4                               moments: when the journal was how long
//	'd' node id:32                            node
//	'a' node id:32                            standing of a node
//	'w' node id:32 number:8                   evidence against a node
//	'c' group:4 slot:1 node id:32             newest claim of a node on a slot
//	'q' group:4 seq:8 node id:32              report that a segment was encoded wrong
//	'f' group:4 slot:1                        slot: since when it has its holder, and a successor
//	't'                                       trouble
//
// An encrypted object key is a sequence of components, each a canonical
// uvarint of 1 or 2 bytes, never 0, and as many bytes. So the 0x00 behind it
// cannot be mistaken, an object sorts right before those below it, and a whole
// number of components is a prefix of exactly what lies below.
const (
	kindFormat      = 'v'
	kindCounter     = 'k'
	kindProject     = 'p'
	kindProjectName = 'P'
	kindBucket      = 'b'
	kindObject      = 'o'
	kindList        = 'l'
	kindPage        = 'x'
	kindUpload      = 'u'
	kindExpiry      = 'e'
	kindNonce       = 'n'
	kindSegment     = 's'
	kindGroup       = 'g'
	kindHead        = 'h'
	kindEntry       = 'j'
	kindMoments     = 'm'
	kindNode        = 'd'
	kindStanding    = 'a'
	kindEvidence    = 'w'
	kindClaim       = 'c'
	kindSeat        = 'f'
	kindReport      = 'q'
	kindTrouble     = 't'
)

// Counters.
const (
	counterProject = "project"
	counterBucket  = "bucket"
	counterGroup   = "group"
)

const (
	endOfKey   = 0x00
	afterKey   = 0x01 // less than or equal to the first byte of any component
	versionLen = 8
)

// bucketRef is a bucket by number.
type bucketRef struct {
	project ProjectNumber
	number  uint32
}

func u32(k []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(k, v) }
func u64(k []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(k, v) }

func formatKey() []byte              { return []byte{kindFormat} }
func troubleKey() []byte             { return []byte{kindTrouble} }
func counterKey(name string) []byte  { return append([]byte{kindCounter}, name...) }
func projectKey(id ProjectID) []byte { return append([]byte{kindProject}, id[:]...) }
func projectNameKey(name string) []byte {
	return append([]byte{kindProjectName}, name...)
}
func bucketsKey(p ProjectNumber) []byte { return u32([]byte{kindBucket}, uint32(p)) }
func bucketKey(p ProjectNumber, name string) []byte {
	return append(bucketsKey(p), name...)
}

// objectsKey is the prefix of all objects of a bucket.
func objectsKey(b bucketRef) []byte {
	return u32(u32(append(make([]byte, 0, 128), kindObject), uint32(b.project)), b.number)
}

// objectKey is the prefix of all versions of an object.
func objectKey(b bucketRef, key []byte) []byte {
	return append(append(objectsKey(b), key...), endOfKey)
}

func versionKey(b bucketRef, key []byte, v Version) []byte {
	return u64(objectKey(b, key), ^uint64(v))
}

// objectsKeyLen is the length of objectsKey.
const objectsKeyLen = 1 + 4 + 4

// parseVersionKey returns key and version of a versionKey of this bucket.
func parseVersionKey(k []byte) (key []byte, v Version, err error) {
	end := len(k) - versionLen - 1
	if end <= objectsKeyLen || k[end] != endOfKey {
		return nil, 0, fmt.Errorf("%w: object under key %x", ErrDamaged, k)
	}
	return k[objectsKeyLen:end], Version(^binary.BigEndian.Uint64(k[end+1:])), nil
}

func listKey(id UploadID) []byte  { return append([]byte{kindList}, id[:]...) }
func pagesKey(id UploadID) []byte { return append([]byte{kindPage}, id[:]...) }
func pageKey(id UploadID, start uint64) []byte {
	return u64(pagesKey(id), ^start)
}

func pageStart(k []byte) uint64 {
	return ^binary.BigEndian.Uint64(k[len(k)-8:])
}

func uploadKey(id UploadID) []byte { return append([]byte{kindUpload}, id[:]...) }
func expiryKey(unix int64, id UploadID) []byte {
	return append(u64([]byte{kindExpiry}, uint64(unix)), id[:]...)
}

func parseExpiryKey(k []byte) (unix int64, id UploadID, err error) {
	if len(k) != 1+8+len(id) {
		return 0, id, fmt.Errorf("%w: expiry under key %x", ErrDamaged, k)
	}
	copy(id[:], k[9:])
	return int64(binary.BigEndian.Uint64(k[1:])), id, nil
}

func nonceKey(window uint32, p ProjectNumber, nonce []byte) []byte {
	return append(u32(u32([]byte{kindNonce}, window), uint32(p)), nonce...)
}

func segmentKey(id order.SegmentID) []byte { return append([]byte{kindSegment}, id[:]...) }
func groupEpochsKey(id uint32) []byte      { return u32([]byte{kindGroup}, id) }
func groupKey(id uint32, epoch uint64) []byte {
	return u64(groupEpochsKey(id), ^epoch)
}
func headKey(id uint32) []byte              { return u32([]byte{kindHead}, id) }
func momentsKey(id uint32) []byte           { return u32([]byte{kindMoments}, id) }
func entryKey(id uint32, seq uint64) []byte { return u64(u32([]byte{kindEntry}, id), seq) }
func nodeKey(id ident.ID) []byte            { return append([]byte{kindNode}, id[:]...) }
func standingKey(id ident.ID) []byte        { return append([]byte{kindStanding}, id[:]...) }
func evidencesKey(id ident.ID) []byte       { return append([]byte{kindEvidence}, id[:]...) }
func evidenceKey(id ident.ID, number uint64) []byte {
	return u64(evidencesKey(id), number)
}

func claimKey(k ClaimKey) []byte {
	return append(append(u32([]byte{kindClaim}, k.Group), byte(k.Slot)), k.Node[:]...)
}

func seatKey(group uint32, slot int) []byte {
	return append(u32([]byte{kindSeat}, group), byte(slot))
}

func parseClaimKey(k []byte) (c ClaimKey, err error) {
	if len(k) != 1+4+1+len(c.Node) {
		return c, fmt.Errorf("%w: claim under key %x", ErrDamaged, k)
	}
	c.Group, c.Slot = binary.BigEndian.Uint32(k[1:]), int(k[5])
	if c.Node, err = ident.IDFromBytes(k[6:]); err != nil {
		return c, fmt.Errorf("%w: claim under key %x", ErrDamaged, k)
	}
	return c, nil
}

// componentEnd returns where the first component of key ends.
func componentEnd(key []byte) (int, error) {
	n, used := binary.Uvarint(key)
	switch {
	case used <= 0 || used > 2 || used == 2 && key[1] == 0:
		return 0, fmt.Errorf("%w: object key has a component of bad length", ErrInvalid)
	case n == 0:
		return 0, fmt.Errorf("%w: object key has an empty component", ErrInvalid)
	case n > uint64(len(key)-used):
		return 0, fmt.Errorf("%w: object key ends within a component", ErrInvalid)
	}
	return used + int(n), nil
}

// checkComponents checks that key is a sequence of whole components.
func checkComponents(key []byte) error {
	if len(key) > MaxKey {
		return fmt.Errorf("%w: object key of %d bytes, at most %d", ErrInvalid, len(key), MaxKey)
	}
	for len(key) > 0 {
		end, err := componentEnd(key)
		if err != nil {
			return err
		}
		key = key[end:]
	}
	return nil
}

// checkKey checks an encrypted object key.
func checkKey(key []byte) error {
	if len(key) == 0 {
		return fmt.Errorf("%w: object key is empty", ErrInvalid)
	}
	return checkComponents(key)
}
