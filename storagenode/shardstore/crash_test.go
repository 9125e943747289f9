package shardstore

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"
)

// The crash test runs its own binary as a process that puts shards and reports
// each one acknowledged, kills it, and checks everything reported. Set
// CAIRN_CRASH_ROUNDS for more rounds than the few of a normal run, or the hundred
// with CAIRN_LONG.

const crashDirEnv = "CAIRN_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirEnv); dir != "" {
		if err := crashWriter(dir, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(crashClaimsEnv); dir != "" {
		fmt.Fprintln(os.Stderr, claimsWriter(dir, os.Stdout))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// crashConfig has small volumes, so that kills also hit their ends, and makes
// blocks, also in memory.
func crashConfig(dir string) Config {
	always := func(string) bool { return true }
	return Config{Dirs: []string{dir}, Reserve: 1 << 20, VolumeSize: 8 << 20, allocates: always}
}

// crashSample is one of up to 94 KiB, or now and then a large one.
func crashSample(n uint64) sample {
	size := 1 + int(n*7919%1500)
	if n%9 == 0 {
		size += largeShard / 64
	}
	return newSample(n, 64*size)
}

// crashWriter puts, confirms and deletes until it is killed. It begins where
// the store ends and writes "put N" or "gone N" for what is acknowledged. Each
// number of group 1 to 3 is its group's journal entry too: numbers divisible
// by 7 are deleted.
func crashWriter(dir string, out io.Writer) error {
	s, err := Open(crashConfig(dir))
	if err != nil {
		return err
	}
	first, err := strconv.ParseUint(os.Getenv("CAIRN_CRASH_FIRST"), 10, 64)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(out, format, args...)
	}
	failed := make(chan error)
	for i := range uint64(8) {
		go func() {
			for n := first + i; ; n += 8 {
				if err := crashSample(n).put(s); err != nil {
					failed <- err
					return
				}
				say("put %d\n", n)
				if n%7 == 0 {
					say("try %d\n", n)
					if err := crashDelete(s, n); err != nil {
						failed <- err
						return
					}
					say("gone %d\n", n)
				}
			}
		}()
	}
	return <-failed
}

func crashDelete(s *Store, n uint64) error {
	one := crashSample(n)
	group := one.meta.Group
	cursor, err := s.Cursor(group)
	if err != nil {
		return err
	}
	return s.Advance(group, []Entry{{Seq: cursor + 1, Segment: one.meta.Segment}})
}

func crashRounds() int {
	if n, err := strconv.Atoi(os.Getenv("CAIRN_CRASH_ROUNDS")); err == nil {
		return n
	}
	if os.Getenv("CAIRN_LONG") != "" {
		return 100
	}
	return 4
}

func TestKill(t *testing.T) {
	rounds := crashRounds()
	dir := t.TempDir()
	want := make(map[uint64]string)
	next := uint64(1)
	for round := range rounds {
		crashRound(t, dir, next, want)
		for n := range want {
			next = max(next, n+1)
		}
		next += 100 // those never reported
		s := openStore(t, crashConfig(dir))
		for n, state := range want {
			err := crashSample(n).check(s)
			if state == "put" && err != nil || state == "gone" && err == nil {
				t.Fatalf("round %d: shard %d, reported as %s: %v", round, n, state, err)
			}
		}
		used := s.Usage().Used
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		checkUse(t, dir, used)
	}
	report, err := Fsck(context.Background(), dir, func(d Damage) { t.Error(d) })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rounds, %d shards reported, %+v", rounds, len(want), report)
}

// crashRound lets a process write for a while and kills it.
func crashRound(t *testing.T, dir string, first uint64, want map[uint64]string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDirEnv+"="+dir, fmt.Sprint("CAIRN_CRASH_FIRST=", first))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	stopAfter := 20 + rand.IntN(400)
	for i := 0; lines.Scan(); i++ {
		var what string
		var n uint64
		if _, err := fmt.Sscanf(lines.Text(), "%s %d", &what, &n); err != nil {
			break // torn by the kill
		}
		want[n] = what
		if i == stopAfter {
			time.AfterFunc(time.Duration(rand.IntN(10_000))*time.Microsecond, func() { cmd.Process.Kill() })
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
		t.Fatalf("the writer ended by itself: %v", err)
	}
}
