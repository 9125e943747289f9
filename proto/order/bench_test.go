package order

import "testing"

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

// BenchmarkOpenReceiptOf is a satellite's cost of a receipt at a commit.
func BenchmarkOpenReceiptOf(b *testing.B) {
	group := testGroup()
	signed, err := SignReceipt(nodeKey(2), testReceipt())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := OpenReceiptOf(signed, group); err != nil {
			b.Fatal(err)
		}
	}
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
