package nodeclient

import (
	"errors"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
)

// TestReceiptsAreJudgedByTheSatellitesTime gives receipts of nodes whose clocks
// are wrong to uplinks whose clocks are wrong, too.
func TestReceiptsAreJudgedByTheSatellitesTime(t *testing.T) {
	issued := time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC) // far from this machine's time
	node := ident.FromSeed([32]byte{1}).ID()
	group := &order.Group{ID: 1, Epoch: 1, Nodes: []ident.ID{node}}
	tests := []struct {
		name   string
		since  time.Duration // the lease came
		stored time.Duration // after the limit was issued
		good   bool
	}{
		{"at once", 0, 0, true},
		{"clock a little ahead", time.Minute, 2 * time.Minute, true},
		{"clock a little behind", time.Minute, -time.Minute, true},
		{"clock far ahead", time.Minute, 10 * time.Minute, false},
		{"clock far behind", time.Minute, -10 * time.Minute, false},
		{"late in the life of the lease", 50 * time.Minute, 50 * time.Minute, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := Lease{Limit: &order.Limit{Issued: issued}, Opened: time.Now().Add(-test.since)}
			receipt := &order.Receipt{Node: node, Group: 1, Epoch: 1, Stored: issued.Add(test.stored)}
			want := order.Stored{Group: group}
			l.judge(&want, receipt.Stored)
			err := receipt.Check(want)
			if test.good && err != nil || !test.good && !errors.Is(err, order.ErrExpired) {
				t.Fatalf("got %v", err)
			}
		})
	}
	receipt := &order.Receipt{Node: node, Group: 1, Epoch: 1, Stored: issued.AddDate(5, 0, 0)}
	want := order.Stored{Group: group}
	Lease{}.judge(&want, receipt.Stored)
	if err := receipt.Check(want); err != nil {
		t.Fatalf("a lease of unknown age: %v", err)
	}
}
