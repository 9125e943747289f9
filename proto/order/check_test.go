package order

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
)

func TestLimitCheck(t *testing.T) {
	right := func() Use {
		return Use{Peer: uplink.ID(), Action: ActionPut, Group: 7, Epoch: 3, Now: noon.Add(time.Minute)}
	}
	tests := []struct {
		name   string
		change func(*Use)
		reason error
	}{
		{"right", func(*Use) {}, nil},
		{"peer", func(u *Use) { u.Peer = stranger.ID() }, ErrPeer},
		{"action", func(u *Use) { u.Action = ActionGet }, ErrAction},
		{"group", func(u *Use) { u.Group = 8 }, ErrGroup},
		{"older epoch", func(u *Use) { u.Epoch = 2 }, ErrEpoch},
		{"newer epoch", func(u *Use) { u.Epoch = 4 }, ErrEpoch},
		{"last moment", func(u *Use) { u.Now = noon.Add(LimitLife - 1) }, nil},
		{"expired", func(u *Use) { u.Now = noon.Add(LimitLife) }, ErrExpired},
		{"long expired", func(u *Use) { u.Now = noon.AddDate(1, 0, 0) }, ErrExpired},
		{"clock behind", func(u *Use) { u.Now = noon.Add(-Skew) }, nil},
		{"clock too far behind", func(u *Use) { u.Now = noon.Add(-Skew - 1) }, ErrExpired},
		{"all wrong: the peer comes first", func(u *Use) { *u = Use{Now: noon.AddDate(1, 0, 0)} }, ErrPeer},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			use := right()
			test.change(&use)
			want(t, testLimit().Check(use), test.reason)
		})
	}
}

func TestCheckAmount(t *testing.T) {
	const limit = 1 << 30
	tests := []struct {
		used, more int64
		reason     error
	}{
		{0, 0, nil},
		{0, limit, nil},
		{limit, 0, nil},
		{limit - 1, 1, nil},
		{0, limit + 1, ErrAmount},
		{limit, 1, ErrAmount},
		{limit - 1, 2, ErrAmount},
		{limit + 1, 0, ErrAmount},
		{math.MaxInt64, math.MaxInt64, ErrAmount},
		{1, math.MaxInt64, ErrAmount},
		{-1, 1, ErrAmount},
		{1, -1, ErrAmount},
	}
	for _, test := range tests {
		want(t, testLimit().CheckAmount(test.used, test.more), test.reason)
	}
}

func TestReceiptCheck(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Receipt, *Stored)
		reason error
	}{
		{"right", func(*Receipt, *Stored) {}, nil},
		{"any serial", func(_ *Receipt, w *Stored) { w.Serial = Serial{} }, nil},
		{"group", func(r *Receipt, _ *Stored) { r.Group = 8 }, ErrGroup},
		{"epoch", func(r *Receipt, _ *Stored) { r.Epoch = 2 }, ErrEpoch},
		{"another's slot", func(r *Receipt, _ *Stored) { r.Slot = 1 }, ErrPeer},
		{"slot out of range", func(r *Receipt, _ *Stored) { r.Slot = 4 }, ErrPeer},
		{"not in the group", func(r *Receipt, _ *Stored) { r.Node = stranger.ID() }, ErrPeer},
		{"serial", func(r *Receipt, _ *Stored) { r.Serial = Serial{9} }, ErrPeer},
		{"segment", func(r *Receipt, _ *Stored) { r.Segment[0]++ }, ErrSegment},
		{"root", func(r *Receipt, _ *Stored) { r.Root[31]++ }, ErrSegment},
		{"size", func(r *Receipt, _ *Stored) { r.Size++ }, ErrSegment},
		{"just not too old", func(r *Receipt, w *Stored) { r.Stored = w.Oldest }, nil},
		{"too old", func(r *Receipt, w *Stored) { r.Stored = w.Oldest.Add(-time.Second) }, ErrExpired},
		{"clock ahead", func(r *Receipt, w *Stored) { r.Stored = w.Now.Add(Skew) }, nil},
		{"from the future", func(r *Receipt, w *Stored) { r.Stored = w.Now.Add(Skew + time.Second) }, ErrExpired},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			receipt := testReceipt()
			stored := Stored{
				Segment: receipt.Segment,
				Root:    receipt.Root,
				Size:    receipt.Size,
				Group:   testGroup(),
				Serial:  receipt.Serial,
				Oldest:  noon.Add(-time.Hour),
				Now:     noon,
			}
			test.change(receipt, &stored)
			want(t, receipt.Check(stored), test.reason)
		})
	}
}

func TestOpenReceipts(t *testing.T) {
	group := testGroup()
	var good []*pb.Signed
	for slot, node := range group.Nodes {
		r := testReceipt()
		r.Slot, r.Node = slot, node
		signed, err := SignReceipt(nodeKey(slot), r)
		if err != nil {
			t.Fatal(err)
		}
		good = append(good, signed)
	}
	for count := range len(good) + 1 {
		receipts, err := OpenReceipts(good[:count], group)
		if err != nil || len(receipts) != count {
			t.Fatalf("%d of %d, %v", len(receipts), count, err)
		}
		for slot, r := range receipts {
			expected := testReceipt()
			expected.Slot, expected.Node = slot, group.Nodes[slot]
			if *r != *expected {
				t.Errorf("got %+v", r)
			}
		}
	}

	foreign := testReceipt()
	foreign.Node = stranger.ID()
	outside, err := SignReceipt(stranger, foreign)
	if err != nil {
		t.Fatal(err)
	}
	for slot, signed := range good {
		for _, test := range []struct {
			bad    *pb.Signed
			reason error
		}{
			{outside, ErrPeer},
			{&pb.Signed{Body: signed.Body, Signature: stranger.Sign(contextReceipt, signed.Body)}, ErrSignature},
			{&pb.Signed{Body: signed.Body, Signature: signed.Signature[:10]}, ErrSignature},
			{nil, ErrMalformed},
			{&pb.Signed{}, ErrMalformed},
			{&pb.Signed{Body: []byte{0xff}, Signature: signed.Signature}, ErrMalformed},
			{&pb.Signed{Body: make([]byte, MaxBody+1), Signature: signed.Signature}, ErrMalformed},
		} {
			all := slices.Clone(good)
			all[slot] = test.bad
			receipts, err := OpenReceipts(all, group)
			want(t, err, test.reason)
			if named := group.Nodes[slot].String(); errors.Is(err, ErrSignature) && test.bad.Signature[0] != signed.Signature[0] && !strings.Contains(err.Error(), named) {
				t.Errorf("the receipt of %s is bad: %v", named, err)
			}
			if receipts != nil {
				t.Error("some are returned")
			}
		}
	}
}

// openLater is OpenReceipt in two steps.
func openLater(s *pb.Signed, id ident.ID) (*Receipt, error) {
	r, err := ReadReceipt(s, id)
	if err == nil {
		_, err = VerifyReceipts([]*pb.Signed{s}, []*Receipt{r})
	}
	return r, err
}

// To read a receipt and verify it later comes to the same as to open it.
func TestReceiptsVerifiedLater(t *testing.T) {
	var good []*pb.Signed
	var receipts []*Receipt
	for slot := range 5 {
		r := testReceipt()
		r.Slot, r.Node = slot, nodeKey(slot).ID()
		signed, err := SignReceipt(nodeKey(slot), r)
		if err != nil {
			t.Fatal(err)
		}
		read, err := ReadReceipt(signed, r.Node)
		if err != nil || *read != *r {
			t.Fatalf("read %+v, %v", read, err)
		}
		good, receipts = append(good, signed), append(receipts, read)
	}
	for _, part := range [][]byte{good[2].Body, good[2].Signature} {
		for bit := range len(part) * 8 {
			part[bit/8] ^= 1 << (bit % 8)
			if r, err := openLater(good[2], receipts[2].Node); err == nil {
				t.Errorf("a bit was flipped: %+v", r)
			} else if _, opened := OpenReceipt(good[2], receipts[2].Node); opened == nil {
				t.Errorf("%v, but it can be opened", err)
			}
			part[bit/8] ^= 1 << (bit % 8)
		}
	}
	for wrong := range 1 << len(good) {
		all, first := slices.Clone(good), -1
		for slot := len(good) - 1; slot >= 0; slot-- {
			if wrong>>slot&1 == 1 {
				all[slot] = &pb.Signed{Body: good[slot].Body, Signature: stranger.Sign(contextReceipt, good[slot].Body)}
				first = slot
			}
		}
		got, err := VerifyReceipts(all, receipts)
		if got != first {
			t.Errorf("wrong ones %05b: got %d, want %d", wrong, got, first)
		}
		if first < 0 {
			want(t, err, nil)
			continue
		}
		want(t, err, ErrSignature)
		if _, opened := OpenReceipt(all[first], receipts[first].Node); opened == nil || opened.Error() != err.Error() {
			t.Errorf("%v, but to open it gives %v", err, opened)
		}
	}
}
