package meta

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/kv"
)

// change is one transaction on segments, journals and buckets. It holds the
// records that many steps touch until flush writes each once.
type change struct {
	tx      kv.Tx
	heads   map[uint32]*head
	buckets map[string]*bucketRecord // by key
	work    int                      // what was removed or filled in, see version.work
}

func newChange(tx kv.Tx) *change {
	return &change{tx: tx, heads: map[uint32]*head{}, buckets: map[string]*bucketRecord{}}
}

// flush writes what was held back. Nothing may follow it.
func (c *change) flush() error {
	for _, id := range sortedKeys(c.heads) {
		if err := c.tx.Set(headKey(id), c.heads[id].encode()); err != nil {
			return err
		}
	}
	for _, k := range sortedKeys(c.buckets) {
		if err := c.tx.Set([]byte(k), c.buckets[k].encode()); err != nil {
			return err
		}
	}
	return nil
}

// bucket returns a bucket's record, to be changed in place, and its number.
func (c *change) bucket(p ProjectNumber, name string) (*bucketRecord, bucketRef, error) {
	k := string(bucketKey(p, name))
	if r, ok := c.buckets[k]; ok {
		return r, bucketRef{p, r.number}, nil
	}
	r, err := getBucket(c.tx, p, name)
	if err != nil {
		return nil, bucketRef{}, err
	}
	c.buckets[k] = &r
	return &r, bucketRef{p, r.number}, nil
}

// head returns a group's head, to be changed in place.
func (c *change) head(group uint32) (*head, error) {
	if h, ok := c.heads[group]; ok {
		return h, nil
	}
	h, err := getHead(c.tx, group)
	if err != nil {
		return nil, err
	}
	c.heads[group] = &h
	return &h, nil
}

func getHead(r kv.Reader, group uint32) (head, error) {
	v, err := r.Get(headKey(group))
	if errors.Is(err, kv.ErrNotFound) {
		return head{}, fmt.Errorf("%w: %d", ErrGroupNotFound, group)
	}
	if err != nil {
		return head{}, err
	}
	return decodeHead(v)
}

// appendEntry gives e the next seq of its group's journal and writes it.
func (c *change) appendEntry(group uint32, h *head, e *Entry) error {
	h.Head++
	e.Seq = h.Head
	return c.tx.Set(entryKey(group, e.Seq), e.encode())
}

// hold makes the new segments live and counts one reference for each extent.
// Every new segment is referred to; every other extent is of a live segment of
// the same project.
func (c *change) hold(p ProjectNumber, segments []NewSegment, extents []Extent) error {
	refs, ends := tally(extents)
	for i := range segments {
		n := &segments[i]
		if refs[n.ID] == 0 {
			return fmt.Errorf("%w: no extent refers to segment %s", ErrInvalid, n.ID)
		}
		if ends[n.ID] > uint64(n.Size) {
			return fmt.Errorf("%w: an extent goes beyond the end of segment %s", ErrInvalid, n.ID)
		}
		if err := c.enter(p, n, refs[n.ID]); err != nil {
			return err
		}
		delete(refs, n.ID)
	}
	for _, id := range sortedIDs(refs) {
		s, err := c.segment(id)
		if err != nil {
			return err
		}
		if s.project != p {
			return fmt.Errorf("%w: %s", ErrSegmentUnknown, id)
		}
		e, err := getEntry(c.tx, s.group, s.seq)
		if err != nil {
			return err
		}
		if ends[id] > uint64(e.Size) {
			return fmt.Errorf("%w: an extent goes beyond the end of segment %s", ErrInvalid, id)
		}
		s.refs += refs[id]
		if err := c.tx.Set(segmentKey(id), s.encode()); err != nil {
			return err
		}
	}
	return nil
}

// enter writes a new segment and its live entry.
func (c *change) enter(p ProjectNumber, n *NewSegment, refs uint64) error {
	_, err := c.tx.Get(segmentKey(n.ID))
	if err == nil {
		return fmt.Errorf("%w: %s", ErrSegmentExists, n.ID)
	}
	if !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	h, err := c.head(n.Group)
	if err != nil {
		return err
	}
	if h.epoch == lostGroup {
		return fmt.Errorf("%w: %d", ErrGroupNotFound, n.Group)
	}
	if h.epoch != n.Epoch {
		return fmt.Errorf("%w: group %d is at epoch %d, not %d", ErrStaleEpoch, n.Group, h.epoch, n.Epoch)
	}
	e := Entry{Kind: pb.EntryKind_ENTRY_KIND_LIVE, Segment: n.ID, Root: n.Root, Size: n.Size, Held: n.Held}
	if err := c.appendEntry(n.Group, h, &e); err != nil {
		return err
	}
	h.Segments++
	h.Bytes += uint64(n.Size)
	s := segment{group: n.Group, seq: e.Seq, project: p, refs: refs}
	return c.tx.Set(segmentKey(n.ID), s.encode())
}

// drop takes away one reference for each extent. A segment that nothing refers
// to any more gets its tombstone.
func (c *change) drop(extents []Extent) error {
	refs, _ := tally(extents)
	for _, id := range sortedIDs(refs) {
		s, err := c.segment(id)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if s.refs > refs[id] {
			s.refs -= refs[id]
			err = c.tx.Set(segmentKey(id), s.encode())
		} else {
			err = c.bury(id, s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *change) bury(id order.SegmentID, s segment) error {
	h, err := c.head(s.group)
	if err != nil {
		return err
	}
	live, err := getEntry(c.tx, s.group, s.seq)
	if err != nil {
		return err
	}
	e := Entry{Kind: pb.EntryKind_ENTRY_KIND_TOMBSTONE, Segment: id}
	if err := c.appendEntry(s.group, h, &e); err != nil {
		return err
	}
	h.Segments--
	h.Bytes -= uint64(live.Size)
	if err := c.overtake(s.group, h, s.seq); err != nil {
		return err
	}
	// The id stays taken. Receipts for the segment may still be good, and an
	// uplink must not make it live again when its nodes have deleted it: they
	// would seem to have lost what they vouched for.
	s.refs, s.seq = 0, e.Seq
	return c.tx.Set(segmentKey(id), s.encode())
}

// overtake drops an entry that does not count any more where the journal has
// been trimmed. Elsewhere it stays for those who have not followed it.
func (c *change) overtake(group uint32, h *head, seq uint64) error {
	if seq > h.Base {
		return nil
	}
	return c.tx.Delete(entryKey(group, seq))
}

func (c *change) segment(id order.SegmentID) (segment, error) { return getSegment(c.tx, id) }

func getSegment(r kv.Reader, id order.SegmentID) (segment, error) {
	s, err := getRecord(r, id)
	if isNotFound(err) || err == nil && s.refs == 0 {
		err = fmt.Errorf("%w: %s", ErrSegmentUnknown, id)
	}
	return s, err
}

func getEntry(r kv.Reader, group uint32, seq uint64) (Entry, error) {
	v, err := r.Get(entryKey(group, seq))
	if err != nil {
		return Entry{}, fmt.Errorf("%w: entry %d of group %d: %w", ErrDamaged, seq, group, err)
	}
	return decodeEntry(seq, v)
}

// tally counts the extents of each segment and finds how far they reach.
func tally(extents []Extent) (refs, ends map[order.SegmentID]uint64) {
	refs = make(map[order.SegmentID]uint64, len(extents))
	ends = make(map[order.SegmentID]uint64, len(extents))
	for i := range extents {
		e := &extents[i]
		refs[e.Segment]++
		ends[e.Segment] = max(ends[e.Segment], e.Offset+e.Length)
	}
	return refs, ends
}

// sortedIDs is for journals that do not depend on the order of a map.
func sortedIDs(m map[order.SegmentID]uint64) []order.SegmentID {
	return slices.SortedFunc(maps.Keys(m), func(a, b order.SegmentID) int {
		return slices.Compare(a[:], b[:])
	})
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
