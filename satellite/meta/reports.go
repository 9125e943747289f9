package meta

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/satellite/kv"
)

// Report is a node's word that a segment was encoded wrong: what it made its
// shard again from was right, and the shard was not.
type Report struct {
	Group   uint32
	Seq     uint64 // of the segment's live entry
	Node    ident.ID
	Segment order.SegmentID
	At      time.Time // to the second
}

// PutReport stores a report. Error: ErrSegmentUnknown when that is no entry of
// the segment that counts.
func (s *Store) PutReport(ctx context.Context, n Report) error {
	if n.Node.IsZero() {
		return fmt.Errorf("%w: report without node", ErrInvalid)
	}
	return s.kv.Update(ctx, func(tx kv.Tx) error {
		if err := n.check(tx); err != nil {
			return err
		}
		return tx.Set(n.key(), n.encode())
	})
}

// check returns ErrSegmentUnknown unless the entry reported is that of a live
// segment.
func (n *Report) check(r kv.Reader) error {
	live, err := getSegment(r, n.Segment)
	if err == nil && (live.group != n.Group || live.seq != n.Seq) {
		err = fmt.Errorf("%w: %s is not entry %d of group %d", ErrSegmentUnknown, n.Segment, n.Seq, n.Group)
	}
	return err
}

// Reports returns all reports, by group, number and node.
func (s *Store) Reports(ctx context.Context) (all []Report, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		all = nil
		prefix := []byte{kindReport}
		for pair, err := range r.Scan(prefix, kv.PrefixEnd(prefix)) {
			if err != nil {
				return err
			}
			n, err := decodeReport(pair.Key, pair.Value)
			if err != nil {
				return err
			}
			all = append(all, n)
		}
		return nil
	})
	return all, err
}

// Overtaken returns those of the reports whose segments were deleted since.
func (s *Store) Overtaken(ctx context.Context, reports []Report) (gone []Report, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		gone = nil
		for i := range reports {
			err := reports[i].check(r)
			if errors.Is(err, ErrSegmentUnknown) {
				gone = append(gone, reports[i])
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	return gone, err
}

// DeleteReports forgets reports; those that are not there are no error.
func (s *Store) DeleteReports(ctx context.Context, reports []Report) error {
	keys := make([][]byte, len(reports))
	for i := range reports {
		keys[i] = reports[i].key()
	}
	return s.deleteAll(ctx, keys)
}

func (n *Report) key() []byte {
	return append(u64(u32([]byte{kindReport}, n.Group), n.Seq), n.Node[:]...)
}

func (n *Report) encode() []byte {
	return append(putSeconds([]byte{formatVersion}, n.At), n.Segment[:]...)
}

func decodeReport(key, v []byte) (n Report, err error) {
	if len(key) != 1+4+8+len(n.Node) {
		return n, fmt.Errorf("%w: report under key %x", ErrDamaged, key)
	}
	n.Group, n.Seq = binary.BigEndian.Uint32(key[1:]), binary.BigEndian.Uint64(key[5:])
	if n.Node, err = ident.IDFromBytes(key[13:]); err != nil {
		return n, fmt.Errorf("%w: report under key %x", ErrDamaged, key)
	}
	d := decoder{b: v}
	d.bad = d.byte() != formatVersion
	n.At = d.seconds()
	d.into(n.Segment[:])
	return n, d.done(fmt.Sprintf("report on entry %d of group %d", n.Seq, n.Group))
}
