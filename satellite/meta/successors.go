package meta

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/satellite/kv"
)

// Successor is a node that is to take over a slot from a holder that leaves.
type Successor struct {
	Group uint32
	Slot  int // below erasure.MaxTotal
	Node  ident.ID
	Since time.Time // to the second
}

// PutSuccessor notes who is to take over a slot, in place of whoever was.
func (s *Store) PutSuccessor(ctx context.Context, n Successor) error {
	if n.Group == 0 || n.Slot < 0 || n.Slot > 255 || n.Node.IsZero() {
		return fmt.Errorf("%w: successor in slot %d of group %d", ErrInvalid, n.Slot, n.Group)
	}
	return s.kv.Update(ctx, func(tx kv.Tx) error {
		return tx.Set(successorKey(n.Group, n.Slot), n.encode())
	})
}

// DeleteSuccessor notes that nobody is to take over a slot.
func (s *Store) DeleteSuccessor(ctx context.Context, group uint32, slot int) error {
	return s.deleteAll(ctx, [][]byte{successorKey(group, slot)})
}

// Successors returns all there are, by group and slot.
func (s *Store) Successors(ctx context.Context) (all []Successor, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		all = nil
		prefix := []byte{kindSuccessor}
		for pair, err := range r.Scan(prefix, kv.PrefixEnd(prefix)) {
			if err != nil {
				return err
			}
			if len(pair.Key) != 1+4+1 {
				return fmt.Errorf("%w: successor under key %x", ErrDamaged, pair.Key)
			}
			n, err := decodeSuccessor(binary.BigEndian.Uint32(pair.Key[1:]), int(pair.Key[5]), pair.Value)
			if err != nil {
				return err
			}
			all = append(all, n)
		}
		return nil
	})
	return all, err
}

func (n *Successor) encode() []byte {
	return append(putSeconds([]byte{formatVersion}, n.Since), n.Node[:]...)
}

func decodeSuccessor(group uint32, slot int, v []byte) (Successor, error) {
	d := decoder{b: v}
	d.bad = d.byte() != formatVersion
	n := Successor{Group: group, Slot: slot, Since: d.seconds()}
	d.into(n.Node[:])
	d.bad = d.bad || n.Node.IsZero()
	return n, d.done(fmt.Sprintf("successor in slot %d of group %d", slot, group))
}
