package shardstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/seqset"
)

// A second crash test has a process follow a journal, miss shards, get them
// late, damage them and find that, and read the journal trimmed. Wherever it is
// killed, the store claims nothing that it does not hold.

const crashClaimsEnv = "CAIRN_CRASH_CLAIMS"

// claimsEntry is entry n of the journal: every fifth buries the one that is three
// before it.
func claimsEntry(n uint64) Entry {
	if n%5 == 0 {
		return Entry{Seq: n, Segment: claimsSample(n - 3).meta.Segment}
	}
	return claimsSample(n).entry(n)
}

func claimsSample(n uint64) sample { return newSample(3*n, 64*(1+int(n*7919%100))) }

// isBuriedBy reports whether entry n does not count any more for who has read
// the journal to its end.
func isBuriedBy(n, end uint64) bool { return n%5 == 0 || n%5 == 2 && n+3 <= end }

func claimsConfig(dir string) Config {
	return Config{
		Dirs:    []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")},
		Reserve: 1 << 20, VolumeSize: 1 << 20,
	}
}

// claimsWriter follows the journal from where the store is until it is killed.
func claimsWriter(dir string, out io.Writer) error {
	s, err := Open(claimsConfig(dir))
	if err != nil {
		return err
	}
	cursor, err := s.Cursor(1)
	if err != nil {
		return err
	}
	for n := cursor + 1; ; n++ {
		if err := claimsStep(s, n); err != nil {
			return fmt.Errorf("entry %d: %w", n, err)
		}
		fmt.Fprintln(out, "at", n)
	}
}

func claimsStep(s *Store, n uint64) error {
	if n%5 != 0 && n%3 != 0 {
		if err := claimsSample(n).put(s); err != nil {
			return err
		}
	}
	if err := s.Advance(1, []Entry{claimsEntry(n)}); err != nil {
		return err
	}
	if old := rand.Uint64N(n) + 1; n%7 == 0 && !isBuriedBy(old, n) {
		if err := claimsSample(old).put(s); err != nil { // late, or once more
			return err
		}
	}
	if n%11 == 0 {
		if err := claimsDamage(s, claimsSample(rand.Uint64N(n)+1)); err != nil {
			return err
		}
	}
	if n%40 == 0 {
		return s.Resync(1, n, inPages(claimsTrimmed(n), 13))
	}
	return nil
}

// claimsDamage harms a shard on disk, if it is held, and has that found.
func claimsDamage(s *Store, one sample) error {
	d, e, err := s.lookup(one.meta.Key)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := d.volumes[e.volume].file.WriteAt([]byte("damage"), e.dataOffset()+10); err != nil {
		return err
	}
	if err := s.Verify(context.Background(), one.meta.Key); !errors.Is(err, ErrCorrupt) {
		return fmt.Errorf("verify: %w", err)
	}
	return nil
}

func claimsTrimmed(end uint64) []Entry {
	var left []Entry
	for n := uint64(1); n <= end; n++ {
		if !isBuriedBy(n, end) {
			left = append(left, claimsEntry(n))
		}
	}
	return left
}

func TestKillClaims(t *testing.T) {
	dir := tempDir(t)
	for round := range crashRounds() {
		killClaimsWriter(t, dir)
		s := openStore(t, claimsConfig(dir))
		end := checkClaims(t, s)
		// A scrub finds what was damaged at the last moment, and nothing else is.
		damaged := 0
		for n := uint64(1); n <= end+1; n++ {
			switch err := s.Verify(t.Context(), claimsSample(n).meta.Key); {
			case errors.Is(err, ErrCorrupt):
				damaged++
			case err != nil && !errors.Is(err, ErrNotFound):
				t.Errorf("verify: %v", err)
			}
		}
		if damaged > 1 {
			t.Errorf("%d shards are damaged", damaged)
		}
		checkClaims(t, s)
		if err := s.Close(); err != nil || t.Failed() {
			t.Fatalf("round %d, up to entry %d: %v", round, end, err)
		}
		for _, dir := range claimsConfig(dir).Dirs {
			if _, err := Fsck(t.Context(), dir, func(d Damage) { t.Errorf("round %d: %s", round, d) }); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// checkClaims compares what is held and what is missing with the journal, and
// says how far that was read.
func checkClaims(t *testing.T, s *Store) (end uint64) {
	t.Helper()
	end, err := s.Cursor(1)
	if err != nil {
		t.Fatal(err)
	}
	missing, _, err := s.MissingRuns(1)
	if err != nil {
		t.Fatal(err)
	}
	if beyond := missing.Subtract(seqset.Of(seqset.Run{First: 1, Last: end + 1})); len(beyond) > 0 {
		t.Errorf("missing behind the cursor %d: %v", end, beyond)
	}
	live := 0
	for n := uint64(1); n <= end; n++ {
		info, err := s.Stat(claimsSample(n).meta.Key)
		held := err == nil && info.Live
		if held && info.Seq != n {
			t.Errorf("entry %d is held as %d", n, info.Seq)
		}
		// The next entry may have been followed, and the cursor not moved.
		switch gone := isBuriedBy(n, end); {
		case !gone && !isBuriedBy(n, end+1) && held == missing.Contains(n):
			t.Errorf("entry %d of %d: held %v, missing %v", n, end, held, missing.Contains(n))
		case gone && (held || missing.Contains(n)):
			t.Errorf("buried entry %d of %d: held %v, missing %v", n, end, held, missing.Contains(n))
		}
		live += btoi(held)
	}
	t.Logf("entry %d: %d live, %d missing", end, live, missing.Len())
	return end
}

// killClaimsWriter lets a process follow the journal for a while and kills it.
func killClaimsWriter(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashClaimsEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopAfter := 20 + rand.IntN(60)
	for lines, i := bufio.NewScanner(out), 0; lines.Scan(); i++ {
		if i == stopAfter {
			time.AfterFunc(time.Duration(rand.IntN(10_000))*time.Microsecond, func() { cmd.Process.Kill() })
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
		t.Fatalf("the writer ended by itself: %v", err)
	}
}

// TestLiveCopyCounts: a process that was killed while a shard came once more
// leaves a staged copy in another directory. The live one is what is held.
func TestLiveCopyCounts(t *testing.T) {
	s := openStore(t, claimsConfig(tempDir(t)))
	holders := make(map[*dir]int)
	for n := uint64(1); len(holders) < len(s.dirs); n++ {
		one := claimsSample(n)
		if err := errors.Join(one.put(s), s.Advance(1, []Entry{one.entry(n)})); err != nil {
			t.Fatal(err)
		}
		holder, e, err := s.lookup(one.meta.Key)
		if err != nil {
			t.Fatal(err)
		}
		holders[holder]++
		for _, d := range s.dirs {
			if d == holder {
				continue
			}
			staged := e
			staged.Live, staged.Seq, staged.volume = false, 0, e.volume+100
			if err := d.index.enter(staged); err != nil {
				t.Fatal(err)
			}
		}
		if info, err := s.Stat(one.meta.Key); err != nil || !info.Live || info.Seq != n {
			t.Errorf("entry %d: %+v, %v", n, info, err)
		}
		if err := one.check(s); err != nil {
			t.Error(err)
		}
	}
}
