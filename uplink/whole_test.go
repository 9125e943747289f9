package uplink_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/deploy/localnet/network"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite"
	"github.com/cairnstorage/cairn/storagenode"
)

// TestBecomesWhole loses a node for good, and then has another one leave in good
// order: each time all that was stored is in the end held by as many as before.
func TestBecomesWhole(t *testing.T) {
	if os.Getenv("CAIRN_LONG") == "" {
		t.Skip("waits for grace periods to pass: set CAIRN_LONG=1")
	}
	t.Parallel()
	ctx := context.Background()
	dirs := make([]string, 12)
	n, p := startNetwork(t, network.Config{
		Nodes: len(dirs), Satellite: func(c *satellite.Config) { c.OfflineGrace, c.CheckIn = 5*time.Second, 400*time.Millisecond },
		Node: func(i int, c *storagenode.Config) { dirs[i] = c.Dir },
	})
	data := noise(1 << 20)
	for _, key := range []string{"a", "b", "c", "d"} {
		put(t, p, key, data)
	}
	admin, closing, err := satellite.DialAdmin(ctx, n.SatelliteDir())
	if err != nil {
		t.Fatal(err)
	}
	defer closing()
	await := func(what string, ready func(*pb.StatusResponse) bool) {
		t.Helper()
		for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
			st, err := n.Status(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if ready(st) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("waited too long for %s: %v", what, st)
			}
		}
	}
	whole := func(st *pb.StatusResponse) bool {
		return st.Looked && st.GroupsWhole == st.Groups && st.HealingLeft == 0 && st.SlotsWaiting == 0
	}
	lost, leaver := n.Node(0).ID(), n.Node(1).ID()
	if err := n.StopNode(0); err != nil {
		t.Fatal(err)
	}
	awaitEpochs(t, admin, lost[:])
	await("the slots of a lost node to be rebuilt", whole)

	if err := storagenode.AskExit(ctx, dirs[1]); err != nil {
		t.Fatal(err)
	}
	await("a node to leave", func(st *pb.StatusResponse) bool {
		for _, c := range st.NodesByState {
			if c.State == pb.NodeState_NODE_STATE_GONE {
				return c.Nodes == 1
			}
		}
		return false
	})
	awaitEpochs(t, admin, leaver[:])
	await("the groups to be whole without it", whole)
	for _, key := range []string{"a", "b", "c", "d"} {
		checkGet(t, p, key, data)
	}
}
