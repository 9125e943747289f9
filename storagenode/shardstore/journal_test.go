package shardstore

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

func mustPut(t *testing.T, s *Store, samples ...sample) {
	t.Helper()
	for _, one := range samples {
		if err := one.put(s); err != nil {
			t.Fatal(err)
		}
	}
}

func mustAdvance(t *testing.T, s *Store, group uint32, entries ...Entry) {
	t.Helper()
	if err := s.Advance(group, entries); err != nil {
		t.Fatal(err)
	}
}

func wantUsage(t *testing.T, s *Store, shards, staged, missing int) {
	t.Helper()
	if u := s.Usage(); u.Shards != shards || u.Staged != staged || u.Missing != missing {
		t.Errorf("%d shards, %d staged, %d missing; want %d, %d, %d", u.Shards, u.Staged, u.Missing, shards, staged, missing)
	}
}

// sameGroup makes samples of group 1.
func sameGroup(n int) []sample {
	var samples []sample
	for i := range n {
		samples = append(samples, newSample(uint64(3*i), 4096))
	}
	return samples
}

// TestStraggler: a shard whose commit the journal told before it came is live
// at once, and does not expire.
func TestStraggler(t *testing.T) {
	cfg := testConfig(t)
	s := openStore(t, cfg)
	x := sameGroup(4)
	late, other, dead, never := x[0], x[1], x[2], x[3]
	mustAdvance(t, s, 1, late.entry(1), other.entry(2), dead.entry(3), Entry{Seq: 4, Segment: dead.meta.Segment}, never.entry(5))
	wantUsage(t, s, 0, 0, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, cfg)
	wantUsage(t, s, 0, 0, 3)
	mustPut(t, s, late, dead)
	wantUsage(t, s, 2, 1, 2)
	wrong := withKey(newSample(77, 4096), other.meta.Key)
	if err := wrong.put(s); !errors.Is(err, ErrMismatch) {
		t.Errorf("a shard of another root than the journal's: %v", err)
	}
	all := func(uint32) time.Time { return time.Now().Add(time.Hour) }
	if n, err := s.ExpireStaged(all); n != 1 || err != nil {
		t.Errorf("expired %d, %v", n, err)
	}
	if err := late.check(s); err != nil {
		t.Error(err)
	}
	if err := dead.check(s); !errors.Is(err, ErrNotFound) {
		t.Errorf("a deleted shard that came late has stayed: %v", err)
	}
	wantUsage(t, s, 1, 0, 2)
	mustAdvance(t, s, 1, Entry{Seq: 6, Segment: other.meta.Segment})
	wantUsage(t, s, 1, 0, 1)
}

// TestOtherRoot: what is staged under a committed segment's key but is none of
// its shards goes.
func TestOtherRoot(t *testing.T) {
	s := openStore(t, testConfig(t))
	right := newSample(3, 4096)
	wrong := withKey(newSample(6, 4096), right.meta.Key)
	mustPut(t, s, wrong)
	mustAdvance(t, s, 1, right.entry(1))
	wantUsage(t, s, 0, 0, 1)
	mustPut(t, s, right)
	wantUsage(t, s, 1, 0, 0)
}

func TestAdvanceAgain(t *testing.T) {
	s := openStore(t, testConfig(t))
	x := sameGroup(3)
	mustPut(t, s, x...)
	entries := []Entry{x[0].entry(1), x[1].entry(2), {Seq: 3, Segment: x[0].meta.Segment}, x[2].entry(4)}
	for range 3 {
		mustAdvance(t, s, 1, entries...)
		mustAdvance(t, s, 1, entries[:2]...)
		mustAdvance(t, s, 1)
		if seq, err := s.Cursor(1); seq != 4 || err != nil {
			t.Errorf("cursor %d, %v", seq, err)
		}
		wantUsage(t, s, 2, 0, 0)
	}
	if seq, err := s.Cursor(2); seq != 0 || err != nil {
		t.Errorf("cursor of another group: %d, %v", seq, err)
	}
}

// TestReplacedDirectory: a lost directory takes its cursor with it; read again,
// the journal tells what was lost, and changes nothing of the rest.
func TestReplacedDirectory(t *testing.T) {
	cfg := testConfig(t)
	cfg.Dirs = append(cfg.Dirs, tempDir(t))
	s := openStore(t, cfg)
	x := sameGroup(40)
	mustPut(t, s, x...)
	var journal []Entry
	for i, one := range x {
		journal = append(journal, one.entry(uint64(i+1)))
	}
	journal = append(journal, Entry{Seq: 41, Segment: x[7].meta.Segment})
	mustAdvance(t, s, 1, journal...)
	u := s.Usage()
	lost := u.Dirs[1].Shards
	if lost == 0 || u.Dirs[0].Shards == 0 {
		t.Fatalf("one directory got everything: %+v", u)
	}
	known := map[string]string{cfg.Dirs[0]: u.Dirs[0].ID, cfg.Dirs[1]: u.Dirs[1].ID}
	if err := errors.Join(s.Close(), os.RemoveAll(cfg.Dirs[1])); err != nil {
		t.Fatal(err)
	}

	// Known, it is not made anew: its disk may only not be mounted.
	cfg.Known = known
	s = openStore(t, cfg)
	if u := s.Usage(); u.Dirs[1].Trouble == "" || u.Shards != 39-lost {
		t.Errorf("usage without one directory: %+v", u)
	}
	if _, err := os.Stat(cfg.Dirs[1]); err == nil {
		t.Error("the missing directory was made")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	only := cfg
	only.Dirs = cfg.Dirs[1:]
	if _, err := Open(only); !errors.Is(err, ErrLost) {
		t.Errorf("open a lost directory alone: %v", err)
	}

	delete(cfg.Known, cfg.Dirs[1])
	s = openStore(t, cfg)
	if seq, err := s.Cursor(1); seq != 0 || err != nil {
		t.Errorf("cursor with a new directory: %d, %v", seq, err)
	}
	mustAdvance(t, s, 1, journal...)
	wantUsage(t, s, 39-lost, 0, lost)
	for i, one := range x {
		if _, err := s.Stat(one.meta.Key); i == 7 {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("deleted shard: %v", err)
			}
		} else if err != nil {
			mustPut(t, s, one) // healed
		}
	}
	wantUsage(t, s, 39, 0, 0)
}

// TestDeleteWhileRead: a reader sees the whole shard, and its space is given
// back when it is done.
func TestDeleteWhileRead(t *testing.T) {
	cfg := testConfig(t)
	s := openStore(t, cfg)
	one := newSample(3, 1<<20)
	mustPut(t, s, one, newSample(4, 64))
	h, err := s.Open(one.meta.Key)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Open(one.meta.Key)
	if err != nil {
		t.Fatal(err)
	}
	mustAdvance(t, s, 1, Entry{Seq: 1, Segment: one.meta.Segment})
	if _, err := s.Open(one.meta.Key); !errors.Is(err, ErrNotFound) {
		t.Errorf("open after the delete: %v", err)
	}
	got := make([]byte, 1<<20)
	for _, reader := range []*Shard{h, again} {
		if _, err := reader.ReadAt(got, 0); err != nil || string(got) != string(one.data) {
			t.Errorf("read after the delete: %v", err)
		}
		if _, _, err := reader.Prove(200, 1); err != nil {
			t.Errorf("prove after the delete: %v", err)
		}
		before := diskUse(t, cfg.Dirs[0])
		reader.Close()
		reader.Close()
		if freed := before - diskUse(t, cfg.Dirs[0]); (freed >= 1<<20) != (reader == again) {
			t.Errorf("closing freed %d bytes", freed)
		}
	}
}

// TestSpaceComesBack: deleted shards leave no space taken, and empty volumes go.
func TestSpaceComesBack(t *testing.T) {
	cfg := testConfig(t)
	cfg.VolumeSize = 512 << 10
	s := openStore(t, cfg)
	x := make([]sample, 30)
	for i := range x {
		x[i] = newSample(uint64(3*i), 60_032)
	}
	mustPut(t, s, x...)
	full := diskUse(t, cfg.Dirs[0])
	var entries []Entry
	for i, one := range x {
		entries = append(entries, Entry{Seq: uint64(i + 1), Segment: one.meta.Segment})
	}
	mustAdvance(t, s, 1, entries...)
	if left := diskUse(t, cfg.Dirs[0]); left > full/10 {
		t.Errorf("%d of %d bytes are still taken", left, full)
	}
	numbers, err := listVolumes(cfg.Dirs[0])
	if err != nil || len(numbers) != 1 {
		t.Errorf("volumes %v are left, %v", numbers, err)
	}
	if u := s.Usage(); u.Used != 0 {
		t.Errorf("usage: %+v", u)
	}
}

// diskUse is how many bytes the volumes in dir take up on disk.
func diskUse(t *testing.T, dir string) int64 {
	t.Helper()
	numbers, err := listVolumes(dir)
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for _, n := range numbers {
		sum += blocks(t, volumePath(dir, n))
	}
	return sum
}

// TestHolesLost: the power fails before the holes of deleted shards are on disk,
// where their records then still are.
func TestHolesLost(t *testing.T) {
	cfg := testConfig(t)
	cfg.VolumeSize = 10 << 10 // one shard each
	s := openStore(t, cfg)
	x := sameGroup(4)
	mustPut(t, s, x...)
	if err := s.dirs[0].setCheckpoint(); err != nil {
		t.Fatal(err)
	}
	whole := copyDir(t, cfg.Dirs[0])
	mustAdvance(t, s, 1, Entry{Seq: 1, Segment: x[0].meta.Segment}, Entry{Seq: 2, Segment: x[2].meta.Segment})
	if n := len(s.dirs[0].punched); n != 2 {
		t.Errorf("%d holes wait for a checkpoint", n)
	}
	setIndexBack(t, whole, copyDir(t, cfg.Dirs[0]))
	cfg.Dirs = []string{whole}
	s = openStore(t, cfg)
	wantUsage(t, s, 2, 2, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if report, faults := findings(t, whole); len(faults) != 0 || report.Pending != 0 || report.Shards != 2 {
		t.Errorf("fsck found %v, %+v", faults, report)
	}
}

// TestCheckpointForgetsPunches: a checkpoint has no more of what was punched.
func TestCheckpointForgetsPunches(t *testing.T) {
	s := openStore(t, testConfig(t))
	x := sameGroup(2)
	mustPut(t, s, x...)
	mustAdvance(t, s, 1, Entry{Seq: 1, Segment: x[0].meta.Segment})
	d := s.dirs[0]
	notes := func() (n int) {
		err := d.index.view(func(txn *badger.Txn) error {
			return scan(txn, []byte{keyPunch}, func(_, _ []byte) error { n++; return nil })
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := notes(); n != 1 {
		t.Errorf("%d notes before the checkpoint", n)
	}
	if err := d.setCheckpoint(); err != nil {
		t.Fatal(err)
	}
	if n := notes(); n != 0 || len(d.punched) != 0 {
		t.Errorf("%d notes after the checkpoint", n)
	}
}
