package storagenode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
)

// clock is a time that tests set.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newClock() *clock { return &clock{t: time.Unix(1_800_000_000, 0)} }

func openLedger(t testing.TB, path string, c *clock) *Ledger {
	t.Helper()
	l, err := OpenLedger(path, c.now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// limitOf is the limit number n; uplinks have as many as they may in a row.
func limitOf(n uint64, most int64, expires time.Time) *order.Limit {
	l := &order.Limit{MaxBytes: most, Expires: expires}
	binary.BigEndian.PutUint64(l.Serial[:], n)
	binary.BigEndian.PutUint64(l.Uplink[:], n/maxPerUplink+1)
	return l
}

// kill leaves the file as a process that was killed would.
func (l *Ledger) kill() { l.file.Close() }

func TestLedgerCountsToTheByte(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "ledger")
	limit := limitOf(1, 1000, c.t.Add(time.Hour))
	other := limitOf(2, 1000, c.t.Add(time.Hour))
	l := openLedger(t, path, c)
	for _, step := range []struct {
		n  int64
		ok bool
	}{{600, true}, {401, false}, {399, true}, {2, false}, {1, true}, {1, false}, {0, true}} {
		if err := l.Use(limit, step.n); (err == nil) != step.ok || err != nil && !errors.Is(err, order.ErrAmount) {
			t.Errorf("%d bytes: %v", step.n, err)
		}
	}
	if err := l.Use(other, 400); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLedger(t, path, c)
	defer l.Close()
	if l.Use(limit, 1) == nil || l.Use(other, 601) == nil || l.Use(other, 600) != nil {
		t.Error("a restart in good order has changed what was used")
	}
}

// A refused use takes nothing, not even memory.
func TestLedgerRefusesWithoutTrace(t *testing.T) {
	c := newClock()
	l := openLedger(t, filepath.Join(t.TempDir(), "ledger"), c)
	defer l.Close()
	for i := range uint64(100) {
		if l.Use(limitOf(i, 10, c.t.Add(time.Hour)), 11) == nil {
			t.Error("too much was taken")
		}
	}
	if len(l.entries) != 0 || l.records != 0 {
		t.Errorf("%d entries, %d records", len(l.entries), l.records)
	}
}

// The real thing against a model through uses, restarts, kills and torn tails: what
// was used is never forgotten, and a kill loses at most a step.
func TestLedgerAgainstModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	c := newClock()
	path := filepath.Join(t.TempDir(), "ledger")
	l := openLedger(t, path, c)
	limits := make([]*order.Limit, 20)
	used := make([]int64, len(limits))  // by the model
	slack := make([]int64, len(limits)) // that kills may have cost
	for i := range limits {
		limits[i] = limitOf(uint64(i), 1<<uint(10+i*2), c.t.Add(order.MaxLimitLife))
	}
	step := func(limit int64) int64 { return min(maxStep, max(minStep, limit/64)) }
	for range 20000 {
		switch i := random.IntN(len(limits)); random.IntN(100) {
		case 0:
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = openLedger(t, path, c)
		case 1, 2:
			l.kill()
			if random.IntN(2) == 0 {
				tear(t, path, random)
			}
			l = openLedger(t, path, c)
			for j := range slack {
				if used[j] > 0 {
					slack[j] += step(limits[j].MaxBytes)
				}
			}
		default:
			n := random.Int64N(limits[i].MaxBytes/8 + 1)
			err := l.Use(limits[i], n)
			switch {
			case err == nil && used[i]+n > limits[i].MaxBytes:
				t.Fatalf("limit %d: %d and %d of %d bytes were allowed", i, used[i], n, limits[i].MaxBytes)
			case err == nil:
				used[i] += n
			case used[i]+slack[i]+n <= limits[i].MaxBytes:
				t.Fatalf("limit %d: %d of %d bytes were refused after %d: %v", i, n, limits[i].MaxBytes, used[i], err)
			}
		}
	}
	l.Close()
}

// tear adds what a write that was cut off leaves.
func tear(t *testing.T, path string, random *rand.Rand) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	file.Write(make([]byte, 1+random.IntN(recordSize-1)))
}

// A damaged record costs itself and no other.
func TestLedgerDamage(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "ledger")
	l := openLedger(t, path, c)
	const n = 10
	for i := range uint64(n) {
		if err := l.Use(limitOf(i, 10, c.t.Add(time.Hour)), 10); err != nil {
			t.Fatal(err)
		}
	}
	l.kill()
	whole, err := os.ReadFile(path)
	if err != nil || len(whole) != len(ledgerMagic)+n*recordSize {
		t.Fatalf("%d bytes, %v", len(whole), err)
	}
	for at := len(ledgerMagic); at < len(whole); at += 7 {
		raw := bytes.Clone(whole)
		raw[at] ^= 0x10
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		l := openLedger(t, path, c)
		lost := uint64((at - len(ledgerMagic)) / recordSize)
		for i := range uint64(n) {
			if err := l.Use(limitOf(i, 10, c.t.Add(time.Hour)), 1); (err == nil) != (i == lost) {
				t.Errorf("byte %d flipped, limit %d: %v", at, i, err)
			}
		}
		l.kill()
	}
	for _, raw := range [][]byte{whole[:5], whole[1:], []byte("something else entirely")} {
		os.WriteFile(path, raw, 0o600)
		if _, err := OpenLedger(path, c.now, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%q was taken for a ledger", raw)
		}
		if left, _ := os.ReadFile(path); !bytes.Equal(left, raw) {
			t.Error("a file that is no ledger was changed")
		}
	}
}

func TestLedgerCompacts(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "ledger")
	l := openLedger(t, path, c)
	limit := limitOf(1, 1<<50, c.t.Add(time.Hour))
	for range 5 * minSweep { // every use needs another reservation
		if err := l.Use(limit, 2*maxStep); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > int64(len(ledgerMagic)+(minSweep+4)*recordSize) {
		t.Errorf("%d bytes for one limit, %v", info.Size(), err)
	}
	want := l.entries[limit.Serial].used
	l.kill()
	l = openLedger(t, path, c)
	defer l.Close()
	if got := l.entries[limit.Serial].used; got < want || got > want+maxStep {
		t.Errorf("%d bytes are used, want %d and at most a step more", got, want)
	}
}

// Limits that have expired are forgotten, others never, and there is a bound.
func TestLedgerForgets(t *testing.T) {
	c := newClock()
	l := openLedger(t, filepath.Join(t.TempDir(), "ledger"), c)
	defer l.Close()
	var n uint64
	use := func(life time.Duration, count int) (err error) {
		for range count {
			n++
			if err = l.Use(limitOf(n, 10, c.t.Add(life)), 10); err != nil {
				break
			}
		}
		return err
	}
	if err := use(time.Hour, minSweep); err != nil {
		t.Fatal(err)
	}
	c.t = c.t.Add(4 * time.Hour)
	if err := use(time.Hour, 1); err != nil || len(l.entries) != 1 {
		t.Errorf("%d entries after expiry, %v", len(l.entries), err)
	}
	if err := use(time.Hour, maxEntries); !errors.Is(err, errLedgerFull) || len(l.entries) != maxEntries {
		t.Errorf("%d entries, %v", len(l.entries), err)
	}
	if l.Use(limitOf(n-1, 10, c.t.Add(time.Hour)), 1) == nil {
		t.Error("a limit was forgotten before its time")
	}
	c.t = c.t.Add(4 * time.Hour)
	if err := use(time.Hour, 1); err != nil {
		t.Error(err)
	}
}

// One uplink does not fill the ledger for all, and does not have it searched for
// each of its limits.
func TestLedgerPerUplink(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "ledger")
	l := openLedger(t, path, c)
	serial := uint64(0)
	use := func(uplink byte, life time.Duration) error {
		limit := limitOf(serial, 10, c.t.Add(life))
		limit.Uplink = ident.ID{uplink}
		serial++
		return l.Use(limit, 1)
	}
	for range maxPerUplink {
		if err := use(1, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if err := use(1, time.Minute); !errors.Is(err, errLedgerFull) {
		t.Errorf("one more than %d: %v", maxPerUplink, err)
	}
	if err := l.Use(limitOf(0, 10, c.t), 1); err != nil {
		t.Errorf("one known already: %v", err)
	}
	if err := use(2, time.Hour); err != nil {
		t.Errorf("another uplink: %v", err)
	}
	c.t = c.t.Add(time.Hour + time.Minute) // none of the first is dead yet
	if err := use(1, time.Minute); !errors.Is(err, errLedgerFull) {
		t.Errorf("before they are dead: %v", err)
	}
	c.t = c.t.Add(sweepPause - time.Second)
	if err := use(1, time.Minute); !errors.Is(err, errLedgerFull) {
		t.Errorf("searched again too soon: %v", err)
	}
	c.t = c.t.Add(time.Second)
	if err := use(1, time.Minute); err != nil || len(l.entries) != 2 || l.uplinks[ident.ID{1}] != 1 {
		t.Errorf("%d entries, %d of one uplink after expiry, %v", len(l.entries), l.uplinks[ident.ID{1}], err)
	}
	l.kill()
	c.t = c.t.Add(4 * time.Hour)
	l = openLedger(t, path, c)
	defer l.Close()
	if err := use(1, time.Hour); err != nil || len(l.entries) != 1 || len(l.uplinks) != 1 {
		t.Errorf("%d entries, %d uplinks after a restart, %v", len(l.entries), len(l.uplinks), err)
	}
}

// Readers are not kept out because the disk is full.
func TestLedgerWithoutDisk(t *testing.T) {
	c := newClock()
	l := openLedger(t, filepath.Join(t.TempDir(), "ledger"), c)
	l.file.Close() // every write fails from now on
	limit := limitOf(1, 1000, c.t.Add(time.Hour))
	if err := l.Use(limit, 600); err != nil {
		t.Error(err)
	}
	if err := l.Use(limit, 600); !errors.Is(err, order.ErrAmount) {
		t.Errorf("counted in memory: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("the last chance to write it down: %v", err)
	}
	l = openLedger(t, l.path, c)
	defer l.Close()
	if err := l.Use(limit, 401); !errors.Is(err, order.ErrAmount) {
		t.Errorf("after the disk has come back: %v", err)
	}
}

func TestLedgerConcurrently(t *testing.T) {
	c := newClock()
	l := openLedger(t, filepath.Join(t.TempDir(), "ledger"), c)
	defer l.Close()
	const most = 100_000
	limit := limitOf(1, most, c.t.Add(time.Hour))
	var mu sync.Mutex
	var total int64
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for n := int64(1); ; n = n%97 + 1 {
				if l.Use(limit, n) != nil {
					if n == 1 {
						return
					}
					n = 0
					continue
				}
				mu.Lock()
				total += n
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if total != most {
		t.Errorf("%d of %d bytes were given out", total, most)
	}
}

// Any file is refused or loaded, and what was loaded is loaded again the same.
func FuzzLedgerFile(f *testing.F) {
	f.Add([]byte(ledgerMagic))
	record := make([]byte, recordSize)
	encodeRecord(record, order.Serial{1}, entry{expires: 2_000_000_000, reserved: 5})
	f.Add(append([]byte(ledgerMagic), record...))
	path := filepath.Join(f.TempDir(), "ledger")
	load := func(t *testing.T, raw []byte) (map[order.Serial]*entry, error) {
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		l := &Ledger{now: newClock().now, logger: slog.New(slog.DiscardHandler), path: path, entries: make(map[order.Serial]*entry), uplinks: make(map[ident.ID]int)}
		return l.entries, l.load()
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		entries, err := load(t, raw)
		if err != nil {
			return
		}
		raw = []byte(ledgerMagic)
		for serial, e := range entries {
			raw = append(raw, make([]byte, recordSize)...)
			encodeRecord(raw[len(raw)-recordSize:], serial, *e)
		}
		again, err := load(t, raw)
		if err != nil || !reflect.DeepEqual(again, entries) {
			t.Errorf("%v became %v: %v", entries, again, err)
		}
	})
}

func BenchmarkLedger(b *testing.B) {
	c := newClock()
	l := openLedger(b, filepath.Join(b.TempDir(), "ledger"), c)
	defer l.Close()
	limit := limitOf(1, 1<<62, c.t.Add(time.Hour))
	for b.Loop() {
		if err := l.Use(limit, 256<<10); err != nil {
			b.Fatal(err)
		}
	}
}
