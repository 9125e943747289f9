package badgerkv_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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
	const reserve = 200 << 20
	free.Store(reserve + 1<<20)
	c := config(dir)
	c.Reserve = reserve
	c.Free = func(string) (int64, int64, error) { return free.Load(), 1 << 40, nil }
	s, err := badgerkv.Open(c)
	if err != nil {
		t.Fatal(err)
	}
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
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// smallDisk is the configuration of a store on a small file system, and the size of
// that in MiB: every other one is that of a satellite, the rest leave less room
// free, for their memory tables are small.
func smallDisk(dir string, seed uint64) (badgerkv.Config, uint64) {
	c := badgerkv.Config{Dir: dir, Logger: quiet}
	if seed%2 == 1 {
		return c, 256 + seed%5*64
	}
	c.MemTable = 4 << 20
	return c, 128 + seed%5*64
}

// fullChild is the process that fills a small disk, closes and opens the store
// and fills on. It prints what it wrote.
func fullChild(dir string) {
	seed, err := strconv.ParseUint(os.Getenv(fullSeed), 10, 64)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	r := rand.New(rand.NewPCG(seed, 0))
	value := make([]byte, 100<<r.IntN(12))
	config, _ := smallDisk(dir, seed)
	for range 5 {
		s, err := badgerkv.Open(config)
		if err != nil {
			fmt.Println("open:", err)
			os.Exit(1)
		}
		for refused := 0; refused < 20; {
			first := r.IntN(1 << 20)
			err := s.Update(context.Background(), func(tx kv.Tx) error {
				for i := range 1 + 100_000/len(value) {
					if err := tx.Set(fmt.Appendf(nil, "%08d", first+i), value); err != nil {
						return err
					}
				}
				return nil
			})
			switch {
			case err == nil:
				fmt.Println("ack", first)
			case errors.Is(err, kv.ErrFull):
				refused++
				// Merging, which needs the room, has its own time.
				time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
			default:
				fmt.Println("update:", err)
				os.Exit(1)
			}
		}
		if err := s.Close(); err != nil {
			fmt.Println("close:", err)
			os.Exit(1)
		}
	}
}

// TestCrashFullDisk fills real, small file systems: the store refuses in time,
// the process lives, and nothing acknowledged is lost.
func TestCrashFullDisk(t *testing.T) {
	for seed := range rounds(2) {
		_, size := smallDisk("", uint64(seed))
		dir := mount(t, fmt.Sprintf("size=%dm", size))
		cmd, out := child(t, dir, fullSeed+"="+strconv.Itoa(seed))
		acked := make(map[string]bool)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			key, ok := strings.CutPrefix(lines.Text(), "ack ")
			if !ok {
				t.Error(lines.Text())
			}
			acked[key] = true
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("the process that filled the disk: %v", err)
		}
		config, _ := smallDisk(dir, uint64(seed))
		s, err := badgerkv.Open(config)
		if err != nil {
			t.Fatal(err)
		}
		err = s.View(context.Background(), func(r kv.Reader) error {
			for key := range acked {
				if _, err := r.Get(fmt.Appendf(nil, "%08s", key)); err != nil {
					return fmt.Errorf("acknowledged key %s: %w", key, err)
				}
			}
			return nil
		})
		if err := errors.Join(err, s.Close()); err != nil {
			t.Error(err)
		}
		t.Logf("%d updates acknowledged", len(acked))
	}
}
