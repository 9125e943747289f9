package uplink

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
)

// of four slots, three have to give receipts that are right.
var ofFour = erasure.Scheme{Required: 2, RepairBelow: 2, Success: 3, Total: 4}

// awaited is a delivery of which all is sent, with streams that nothing comes from.
type awaited struct {
	*delivery
	nodes   []*fakeNode
	streams []*answering
}

func newAwaited(t *testing.T, wrong int) *awaited {
	a := &awaited{nodes: make([]*fakeNode, ofFour.Total)}
	for slot := range a.nodes {
		a.nodes[slot] = &fakeNode{forge: wrong>>slot&1 == 1}
	}
	s := fakeSessionOf(t, ofFour, a.nodes)
	layout, err := ofFour.Layout(1024)
	if err != nil {
		t.Fatal(err)
	}
	a.delivery = newDelivery(&segmentWriter{id: order.SegmentID{1}, layout: layout}, s)
	a.pending = ofFour.Total
	for slot := range a.nodes {
		stream := &answering{sender: s.slots[slot], put: &fakeStream{reset: make(chan struct{})}}
		a.streams = append(a.streams, stream)
		a.shards[slot] = &shard{delivery: a.delivery, asked: stream}
	}
	return a
}

// answer has a slot's receipt come.
func (a *awaited) answer(slot int) {
	a.delivery.receipt(a.streams[slot], a.nodes[slot].receipt(a.segment.id))
}

// blamed tells whether a node is left alone for a while and its stream was cut.
func (a *awaited) blamed(t *testing.T, slot int) bool {
	t.Helper()
	paused := !a.session.peers.usable(a.session.slots[slot].node.address.ID)
	if cut := isClosed(a.streams[slot].put.(*fakeStream).reset); cut != paused || cut != (a.streams[slot].err != nil) {
		t.Errorf("slot %d: left alone %v, cut %v, %v", slot, paused, cut, a.streams[slot].err)
	}
	return paused
}

// orders are all orders of n numbers.
func orders(n int) (all [][]int) {
	if n == 0 {
		return [][]int{nil}
	}
	for _, o := range orders(n - 1) {
		for at := range n {
			all = append(all, slices.Insert(slices.Clone(o), at, n-1))
		}
	}
	return all
}

// Whichever receipts are wrong, and in whichever order they come, a segment is
// stored when enough right ones have come, and lost when that cannot be; all who
// gave a wrong one are blamed for it, and nobody else.
func TestWrongReceiptsInAllOrders(t *testing.T) {
	for wrong := range 1 << ofFour.Total {
		t.Run(fmt.Sprintf("%04b", wrong), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, order := range orders(ofFour.Total) {
					testReceiptsInOrder(t, wrong, order, false)
					testReceiptsInOrder(t, wrong, order, true)
				}
			})
		})
	}
}

// testReceiptsInOrder has receipts come one right after the other or, when slow, so
// that each was verified before the next comes.
func testReceiptsInOrder(t *testing.T, wrong int, order []int, slow bool) {
	a := newAwaited(t, wrong)
	right, bad := 0, 0
	isLost := func() bool { return bad > ofFour.Total-ofFour.Success }
	for i, slot := range order {
		if lost := isLost(); lost && isClosed(a.lost) {
			break // the others were given up
		}
		a.answer(slot)
		if a.nodes[slot].forge {
			bad++
		} else {
			right++
		}
		last := i == len(order)-1
		if slow {
			time.Sleep(a.session.tolerate.doubt)
			synctest.Wait()
		}
		if isClosed(a.stored) != (right >= ofFour.Success) {
			t.Fatalf("order %v, after %d: stored: %v", order, i+1, isClosed(a.stored))
		}
		if lost := isClosed(a.lost); lost && !isLost() || (slow || last) && lost != isLost() {
			t.Fatalf("order %v, after %d: lost: %v", order, i+1, lost)
		}
		if slow && isClosed(a.stored) && len(a.message().Receipts) != right {
			t.Fatalf("order %v, after %d: %d receipts are committed", order, i+1, len(a.message().Receipts))
		}
		if (slow && !isClosed(a.stored) || last) && a.blamed(t, slot) != a.nodes[slot].forge {
			t.Fatalf("order %v, after %d: slot %d: blamed: %v", order, i+1, slot, a.blamed(t, slot))
		}
	}
	if !isClosed(a.settled) {
		t.Fatalf("order %v: not settled", order)
	}
	for slot, n := range a.nodes {
		cause := a.causes[slot]
		given := a.receipts[slot] != nil
		switch gaveUp := errors.Is(cause, errNoUse); {
		case gaveUp && isClosed(a.lost) && !given && !a.blamed(t, slot):
		case given == n.forge || given != (cause == nil) || a.blamed(t, slot) != n.forge:
			t.Errorf("order %v: slot %d: receipt %v, %v, blamed %v", order, slot, given, cause, a.blamed(t, slot))
		case n.forge && !errors.Is(cause, nodeclient.ErrWrongReceipt):
			t.Errorf("order %v: slot %d: %v", order, slot, cause)
		}
	}
}

// What has come when the segment is committed is verified for that: nothing wrong
// is committed, and nothing right is left out.
func TestCommitWithDoubtfulReceipts(t *testing.T) {
	for wrong := range 1 << ofFour.Total {
		synctest.Test(t, func(t *testing.T) {
			a := newAwaited(t, wrong)
			right := 0
			for slot := range 2 { // too few to be verified by themselves
				a.answer(slot)
				right += 1 - wrong>>slot&1
			}
			if len(a.doubtful) != 2 || isClosed(a.lost) {
				t.Fatalf("wrong ones %04b: %d are doubtful", wrong, len(a.doubtful))
			}
			if got := len(a.message().Receipts); got != right {
				t.Errorf("wrong ones %04b: %d receipts are committed, want %d", wrong, got, right)
			}
			for slot := range 2 {
				if a.blamed(t, slot) != a.nodes[slot].forge {
					t.Errorf("wrong ones %04b: slot %d: blamed: %v", wrong, slot, a.blamed(t, slot))
				}
			}
		})
	}
}

// A slot whose receipt has come is not given up for being slow while that waits.
func TestDoubtfulIsNotSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAwaited(t, 0)
		a.answer(1)
		a.cut(errSlow)
		if a.blamed(t, 1) || a.streams[1].late || !a.streams[0].late {
			t.Error("it is blamed, or its stream taken for late")
		}
		if !isClosed(a.settled) || a.receipts[1] == nil || !isClosed(a.lost) {
			t.Errorf("settled %v, lost %v, %v", isClosed(a.settled), isClosed(a.lost), a.causes)
		}
		for slot, cause := range a.causes {
			if slot != 1 && !errors.Is(cause, errSlow) && !errors.Is(cause, errNoUse) {
				t.Errorf("slot %d: %v", slot, cause)
			}
		}
	})
}

// A receipt that is right ends what earlier failures began.
func TestRightReceiptEndsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAwaited(t, 1)
		for slot := range 2 {
			a.session.peers.failed(a.session.slots[slot].node.address.ID)
			a.answer(slot)
		}
		a.clear()
		for slot := range 2 {
			if usable := a.session.peers.usable(a.session.slots[slot].node.address.ID); usable != (slot == 1) {
				t.Errorf("slot %d: usable: %v", slot, usable)
			}
		}
	})
}
