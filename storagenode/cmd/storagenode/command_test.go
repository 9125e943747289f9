package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// nowhere is the address of a satellite that does not answer.
const nowhere = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUj2kj6vnc6iDEp"

func command(ctx context.Context, args ...string) (code int, out, errOut string) {
	var stdout, stderr bytes.Buffer
	code = run(ctx, args, &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "node")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// runOnce runs a node in dir, asks it how it is, and stops it.
func runOnce(t *testing.T, dir string) nodeInfo {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan int, 1)
	go func() {
		code, out, errOut := command(ctx, "run", "--dir", dir, "--satellite", nowhere, "--listen", "/ip4/127.0.0.1/tcp/0",
			"--capacity", "500GB", "--reserve", "16MiB")
		if !strings.Contains(out, "/p2p/") {
			t.Errorf("run printed %q, %s", out, errOut)
		}
		done <- code
	}()
	var info nodeInfo
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		code, out, errOut := command(ctx, "info", "--dir", dir, "-o", "json")
		if code == exitOK {
			if err := json.Unmarshal([]byte(out), &info); err != nil {
				t.Fatal(err)
			}
			break
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the node does not answer: %s", errOut)
		}
	}
	if code, out, _ := command(ctx, "info", "--dir", dir); code != exitOK || !strings.Contains(out, info.ID.String()) {
		t.Errorf("info: %d, %s", code, out)
	}
	cancel()
	if code := <-done; code != exitOK {
		t.Errorf("run ended with %d", code)
	}
	return info
}

func TestRunAndRepair(t *testing.T) {
	dir := shortDir(t)
	info := runOnce(t, dir)
	if info.Capacity != 500e9 || len(info.Data) != 1 || len(info.Addresses) != 1 || info.LastCheckIn != nil {
		t.Errorf("info: %+v", info)
	}
	data := filepath.Join(dir, "data")
	putShard(t, data)
	if code, out, errOut := command(t.Context(), "fsck", "--dir", dir); code != exitOK || !strings.Contains(out, "1 sound shards") {
		t.Errorf("fsck: %d, %s %s", code, out, errOut)
	}
	if err := os.RemoveAll(filepath.Join(data, "index")); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := command(t.Context(), "fsck", "--dir", dir); code != exitDamage || !strings.Contains(out, "index") {
		t.Errorf("fsck without an index: %d, %s", code, out)
	}
	code, _, errOut := command(t.Context(), "run", "--dir", dir, "--satellite", nowhere)
	if code != exitFailed || !strings.Contains(errOut, "storagenode rebuild-index --dir "+dir) {
		t.Errorf("run without an index: %d, %s", code, errOut)
	}
	if code, out, errOut := command(t.Context(), "rebuild-index", "--dir", dir); code != exitOK || !strings.Contains(out, "1 sound shards") {
		t.Errorf("rebuild-index: %d, %s %s", code, out, errOut)
	}
	if again := runOnce(t, dir); again.ID != info.ID || again.Shards != 1 || again.Addresses[0] != info.Addresses[0] {
		t.Errorf("after the rebuild: %+v", again)
	}
}

func putShard(t *testing.T, data string) {
	t.Helper()
	s, err := shardstore.Open(shardstore.Config{Dirs: []string{data}, Reserve: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	bytes := make([]byte, 4096)
	m := shardstore.Meta{Layout: erasure.Layout{Required: 1, Total: 2, Size: 4096}, ShardRoots: []merkle.Hash{merkle.ShardRoot(bytes), {1}}}
	m.Group, m.Segment[0] = 1, 1
	m.Root = merkle.SegmentRoot(m.Layout, m.ShardRoots)
	w, err := s.Create(t.Context(), m.Key, 4096, 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(bytes); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func TestBadCommandLines(t *testing.T) {
	dir := shortDir(t)
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"walk", exitUsage, "walk"},
		{"run", exitUsage, "--dir is required"},
		{"run --dir " + dir, exitUsage, "--satellite is required"},
		{"run --dir " + dir + " --satellite " + nowhere + " more", exitUsage, "more"},
		{"run --dir " + dir + " --satellite " + nowhere + " --wings 2", exitUsage, "wings"},
		{"run --dir " + dir + " --satellite " + nowhere + " --capacity much", exitUsage, "500GB"},
		{"run --dir " + dir + " --satellite " + nowhere + " --capacity 0", exitUsage, "500GB"},
		{"run --dir " + dir + " --satellite " + nowhere + " --log-level loud", exitUsage, "loud"},
		{"run --dir " + dir + " --satellite " + nowhere + " --log-format xml", exitUsage, "xml"},
		{"run --dir " + dir + " --satellite " + nowhere + " --pprof", exitUsage, "--metrics"},
		{"run --dir " + dir + " --satellite /ip4/127.0.0.1/tcp/1", exitFailed, "/p2p/"},
		{"info", exitUsage, "--dir"},
		{"info --dir " + dir, exitFailed, "no storage node is running"},
		{"info --dir " + dir + " -o xml", exitUsage, "xml"},
		{"fsck --dir " + dir, exitFailed, "not the directory of a node"},
		{"rebuild-index --dir " + dir + "/none", exitFailed, "no such file"},
	} {
		code, out, errOut := command(t.Context(), strings.Fields(tt.args)...)
		if code != tt.code || !strings.Contains(errOut, tt.want) || out != "" {
			t.Errorf("%s: %d, %q, %q", tt.args, code, out, errOut)
		}
	}
	for _, args := range [][]string{nil, {"help"}, {"--version"}, {"run", "--help"}} {
		if code, out, errOut := command(t.Context(), args...); code != exitOK || out == "" || errOut != "" {
			t.Errorf("%v: %d, %q", args, code, errOut)
		}
	}
}
