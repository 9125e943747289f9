package badgerkv_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/badgerkv"
)

const (
	crashDir = "CAIRN_BADGERKV_CRASH_DIR"
	fullSeed = "CAIRN_BADGERKV_FULL_SEED"
	long     = "CAIRN_LONG" // set by scripts/test --long
)

// rounds is how often a random test goes round.
func rounds(short int) int {
	if os.Getenv(long) != "" {
		return 100
	}
	return short
}

// crashChild is the process that is killed. It prints every key once its
// update was acknowledged.
func crashChild(dir string) {
	c := config(dir)
	c.LogSegment = 256 << 10
	s, err := badgerkv.Open(c)
	if err != nil {
		fmt.Println("open:", err)
		os.Exit(1)
	}
	fmt.Println("ready")
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			value := strings.Repeat("v", 500+w*300)
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				err := s.Update(context.Background(), func(tx kv.Tx) error {
					return errors.Join(tx.Set([]byte("a"+key), []byte(value)), tx.Set([]byte("b"+key), []byte(value)),
						tx.Delete(fmt.Appendf(nil, "b%d-%d-%d", os.Getpid(), w, i-100)))
				})
				if err != nil {
					fmt.Println("update:", err)
					os.Exit(1)
				}
				mu.Lock()
				fmt.Println("ack", key)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// TestKill kills a process during commits, again and again in one directory:
// every acknowledged key is there, and no update is there in part.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	acked := make(map[string]bool)
	for round := range rounds(4) {
		for _, key := range killOne(t, dir, 50+r.IntN(1500)) {
			acked[key] = true
		}
		// Now and then the next process is killed while it recovers.
		if round%3 == 2 {
			killStarting(t, dir, time.Duration(r.IntN(60))*time.Millisecond)
		}
		checkAcked(t, dir, acked)
	}
	t.Logf("%d updates acknowledged", len(acked))
}

func child(t *testing.T, dir string, env ...string) (*exec.Cmd, io.ReadCloser) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(append(os.Environ(), crashDir+"="+dir), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

// killOne kills a process after it acknowledged some keys, and returns all
// that it did.
func killOne(t *testing.T, dir string, after int) (acked []string) {
	t.Helper()
	cmd, out := child(t, dir)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		key, ok := strings.CutPrefix(lines.Text(), "ack ")
		switch {
		case ok:
			if acked = append(acked, key); len(acked) == after {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		case lines.Text() != "ready":
			t.Fatal(lines.Text())
		}
	}
	_ = cmd.Wait()
	return acked
}

// killStarting kills a process that may not even have opened the store.
func killStarting(t *testing.T, dir string, after time.Duration) {
	t.Helper()
	cmd, out := child(t, dir)
	kill := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()
}

func checkAcked(t *testing.T, dir string, acked map[string]bool) {
	t.Helper()
	s := open(t, dir)
	defer s.Close()
	err := s.View(context.Background(), func(r kv.Reader) error {
		for key := range acked {
			if _, err := r.Get([]byte("a" + key)); err != nil {
				return fmt.Errorf("acknowledged key %s: %w", key, err)
			}
		}
		as := 0
		for p, err := range r.Scan([]byte("a"), []byte("c")) {
			if err != nil {
				return err
			}
			if p.Key[0] == 'a' {
				as++
				continue
			}
			if _, err := r.Get(append([]byte("a"), p.Key[1:]...)); err != nil {
				return fmt.Errorf("half an update, %s: %w", p.Key, err)
			}
		}
		if as < len(acked) {
			return fmt.Errorf("scan shows %d of %d acknowledged keys", as, len(acked))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
