package procnet_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/deploy/procnet"
	"github.com/cairnstorage/cairn/uplink"
)

// TestKillAmongPacks kills the satellite, a node or an uplink while small objects
// are packed, copied, deleted and repacked. What was acknowledged must be there,
// whatever is there must be whole, and when all is deleted nothing may be left.
func TestKillAmongPacks(t *testing.T) {
	ctx := t.Context()
	network := start(t, 5, "2/3/4/5")
	p := &packing{t: t, network: network, project: openProject(t, network), local: t.TempDir()}
	p.makeFiles()
	for round := range rounds() {
		loading, stop := context.WithCancel(ctx)
		command := network.Uplink(loading, "-q", "cp", "-r", p.local, fmt.Sprintf("cairn://kill/files/%d", round))
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		var load sync.WaitGroup
		for w := range 2 {
			load.Go(func() { p.pack(loading, fmt.Sprintf("%d/%d", round, w)) })
		}
		load.Go(func() { p.churn(loading) })
		load.Go(func() {
			for loading.Err() == nil {
				_, _ = p.project.Repack(loading, uplink.RepackOptions{Below: 0.9}) // it fails while something is down
			}
		})
		awaitMore(t, "a pack to be stored", p.acknowledged.size, time.Second)
		switch round % 3 {
		case 0:
			network.Satellite.Kill()
		case 1:
			network.Nodes[rand.IntN(5)].Kill()
			awaitMore(t, "a pack to be stored without a node", p.acknowledged.size, time.Second)
		default:
			_ = command.Process.Kill() // and those in this process are cut short
		}
		stop()
		load.Wait()
		_ = command.Wait()
		p.restart(ctx)
	}
	p.check(ctx)
	p.removeAll(ctx)
}

// packing is the load of small objects.
type packing struct {
	t            *testing.T
	network      *procnet.Network
	project      *uplink.Project
	local        string // a directory of small files
	acknowledged ledger
	touched      sync.Map // keys that are to be deleted
}

func (p *packing) makeFiles() {
	p.t.Helper()
	for i := range 200 {
		name := fmt.Sprint(i)
		data := content(name)
		if err := os.WriteFile(filepath.Join(p.local, name), data[:min(len(data), 30_000)], 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
}

// pack stores object after object until ctx ends.
func (p *packing) pack(ctx context.Context, under string) {
	k := p.project.NewPacker(ctx)
	for i := 0; ctx.Err() == nil; i++ {
		for j := range 12 {
			key := fmt.Sprintf("%s/%d-%d", under, i, j)
			_ = k.Add("kill", key, bytes.NewReader(content(key)), uplink.UploadOptions{}, func(_ uplink.Object, err error) {
				if err == nil {
					p.acknowledged.acknowledge(key)
				}
			})
		}
		_ = k.Flush()
	}
}

// churn copies objects and deletes the originals, or only deletes them.
func (p *packing) churn(ctx context.Context) {
	for ctx.Err() == nil {
		key := p.acknowledged.draw()
		if key == "" {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if _, twice := p.touched.LoadOrStore(key, true); twice {
			continue
		}
		if rand.IntN(2) == 0 && !strings.HasPrefix(key, "copy/") {
			if _, err := p.project.Copy(ctx, "kill", key, "kill", "copy/"+key, uplink.CopyOptions{}); err == nil {
				p.acknowledged.acknowledge("copy/" + key)
			}
		}
		_ = p.project.Delete(ctx, "kill", key)
	}
}

// draw returns one of what was acknowledged.
func (l *ledger) draw() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.keys) == 0 {
		return ""
	}
	return l.keys[rand.IntN(len(l.keys))]
}

// restart starts what was killed.
func (p *packing) restart(ctx context.Context) {
	p.t.Helper()
	for i, process := range append([]*procnet.Process{p.network.Satellite}, p.network.Nodes...) {
		if process.Running() {
			continue
		}
		if i > 0 {
			if err := p.network.AwaitGone(ctx, 4); err != nil {
				p.t.Fatal(err)
			}
		}
		if err := process.Start(); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := p.network.AwaitNodes(ctx, 5); err != nil {
		p.t.Fatal(err)
	}
}

// check reads all that must be there, and all that is.
func (p *packing) check(ctx context.Context) {
	p.t.Helper()
	p.t.Logf("%d objects acknowledged", p.acknowledged.size())
	there := make(map[string]bool)
	for item, err := range p.project.List(ctx, "kill", uplink.ListOptions{Recursive: true}) {
		if err != nil {
			p.t.Fatal(err)
		}
		there[item.Object.Key] = true
		if err := p.whole(ctx, item.Object.Key); err != nil {
			p.t.Errorf("listed object %s: %v", item.Object.Key, err)
		}
	}
	for _, key := range p.acknowledged.keys {
		if _, touched := p.touched.Load(key); !touched && !there[key] {
			p.t.Errorf("acknowledged object %s is lost", key)
		}
	}
}

// whole reads an object and compares it with what was written.
func (p *packing) whole(ctx context.Context, key string) error {
	download, err := p.project.Download(ctx, "kill", key, uplink.DownloadOptions{})
	if err != nil {
		return err
	}
	defer download.Close()
	got, err := io.ReadAll(download)
	if err != nil {
		return err
	}
	want := content(strings.TrimPrefix(key, "copy/"))
	if strings.HasPrefix(key, "files/") {
		if want, err = os.ReadFile(filepath.Join(p.local, filepath.Base(key))); err != nil {
			return err
		}
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("it has other bytes")
	}
	return nil
}

// removeAll deletes everything and waits until no node holds anything of it.
func (p *packing) removeAll(ctx context.Context) {
	p.t.Helper()
	if err := p.project.DeleteBucket(ctx, "kill", true); err != nil {
		p.t.Fatal(err)
	}
	deadline := time.Now().Add(3 * time.Minute)
	for i := range p.network.Nodes {
		for {
			info, err := p.network.NodeInfo(ctx, i)
			if err == nil && info.Shards == info.Staged { // what nobody committed expires later
				break
			}
			if time.Now().After(deadline) {
				p.t.Fatalf("node %d still holds %v, %v", i, info, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	out, err := p.network.SatelliteCommand(ctx, "verify", "-o", "json")
	var found struct {
		Differences []json.RawMessage `json:"differences"`
	}
	if err != nil || json.Unmarshal(out, &found) != nil || len(found.Differences) > 0 {
		p.t.Errorf("satellite verify: %v\n%s", err, out)
	}
	for i, node := range p.network.Nodes {
		if err := node.Stop(); err != nil {
			p.t.Error(err)
		}
		if out, err := exec.Command(node.Path, "fsck", "--dir", p.network.NodeDir(i)).CombinedOutput(); err != nil {
			p.t.Errorf("fsck of node %d: %v\n%s", i, err, out)
		}
	}
}
