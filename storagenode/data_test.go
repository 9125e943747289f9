package storagenode

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// dataRig is a node with two data directories, both with live shards of group 7.
type dataRig struct {
	t         *testing.T
	satellite *fakeSatellite
	c         Config
	one, two  int // shards in each of them
}

func newDataRig(t *testing.T) *dataRig {
	r := &dataRig{t: t, satellite: newFakeSatellite(t)}
	dir := shortDir(t)
	r.c = Config{
		Dir: dir, Satellite: r.satellite.serve(), Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Reserve: 1 << 20,
		Data: []string{filepath.Join(dir, "one"), filepath.Join(dir, "two")},
	}
	n, stop := runNode(t, r.c)
	defer stop()
	r.satellite.join(7, 1, n.ID())
	// Which takes a shard is told by what is free, and others write to the disk.
	for i := byte(0); r.one == 0 || r.two == 0; i++ {
		if i == 255 {
			t.Fatalf("all of %d shards are in one directory", i)
		}
		r.satellite.live(7, putShard(t, n.store, 7, i))
		dirs := n.store.Usage().Dirs
		r.one, r.two = dirs[0].Shards, dirs[1].Shards
	}
	await(t, "the node to follow the journal", func() bool { return n.store.Usage().Staged == 0 })
	return r
}

// run starts the node and waits until it holds, and misses, so many shards.
func (r *dataRig) run(shards, missing int) {
	r.t.Helper()
	n, stop := runNode(r.t, r.c)
	defer stop()
	await(r.t, "the node to know what it holds", func() bool {
		cursor, err := n.store.Cursor(7)
		u := n.store.Usage()
		return err == nil && cursor == uint64(r.one+r.two) && u.Shards == shards && u.Missing == missing
	})
}

func (r *dataRig) refused(want string) {
	r.t.Helper()
	n, err := New(r.c)
	if err == nil {
		n.close()
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		r.t.Errorf("got %v, want %s", err, want)
	}
}

// A data directory that is not named any more may hold what the node has claimed.
func TestDataDirectoryLeftOut(t *testing.T) {
	r := newDataRig(t)
	all := r.c.Data
	r.c.Data = all[:1]
	r.refused(all[1] + " was used before")
	r.refused(all[1] + " was used before") // still
	r.c.Data = all
	r.run(r.one+r.two, 0)
	r.c.Data, r.c.Replaced = all[:1], all[1:]
	r.run(r.one, r.two)
	r.c.Replaced = nil // said once
	r.run(r.one, r.two)
}

// One that was moved is the same.
func TestDataDirectoryMoved(t *testing.T) {
	r := newDataRig(t)
	moved := filepath.Join(r.c.Dir, "elsewhere")
	if err := os.Rename(r.c.Data[1], moved); err != nil {
		t.Fatal(err)
	}
	r.c.Data[1] = moved
	r.run(r.one+r.two, 0)
	r.c.Data = r.c.Data[1:]
	r.refused("was used before")
}

// One whose disk was replaced has lost what it held, and nothing else has.
func TestDataDirectoryReplaced(t *testing.T) {
	r := newDataRig(t)
	if err := os.RemoveAll(r.c.Data[1]); err != nil {
		t.Fatal(err)
	}
	impaired := func() (is bool) {
		r.satellite.change(func() { is = r.satellite.checkIns[len(r.satellite.checkIns)-1].Impaired })
		return is
	}
	_, stop := runNode(t, r.c)
	await(t, "the satellite to know of the trouble", impaired)
	stop()
	r.c.Replaced = r.c.Data[1:]
	r.run(r.one, r.two)
	r.c.Replaced = nil
	_, stop = runNode(t, r.c)
	defer stop()
	await(t, "the trouble to be over", func() bool { return !impaired() })
}
