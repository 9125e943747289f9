package badgerkv_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/badgerkv"
	"github.com/cairnstorage/cairn/satellite/kv/kvtest"
)

func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	_, err := badgerkv.Open(config(dir))
	if err == nil || !strings.Contains(err.Error(), "in use by another process (pid ") {
		t.Errorf("second Open: %v", err)
	}
	kvtest.Put(t, s, "a", "") // the first goes on
}

func TestUnusableDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := badgerkv.Open(config(filepath.Join(file, "dir")))
	if err == nil || !strings.Contains(err.Error(), "cannot write in") {
		t.Errorf("Open below a file: %v", err)
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	dir := mount(t, "size=64m")
	s := open(t, dir)
	kvtest.Put(t, s, "a", "1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "remount,ro", dir).CombinedOutput(); err != nil {
		t.Skipf("cannot make it read-only: %s", out)
	}
	_, err := badgerkv.Open(config(dir))
	if err == nil || !strings.Contains(err.Error(), "cannot write in "+dir) {
		t.Errorf("Open: %v", err)
	}
	if out, err := exec.Command("mount", "-o", "remount,rw", dir).CombinedOutput(); err != nil {
		t.Fatalf("%s", out)
	}
	s = open(t, dir)
	defer s.Close()
	if got := kvtest.Dump(t, s)["a"]; got != "1" {
		t.Errorf("a = %q", got)
	}
}

// mount makes a small file system of its own, where the machine allows it.
func mount(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", options, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	return dir
}

// TestReserve: with only the reserve left, updates are refused and all else
// goes on; with space again, so do updates.
func TestReserve(t *testing.T) {
	dir := t.TempDir()
	var free atomic.Int64
	const reserve = 64 << 20
	free.Store(reserve + 1<<20)
	c := config(dir)
	c.Reserve = reserve
	c.Free = func(string) (int64, int64, error) { return free.Load(), 1 << 40, nil }
	s, err := badgerkv.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	kvtest.Put(t, s, "a", "1")
	free.Store(reserve + 1)
	err = s.Update(context.Background(), func(tx kv.Tx) error { return tx.Set([]byte("b"), []byte("2")) })
	if !errors.Is(err, kv.ErrFull) || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("Update on a full disk: %v", err)
	}
	if got := kvtest.Dump(t, s); len(got) != 1 || got["a"] != "1" {
		t.Errorf("store holds %q", got)
	}
	err = s.Update(context.Background(), func(tx kv.Tx) error { // one that only reads
		_, err := tx.Get([]byte("a"))
		return err
	})
	if err != nil {
		t.Errorf("reading Update on a full disk: %v", err)
	}
	free.Store(reserve * 2)
	kvtest.Put(t, s, "b", "3")

	// Opening needs some room, too.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	free.Store(1 << 20)
	if _, err := badgerkv.Open(c); !errors.Is(err, kv.ErrFull) {
		t.Errorf("Open on a full disk: %v", err)
	}
	free.Store(reserve / 2) // below the reserve, but enough to read
	if s, err = badgerkv.Open(c); err != nil {
		t.Fatal(err)
	}
	if got := kvtest.Dump(t, s)["b"]; got != "3" {
		t.Errorf("b = %q", got)
	}
}

// TestFullDisk fills a real, small file system: the store refuses in time, the
// process lives, and nothing acknowledged is lost.
func TestFullDisk(t *testing.T) {
	dir := mount(t, "size=256m")
	c := config(dir)
	c.Free = nil
	c.LogSegment, c.MemTable = 0, 0
	s, err := badgerkv.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	value := []byte(strings.Repeat("value", 20_000))
	n := 0
	for ; err == nil; n++ {
		err = s.Update(context.Background(), func(tx kv.Tx) error {
			return tx.Set(fmt.Appendf(nil, "%06d", n), append(value, fmt.Sprint(n)...))
		})
	}
	if !errors.Is(err, kv.ErrFull) {
		t.Fatalf("after %d updates: %v", n, err)
	}
	n--
	t.Logf("refused after %d updates of 100 kB", n)
	for range 2 {
		if got := len(kvtest.Dump(t, s)); got != n {
			t.Errorf("store holds %d of %d keys", got, n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = badgerkv.Open(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
