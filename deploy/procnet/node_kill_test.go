package procnet_test

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/deploy/procnet"
	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
)

// TestKillNodeLosesNothingReceipted kills one node again and again while
// shards are put on it. Every shard it signed a receipt for must come back.
func TestKillNodeLosesNothingReceipted(t *testing.T) {
	node := startLoneNode(t)
	var (
		mu      sync.Mutex
		shards  []shard
		checked int
	)
	for range rounds() {
		ctx, cancel := context.WithCancel(t.Context())
		var putters sync.WaitGroup
		for range 4 {
			putters.Go(func() {
				node.put(ctx, t, func(s shard) {
					mu.Lock()
					defer mu.Unlock()
					shards = append(shards, s)
				})
			})
		}
		awaitMore(t, "a shard to be receipted", func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(shards)
		}, 500*time.Millisecond)
		node.process.Kill()
		cancel()
		putters.Wait()
		node.restart(t)
		node.check(t, shards[checked:])
		checked = len(shards)
	}
	t.Logf("%d shards receipted", len(shards))
	node.check(t, shards)
	if err := node.process.Stop(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(node.process.Path, "fsck", "--dir", node.dir).CombinedOutput(); err != nil {
		t.Errorf("fsck: %v\n%s", err, out)
	}
}

// loneNode is a node process whose satellite is this test: nobody answers at
// its address, but its signatures are good.
type loneNode struct {
	process *procnet.Process
	dir     string
	address transport.Address
	key     ident.Key // of the satellite
	group   *order.Group
}

// shard is one that the node signed for. The scheme keeps the whole segment in
// the node's slot, so its bytes are the segment's.
type shard struct {
	id     order.SegmentID
	layout erasure.Layout
	root   merkle.Hash
	seed   uint64
}

func (s shard) data() []byte {
	data := make([]byte, s.layout.Size)
	var seed [32]byte
	for i := range 8 {
		seed[i] = byte(s.seed >> (8 * i))
	}
	rand.NewChaCha8(seed).Read(data)
	return data
}

func startLoneNode(t *testing.T) *loneNode {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ident.Generate(crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	node := &loneNode{key: key, dir: filepath.Join(dir, "node")}
	node.process = &procnet.Process{
		Name: "node",
		Path: filepath.Join(bin, "storagenode"),
		Args: []string{"run", "--dir", node.dir, "--listen", "/ip4/127.0.0.1/tcp/0", "--satellite", "/ip4/127.0.0.1/tcp/1/p2p/" + key.ID().String()},
		Log:  filepath.Join(dir, "node.log"),
	}
	t.Cleanup(node.process.Kill)
	node.restart(t)
	other, err := ident.Generate(crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	node.group = &order.Group{
		Satellite: key.ID(),
		ID:        1,
		Epoch:     1,
		Scheme:    erasure.Scheme{Required: 1, RepairBelow: 1, Success: 1, Total: 2},
		Nodes:     []ident.ID{node.address.ID, other.ID()},
		Issued:    time.Now().Truncate(time.Second),
	}
	return node
}

// restart starts the process and waits until it says where it listens.
func (n *loneNode) restart(t *testing.T) {
	t.Helper()
	if err := n.process.Start(); err != nil {
		t.Fatal(err)
	}
	var last error
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		out, err := exec.Command(n.process.Path, "info", "--dir", n.dir, "-o", "json").Output()
		if err == nil {
			var info struct{ Addresses []string }
			if err = json.Unmarshal(out, &info); err == nil && len(info.Addresses) > 0 {
				if n.address, err = transport.ParseAddress(info.Addresses[0]); err == nil {
					return
				}
			}
		}
		last = err
	}
	t.Fatalf("the node does not come up: %v", last)
}

// lease makes permission for a host, as a satellite would.
func (n *loneNode) lease(host *transport.Host, action order.Action) (nodeclient.Lease, error) {
	now := time.Now().Truncate(time.Second)
	limit := &order.Limit{
		Satellite: n.key.ID(),
		Uplink:    host.ID(),
		Group:     n.group.ID,
		Epoch:     n.group.Epoch,
		Action:    action,
		MaxBytes:  1 << 40,
		Issued:    now,
		Expires:   now.Add(order.LimitLife),
	}
	crand.Read(limit.Serial[:])
	signedLimit, err := order.SignLimit(n.key, limit)
	if err != nil {
		return nodeclient.Lease{}, err
	}
	signedGroup, err := order.SignGroup(n.key, n.group)
	if err != nil {
		return nodeclient.Lease{}, err
	}
	return nodeclient.OpenLease(signedGroup, signedLimit, n.key.ID())
}

func newHost(t *testing.T) *transport.Host {
	t.Helper()
	key, err := ident.Generate(crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	host, err := transport.New(transport.Config{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return host
}

// put puts shards until the stream breaks, a few of them under way at a time,
// and reports each that has its receipt.
func (n *loneNode) put(ctx context.Context, t *testing.T, receipted func(shard)) {
	host := newHost(t)
	defer host.Close()
	lease, err := n.lease(host, order.ActionPut)
	if err != nil {
		t.Error(err)
		return
	}
	stream, err := nodeclient.Dialer{Host: host}.OpenPut(ctx, n.address, lease)
	if err != nil {
		return // the node is dead already
	}
	defer stream.Reset()
	sent := make(chan shard, 3)
	go func() {
		defer close(sent)
		for ctx.Err() == nil {
			s, err := putOne(stream)
			if err != nil {
				return
			}
			select {
			case sent <- s:
			case <-ctx.Done():
			}
		}
	}()
	for s := range sent {
		if _, _, err := stream.Answer(); err != nil {
			stream.Reset()
			continue // drains sent
		}
		receipted(s)
	}
}

func putOne(stream *nodeclient.Put) (shard, error) {
	layout, err := erasure.NewLayout(1, 2, int64(erasure.ChunkAlign*(1+rand.N(1024))))
	if err != nil {
		return shard{}, err
	}
	s := shard{layout: layout, seed: rand.Uint64()}
	crand.Read(s.id[:])
	data := s.data()
	// One data shard, so the code makes its parity a copy of it.
	root := merkle.ShardRoot(data)
	roots := []merkle.Hash{root, root}
	s.root = merkle.SegmentRoot(layout, roots)
	if err := stream.Begin(s.id, layout.ShardSize()); err != nil {
		return s, err
	}
	for rest := data; len(rest) > 0; {
		n := min(len(rest), erasure.ChunkSize)
		buffer := append(make([]byte, wire.HeaderSize), rest[:n]...)
		if err := stream.Data(buffer); err != nil {
			return s, err
		}
		rest = rest[n:]
	}
	return s, stream.End(layout, s.root, roots)
}

// check reads every shard back, and has one leaf of each proved.
func (n *loneNode) check(t *testing.T, shards []shard) {
	t.Helper()
	host := newHost(t)
	defer host.Close()
	lease, err := n.lease(host, order.ActionGet)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := nodeclient.Dialer{Host: host}.OpenGet(t.Context(), n.address, lease)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for _, s := range shards {
		if err := checkOne(stream, s); err != nil {
			t.Errorf("receipted shard %v: %v", s.id, err)
		}
	}
}

func checkOne(stream *nodeclient.Get, s shard) error {
	got := make([]byte, s.layout.ShardSize())
	if err := stream.Request(s.id, 0, len(got)); err != nil {
		return err
	}
	if err := stream.Receive(got); err != nil {
		return err
	}
	if !bytes.Equal(got, s.data()) {
		return fmt.Errorf("came back with other bytes")
	}
	_, err := stream.Prove(s.id, s.layout, s.root, 0, rand.N(merkle.LeafCount(s.layout.ShardSize())), 1)
	return err
}
