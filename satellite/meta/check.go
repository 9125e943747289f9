package meta

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/kv"
)

// Check reads the whole store and proves that it agrees with itself: each
// segment is referred to as often as it counts, buckets count their objects,
// lists are used as often as they count, and the journals, replayed, leave
// exactly the segments that count. The error says what does not. It takes as
// long as there is much stored, and writes wait for it in some engines.
func (s *Store) Check(ctx context.Context) error {
	return s.kv.View(ctx, func(r kv.Reader) error {
		refs := map[order.SegmentID]uint64{}
		lists := map[UploadID]uint64{}
		if err := countObjects(r, refs, lists); err != nil {
			return err
		}
		if err := countLists(r, refs, lists); err != nil {
			return err
		}
		return checkSegments(r, refs)
	})
}

func each(r kv.Reader, kind byte, fn func(kv.Pair) error) error {
	for pair, err := range r.Scan([]byte{kind}, []byte{kind + 1}) {
		if err != nil {
			return err
		}
		if err := fn(pair); err != nil {
			return err
		}
	}
	return nil
}

// countObjects checks the usage of buckets against their objects.
func countObjects(r kv.Reader, refs map[order.SegmentID]uint64, lists map[UploadID]uint64) error {
	usage := map[string]Usage{}
	err := each(r, kindObject, func(p kv.Pair) error {
		o, err := decodeContent(p.Value)
		if err != nil {
			return err
		}
		if _, _, err := parseVersionKey(p.Key); err != nil {
			return err
		}
		u := usage[string(p.Key[1:objectsKeyLen])]
		u.Objects++
		u.Bytes += o.size
		usage[string(p.Key[1:objectsKeyLen])] = u
		if o.form == formList {
			lists[o.list]++
		}
		for _, e := range o.extents {
			refs[e.Segment]++
		}
		return nil
	})
	if err != nil {
		return err
	}
	return each(r, kindBucket, func(p kv.Pair) error {
		b, err := decodeBucket(p.Value)
		if err != nil {
			return err
		}
		k := string(u32(append([]byte(nil), p.Key[1:5]...), b.number))
		if b.usage != usage[k] {
			return fmt.Errorf("bucket %q counts %+v, has %+v", p.Key[5:], b.usage, usage[k])
		}
		delete(usage, k)
		return nil
	})
}

// countLists checks how often lists are used and that each has its pages.
func countLists(r kv.Reader, refs map[order.SegmentID]uint64, lists map[UploadID]uint64) error {
	counts := map[UploadID]uint64{}
	err := each(r, kindPage, func(p kv.Pair) error {
		page, err := decodePage(p.Value)
		if err != nil {
			return err
		}
		for _, e := range page.extents {
			refs[e.Segment]++
		}
		counts[UploadID(p.Key[1:17])] += uint64(len(page.extents))
		return nil
	})
	if err != nil {
		return err
	}
	err = each(r, kindUpload, func(p kv.Pair) error {
		u, err := decodeUpload(p.Value)
		id := UploadID(p.Key[1:])
		if err == nil && !u.aborting && counts[id] != u.count {
			err = fmt.Errorf("upload %s counts %d extents, has %d", id, u.count, counts[id])
		}
		delete(counts, id)
		return err
	})
	if err != nil {
		return err
	}
	err = each(r, kindList, func(p kv.Pair) error {
		l, err := decodeList(p.Value)
		id := UploadID(p.Key[1:])
		if err == nil && l.refs != lists[id] {
			err = fmt.Errorf("list %s counts %d objects, has %d", id, l.refs, lists[id])
		}
		delete(counts, id)
		delete(lists, id)
		return err
	})
	if err == nil && len(counts)+len(lists) > 0 {
		err = fmt.Errorf("pages of no list: %v, lists that are missing: %v", counts, lists)
	}
	return err
}

// checkSegments checks reference counts, journals and heads.
func checkSegments(r kv.Reader, refs map[order.SegmentID]uint64) error {
	journals, err := replayAll(r)
	if err != nil {
		return err
	}
	want := map[uint32]Journal{}
	err = each(r, kindSegment, func(p kv.Pair) error {
		id := order.SegmentID(p.Key[1:])
		s, err := decodeSegment(p.Value)
		if err != nil {
			return err
		}
		if s.refs != refs[id] {
			return fmt.Errorf("segment %s counts %d references, has %d", id, s.refs, refs[id])
		}
		delete(refs, id)
		e, live := journals[s.group][id]
		if live != (s.refs > 0) || live && e.Seq != s.seq {
			return fmt.Errorf("segment %s has %d references and entry %d; the journal says %v %+v", id, s.refs, s.seq, live, e)
		}
		if live {
			w := want[s.group]
			w.Segments++
			w.Bytes += uint64(e.Size)
			want[s.group] = w
			delete(journals[s.group], id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(refs) > 0 {
		return fmt.Errorf("references to segments that are not there: %v", refs)
	}
	return each(r, kindHead, func(p kv.Pair) error {
		id, h, err := parseHead(p)
		if err != nil {
			return err
		}
		if len(journals[id]) > 0 {
			return fmt.Errorf("journal of group %d has live segments without record: %v", id, journals[id])
		}
		if err := checkTrimmed(r, id, &h); err != nil {
			return err
		}
		if w := want[id]; w.Segments != h.Segments || w.Bytes != h.Bytes {
			return fmt.Errorf("group %d counts %d segments of %d bytes, has %d of %d", id, h.Segments, h.Bytes, w.Segments, w.Bytes)
		}
		return nil
	})
}

// replayAll replays all journals and returns what counts, by group.
func replayAll(r kv.Reader) (map[uint32]map[order.SegmentID]Entry, error) {
	live := map[uint32]map[order.SegmentID]Entry{}
	err := each(r, kindEntry, func(p kv.Pair) error {
		e, err := parseEntry(p)
		if err != nil {
			return err
		}
		group := binary.BigEndian.Uint32(p.Key[1:])
		if live[group] == nil {
			live[group] = map[order.SegmentID]Entry{}
		}
		if e.Kind == pb.EntryKind_ENTRY_KIND_LIVE {
			live[group][e.Segment] = e
		} else {
			delete(live[group], e.Segment)
		}
		return nil
	})
	return live, err
}

// checkTrimmed checks that all entries behind the base of a journal are there,
// and of the others only those that count.
func checkTrimmed(r kv.Reader, group uint32, h *head) error {
	next := h.Base + 1
	for pair, err := range r.Scan(entryKey(group, 0), entryKey(group+1, 0)) {
		if err != nil {
			return err
		}
		e, err := parseEntry(pair)
		if err != nil {
			return err
		}
		if e.Seq > h.Base {
			if e.Seq != next {
				return fmt.Errorf("group %d has entry %d where %d should be, behind its base %d", group, e.Seq, next, h.Base)
			}
			next++
			continue
		}
		s, err := getSegment(r, e.Segment)
		if err != nil || s.seq != e.Seq {
			return fmt.Errorf("group %d: entry %d does not count and is below the base %d: %+v, %w", group, e.Seq, h.Base, s, err)
		}
	}
	if h.epoch != lostGroup && next != h.Head+1 {
		return fmt.Errorf("group %d has entries up to %d, and its head is %d", group, next-1, h.Head)
	}
	return nil
}
