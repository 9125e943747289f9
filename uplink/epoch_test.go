package uplink_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/deploy/localnet/network"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite"
	"github.com/cairnstorage/cairn/uplink"
)

// TestEpochChange has a slot of every group change hands while uploads are under
// way: one that has sent nothing of its segment yet, one in the middle of it,
// and one that has all receipts and has not committed.
func TestEpochChange(t *testing.T) {
	if os.Getenv("CAIRN_LONG") == "" {
		t.Skip("waits for grace periods to pass: set CAIRN_LONG=1")
	}
	t.Parallel()
	ctx := context.Background()
	// Slots change hands by the operator's word, so that nodes may be slow here.
	n, p := startNetwork(t, network.Config{Nodes: 12, Satellite: func(c *satellite.Config) { c.OfflineGrace = 8 * time.Second }})
	data := noise(3 << 20)
	begin := func(key string, sent int) *uplink.Upload {
		t.Helper()
		u, err := p.Upload(ctx, bucket, key, uplink.UploadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = u.Abort() })
		if _, err := io.Copy(u, bytes.NewReader(data[:sent])); err != nil {
			t.Fatal(err)
		}
		return u
	}
	uploads := map[string]*uplink.Upload{"late": begin("late", 100), "middle": begin("middle", 1<<20), "done": begin("done", len(data))}
	sent := map[string]int{"late": 100, "middle": 1 << 20, "done": len(data)}

	admin, closing, err := satellite.DialAdmin(ctx, n.SatelliteDir())
	if err != nil {
		t.Fatal(err)
	}
	defer closing()
	lost := n.Node(0).ID()
	if err := n.StopNode(0); err != nil {
		t.Fatal(err)
	}
	disqualify(t, admin, lost)

	var commits sync.WaitGroup
	for key, u := range uploads {
		commits.Go(func() {
			if _, err := io.Copy(u, bytes.NewReader(data[sent[key]:])); err != nil {
				t.Errorf("%s: %v", key, err)
			} else if _, err := u.Commit(ctx); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		})
	}
	commits.Wait()
	put(t, p, "after", data)
	for _, key := range []string{"late", "middle", "done", "after"} {
		checkGet(t, p, key, data)
	}
	changeWhileReading(t, p, admin, data, n.Node(1).ID())
}

// changeWhileReading has another slot change hands, and its holder do as if it
// did not know, in the middle of a download.
func changeWhileReading(t *testing.T, p *uplink.Project, admin pb.AdminClient, data []byte, lost ident.ID) {
	t.Helper()
	d, err := p.Download(t.Context(), bucket, "after", uplink.DownloadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	first := make([]byte, 1<<20)
	if _, err := io.ReadFull(d, first); err != nil {
		t.Fatal(err)
	}
	disqualify(t, admin, lost)
	rest, err := io.ReadAll(d)
	if err != nil || !bytes.Equal(append(first, rest...), data) {
		t.Errorf("read over a change of epochs: %d bytes, %v", len(first)+len(rest), err)
	}
	checkGet(t, p, "done", data)
	put(t, p, "last", data)
	checkGet(t, p, "last", data)
}

// disqualify has other nodes hold the slots of one.
func disqualify(t *testing.T, admin pb.AdminClient, lost ident.ID) {
	t.Helper()
	if _, err := admin.DisqualifyNode(t.Context(), &pb.DisqualifyNodeRequest{Id: lost[:], Reason: "for a test"}); err != nil {
		t.Fatal(err)
	}
	awaitEpochs(t, admin, lost[:])
}

// awaitEpochs waits until no group has the lost node any more.
func awaitEpochs(t *testing.T, admin pb.AdminClient, lost []byte) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		list, err := admin.ListGroups(t.Context(), &pb.ListGroupsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		left := 0
		for _, g := range list.Groups {
			for _, id := range g.Nodes {
				if bytes.Equal(id, lost) {
					left++
				}
			}
		}
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d slots are still held by a node that is gone", left)
		}
	}
}
