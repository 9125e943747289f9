package storagenode

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/storagenode/internal/durable"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// shortDir is a directory whose name leaves room for a socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "node")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// runNode starts a node; stop ends it as a signal would.
func runNode(t *testing.T, c Config) (n *Node, stop func()) {
	t.Helper()
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(stop)
	return n, stop
}

// await waits until something is so.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(2 * time.Minute)
	for !is() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waited too long: %s", what)
		}
	}
}

func TestNode(t *testing.T) {
	satellite := newFakeSatellite(t)
	address := satellite.serve()
	c := Config{Dir: shortDir(t), Satellite: address, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Reserve: 1 << 20,
		Operator: "someone", Version: "v1", Logger: testLogger(t)}
	n, stop := runNode(t, c)
	id := n.ID()
	satellite.join(7, 1, id)
	var info *pb.InfoResponse
	followed := func(cursor uint64) func() bool {
		return func() bool {
			var err error
			info, err = AskInfo(t.Context(), c.Dir)
			return err == nil && len(info.Groups) == 1 && info.Groups[0].Cursor == cursor
		}
	}
	await(t, "the node to know its group", followed(0))
	a, b := putShard(t, n.store, 7, 1), putShard(t, n.store, 7, 2)
	satellite.live(7, a)
	satellite.live(7, b)
	satellite.tombstone(7, b.Segment)
	await(t, "the node to follow the journal", followed(3))
	if ident.ID(info.Id) != id || info.Shards != 1 || info.Staged != 0 || info.Trouble != "" || info.LastCheckIn == 0 ||
		info.Groups[0].Slot != 1 || info.Groups[0].Head != 3 || info.Version != "v1" || len(info.Data) != 1 {
		t.Errorf("info: %v", info)
	}
	satellite.change(func() {
		last := satellite.checkIns[len(satellite.checkIns)-1]
		if last.Operator != "someone" || last.Version != "v1" || last.Free == 0 || last.Capacity != last.Used+last.Free {
			t.Errorf("check-in: %v", last)
		}
	})
	if _, err := New(c); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("second node in the directory: %v", err)
	}
	addresses := n.Addresses()
	stop()
	if _, err := AskInfo(t.Context(), c.Dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("info of a node that is stopped: %v", err)
	}

	satellite.join(7, 2, id)
	n, _ = runNode(t, c)
	if !slices.Equal(n.Addresses(), addresses) || n.ID() != id {
		t.Errorf("after a restart: %v instead of %v", n.Addresses(), addresses)
	}
	await(t, "the node to learn the new epoch", func() bool {
		info, err := AskInfo(t.Context(), c.Dir)
		return err == nil && info.Groups[0].Epoch == 2 && info.Groups[0].Cursor == 3 && info.Shards == 1
	})
}

func TestSatelliteDown(t *testing.T) {
	satellite := newFakeSatellite(t)
	satellite.down = true
	c := Config{Dir: shortDir(t), Satellite: satellite.serve(), Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Reserve: 1 << 20}
	n, _ := runNode(t, c)
	await(t, "the node to tell its trouble", func() bool { return n.troubles()[troubleSatellite] != "" })
	satellite.change(func() { satellite.down = false })
	await(t, "the node to check in again", func() bool { return n.troubles()[troubleSatellite] == "" })
}

// The operator is told that the clock is wrong, and nothing is lost by it.
func TestWrongClock(t *testing.T) {
	satellite := newFakeSatellite(t)
	var ahead atomic.Int64
	c := Config{Dir: shortDir(t), Satellite: satellite.serve(), Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Reserve: 1 << 20,
		Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }}
	n, _ := runNode(t, c)
	satellite.join(7, 1, n.ID())
	await(t, "the node to know its group", func() bool { return len(n.parts()) == 1 })
	putShard(t, n.store, 7, 1)
	trouble := func() string {
		info, err := AskInfo(t.Context(), c.Dir)
		if err != nil {
			t.Fatal(err)
		}
		return info.Trouble
	}
	for _, wrong := range []time.Duration{48 * time.Hour, -order.Skew - time.Minute} {
		ahead.Store(int64(wrong))
		await(t, "the node to tell that its clock is wrong", func() bool { return strings.Contains(trouble(), troubleClock) })
		seen := 0
		satellite.change(func() { seen = len(satellite.checkIns) })
		await(t, "the node to check in more", func() (more bool) {
			satellite.change(func() { more = len(satellite.checkIns) > seen+3 })
			return more
		})
		if u := n.store.Usage(); u.Staged != 1 {
			t.Errorf("usage: %+v", u)
		}
		ahead.Store(0)
		await(t, "the trouble to go", func() bool { return trouble() == "" })
	}
}

func TestPortTaken(t *testing.T) {
	satellite := newFakeSatellite(t)
	c := Config{Dir: shortDir(t), Satellite: satellite.serve(), Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Reserve: 1 << 20}
	n, stop := runNode(t, c)
	before := n.Addresses()[0]
	stop()
	at, err := hostPort("tcp", before)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n, _ = runNode(t, c)
	if n.Addresses()[0] == before {
		t.Error("the node listens where another does")
	}
}

// TestNewRefuses: what cannot be used is told, and nothing stays open.
func TestNewRefuses(t *testing.T) {
	satellite, other := newFakeSatellite(t), newFakeSatellite(t)
	address := "/ip4/127.0.0.1/tcp/1/p2p/" + satellite.key.ID().String()
	dir := shortDir(t)
	_, stop := runNode(t, Config{Dir: dir, Satellite: address, Reserve: 1 << 20, Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	stop()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("what\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	gone := shortDir(t)
	_, stop = runNode(t, Config{Dir: gone, Satellite: address, Reserve: 1 << 20, Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	stop()
	if err := os.RemoveAll(filepath.Join(gone, "data")); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		c    Config
		want string
	}{
		"no directory":      {Config{Satellite: address}, "required"},
		"no satellite":      {Config{Dir: dir}, "required"},
		"no address":        {Config{Dir: dir, Satellite: "nowhere"}, "no such file"},
		"file, no address":  {Config{Dir: dir, Satellite: file}, "not an address"},
		"another satellite": {Config{Dir: dir, Satellite: "/ip4/127.0.0.1/tcp/1/p2p/" + other.key.ID().String()}, "another satellite"},
		"bad listen":        {Config{Dir: dir, Satellite: address, Listen: []string{"/ip4/127.0.0.1"}}, "/ip4/127.0.0.1"},
		"foreign listen":    {Config{Dir: dir, Satellite: address, Listen: []string{"/ip4/192.0.2.1/tcp/0"}}, "192.0.2.1"},
		"dir is a file":     {Config{Dir: file, Satellite: address}, "not a directory"},
		"data is a file":    {Config{Dir: dir, Satellite: address, Data: []string{file}}, "not a directory"},
		"data is gone":      {Config{Dir: gone, Satellite: address}, "--replaced"},
		"long name":         {Config{Dir: filepath.Join(shortDir(t), strings.Repeat("long", 30)), Satellite: address}, "shorter name"},
	} {
		c := tt.c
		c.Reserve = 1 << 20
		n, err := New(c)
		if err == nil {
			n.close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The directory that was tried so often is still good, and the one whose
	// data is gone is once that was said.
	_, stop = runNode(t, Config{Dir: dir, Satellite: address, Reserve: 1 << 20})
	stop()
	_, stop = runNode(t, Config{Dir: gone, Satellite: address, Reserve: 1 << 20, Replaced: []string{filepath.Join(gone, "data")}})
	stop()
	_, stop = runNode(t, Config{Dir: gone, Satellite: address, Reserve: 1 << 20})
	stop()
}

func TestParseSatellite(t *testing.T) {
	address := newFakeSatellite(t).serve()
	want, err := transport.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "address")
	if err := os.WriteFile(file, []byte(address+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{address, file} {
		if got, err := ParseSatellite(text); err != nil || got.String() != want.String() {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}

func TestState(t *testing.T) {
	dir := t.TempDir()
	satellite := newFakeSatellite(t)
	s, err := readState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.bind(satellite.key.ID()), s.setPort("a", "b"), s.setData(map[string]string{"d": "id", "bad": ""}, nil)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if s.port("a") != "b" || s.known()["d"] != "id" || len(s.known()) != 1 {
			t.Errorf("state: %+v", s)
		}
		if s, err = readState(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.bind(newFakeSatellite(t).key.ID()); !errors.Is(err, errSatellite) {
		t.Errorf("bind to another satellite: %v", err)
	}
	for _, content := range []string{"", "{", `{"version": 2}`, `{"version": 1, "groups": [{"record": "AAAA"}]}`, `{"version": 1, "groups": [{"record": "%"}]}`} {
		if err := os.WriteFile(s.path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readState(dir); err == nil || !strings.Contains(err.Error(), s.path) {
			t.Errorf("state %q: %v", content, err)
		}
	}
}

func TestLockData(t *testing.T) {
	satellite := newFakeSatellite(t)
	c := Config{Dir: shortDir(t), Satellite: satellite.serve(), Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Reserve: 1 << 20}
	if unlock, data, err := LockData(c.Dir); err != nil || len(data) != 0 {
		t.Errorf("a directory without a node: %v, %v", data, err)
	} else {
		unlock()
	}
	_, stop := runNode(t, c)
	if _, _, err := LockData(c.Dir); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("beside the node: %v", err)
	}
	stop()
	unlock, data, err := LockData(c.Dir)
	if err != nil || len(data) != 1 || data[0] != filepath.Join(c.Dir, "data") {
		t.Fatalf("%v, %v", data, err)
	}
	if _, err := New(c); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("a node beside an inspection: %v", err)
	}
	unlock()
	if _, err := shardstore.Fsck(t.Context(), data[0], nil); err != nil {
		t.Error(err)
	}
}
