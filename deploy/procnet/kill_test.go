package procnet_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/deploy/procnet"
	"github.com/cairnstorage/cairn/uplink"
)

// rounds is how often a test kills: a few times, or a hundred with CAIRN_LONG.
func rounds() int {
	if os.Getenv("CAIRN_LONG") != "" {
		return 100
	}
	return 3
}

var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "cairn-bin.")
	if err != nil {
		return "", err
	}
	return dir, procnet.Build(context.Background(), dir)
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := binaries(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

func start(t *testing.T, nodes int, scheme string) *procnet.Network {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	network, err := procnet.Start(t.Context(), procnet.Config{Bin: bin, Dir: dir, Nodes: nodes, Scheme: scheme})
	if err != nil {
		showLogs(t, dir)
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, dir)
		}
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	})
	return network
}

// openProject opens the network's project and makes the bucket of these tests.
func openProject(t *testing.T, network *procnet.Network) *uplink.Project {
	t.Helper()
	project, err := uplink.Open(t.Context(), network.Grant)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { project.Close() })
	if _, err := project.CreateBucket(t.Context(), "kill"); err != nil {
		t.Fatal(err)
	}
	return project
}

// showLogs prints the end of what each process said.
func showLogs(t *testing.T, dir string) {
	logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	for _, path := range logs {
		data, _ := os.ReadFile(path)
		t.Logf("%s:\n%s", filepath.Base(path), data[max(0, len(data)-3000):])
	}
}

// ledger remembers what was acknowledged.
type ledger struct {
	mu   sync.Mutex
	keys []string
}

func (l *ledger) acknowledge(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keys = append(l.keys, key)
}

func (l *ledger) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.keys)
}

// awaitMore waits until a count has grown, on however slow a machine, and then
// for a while drawn at random.
func awaitMore(t *testing.T, what string, count func() int, longest time.Duration) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for begun := count(); count() == begun; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
	time.Sleep(rand.N(longest))
}

// content is what an object of this name holds: a size and bytes drawn from it.
func content(key string) []byte {
	var seed [32]byte
	copy(seed[:], key)
	stream := rand.NewChaCha8(seed)
	sizes := []int{0, 1, 300, 4096, 4097, 70_000, 1_000_000}
	data := make([]byte, sizes[stream.Uint64()%uint64(len(sizes))]+int(stream.Uint64()%64))
	stream.Read(data)
	return data
}

func put(ctx context.Context, project *uplink.Project, key string) error {
	data := content(key)
	upload, err := project.Upload(ctx, "kill", key, uplink.UploadOptions{Size: int64(len(data))})
	if err != nil {
		return err
	}
	if _, err := upload.Write(data); err != nil {
		upload.Abort()
		return err
	}
	_, err = upload.Commit(ctx)
	return err
}

func check(ctx context.Context, project *uplink.Project, key string) error {
	download, err := project.Download(ctx, "kill", key, uplink.DownloadOptions{})
	if err != nil {
		return err
	}
	defer download.Close()
	got, err := io.ReadAll(download)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, content(key)) {
		return fmt.Errorf("%s came back with other bytes", key)
	}
	return nil
}

// TestKillSatelliteDuringCommits kills the satellite while objects are being
// committed. What was acknowledged must be there afterwards, what was not must
// be whole or absent.
func TestKillSatelliteDuringCommits(t *testing.T) {
	ctx := t.Context()
	network := start(t, 4, "2/3/3/4")
	project := openProject(t, network)
	var acknowledged ledger
	for round := range rounds() {
		writing, stop := context.WithCancel(ctx)
		var writers sync.WaitGroup
		for w := range 4 {
			writers.Go(func() {
				for i := 0; writing.Err() == nil; i++ {
					key := fmt.Sprintf("%d/%d/%d", round, w, i)
					if put(writing, project, key) == nil {
						acknowledged.acknowledge(key)
					}
				}
			})
		}
		awaitMore(t, "an object to be acknowledged", acknowledged.size, time.Second)
		network.Satellite.Kill()
		stop()
		writers.Wait()
		if err := network.Satellite.Start(); err != nil {
			t.Fatal(err)
		}
		if err := network.AwaitNodes(ctx, 4); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d objects acknowledged", len(acknowledged.keys))
	for _, key := range acknowledged.keys {
		if err := check(ctx, project, key); err != nil {
			t.Errorf("acknowledged object %s: %v", key, err)
		}
	}
	listed := 0
	for item, err := range project.List(ctx, "kill", uplink.ListOptions{Recursive: true}) {
		if err != nil {
			t.Fatal(err)
		}
		listed++
		if err := check(ctx, project, item.Object.Key); err != nil {
			t.Errorf("listed object %s: %v", item.Object.Key, err)
		}
	}
	if listed < len(acknowledged.keys) {
		t.Errorf("%d objects listed, %d acknowledged", listed, len(acknowledged.keys))
	}
}

// TestKillNodesDuringUploads kills two of ten nodes in every round, as many as
// an upload can do without, and in the end as many as a download can.
func TestKillNodesDuringUploads(t *testing.T) {
	ctx := t.Context()
	network := start(t, 10, "4/6/8/10")
	project := openProject(t, network)
	var acknowledged ledger
	for round := range rounds() {
		victims := rand.Perm(10)[:2]
		var writers sync.WaitGroup
		for w := range 4 {
			writers.Go(func() {
				for i := range 6 {
					key := fmt.Sprintf("%d/%d/%d", round, w, i)
					if err := put(ctx, project, key); err != nil {
						t.Errorf("put with two nodes killed: %v", err)
						continue
					}
					acknowledged.acknowledge(key)
				}
			})
		}
		for _, i := range victims {
			time.Sleep(rand.N(150 * time.Millisecond))
			network.Nodes[i].Kill()
		}
		writers.Wait()
		if err := network.AwaitGone(ctx, 8); err != nil {
			t.Fatal(err)
		}
		for _, i := range victims {
			if err := network.Nodes[i].Start(); err != nil {
				t.Fatal(err)
			}
		}
		if err := network.AwaitNodes(ctx, 10); err != nil {
			t.Fatal(err)
		}
	}
	// Each object has at least eight shards: any four nodes may go.
	for _, i := range rand.Perm(10)[:4] {
		network.Nodes[i].Kill()
	}
	for _, key := range acknowledged.keys {
		if err := check(ctx, project, key); err != nil {
			t.Errorf("acknowledged object %s: %v", key, err)
		}
	}
}

// TestRestartKeepsEverything ends every process in order and starts it again,
// then does the same with SIGKILL.
func TestRestartKeepsEverything(t *testing.T) {
	ctx := t.Context()
	network := start(t, 4, "2/3/3/4")
	project := openProject(t, network)
	var keys []string
	for i := range 30 {
		key := fmt.Sprint(i)
		if err := put(ctx, project, key); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	checkAll := func() {
		t.Helper()
		for _, key := range keys {
			if err := check(ctx, project, key); err != nil {
				t.Errorf("%s after a restart: %v", key, err)
			}
		}
	}
	if err := network.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	checkAll()
	network.Satellite.Kill()
	for _, node := range network.Nodes {
		node.Kill()
	}
	if err := network.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	checkAll()
}
