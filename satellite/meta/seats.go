package meta

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/satellite/kv"
)

// Seat is what is to be known of a slot besides who holds it. Slots whose holders
// had them from the first epoch on, and keep them, have none.
type Seat struct {
	Group     uint32
	Slot      int       // below erasure.MaxTotal
	Given     uint64    // head of the journal when the holder was given the slot
	Since     time.Time // when that was, to the second; zero: in the first epoch
	From      ident.ID  // who handed the slot over and left; zero: nobody
	Successor ident.ID  // who is to take over from a holder that leaves; zero: nobody
	Named     time.Time // when the successor was, to the second
}

func (n *Seat) check() error {
	if n.Group == 0 || n.Slot < 0 || n.Slot > 255 {
		return fmt.Errorf("%w: slot %d of group %d", ErrInvalid, n.Slot, n.Group)
	}
	return nil
}

// PutSeat stores what is to be known of a slot. What is to change with a new
// epoch goes with PutGroup.
func (s *Store) PutSeat(ctx context.Context, n Seat) error {
	if err := n.check(); err != nil {
		return err
	}
	return s.kv.Update(ctx, func(tx kv.Tx) error {
		return tx.Set(seatKey(n.Group, n.Slot), n.encode())
	})
}

// Seats returns all there are, by group and slot.
func (s *Store) Seats(ctx context.Context) (all []Seat, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		all = nil
		prefix := []byte{kindSeat}
		for pair, err := range r.Scan(prefix, kv.PrefixEnd(prefix)) {
			if err != nil {
				return err
			}
			if len(pair.Key) != 1+4+1 {
				return fmt.Errorf("%w: slot under key %x", ErrDamaged, pair.Key)
			}
			n, err := decodeSeat(binary.BigEndian.Uint32(pair.Key[1:]), int(pair.Key[5]), pair.Value)
			if err != nil {
				return err
			}
			all = append(all, n)
		}
		return nil
	})
	return all, err
}

func (n *Seat) encode() []byte {
	b := putUvarint([]byte{formatVersion}, n.Given)
	b = putSeconds(b, n.Since)
	b = append(b, n.From[:]...)
	b = append(b, n.Successor[:]...)
	return putSeconds(b, n.Named)
}

func decodeSeat(group uint32, slot int, v []byte) (Seat, error) {
	d := decoder{b: v}
	d.bad = d.byte() != formatVersion
	n := Seat{Group: group, Slot: slot, Given: d.uvarint(), Since: d.seconds()}
	d.into(n.From[:])
	d.into(n.Successor[:])
	n.Named = d.seconds()
	return n, d.done(fmt.Sprintf("slot %d of group %d", slot, group))
}
