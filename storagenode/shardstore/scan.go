package shardstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cairnstorage/cairn/proto/merkle"
)

// A record is what a scan finds at one place of a volume.
type record struct {
	place
	key      Key
	meta     *Meta // nil: there is no sound footer
	subtrees []merkle.Hash
	why      error // why there is none
}

func (r *record) entry() entry {
	return entry{
		Info:  Info{Key: r.key, Slot: r.meta.Slot, Layout: r.meta.Layout, Root: r.meta.Root, Created: r.meta.Created},
		place: r.place,
	}
}

// scanVolume walks over the records of a volume from an offset on, skipping
// holes. Bytes that are no record go to junk, page by page merged; what looks
// like a record within a shard is not one, as no shard knows the secret.
func scanVolume(ctx context.Context, f *os.File, d identity, volume uint32, from int64,
	found func(*record) error, junk func(offset, length int64) error) error {

	st, err := f.Stat()
	if err != nil {
		return err
	}
	bad := int64(-1) // where junk began
	flush := func(end int64) error {
		if bad < 0 {
			return nil
		}
		start := bad
		bad = -1
		return junk(start, end-start)
	}
	for offset := max(from, pageSize); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		next, ok, err := nextData(f, offset)
		if err != nil {
			return err
		}
		if !ok || next != offset {
			if err := flush(offset); err != nil || !ok {
				return err
			}
			offset = next
		}
		rec, err := readRecord(f, d, volume, offset, st.Size())
		if errors.Is(err, errFormat) {
			zero, zeroErr := isZeroPage(f, offset)
			switch {
			case zeroErr != nil:
				return zeroErr
			case !zero && bad < 0:
				bad = offset
			}
			offset += pageSize
			continue
		}
		if err != nil {
			return err
		}
		if err := flush(offset); err != nil {
			return err
		}
		if err := found(rec); err != nil {
			return err
		}
		offset += rec.length()
	}
}

// readRecord reads the header and, if it is sound, the footer of the record at
// offset. It returns errFormat if there is no record.
func readRecord(f io.ReaderAt, d identity, volume uint32, offset, fileSize int64) (*record, error) {
	var head [recordHeaderSize]byte
	if n, err := f.ReadAt(head[:], offset); n < len(head) && err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	p, key, err := decodeRecordHeader(d, volume, offset, head[:])
	if err != nil {
		return nil, err
	}
	rec := &record{place: p, key: key}
	if rec.footerOffset() >= fileSize {
		rec.why = fmt.Errorf("the volume ends within it: %w", errFormat)
		return rec, nil
	}
	rec.meta, rec.subtrees, err = readFooter(f, d, p)
	if err != nil && !errors.Is(err, errFormat) {
		return nil, err
	}
	if err == nil && rec.meta.Key != key {
		rec.meta, err = nil, fmt.Errorf("footer is of another shard: %w", errFormat)
	}
	rec.why = err
	return rec, nil
}

// readFooter reads the footer of the record at p.
func readFooter(f io.ReaderAt, d identity, p place) (*Meta, []merkle.Hash, error) {
	b := make([]byte, footerSize(p.reserved, p.slots))
	n, err := f.ReadAt(b, p.footerOffset())
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	return decodeFooter(d, p, b[:n])
}

func isZeroPage(f io.ReaderAt, offset int64) (bool, error) {
	var page, zero [pageSize]byte
	n, err := f.ReadAt(page[:], offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return page == zero && n >= 0, nil
}

// verifyData reads a record's shard and returns ErrCorrupt unless it is what
// the footer says. buf is scratch.
func verifyData(f io.ReaderAt, rec *record, buf []byte) error {
	size := rec.meta.Layout.ShardSize()
	h := merkle.NewHasher(size)
	for done := int64(0); done < size; {
		part := buf[:min(int64(len(buf)), size-done)]
		n, err := f.ReadAt(part, rec.dataOffset()+done)
		if n < len(part) {
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			return fmt.Errorf("%w: it is cut off after %d of %d bytes", ErrCorrupt, done+int64(n), size)
		}
		h.Write(part)
		done += int64(n)
	}
	bad := 0
	for i, sum := range h.Subtrees() {
		if i >= len(rec.subtrees) || sum != rec.subtrees[i] {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("%w: %d of %d parts of 64 KiB differ", ErrCorrupt, bad, len(rec.subtrees))
	}
	if err := rec.meta.check(merkle.RootOfSubtrees(rec.subtrees), size); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}
