package badgerkv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The log's files are named by the number of their first record. Each begins
// with a header:
//
//	magic (8) ‖ version u32be ‖ store id (16) ‖ first seq u64be ‖ CRC-32C u32be
//
// and goes on with records, whose numbers follow each other without gaps:
//
//	magic (4) ‖ payload length u32be ‖ seq u64be ‖ CRC-32C u32be ‖ payload
//
// and perhaps with zeros, which are room for more. The record's CRC covers the
// store id, length, seq and payload.
const (
	logMagic      = "cairnlog"
	logVersion    = 1
	logHeader     = 8 + 4 + 16 + 8 + 4
	recordMagic   = "cRc1"
	recordHeader  = 4 + 4 + 8 + 4
	maxRecord     = 64 << 20 // payload bytes
	writeSet      = 1
	writeDelete   = 2
	firstSequence = 1
)

var (
	errRecord  = errors.New("damaged record")
	errVersion = errors.New("written by a newer version of this program")
)

// writes are what one record or one transaction changes, by key. A nil value
// deletes.
type writes map[string][]byte

// encodeLogHeader returns the header of a log file.
func encodeLogHeader(id storeID, first uint64) []byte {
	b := append(make([]byte, 0, logHeader), logMagic...)
	b = binary.BigEndian.AppendUint32(b, logVersion)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, first)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeLogHeader(b []byte) (id storeID, first uint64, err error) {
	if len(b) < logHeader || string(b[:8]) != logMagic {
		return id, 0, errors.New("it does not begin as a log file")
	}
	body := b[:logHeader-4]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(body):]) {
		return id, 0, errors.New("its header is damaged")
	}
	if v := binary.BigEndian.Uint32(body[8:]); v != logVersion {
		return id, 0, fmt.Errorf("%w, in format %d; this one knows format %d", errVersion, v, logVersion)
	}
	copy(id[:], body[12:])
	return id, binary.BigEndian.Uint64(body[28:]), nil
}

// appendRecord appends the record of w to b, which holds nothing else.
func appendRecord(b []byte, id storeID, seq uint64, w writes) []byte {
	b = append(b, recordMagic...)
	b = append(b, make([]byte, recordHeader-4)...)
	for key, value := range w {
		if value == nil {
			b = append(b, writeDelete)
			b = binary.AppendUvarint(b, uint64(len(key)))
			b = append(b, key...)
			continue
		}
		b = append(b, writeSet)
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
		b = binary.AppendUvarint(b, uint64(len(value)))
		b = append(b, value...)
	}
	binary.BigEndian.PutUint32(b[4:], uint32(len(b)-recordHeader))
	binary.BigEndian.PutUint64(b[8:], seq)
	binary.BigEndian.PutUint32(b[16:], recordSum(id, b))
	return b
}

// recordSum is the checksum of the record that b is.
func recordSum(id storeID, b []byte) uint32 {
	sum := crc32.Update(0, castagnoli, id[:])
	sum = crc32.Update(sum, castagnoli, b[4:16])
	return crc32.Update(sum, castagnoli, b[recordHeader:])
}

// cutRecord returns the number and payload of the record that b begins with,
// and what follows it.
func cutRecord(b []byte, id storeID) (seq uint64, payload, rest []byte, err error) {
	if len(b) < recordHeader || string(b[:4]) != recordMagic {
		return 0, nil, nil, errRecord
	}
	length := binary.BigEndian.Uint32(b[4:])
	if length > maxRecord || int(length) > len(b)-recordHeader {
		return 0, nil, nil, errRecord
	}
	record := b[:recordHeader+int(length)]
	if recordSum(id, record) != binary.BigEndian.Uint32(b[16:]) {
		return 0, nil, nil, errRecord
	}
	return binary.BigEndian.Uint64(b[8:]), record[recordHeader:], b[len(record):], nil
}

// findRecord returns b from the first whole record at or after b's beginning
// that is numbered at least min, or nil.
func findRecord(b []byte, id storeID, min uint64) []byte {
	for {
		i := bytes.Index(b, []byte(recordMagic))
		if i < 0 {
			return nil
		}
		b = b[i:]
		if seq, _, _, err := cutRecord(b, id); err == nil && seq >= min {
			return b
		}
		b = b[len(recordMagic):]
	}
}

// decodeWrites returns the writes of a record's payload. They share its
// memory.
func decodeWrites(payload []byte) (writes, error) {
	w := make(writes)
	for len(payload) > 0 {
		kind := payload[0]
		key, rest, ok := cutBytes(payload[1:])
		if !ok || len(key) == 0 {
			return nil, errRecord
		}
		switch kind {
		case writeDelete:
			w[string(key)] = nil
		case writeSet:
			var value []byte
			if value, rest, ok = cutBytes(rest); !ok {
				return nil, errRecord
			}
			w[string(key)] = value
		default:
			return nil, errRecord
		}
		payload = rest
	}
	return w, nil
}

// cutBytes cuts a byte string with its length before it. The string is never
// nil.
func cutBytes(b []byte) (s, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	b = b[size:]
	return b[:n:n], b[n:], true
}
