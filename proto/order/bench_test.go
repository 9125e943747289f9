package order

import (
	"testing"

	"github.com/cairnstorage/cairn/proto/pb"
)

// BenchmarkSignReceipt is a node's cost of a receipt.
func BenchmarkSignReceipt(b *testing.B) {
	key, receipt := nodeKey(2), testReceipt()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := SignReceipt(key, receipt); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpenReceipts is a satellite's cost of the receipts of a commit.
func BenchmarkOpenReceipts(b *testing.B) {
	group := testGroup()
	var all []*pb.Signed
	for slot, node := range group.Nodes {
		r := testReceipt()
		r.Slot, r.Node = slot, node
		signed, err := SignReceipt(nodeKey(slot), r)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, signed)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := OpenReceipts(all, group); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(all)), "receipts/op")
}

// BenchmarkOpenLimit is a node's cost of a stream's order limit.
func BenchmarkOpenLimit(b *testing.B) {
	signed, err := SignLimit(satellite, testLimit())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := OpenLimit(signed, satellite.ID()); err != nil {
			b.Fatal(err)
		}
	}
}
