package badgerkv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/badgerkv"
	"github.com/cairnstorage/cairn/satellite/kv/kvtest"
)

// commits is how many updates are acknowledged before the damage: few and large,
// for it takes a full memory table to have tables, and keys to compare stores.
const commits = 1000

// killed is a store as its process left it when it was killed.
type killed struct {
	dir   string            // at the end
	older string            // the same store earlier on
	want  map[string]string // acknowledged in dir
}

// fill acknowledges n updates of two keys each.
func fill(t testing.TB, s kv.Store, first, n int, want map[string]string) {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	next := make(chan int)
	for w := range 32 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(first), uint64(w)))
			for i := range next {
				key, value := fmt.Sprintf("key%06d", i), strings.Repeat(strconv.Itoa(i), 500+r.IntN(2000))
				err := s.Update(context.Background(), func(tx kv.Tx) error {
					return errors.Join(tx.Set([]byte(key), []byte(value)), tx.Set([]byte("last"), []byte("x")),
						tx.Delete([]byte("gone"+key)))
				})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				want[key], want["last"] = value, "x"
				mu.Unlock()
			}
		})
	}
	for i := range n {
		next <- first + i
	}
	close(next)
	wg.Wait()
}

var makeKilled = sync.OnceValues(func() (*killed, error) {
	base, err := os.MkdirTemp("", "badgerkv")
	if err != nil {
		return nil, err
	}
	return &killed{dir: filepath.Join(base, "dir"), older: filepath.Join(base, "older"), want: make(map[string]string)}, nil
})

// theKilled makes the store once for all tests: commits in log files,
// tables and a memory table.
func theKilled(t *testing.T) *killed {
	t.Helper()
	k, err := makeKilled()
	if err != nil {
		t.Fatal(err)
	}
	if len(k.want) > 0 {
		return k
	}
	dir := t.TempDir()
	s := openWith(t, dir, func(c *badgerkv.Config) { c.LogSegment = 512 << 10 })
	fill(t, s, 0, commits/2, k.want)
	copyTree(t, dir, k.older)
	fill(t, s, commits/2, commits/2, k.want)
	awaitTables(t, filepath.Join(dir, "badger"))
	// What is in tables leaves the log with one of its next files.
	for n := commits; filepath.Base(glob(t, dir, "log/*.log")[0]) == "0000000000000001.log" && n < 3*commits; n += commits / 20 {
		fill(t, s, n, commits/20, k.want)
		awaitTables(t, filepath.Join(dir, "badger"))
	}
	copyTree(t, dir, k.dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"log/*.log", "badger/*.sst", "badger/*.mem"} {
		glob(t, k.dir, pattern)
	}
	return k
}

// awaitTables waits until all memory tables but the one in use have become tables,
// and the manifest has each: nobody would miss another.
func awaitTables(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		f, err := os.Open(filepath.Join(dir, "MANIFEST"))
		if err != nil {
			t.Fatal(err)
		}
		manifest, _, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions(dir))
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		tables, _ := filepath.Glob(filepath.Join(dir, "*.sst"))
		memory, _ := filepath.Glob(filepath.Join(dir, "*.mem"))
		if known := len(manifest.Tables); known > 0 && known == len(tables) && len(memory) == 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a minute the manifest has %d of the tables %v, and there are %v", len(manifest.Tables), tables, memory)
		}
	}
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if os.Getenv(fullSeed) != "" {
			fullChild(dir)
		} else {
			crashChild(dir)
		}
		return
	}
	code := m.Run()
	if k, err := makeKilled(); err == nil {
		os.RemoveAll(filepath.Dir(k.dir))
	}
	os.Exit(code)
}

func openWith(t testing.TB, dir string, change func(*badgerkv.Config)) *badgerkv.Store {
	t.Helper()
	c := config(dir)
	change(&c)
	s, err := badgerkv.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// verdict opens a damaged store: it must hold everything, or be refused with
// nothing changed. It tells which.
func (k *killed) verdict(t *testing.T, dir string) (refused bool) {
	t.Helper()
	before := fingerprint(t, dir)
	s, err := badgerkv.Open(config(dir))
	if err != nil {
		if !errors.Is(err, kv.ErrDamaged) {
			t.Errorf("refused without saying that it is damaged: %v", err)
		}
		if fingerprint(t, dir) != before {
			t.Errorf("refusing changed the directory: %v", err)
		}
		t.Log(err)
		return true
	}
	defer s.Close()
	if got := kvtest.Dump(t, s); !maps.Equal(got, k.want) {
		t.Errorf("opened with %d of %d keys, or other values", len(got), len(k.want))
	}
	kvtest.Put(t, s, "after", "damage")
	return false
}

func TestUndamaged(t *testing.T) {
	k := theKilled(t)
	dir := t.TempDir()
	copyTree(t, k.dir, dir)
	for range 3 {
		if k.verdict(t, dir) {
			t.Fatal("refused without damage")
		}
		k = &killed{want: maps.Clone(k.want)}
		k.want["after"] = "damage"
	}
}

// flip flips one bit of a file.
func flip(t *testing.T, path string, at int64, bit int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << bit
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// size is where what the file says ends: zeros behind it are room for more.
func size(t *testing.T, path string) int64 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return int64(len(bytes.TrimRight(b, "\x00")))
}

type damage struct {
	name   string
	do     func(t *testing.T, dir string)
	expect string // "refuse", "recover", or empty for either
}

// eachFile damages the file that choose picks of those matching pattern.
func eachFile(pattern string, choose func(names []string) string, do func(t *testing.T, path string)) func(*testing.T, string) {
	return func(t *testing.T, dir string) { do(t, choose(glob(t, dir, pattern))) }
}

func first(names []string) string  { return names[0] }
func last(names []string) string   { return names[len(names)-1] }
func middle(names []string) string { return names[len(names)/2] }

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func truncate(keep func(int64) int64) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		if err := os.Truncate(path, keep(size(t, path))); err != nil {
			t.Fatal(err)
		}
	}
}

func flipAt(at func(int64) int64) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		flip(t, path, at(size(t, path)), 3)
	}
}

func appendTo(b string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(b); err != nil {
			t.Fatal(err)
		}
	}
}

func at(n int64) func(int64) int64      { return func(int64) int64 { return n } }
func fromEnd(n int64) func(int64) int64 { return func(size int64) int64 { return size - n } }
func half(size int64) int64             { return size / 2 }

func damages() []damage {
	var list []damage
	add := func(name, expect string, do func(*testing.T, string)) {
		list = append(list, damage{name, do, expect})
	}
	// Badger's write-ahead log is worth nothing to us.
	for _, n := range []int64{0, 7, 8, 19, 20, 21, 25, 40, 500, 30_000, 200_000} {
		add(fmt.Sprintf("mem/flip/%d", n), "recover", eachFile("badger/*.mem", last, flipAt(at(n))))
	}
	for _, n := range []int64{0, 10, 20, 1000, 100_000} {
		add(fmt.Sprintf("mem/truncate/%d", n), "recover", eachFile("badger/*.mem", last, truncate(at(n))))
	}
	add("mem/delete", "recover", eachFile("badger/*.mem", last, remove))

	// The log. What its first file lost may be in the tables.
	for _, n := range []int64{0, 9, 20, 30, 37} {
		add(fmt.Sprintf("log/first/header/%d", n), "", eachFile("log/*.log", first, flipAt(at(n))))
		add(fmt.Sprintf("log/last/header/%d", n), "refuse", eachFile("log/*.log", last, flipAt(at(n))))
	}
	for _, n := range []int64{40, 44, 50, 57, 61, 1000} {
		add(fmt.Sprintf("log/first/flip/%d", n), "", eachFile("log/*.log", first, flipAt(at(n))))
		add(fmt.Sprintf("log/last/flip/%d", n), "refuse", eachFile("log/*.log", last, flipAt(at(n))))
	}
	for _, n := range []int64{1, 5, 100, 1000} {
		add(fmt.Sprintf("log/last/flip/-%d", n), "refuse", eachFile("log/*.log", last, flipAt(fromEnd(n))))
		add(fmt.Sprintf("log/last/truncate/-%d", n), "refuse", eachFile("log/*.log", last, truncate(fromEnd(n))))
		add(fmt.Sprintf("log/first/truncate/-%d", n), "", eachFile("log/*.log", first, truncate(fromEnd(n))))
	}
	add("log/middle/flip", "", eachFile("log/*.log", middle, flipAt(half)))
	add("log/last/flip/half", "refuse", eachFile("log/*.log", last, flipAt(half)))
	add("log/last/truncate/half", "refuse", eachFile("log/*.log", last, truncate(half)))
	add("log/last/truncate/header", "refuse", eachFile("log/*.log", last, truncate(at(40))))
	add("log/last/truncate/0", "refuse", eachFile("log/*.log", last, truncate(at(0))))
	add("log/last/delete", "refuse", eachFile("log/*.log", last, remove))
	add("log/middle/delete", "", eachFile("log/*.log", middle, remove))
	add("log/first/delete", "", eachFile("log/*.log", first, remove))
	for _, n := range []int64{0, 1, 5000} {
		add(fmt.Sprintf("log/last/room/truncate/%d", n), "recover", eachFile("log/*.log", last, truncate(fromEnd(-n))))
		add(fmt.Sprintf("log/last/room/flip/%d", n), "recover", eachFile("log/*.log", last, flipAt(fromEnd(-n))))
	}
	add("log/last/torn", "recover", eachFile("log/*.log", last, func(t *testing.T, path string) {
		truncate(fromEnd(0))(t, path)
		appendTo("cRc1\x00\x00\x01\x00torn"+strings.Repeat("\x00", 5000))(t, path)
	}))
	add("log/last/torn/behind", "recover", eachFile("log/*.log", last, appendTo("cRc1\x00\x00\x01\x00torn")))
	add("log/last/junk", "recover", eachFile("log/*.log", last, appendTo(strings.Repeat("\x00", 5000))))
	add("log/delete", "refuse", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "log")) })
	add("log/stranger", "refuse", func(t *testing.T, dir string) {
		if err := os.WriteFile(filepath.Join(dir, "log/notes.log"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	})

	// The tables.
	for _, n := range []int64{0, 100, 5_000, 100_000} {
		add(fmt.Sprintf("sst/flip/%d", n), "refuse", eachFile("badger/*.sst", first, flipAt(at(n))))
	}
	for _, n := range []int64{1, 3, 4, 5, 8, 12, 16, 40, 200, 2000, 6000} {
		add(fmt.Sprintf("sst/flip/-%d", n), "refuse", eachFile("badger/*.sst", last, flipAt(fromEnd(n))))
		add(fmt.Sprintf("sst/truncate/-%d", n), "refuse", eachFile("badger/*.sst", last, truncate(fromEnd(n))))
	}
	add("sst/truncate/0", "refuse", eachFile("badger/*.sst", first, truncate(at(0))))
	add("sst/delete", "refuse", eachFile("badger/*.sst", first, remove))
	for _, n := range []int64{0, 5, 9, 13, 18} {
		add(fmt.Sprintf("manifest/flip/%d", n), "refuse", eachFile("badger/MANIFEST", first, flipAt(at(n))))
	}
	add("manifest/truncate/0", "refuse", eachFile("badger/MANIFEST", first, truncate(at(0))))
	add("manifest/truncate/-1", "", eachFile("badger/MANIFEST", first, truncate(fromEnd(1))))
	add("manifest/truncate/half", "", eachFile("badger/MANIFEST", first, truncate(half)))
	add("manifest/delete", "refuse", eachFile("badger/MANIFEST", first, remove))
	add("badger/delete", "refuse", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "badger")) })
	for _, name := range []string{"KEYREGISTRY", "DISCARD", "*.vlog"} {
		add(name+"/flip", "recover", eachFile("badger/"+name, first, flipAt(at(5))))
		add(name+"/delete", "recover", eachFile("badger/"+name, first, remove))
		add(name+"/truncate", "recover", eachFile("badger/"+name, first, truncate(at(1))))
	}

	// The anchor only testifies.
	add("anchor/flip", "recover", eachFile("anchor", first, flipAt(at(30))))
	add("anchor/truncate", "recover", eachFile("anchor", first, truncate(at(40))))
	add("anchor/delete", "recover", eachFile("anchor", first, remove))
	return list
}

func TestDamage(t *testing.T) {
	k := theKilled(t)
	for _, d := range damages() {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			copyTree(t, k.dir, dir)
			d.do(t, dir)
			refused := k.verdict(t, dir)
			if d.expect == "refuse" && !refused || d.expect == "recover" && refused {
				t.Errorf("refused = %v, want to %s", refused, d.expect)
			}
		})
	}
}

// TestCrashRandomDamage flips bits anywhere.
func TestCrashRandomDamage(t *testing.T) {
	k := theKilled(t)
	r := rand.New(rand.NewPCG(3, 3))
	for range rounds(15) {
		dir := t.TempDir()
		copyTree(t, k.dir, dir)
		names := append(glob(t, dir, "*/*"), filepath.Join(dir, "anchor"))
		path := names[r.IntN(len(names))]
		if n := size(t, path); n > 0 {
			where, bit := r.Int64N(n), r.IntN(8)
			flip(t, path, where, bit)
			t.Logf("%s at %d, bit %d", filepath.Base(path), where, bit)
			k.verdict(t, dir)
		}
	}
}

// TestRollback puts older or foreign parts in a store's place.
func TestRollback(t *testing.T) {
	k := theKilled(t)
	stranger := t.TempDir()
	s := open(t, stranger)
	fill(t, s, 0, 50, make(map[string]string))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		from   string
		part   string
		expect string
	}{
		{k.older, "log", "refuse"},
		{k.older, "anchor", "recover"}, // a witness that says too little
		{k.older, "badger", "refuse"},
		{stranger, "log", "refuse"},
		{stranger, "anchor", "refuse"},
		{stranger, "badger", "refuse"},
	} {
		t.Run(filepath.Base(tt.from)+"/"+tt.part, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			copyTree(t, k.dir, dir)
			remove(t, filepath.Join(dir, tt.part))
			copyTree(t, filepath.Join(tt.from, tt.part), filepath.Join(dir, tt.part))
			refused := k.verdict(t, dir)
			if tt.expect == "refuse" && !refused || tt.expect == "recover" && refused {
				t.Errorf("refused = %v, want to %s", refused, tt.expect)
			}
		})
	}
}
