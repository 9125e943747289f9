package shardstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
)

// The format of volumes, byte for byte as FORMAT.md says. All integers are
// big-endian.
const (
	formatVersion = 1
	pageSize      = 4 << 10 // records begin on pages; holes are whole pages

	volumeHeaderSize = 96 // at the beginning of the first page
	recordHeaderSize = 64
	footerFixedSize  = 96 // a footer without its hashes and its checksum
	checksumSize     = 16

	maxSlots = 255
)

var (
	volumeMagic = [8]byte([]byte("CAIRNVOL"))
	recordMagic = [8]byte([]byte("CAIRNREC"))
	footerMagic = [8]byte([]byte("CAIRNEND"))
)

// errFormat is why bytes are not what they were read for.
var errFormat = errors.New("not in the format")

// An identity tells data directories apart. Its secret goes into every
// checksum, so that no shard can hold bytes that pass for a record.
type identity struct {
	id     [16]byte
	secret [32]byte
}

// checksum binds the bytes of a record's header or footer to their place.
func (d identity) checksum(volume uint32, offset int64, body []byte) [checksumSize]byte {
	h := sha256.New()
	h.Write(d.secret[:])
	var place [12]byte
	binary.BigEndian.PutUint32(place[:], volume)
	binary.BigEndian.PutUint64(place[4:], uint64(offset))
	h.Write(place[:])
	h.Write(body)
	return [checksumSize]byte(h.Sum(nil))
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// A place is where a record lies and how much room it has.
type place struct {
	volume   uint32
	offset   int64 // whole pages
	reserved int64 // shard bytes there is room for
	slots    int   // shard roots there is room for
}

func (p place) dataOffset() int64 { return p.offset + recordHeaderSize }

func (p place) footerOffset() int64 { return p.offset + roundUp(recordHeaderSize+p.reserved, 8) }

// length is how many bytes the record takes up in the volume, whole pages.
func (p place) length() int64 {
	end := p.footerOffset() + footerSize(p.reserved, p.slots) - p.offset
	return roundUp(end, pageSize)
}

// onDisk is how many bytes the record takes up on disk when size of the
// reserved bytes were used. The pages between data and footer are a hole.
func (p place) onDisk(size int64) int64 {
	dataEnd := roundUp(recordHeaderSize+size, pageSize)
	footer := (p.footerOffset() - p.offset) / pageSize * pageSize
	return dataEnd + p.length() - max(dataEnd, footer)
}

func subtreeCount(size int64) int {
	return int((size + merkle.SubtreeSize - 1) / merkle.SubtreeSize)
}

func footerSize(shardSize int64, slots int) int64 {
	return footerFixedSize + int64(slots+subtreeCount(shardSize))*merkle.HashSize + checksumSize
}

// encodeVolumeHeader makes the beginning of a volume's first page.
func encodeVolumeHeader(d identity, volume uint32) []byte {
	b := make([]byte, 0, volumeHeaderSize)
	b = append(b, volumeMagic[:]...)
	b = binary.BigEndian.AppendUint32(b, formatVersion)
	b = binary.BigEndian.AppendUint32(b, volume)
	b = append(b, d.id[:]...)
	b = append(b, d.secret[:]...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// decodeVolumeHeader reads what encodeVolumeHeader made.
func decodeVolumeHeader(b []byte) (d identity, volume uint32, err error) {
	if len(b) < volumeHeaderSize || [8]byte(b) != volumeMagic {
		return d, 0, fmt.Errorf("volume header: %w", errFormat)
	}
	body := b[:volumeHeaderSize-sha256.Size]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], b[len(body):volumeHeaderSize]) {
		return d, 0, fmt.Errorf("volume header: %w: checksum", errFormat)
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != formatVersion {
		return d, 0, fmt.Errorf("volume header: %w: version %d is newer than this program", errFormat, v)
	}
	copy(d.id[:], b[16:])
	copy(d.secret[:], b[32:])
	return d, binary.BigEndian.Uint32(b[12:]), nil
}

// encodeRecordHeader makes the header of the record at p.
func encodeRecordHeader(d identity, p place, key Key) []byte {
	b := make([]byte, 0, recordHeaderSize)
	b = append(b, recordMagic[:]...)
	b = binary.BigEndian.AppendUint32(b, formatVersion)
	b = binary.BigEndian.AppendUint32(b, key.Group)
	b = append(b, key.Segment[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(p.reserved))
	b = binary.BigEndian.AppendUint64(b, uint64(p.slots))
	sum := d.checksum(p.volume, p.offset, b)
	return append(b, sum[:]...)
}

// decodeRecordHeader reads the header of the record at offset in volume.
func decodeRecordHeader(d identity, volume uint32, offset int64, b []byte) (place, Key, error) {
	if len(b) < recordHeaderSize || [8]byte(b) != recordMagic {
		return place{}, Key{}, fmt.Errorf("record header: %w", errFormat)
	}
	body := b[:recordHeaderSize-checksumSize]
	if d.checksum(volume, offset, body) != [checksumSize]byte(b[len(body):]) {
		return place{}, Key{}, fmt.Errorf("record header: %w: checksum", errFormat)
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != formatVersion {
		return place{}, Key{}, fmt.Errorf("record header: %w: version %d is newer than this program", errFormat, v)
	}
	key := Key{Group: binary.BigEndian.Uint32(b[12:]), Segment: order.SegmentID(b[16:32])}
	reserved, slots := binary.BigEndian.Uint64(b[32:]), binary.BigEndian.Uint64(b[40:])
	if reserved > erasure.MaxSegment || slots > maxSlots {
		return place{}, Key{}, fmt.Errorf("record header: %w: room for %d bytes, %d slots", errFormat, reserved, slots)
	}
	return place{volume: volume, offset: offset, reserved: int64(reserved), slots: int(slots)}, key, nil
}

// encodeFooter makes the footer of the record at p.
func encodeFooter(d identity, p place, m *Meta, subtrees []merkle.Hash) []byte {
	b := make([]byte, 0, footerSize(m.Layout.ShardSize(), m.Layout.Total))
	b = append(b, footerMagic[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(cap(b)))
	b = binary.BigEndian.AppendUint32(b, m.Group)
	b = append(b, m.Segment[:]...)
	b = append(b, byte(m.Slot), byte(m.Layout.Required), byte(m.Layout.Total), 0, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Layout.Size))
	b = binary.BigEndian.AppendUint64(b, uint64(m.Created.Unix()))
	b = append(b, m.Root[:]...)
	b = append(b, make([]byte, footerFixedSize-len(b))...)
	for i := range m.ShardRoots {
		b = append(b, m.ShardRoots[i][:]...)
	}
	for i := range subtrees {
		b = append(b, subtrees[i][:]...)
	}
	sum := d.checksum(p.volume, p.footerOffset(), b)
	return append(b, sum[:]...)
}

// decodeFooter reads the footer of the record at p from b, which begins with
// it and may be longer.
func decodeFooter(d identity, p place, b []byte) (*Meta, []merkle.Hash, error) {
	if len(b) < footerFixedSize+checksumSize || [8]byte(b) != footerMagic {
		return nil, nil, fmt.Errorf("record footer: %w", errFormat)
	}
	size := int(binary.BigEndian.Uint32(b[8:]))
	if size < footerFixedSize+checksumSize || size > len(b) {
		return nil, nil, fmt.Errorf("record footer: %w: length %d", errFormat, size)
	}
	body := b[:size-checksumSize]
	if d.checksum(p.volume, p.footerOffset(), body) != [checksumSize]byte(b[len(body):]) {
		return nil, nil, fmt.Errorf("record footer: %w: checksum", errFormat)
	}
	m := &Meta{
		Key:    Key{Group: binary.BigEndian.Uint32(b[12:]), Segment: order.SegmentID(b[16:32])},
		Slot:   int(b[32]),
		Layout: erasure.Layout{Required: int(b[33]), Total: int(b[34]), Size: int64(binary.BigEndian.Uint64(b[40:]))},
		Root:   merkle.Hash(b[56:88]),
	}
	m.Created = time.Unix(int64(binary.BigEndian.Uint64(b[48:])), 0)
	if err := m.Layout.Validate(); err != nil {
		return nil, nil, fmt.Errorf("record footer: %w: %w", errFormat, err)
	}
	if m.Layout.ShardSize() > p.reserved || int64(size) != footerSize(m.Layout.ShardSize(), m.Layout.Total) {
		return nil, nil, fmt.Errorf("record footer: %w: shard of %d bytes", errFormat, m.Layout.ShardSize())
	}
	hashes, err := merkle.SplitHashes(body[footerFixedSize:])
	if err != nil {
		return nil, nil, fmt.Errorf("record footer: %w", err)
	}
	m.ShardRoots = hashes[:m.Layout.Total:m.Layout.Total]
	return m, hashes[m.Layout.Total:], nil
}

// check returns ErrMismatch unless a shard with these roots and size is the
// one that m describes.
func (m *Meta) check(root merkle.Hash, size int64) error {
	if err := m.Layout.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	if m.Slot < 0 || m.Slot >= m.Layout.Total {
		return fmt.Errorf("%w: slot %d of %d", ErrMismatch, m.Slot, m.Layout.Total)
	}
	if want := m.Layout.ShardSize(); size != want {
		return fmt.Errorf("%w: it has %d bytes instead of %d", ErrMismatch, size, want)
	}
	if err := merkle.VerifyShardRoots(m.Root, m.Layout, m.ShardRoots); err != nil {
		return fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	if root != m.ShardRoots[m.Slot] {
		return fmt.Errorf("%w: its bytes hash to another root", ErrMismatch)
	}
	return nil
}
