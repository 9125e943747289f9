package meta

import (
	"reflect"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
)

func TestSeats(t *testing.T) {
	r := memRig(t)
	all := func(want ...Seat) {
		t.Helper()
		got, err := r.Seats(r.ctx)
		r.must(err)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("seats %v, want %v", got, want)
		}
	}
	all()
	when := time.Unix(1_800_000_000, 0).UTC()
	a := Seat{Group: 1, Slot: 3, Successor: ident.ID{1}, Named: when}
	b := Seat{Group: 2, Slot: 254, Given: 1 << 40, Since: when}
	r.must(r.PutSeat(r.ctx, b))
	r.must(r.PutSeat(r.ctx, a))
	all(a, b)
	a.Successor = ident.ID{3}
	r.must(r.PutSeat(r.ctx, a))
	all(a, b)
	for _, bad := range []Seat{{Slot: 1}, {Group: 1, Slot: -1}, {Group: 1, Slot: 256}} {
		if err := r.PutSeat(r.ctx, bad); !isInvalid(err) {
			t.Errorf("%v: %v", bad, err)
		}
	}

	// With an epoch, or not at all.
	next := Group{ID: 1, Epoch: 2, Record: &pb.Signed{Body: []byte("next"), Signature: []byte{1}}}
	r.upload(7, key("object"))
	a.Successor, a.Since = ident.ID{}, when
	c := Seat{Group: 1, Slot: 4, Since: when, From: ident.ID{4}}
	if err := r.PutGroup(r.ctx, next, &Seat{Group: 2, Slot: 4}); !isInvalid(err) {
		t.Errorf("a seat of another group: %v", err)
	}
	if err := r.PutGroup(r.ctx, next, &Seat{Group: 1, Slot: 256}); !isInvalid(err) {
		t.Errorf("a seat that cannot be: %v", err)
	}
	all(Seat{Group: 1, Slot: 3, Successor: ident.ID{3}, Named: when}, b)
	r.must(r.PutGroup(r.ctx, next, &a, &c))
	if a.Given != 7 || c.Given != 7 {
		t.Errorf("given at %d and %d, and the journal has 7 entries", a.Given, c.Given)
	}
	all(a, c, b)
	r.wants(r.PutGroup(r.ctx, next, &Seat{Group: 1, Slot: 9}), ErrStaleEpoch)
	all(a, c, b)
}
