package liar_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/deploy/liar"
	"github.com/cairnstorage/cairn/deploy/localnet/network"
	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/uplink"
)

var scheme = erasure.Scheme{Required: 4, RepairBelow: 6, Success: 8, Total: 10}

// start runs a network of liars, which are honest so far.
func start(t *testing.T) ([]*liar.Liar, *uplink.Project) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	n, err := network.Start(ctx, network.Config{Dir: t.TempDir(), Joining: scheme.Total, Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	satellite, err := transport.ParseAddress(n.SatelliteAddress())
	if err != nil {
		t.Fatal(err)
	}
	var all []*liar.Liar
	for range scheme.Total {
		all = append(all, run(t, satellite))
	}
	if err := n.AwaitNodes(ctx, len(all)); err != nil {
		t.Fatal(err)
	}
	grant, err := n.Grant(ctx, "test", "passphrase")
	if err != nil {
		t.Fatal(err)
	}
	p, err := uplink.Open(ctx, grant)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if _, err := p.CreateBucket(ctx, "bucket"); err != nil {
		t.Fatal(err)
	}
	return all, p
}

func run(t *testing.T, satellite transport.Address) *liar.Liar {
	t.Helper()
	key, err := liar.Key()
	if err != nil {
		t.Fatal(err)
	}
	l, err := liar.New(liar.Config{Key: key, Satellite: satellite})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { l.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return l
}

func put(t *testing.T, p *uplink.Project, key string, data []byte) {
	t.Helper()
	u, err := p.Upload(t.Context(), "bucket", key, uplink.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write(data); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// get reads an object; the error is that of the reader.
func get(t *testing.T, p *uplink.Project, key string) ([]byte, error) {
	t.Helper()
	d, err := p.Download(t.Context(), "bucket", key, uplink.DownloadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	return io.ReadAll(d)
}

// Whatever three of ten nodes do, what is read is right; what more of them do,
// it is right or an error.
func TestReadsAmongLiars(t *testing.T) {
	all, p := start(t)
	data := make([]byte, 300_000)
	rand.Read(data)
	all[1].Behave(liar.Faults{Forget: 1, Claim: true})
	all[4].Behave(liar.Faults{Forget: 1, FalseProof: true})
	put(t, p, "object", data)
	// On a busy machine a node may be left out.
	for try := 0; all[1].Told().Receipts == 0 || all[4].Told().Receipts == 0; try++ {
		if try == 20 {
			t.Fatal("no receipt was false")
		}
		put(t, p, "object", data)
	}
	all[7].Behave(liar.Faults{WrongBytes: true, FalseProof: true})
	for range 3 {
		if got, err := get(t, p, "object"); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	for _, l := range all[:8] {
		l.Behave(liar.Faults{WrongBytes: true})
	}
	got, err := get(t, p, "object")
	if err == nil || !errors.Is(err, uplink.ErrCorrupt) && !errors.Is(err, uplink.ErrTooFewNodes) {
		t.Errorf("eight liars: %v", err)
	}
	if !bytes.HasPrefix(data, got) {
		t.Error("wrong bytes were handed out")
	}
}
