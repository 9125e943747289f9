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
// holes. Bytes that are no record go to junk, as whole runs of pages; what looks
// like a record within a shard is not one, as no shard knows the secret.
func scanVolume(ctx context.Context, f *os.File, d identity, volume uint32, from int64,
	found func(*record) error, junk func(offset, length int64) error) error {

	st, err := f.Stat()
	if err != nil {
		return err
	}
	j := junkRun{report: junk, start: -1}
	for offset := max(from, pageSize); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		next, ok, err := nextData(f, offset)
		if err != nil {
			return err
		}
		if !ok || next != offset {
			if err := j.end(offset); err != nil || !ok {
				return err
			}
			offset = next
		}
		rec, err := readRecord(f, d, volume, offset, st.Size())
		if errors.Is(err, errFormat) {
			if err := j.page(f, offset); err != nil {
				return err
			}
			offset += pageSize
			continue
		}
		if err == nil {
			err = j.end(offset)
		}
		if err == nil {
			err = found(rec)
		}
		if err != nil {
			return err
		}
		offset += rec.length()
	}
}

// A junkRun is pages one after the other that belong to no record.
type junkRun struct {
	report func(offset, length int64) error
	start  int64 // or -1
}

// page takes in a page without a record. Zeros before any junk are only a hole
// that the file system does not know of.
func (j *junkRun) page(f io.ReaderAt, offset int64) error {
	var page, zero [pageSize]byte
	if _, err := f.ReadAt(page[:], offset); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if j.start < 0 && page != zero {
		j.start = offset
	}
	return nil
}

// end reports the run, if there is one.
func (j *junkRun) end(offset int64) error {
	if j.start < 0 {
		return nil
	}
	start := j.start
	j.start = -1
	return j.report(start, offset-start)
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
