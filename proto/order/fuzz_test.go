package order

import (
	"errors"
	"reflect"
	"testing"

	"github.com/cairnstorage/cairn/proto/pb"
)

// fuzzOpen feeds hostile bodies, signed rightly so that they get past the
// signature, and hostile signatures. What is accepted must be valid, and must
// open as the same again once it is signed anew.
func fuzzOpen(f *testing.F, name string) {
	var k kind
	for _, one := range kinds() {
		if one.name == name {
			k = one
		}
	}
	signed := mustSign(f, k)
	f.Add(signed.Body, signed.Signature)
	f.Add(signed.Body[:len(signed.Body)/2], signed.Signature)
	f.Add([]byte{}, []byte{})
	f.Add(append(signed.Body, signed.Body...), signed.Signature[:63])
	f.Fuzz(func(t *testing.T, body, signature []byte) {
		if _, err := k.open(&pb.Signed{Body: body, Signature: signature}, k.signer.ID()); err != nil {
			mustRefuse(t, err)
		}
		got, err := k.open(&pb.Signed{Body: body, Signature: k.signer.Sign("cairn/v1/"+name, body)}, k.signer.ID())
		if err != nil {
			mustRefuse(t, err)
			return
		}
		again, err := k.sign(k.signer, got)
		if err != nil {
			t.Fatalf("accepted %+v, which cannot be signed: %v", got, err)
		}
		same, err := k.open(again, k.signer.ID())
		if err != nil || !reflect.DeepEqual(got, same) {
			t.Fatalf("%+v became %+v, %v", got, same, err)
		}
	})
}

func mustRefuse(t *testing.T, err error) {
	t.Helper()
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("%v is no refusal", err)
	}
}

func FuzzOpenGroup(f *testing.F)   { fuzzOpen(f, "group") }
func FuzzOpenLimit(f *testing.F)   { fuzzOpen(f, "limit") }
func FuzzOpenReceipt(f *testing.F) { fuzzOpen(f, "receipt") }
func FuzzOpenHead(f *testing.F)    { fuzzOpen(f, "head") }
func FuzzOpenClaim(f *testing.F)   { fuzzOpen(f, "claim") }
func FuzzOpenReport(f *testing.F)  { fuzzOpen(f, "report") }

func FuzzOpenDeparture(f *testing.F) { fuzzOpen(f, "departure") }

func FuzzOpenReceipts(f *testing.F) {
	signed, err := SignReceipt(nodeKey(2), testReceipt())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed.Body, signed.Signature)
	f.Add(signed.Body[:40], signed.Signature)
	group := testGroup()
	f.Fuzz(func(t *testing.T, body, signature []byte) {
		single := &pb.Signed{Body: body, Signature: signature}
		if _, err := openLater(single, nodeKey(2).ID()); err != nil {
			mustRefuse(t, err)
		} else if _, err := OpenReceipt(single, nodeKey(2).ID()); err != nil {
			t.Fatalf("taken in two steps, but %v", err)
		}
		all := []*pb.Signed{signed, {Body: body, Signature: signature}, signed}
		receipts, err := OpenReceipts(all, group)
		if err != nil {
			mustRefuse(t, err)
			return
		}
		for i, got := range receipts {
			if slot, ok := group.SlotOf(got.Node); !ok || got.Validate() != nil {
				t.Fatalf("accepted %+v of slot %d", got, slot)
			}
			if alone, err := OpenReceipt(all[i], got.Node); err != nil || *alone != *got {
				t.Fatalf("%+v, and alone %+v, %v", got, alone, err)
			}
		}
	})
}
