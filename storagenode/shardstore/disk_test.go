package shardstore

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestClosedFile: calls on a file that is closed do not reach whatever has its
// number now.
func TestClosedFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(2*pageSize), dataSync(f), punch(f, 0, pageSize)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	_, _, err = nextData(f, 0)
	for name, err := range map[string]error{"sync": dataSync(f), "punch": punch(f, 0, pageSize), "seek": err} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNoHoles: a file system that cannot make holes is refused for a new
// directory, and does not keep an old one from being used.
func TestNoHoles(t *testing.T) {
	cfg := testConfig(t)
	without := cfg
	without.punch = func(f *os.File, _, _ int64) error {
		return &os.PathError{Op: "punch", Path: f.Name(), Err: syscall.EOPNOTSUPP}
	}
	if s, err := Open(without); !cannotPunch(err) {
		t.Errorf("a new directory: %v, %v", s, err)
	}
	for _, name := range listFiles(t, cfg.Dirs[0]) {
		if filepath.Base(name) != "lock" && name != cfg.Dirs[0] {
			t.Errorf("left behind: %s", name)
		}
	}
	s := openStore(t, cfg)
	x := sameGroup(2)
	mustPut(t, s, x...)
	s.Close()
	for range 2 {
		s = openStore(t, without)
		mustAdvance(t, s, 1, Entry{Seq: 1, Segment: x[0].meta.Segment})
		w, err := newSample(50, 4096).write(s)
		if err != nil {
			t.Fatal(err)
		}
		w.Abort()
		if err := x[1].check(s); err != nil {
			t.Error(err)
		}
		without.Dirs = []string{copyDir(t, without.Dirs[0])} // not stopped cleanly
	}
	cfg.Dirs = without.Dirs
	s = openStore(t, cfg)
	wantUsage(t, s, 1, 1, 0)
	s.Close()
	if report, faults := findings(t, cfg.Dirs[0]); report.Shards != 1 || report.Pending != 0 {
		t.Errorf("fsck found %v, %+v", faults, report)
	}
}
