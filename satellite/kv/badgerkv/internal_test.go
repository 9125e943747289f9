package badgerkv

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cairnstorage/cairn/satellite/kv"
)

func smallConfig(dir string) Config {
	return Config{
		Dir: dir, LogSegment: 4 << 10, MemTable: 4 << 20,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Free:   func(string) (int64, int64, error) { return 1 << 40, 1 << 40, nil },
	}
}

func mustOpen(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(s *Store, key, value string) error {
	return s.Update(context.Background(), func(tx kv.Tx) error { return tx.Set([]byte(key), []byte(value)) })
}

func get(t testing.TB, s *Store, key string) string {
	t.Helper()
	var value []byte
	err := s.View(context.Background(), func(r kv.Reader) (err error) {
		value, err = r.Get([]byte(key))
		return err
	})
	if errors.Is(err, kv.ErrNotFound) {
		return "-"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(value)
}

// until waits for a condition that other goroutines bring about.
func until(s *Store, condition func() bool) {
	for {
		s.mu.Lock()
		ok := condition()
		s.mu.Unlock()
		if ok {
			return
		}
		runtime.Gosched()
	}
}

// TestGroupCommit: updates that come while one is being synced become durable
// with one more sync.
func TestGroupCommit(t *testing.T) {
	s := mustOpen(t, smallConfig(t.TempDir()))
	started, release := make(chan struct{}, 100), make(chan struct{})
	syncs := 0 // the committer's
	inner := s.writer.sync
	s.writer.sync = func(f *os.File) error {
		syncs++
		started <- struct{}{}
		<-release
		return inner(f)
	}
	var wg sync.WaitGroup
	update := func(key string) {
		wg.Go(func() {
			if err := put(s, key, "x"); err != nil {
				t.Error(err)
			}
		})
	}
	update("first")
	<-started
	for i := range 63 {
		update(strings.Repeat("k", i+1))
	}
	until(s, func() bool { return s.waiting != nil && len(s.waiting.writes) == 63 })
	close(release)
	wg.Wait()
	if syncs != 2 {
		t.Errorf("%d syncs for 64 updates, want 2", syncs)
	}
}

// TestNothingBeforeDurable: neither a view nor the answer of an update tells
// of a write whose sync has not ended.
func TestNothingBeforeDurable(t *testing.T) {
	s := mustOpen(t, smallConfig(t.TempDir()))
	started, release := make(chan struct{}), make(chan struct{})
	inner := s.writer.sync
	s.writer.sync = func(f *os.File) error {
		close(started)
		<-release
		return inner(f)
	}
	errSeen := errors.New("seen")
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := put(s, "a", "1"); err != nil {
			t.Error(err)
		}
	})
	<-started
	if got := get(t, s, "a"); got != "-" {
		t.Errorf("a view shows %q before it is durable", got)
	}
	var released, ran atomic.Int32
	for _, answer := range []error{nil, errSeen} {
		wg.Go(func() {
			err := s.Update(context.Background(), func(tx kv.Tx) error {
				defer ran.Add(1)
				if v, err := tx.Get([]byte("a")); err != nil || string(v) != "1" {
					t.Errorf("the next update sees %q, %v", v, err)
				}
				return answer
			})
			if err != answer {
				t.Errorf("Update returned %v, want %v", err, answer)
			}
			if released.Load() == 0 {
				t.Error("an update answered on what was not durable yet")
			}
		})
	}
	for ran.Load() < 2 {
		runtime.Gosched()
	}
	released.Store(1)
	close(release)
	wg.Wait()
}

// TestFaults goes through the ways in which writing a record can fail, and what
// is there afterwards.
func TestFaults(t *testing.T) {
	const before, after = "before", "after"
	tests := []struct {
		name string
		arm  func(l *logWriter)
		want error // of the update
		// next is the error of the update after that; reopened what the
		// failed update left behind.
		next     error
		reopened string
	}{
		{"disk full", func(l *logWriter) {
			write := l.write
			l.write = func(f *os.File, b []byte, off int64) error {
				l.write = write
				return errors.Join(write(f, b[:len(b)/2], off), syscall.ENOSPC)
			}
		}, kv.ErrFull, nil, before},
		{"quota used up", func(l *logWriter) {
			write := l.write
			l.write = func(*os.File, []byte, int64) error { l.write = write; return syscall.EDQUOT }
		}, kv.ErrFull, nil, before},
		{"write error", func(l *logWriter) {
			write := l.write
			l.write = func(*os.File, []byte, int64) error { l.write = write; return syscall.EIO }
		}, syscall.EIO, nil, before},
		{"sync error, nothing written", func(l *logWriter) {
			write := l.write
			l.write = func(*os.File, []byte, int64) error { l.write = write; return nil }
			l.sync = func(*os.File) error { return syscall.EIO }
		}, kv.ErrBroken, kv.ErrBroken, before},
		{"sync error, but persisted", func(l *logWriter) {
			l.sync = func(*os.File) error { return syscall.EIO }
		}, kv.ErrBroken, kv.ErrBroken, after},
		{"write error that cannot be taken back", func(l *logWriter) {
			l.write = func(*os.File, []byte, int64) error { return syscall.EIO }
			l.sync = func(*os.File) error { return syscall.EIO }
		}, kv.ErrBroken, kv.ErrBroken, before},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := mustOpen(t, smallConfig(dir))
			if err := put(s, "key", before); err != nil {
				t.Fatal(err)
			}
			tt.arm(s.writer)
			if err := put(s, "key", after); !errors.Is(err, tt.want) {
				t.Errorf("update: %v, want %v", err, tt.want)
			}
			if got := get(t, s, "key"); got != before {
				t.Errorf("a view shows %q after the failure", got)
			}
			if err := put(s, "other", "x"); !errors.Is(err, tt.next) {
				t.Errorf("next update: %v, want %v", err, tt.next)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			s = mustOpen(t, smallConfig(dir))
			if got := get(t, s, "key"); got != tt.reopened {
				t.Errorf("opened again it holds %q, want %q", got, tt.reopened)
			}
			if got, want := get(t, s, "other") == "x", tt.next == nil; got != want {
				t.Errorf("the next update is there: %v, want %v", got, want)
			}
		})
	}
}

// TestInterruptedSync: a signal during a sync is not a broken disk.
func TestInterruptedSync(t *testing.T) {
	errs := []error{syscall.EINTR, syscall.EINTR, syscall.EIO, nil}
	call := func() (err error) { err, errs = errs[0], errs[1:]; return err }
	if err := uninterrupted(call); err != syscall.EIO {
		t.Errorf("interrupted, then broken: %v", err)
	}
	if err := uninterrupted(call); err != nil {
		t.Errorf("fine: %v", err)
	}
}

// TestFailureTakesDependants: when a batch is taken back, so are the updates
// that saw it, and one that runs meanwhile runs again.
func TestFailureTakesDependants(t *testing.T) {
	s := mustOpen(t, smallConfig(t.TempDir()))
	started, release := make(chan struct{}), make(chan struct{})
	write := s.writer.write
	s.writer.write = func(*os.File, []byte, int64) error {
		s.writer.write = write
		close(started)
		<-release
		return syscall.ENOSPC
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := put(s, "a", "lost"); !errors.Is(err, kv.ErrFull) {
			t.Errorf("first update: %v", err)
		}
	})
	<-started
	wg.Go(func() {
		if err := put(s, "b", "lost too"); !errors.Is(err, kv.ErrFull) {
			t.Errorf("update behind it: %v", err)
		}
	})
	until(s, func() bool { return s.waiting != nil })
	runs := 0
	err := s.Update(context.Background(), func(tx kv.Tx) error {
		a, err := tx.Get([]byte("a"))
		if runs++; runs == 1 {
			if string(a) != "lost" {
				t.Errorf("it does not see the update before it: %q, %v", a, err)
			}
			close(release)
			until(s, func() bool { return s.failures == 1 })
		} else if !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("run again it still sees %q, %v", a, err)
		}
		return tx.Set([]byte("c"), []byte("kept"))
	})
	wg.Wait()
	if err != nil || runs != 2 {
		t.Errorf("ran %d times, %v, want 2 times", runs, err)
	}
	if got := get(t, s, "a") + get(t, s, "b") + get(t, s, "c"); got != "--kept" {
		t.Errorf("store holds %q", got)
	}
}

// TestLogIsTrimmed: the log stays about as long as what Badger has not flushed,
// also when everything is deleted again and compacted away.
func TestLogIsTrimmed(t *testing.T) {
	dir := t.TempDir()
	c := smallConfig(dir)
	c.LogSegment = 256 << 10
	value := bytes.Repeat([]byte("v"), 4000)
	for round := range 3 {
		s := mustOpen(t, c)
		for i := range 60 {
			err := s.Update(context.Background(), func(tx kv.Tx) error {
				for j := range 50 {
					key := []byte{byte(i), byte(j)}
					if i%2 == 1 {
						key[0]--
						if err := tx.Delete(key); err != nil {
							return err
						}
					} else if err := tx.Set(key, value); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := s.engine.db.Flatten(2); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		files, err := logFiles(filepath.Join(dir, "log"))
		if err != nil || len(files) > 40 {
			t.Errorf("round %d leaves %d log files, %v", round, len(files), err)
		}
		s = mustOpen(t, c)
		if files := s.writer.files; len(files) != 1 {
			t.Errorf("opened again, %d log files are kept", len(files))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestJudge(t *testing.T) {
	ours, theirs := storeID{1}, storeID{2}
	tables := func(newest uint64, owners ...storeID) *tableSurvey {
		s := &tableSurvey{newest: newest, owners: map[storeID]bool{}}
		for _, id := range owners {
			s.owners[id] = true
		}
		return s
	}
	log := func(first, end uint64, gaps ...gap) *logSurvey {
		return &logSurvey{id: ours, files: []uint64{first}, next: end + 1, gaps: gaps}
	}
	tests := []struct {
		name string
		evidence
		from  uint64
		fresh bool
		says  string // of the refusal
	}{
		{name: "nothing", from: 1, fresh: true},
		{name: "made and never used", evidence: evidence{log: log(1, 0)}, from: 1},
		{name: "made, killed before tables", evidence: evidence{log: log(1, 7), anchor: true, acked: 7, anchorID: ours}, from: 1},
		{name: "usual", evidence: evidence{log: log(10, 20), tables: tables(12, ours), anchor: true, acked: 20, anchorID: ours}, from: 12},
		{name: "closed cleanly", evidence: evidence{log: log(10, 20), tables: tables(20, ours), anchor: true, acked: 20, anchorID: ours}, from: 20},
		{name: "acknowledging was not reached", evidence: evidence{log: log(10, 20), tables: tables(12, ours), anchor: true, acked: 19, anchorID: ours}, from: 12},
		{name: "anchor lost", evidence: evidence{log: log(10, 20), tables: tables(12, ours)}, from: 12},
		{name: "log begins just where tables end", evidence: evidence{log: log(12, 20), tables: tables(12, ours)}, from: 12},
		{name: "gap before the tables' end", evidence: evidence{log: log(5, 20, gap{6, 11, "f"}), tables: tables(12, ours)}, from: 12},

		{name: "no log", evidence: evidence{tables: tables(12, ours)}, says: "log is missing"},
		{name: "no log, only anchor", evidence: evidence{anchor: true, anchorID: ours}, says: "log is missing"},
		{name: "gap", evidence: evidence{log: log(5, 20, gap{11, 12, "f"}), tables: tables(12, ours)}, says: "records 11 to 12 are missing or damaged in the log (f)"},
		{name: "old tables", evidence: evidence{log: log(13, 20), tables: tables(12, ours)}, says: "log begins with 13"},
		{name: "no tables", evidence: evidence{log: log(2, 20)}, says: "log begins with 2"},
		{name: "old log by the tables", evidence: evidence{log: log(5, 11), tables: tables(12, ours)}, says: "log ends with record 11"},
		{name: "old log by the anchor", evidence: evidence{log: log(5, 14), tables: tables(12, ours), anchor: true, acked: 15, anchorID: ours}, says: "15 was acknowledged"},
		{name: "foreign anchor", evidence: evidence{log: log(1, 14), anchor: true, anchorID: theirs}, says: "different stores"},
		{name: "foreign tables", evidence: evidence{log: log(1, 14), tables: tables(3, theirs)}, says: "different stores"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from, fresh, err := judge(tt.evidence)
			if tt.says != "" {
				if !errors.Is(err, kv.ErrDamaged) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("judge: %v, want a refusal that says %q", err, tt.says)
				}
				return
			}
			if err != nil || from != tt.from || fresh != tt.fresh {
				t.Errorf("judge = %d, %v, %v, want %d, %v", from, fresh, err, tt.from, tt.fresh)
			}
		})
	}
}

func FuzzRecord(f *testing.F) {
	id := storeID{7}
	f.Add(appendRecord(nil, id, 1, writes{"a": []byte("b"), "c": nil, "d": {}}))
	f.Add(appendRecord(nil, id, 1<<40, writes{}))
	f.Add([]byte(recordMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if found := findRecord(b, id, 0); found != nil {
			seq, payload, _, err := cutRecord(found, id)
			if err != nil {
				t.Fatal(err)
			}
			w, err := decodeWrites(payload)
			if err != nil {
				return
			}
			again := appendRecord(nil, id, seq, w)
			if _, p, _, err := cutRecord(again, id); err != nil {
				t.Fatal(err)
			} else if v, err := decodeWrites(p); err != nil || len(v) != len(w) {
				t.Fatalf("%v, %d writes instead of %d", err, len(v), len(w))
			}
		}
		// The same bytes as payload, without the checksum in the way.
		if _, err := decodeWrites(b); err != nil && !errors.Is(err, errRecord) {
			t.Fatal(err)
		}
	})
}

func FuzzLogFile(f *testing.F) {
	id := storeID{7}
	file := append(encodeLogHeader(id, 3), appendRecord(nil, id, 3, writes{"a": []byte("b")})...)
	file = append(file, appendRecord(nil, id, 4, writes{"a": nil})...)
	f.Add(file)
	f.Add(file[:len(file)-1])
	f.Add(append(bytes.Clone(file), file[logHeader:]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, logName(3)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := surveyLog(dir)
		if err != nil || len(s.gaps) > 0 {
			return
		}
		n := uint64(0)
		err = replayLog(dir, s, 3, func(uint64, writes) error { n++; return nil })
		if err == nil && n != s.next-3 {
			t.Errorf("%d records replayed, the survey found %d", n, s.next-3)
		}
		if err != nil && !errors.Is(err, kv.ErrDamaged) {
			t.Error(err)
		}
	})
}

func FuzzAnchor(f *testing.F) {
	f.Add(make([]byte, 100))
	f.Add([]byte(anchorMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "anchor"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := readAnchor(dir); err != nil {
			t.Error(err)
		}
	})
}
