package badgerkv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

// storeID tells the files of one store from those of any other.
type storeID [16]byte

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// anchor is the number of the last acknowledged record, kept apart from the
// log. It is written after the log's sync and not synced itself, so it never
// runs ahead of what is durable; it outlives the death of the process, and
// after a loss of power it may lag. Its two slots are written in turn.
type anchor struct {
	f    *os.File
	id   storeID
	slot int64
}

// Anchor slot: magic (8) ‖ store id (16) ‖ seq u64be ‖ CRC-32C u32be.
const (
	anchorMagic = "cairnanc"
	anchorSlot  = 8 + 16 + 8 + 4
	anchorEvery = 64 // bytes from one slot to the next
)

// readAnchor returns what the anchor of dir says. found is false when there
// is none that can be read.
func readAnchor(dir string) (id storeID, seq uint64, found bool, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "anchor"))
	if errors.Is(err, fs.ErrNotExist) {
		return id, 0, false, nil
	}
	if err != nil {
		return id, 0, false, fmt.Errorf("reading the anchor: %w", err)
	}
	for off := 0; off+anchorSlot <= len(b); off += anchorEvery {
		slotID, slotSeq, ok := parseAnchor(b[off : off+anchorSlot])
		if ok && (!found || slotSeq >= seq) {
			id, seq, found = slotID, slotSeq, true
		}
	}
	return id, seq, found, nil
}

func parseAnchor(b []byte) (id storeID, seq uint64, ok bool) {
	body := b[:anchorSlot-4]
	if string(body[:8]) != anchorMagic || crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(body):]) {
		return id, 0, false
	}
	copy(id[:], body[8:])
	return id, binary.BigEndian.Uint64(body[24:]), true
}

// openAnchor opens the anchor of dir for writing, making it if need be.
func openAnchor(dir string, id storeID, seq uint64) (*anchor, error) {
	f, err := os.OpenFile(filepath.Join(dir, "anchor"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the anchor: %w", err)
	}
	a := &anchor{f: f, id: id}
	for range 2 { // both slots, so that nothing older is left
		if err := a.set(seq); err != nil {
			f.Close()
			return nil, err
		}
	}
	if err := a.sync(); err != nil {
		f.Close()
		return nil, err
	}
	return a, nil
}

func (a *anchor) set(seq uint64) error {
	b := make([]byte, 0, anchorSlot)
	b = append(b, anchorMagic...)
	b = append(b, a.id[:]...)
	b = binary.BigEndian.AppendUint64(b, seq)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if _, err := a.f.WriteAt(b, a.slot*anchorEvery); err != nil {
		return fmt.Errorf("writing the anchor: %w", err)
	}
	a.slot = 1 - a.slot
	return nil
}

func (a *anchor) sync() error {
	if err := a.f.Sync(); err != nil {
		return fmt.Errorf("syncing the anchor: %w", err)
	}
	return nil
}
