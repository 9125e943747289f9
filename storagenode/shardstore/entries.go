package shardstore

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/dgraph-io/badger/v4"
)

// The keys and values of an index, as FORMAT.md says. All integers are
// big-endian.

// The first byte of a key says what it is for.
const (
	keyIdentity   = 'i' // → id of the data directory, version
	keyShard      = 's' // group, segment → entry
	keyStaged     = 'e' // created, group, segment → nothing: the staged shards by age
	keyMissing    = 'm' // group, segment → mark
	keyPunch      = 'p' // volume, page → pages: deleted, maybe not yet punched
	keyCursor     = 'j' // group → sequence number
	keyCheckpoint = 'c' // → volume, page
)

const (
	// indexVersion is that of keys and values. An index of another has to be
	// made again: version 1 did not know the numbers of live shards.
	indexVersion = 2

	entrySize = 80
	markSize  = 48

	stateStaged = 0
	stateLive   = 1
)

// An entry is what the index says of a shard.
type entry struct {
	Info
	place
}

// A mark stands for a live journal entry without its shard.
type mark struct {
	seq  uint64
	size int64
	root merkle.Hash
}

// setEntry writes the entry of a shard. A live one has a number.
func setEntry(txn *badger.Txn, e entry) error {
	if e.Live != (e.Seq != 0) {
		return fmt.Errorf("entry of shard %s: %w: live is %v, the number %d", e.Segment, errFormat, e.Live, e.Seq)
	}
	if err := txn.Set(shardKey(e.Key), e.encode()); err != nil || e.Live {
		return err
	}
	return txn.Set(stagedKey(e.Created, e.Key), nil)
}

// confirmEntry makes an entry, which has the number already, a live one.
func confirmEntry(txn *badger.Txn, e entry, inBadger bool) error {
	e.Live = true
	if inBadger {
		if err := txn.Delete(stagedKey(e.Created, e.Key)); err != nil {
			return err
		}
	}
	return setEntry(txn, e)
}

// deleteEntry takes an entry out, and notes that its place is to be punched.
func deleteEntry(txn *badger.Txn, e entry) error {
	if !e.Live {
		if err := txn.Delete(stagedKey(e.Created, e.Key)); err != nil {
			return err
		}
	}
	if err := txn.Delete(shardKey(e.Key)); err != nil {
		return err
	}
	pages := binary.BigEndian.AppendUint32(nil, uint32(e.length()/pageSize))
	return txn.Set(punchKey(e.volume, e.offset), pages)
}

func shardKey(k Key) []byte   { return appendKey(append(make([]byte, 0, 21), keyShard), k) }
func missingKey(k Key) []byte { return appendKey(append(make([]byte, 0, 21), keyMissing), k) }

func appendKey(b []byte, k Key) []byte {
	b = binary.BigEndian.AppendUint32(b, k.Group)
	return append(b, k.Segment[:]...)
}

func decodeKey(b []byte) (Key, error) {
	if len(b) != 20 {
		return Key{}, fmt.Errorf("key of %d bytes: %w", len(b), errFormat)
	}
	return Key{Group: binary.BigEndian.Uint32(b), Segment: order.SegmentID(b[4:])}, nil
}

func stagedKey(created time.Time, k Key) []byte {
	b := binary.BigEndian.AppendUint64([]byte{keyStaged}, uint64(created.Unix()))
	return appendKey(b, k)
}

func cursorKey(group uint32) []byte { return groupKey(keyCursor, group) }

// groupKey is what all keys of a kind begin with that are of one group.
func groupKey(kind byte, group uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{kind}, group)
}

// decodeGroup is the group of a key of any kind that has one.
func decodeGroup(raw []byte) (uint32, error) {
	if len(raw) < 5 {
		return 0, fmt.Errorf("key of %d bytes: %w", len(raw), errFormat)
	}
	return binary.BigEndian.Uint32(raw[1:]), nil
}

func punchKey(volume uint32, offset int64) []byte {
	return appendPlace([]byte{keyPunch}, volume, offset)
}

func appendPlace(b []byte, volume uint32, offset int64) []byte {
	b = binary.BigEndian.AppendUint32(b, volume)
	return binary.BigEndian.AppendUint32(b, uint32(offset/pageSize))
}

func decodePlace(b []byte) (volume uint32, offset int64, err error) {
	if len(b) != 8 {
		return 0, 0, fmt.Errorf("place of %d bytes: %w", len(b), errFormat)
	}
	return binary.BigEndian.Uint32(b), int64(binary.BigEndian.Uint32(b[4:])) * pageSize, nil
}

func (e *entry) encode() []byte {
	state := byte(stateStaged)
	if e.Live {
		state = stateLive
	}
	b := make([]byte, 0, entrySize)
	b = append(b, indexVersion, state, byte(e.Slot), byte(e.Layout.Required), byte(e.Layout.Total), byte(e.slots), 0, 0)
	b = appendPlace(b, e.volume, e.offset)
	b = binary.BigEndian.AppendUint64(b, uint64(e.reserved))
	b = binary.BigEndian.AppendUint64(b, uint64(e.Layout.Size))
	b = binary.BigEndian.AppendUint64(b, uint64(e.Created.Unix()))
	b = append(b, e.Root[:]...)
	return binary.BigEndian.AppendUint64(b, e.Seq)
}

// read decodes a whole key and its value.
func (e *entry) read(raw, value []byte) error {
	key, err := decodeKey(raw[1:])
	if err != nil {
		return err
	}
	return e.decode(key, value)
}

func (e *entry) decode(key Key, b []byte) error {
	if len(b) != entrySize || b[0] != indexVersion || b[1] > stateLive {
		return fmt.Errorf("entry of shard %s: %w", key.Segment, errFormat)
	}
	volume, offset, err := decodePlace(b[8:16])
	if err != nil {
		return err
	}
	*e = entry{
		Info: Info{
			Key:     key,
			Slot:    int(b[2]),
			Layout:  erasure.Layout{Required: int(b[3]), Total: int(b[4]), Size: int64(binary.BigEndian.Uint64(b[24:]))},
			Root:    merkle.Hash(b[40:]),
			Created: time.Unix(int64(binary.BigEndian.Uint64(b[32:])), 0),
			Live:    b[1] == stateLive,
			Seq:     binary.BigEndian.Uint64(b[72:]),
		},
		place: place{volume: volume, offset: offset, reserved: int64(binary.BigEndian.Uint64(b[16:])), slots: int(b[5])},
	}
	if e.Live != (e.Seq != 0) {
		return fmt.Errorf("entry of shard %s: %w: live is %v, the number %d", key.Segment, errFormat, e.Live, e.Seq)
	}
	return e.Layout.Validate()
}

func (m *mark) encode() []byte {
	b := make([]byte, 0, markSize)
	b = binary.BigEndian.AppendUint64(b, m.seq)
	b = binary.BigEndian.AppendUint64(b, uint64(m.size))
	return append(b, m.root[:]...)
}

func (m *mark) decode(b []byte) error {
	if len(b) != markSize || binary.BigEndian.Uint64(b) == 0 {
		return fmt.Errorf("mark of %d bytes: %w", len(b), errFormat)
	}
	m.seq, m.size = binary.BigEndian.Uint64(b), int64(binary.BigEndian.Uint64(b[8:]))
	m.root = merkle.Hash(b[16:])
	return nil
}
