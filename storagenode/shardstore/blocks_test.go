package shardstore

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cairnstorage/cairn/proto/erasure"
)

// blocksConfig is a store that makes blocks wherever it is, on a disk of its own
// kind, with volumes that take several large records.
func blocksConfig(t *testing.T) Config {
	cfg := testConfig(t)
	cfg.Dirs = []string{filepath.Join(t.TempDir(), "data")}
	cfg.VolumeSize = 64 << 20
	cfg.inPlace = func(string) bool { return false }
	cfg.allocates = func(string) bool { return true }
	return cfg
}

// checkUse checks that what volumes take up of the disk is what is used, but for
// their first pages, what the file system needs to find theirs, and parts of pages
// if its blocks are smaller.
func checkUse(t *testing.T, dir string, used int64) {
	t.Helper()
	numbers, err := listVolumes(dir)
	if err != nil {
		t.Fatal(err)
	}
	if onDisk := diskUse(t, dir); onDisk < used-used/64 || onDisk > used+int64(len(numbers))*8*pageSize {
		t.Errorf("%d bytes are on disk in %d volumes, %d used", onDisk, len(numbers), used)
	}
}

// begin creates a writer with so much room for a sample, and writes so many bytes of
// it, in pieces.
func (s sample) begin(t *testing.T, st *Store, room int64, bytes, piece int) *Writer {
	t.Helper()
	w, err := st.Create(context.Background(), s.meta.Key, room, s.meta.Layout.Total)
	if err != nil {
		t.Fatal(err)
	}
	for rest := s.data[:bytes]; len(rest) > 0; {
		n := min(piece, len(rest))
		if _, err := w.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	return w
}

// TestPieces writes shards about every boundary there is to what is held back, in
// pieces of many sizes and with more or less room than they need: they are on disk
// as they came, and nothing else is.
func TestPieces(t *testing.T) {
	cfg := blocksConfig(t)
	s := openStore(t, cfg)
	var held []sample
	for _, size := range []int{64, maxHeld - 128, maxHeld - 64, maxHeld, largeShard - 64, largeShard, largeShard + pageSize - 64, 2 * blocksAhead} {
		for _, more := range []int{0, 8, pageSize - 64, pageSize, 3 * pageSize, blocksAhead, largeShard} {
			for _, piece := range []int{777, pageSize, maxHeld - recordHeaderSize, maxHeld + 1, unit - recordHeaderSize, unit} {
				if size/piece > 500 {
					continue
				}
				one := newSample(uint64(len(held)+1), size)
				held = append(held, one)
				w := one.begin(t, s, int64(size+more), size, piece)
				if w.at%pageSize != 0 {
					t.Fatalf("a page is written in parts: %d bytes in pieces of %d, written up to %d", size, piece, w.at)
				}
				if _, err := w.Commit(context.Background(), one.meta); err != nil {
					t.Fatalf("%d bytes with room for %d more in pieces of %d: %v", size, more, piece, err)
				}
			}
		}
	}
	for _, one := range held {
		if err := one.check(s); err != nil {
			t.Error(err)
		}
	}
	used := s.Usage().Used
	s.Close()
	checkUse(t, cfg.Dirs[0], used)
	if _, faults := findings(t, cfg.Dirs[0]); len(faults) != 0 {
		t.Error(faults)
	}
}

// TestBigFooter: a footer may be larger than what is held back at most.
func TestBigFooter(t *testing.T) {
	const size, total = erasure.MaxSegment, maxSlots
	one := sampleOf(1, bytes.Repeat([]byte("pebble. "), size/8), 1, total)
	if got := footerSize(size, total); got <= maxHeld {
		t.Fatalf("the largest one has %d bytes, and %d may be held back", got, maxHeld)
	}
	s := openStore(t, blocksConfig(t))
	w := one.begin(t, s, size, size, unit)
	if _, err := w.Commit(context.Background(), one.meta); err != nil {
		t.Fatal(err)
	}
	if err := one.check(s); err != nil {
		t.Error(err)
	}
}

// TestBeginnings: large records begin where memory has large pages, but right
// behind the last one if zeros were written there; small ones always do that.
func TestBeginnings(t *testing.T) {
	const small, nearly, large = 64, largeShard - 64, largeShard
	pages := func(size int) int64 { return place{reserved: int64(size), slots: 10}.length() }
	first := int64(pageSize)
	second := first + pages(small)
	for _, test := range []struct {
		room  bool
		sizes []int
		want  []int64
	}{
		{false, []int{small, nearly}, []int64{first, second}},
		{false, []int{small, large, small}, []int64{first, unit, unit + pages(large)}},
		{false, []int{large, large}, []int64{unit, roundUp(unit+pages(large), unit)}},
		{true, []int{large, large}, []int64{unit, roundUp(unit+pages(large), unit)}},
		{true, []int{small, large, large}, []int64{first, second, roundUp(second+pages(large), unit)}},
	} {
		cfg := blocksConfig(t)
		cfg.inPlace = func(string) bool { return test.room }
		cfg.statfs = func(string) (int64, int64, error) { return 1 << 40, 1 << 40, nil }
		cfg.plenty = spacePlenty // there always is
		s := openStore(t, cfg)
		for i, size := range test.sizes {
			one := newSample(uint64(i+1), size)
			mustPut(t, s, one)
			_, e, err := s.lookup(one.meta.Key)
			if err != nil {
				t.Fatal(err)
			}
			if e.offset != test.want[i] {
				t.Errorf("zeros ahead %t, sizes %v: record %d is at %d, want %d", test.room, test.sizes, i, e.offset, test.want[i])
			}
		}
	}
}

// TestBlocks: blocks that were made for what never came are given back: when the
// writing ends, one way or another, or at the start after a kill.
func TestBlocks(t *testing.T) {
	cfg := blocksConfig(t)
	s := openStore(t, cfg)
	one, other := newSample(1, 2<<20), newSample(2, 2<<20)
	for _, written := range []int{unit, blocksAhead - 64, blocksAhead, blocksAhead + unit} {
		one.begin(t, s, 4<<20, written, unit).Abort()
	}
	checkUse(t, cfg.Dirs[0], 0)
	mustPut(t, s, one)
	other.begin(t, s, 2<<20, unit, unit)
	if _, e, _ := s.lookup(one.meta.Key); diskUse(t, cfg.Dirs[0]) < e.onDisk(2<<20)+blocksAhead {
		t.Fatal("no blocks were made")
	}
	used := s.Usage().Used

	// What a killed process leaves is still there when the store is opened again.
	v := s.dirs[0].active
	gap := roundUp(v.end, pageSize)
	for _, at := range []int64{gap + 7*pageSize, gap + 2<<20} {
		if err := allocate(v.file, at, unit); err != nil {
			t.Skip("no blocks can be made here: ", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if diskUse(t, cfg.Dirs[0]) < used+blocksAhead {
		t.Fatal("what is being written was given back while its process might have been killed")
	}
	s = openStore(t, cfg)
	if got := s.Usage().Used; got != used {
		t.Errorf("%d bytes are used after a kill, %d before", got, used)
	}
	checkUse(t, cfg.Dirs[0], used)
	if err := one.check(s); err != nil {
		t.Error(err)
	}
}

// TestBlocksBetween: blocks of a process that was killed before it wrote anything
// there are given back also where others have written behind them and where someone
// has read, and whatever the size of the file system's blocks.
func TestBlocksBetween(t *testing.T) { onSmallDisks(t, testBlocksBetween) }

func testBlocksBetween(t *testing.T, disk string) {
	cfg := blocksConfig(t)
	cfg.Dirs = []string{filepath.Join(disk, "data")}
	s := openStore(t, cfg)
	d := s.dirs[0]
	if _, _, err := d.allocate(64, 1); err != nil { // the scan begins with this
		t.Fatal(err)
	}
	one, other := newSample(1, 600<<10), newSample(2, 600<<10)
	// Its footer begins within a page, behind a hole.
	w := one.begin(t, s, 1<<20+pageSize/2, len(one.data), unit)
	if _, err := w.Commit(context.Background(), one.meta); err != nil {
		t.Fatal(err)
	}
	v, p, err := d.allocate(2<<20, 10)
	if err == nil {
		err = allocate(v.file, p.offset, blocksAhead)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.file.ReadAt(make([]byte, blocksAhead), p.offset); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, other)
	used := s.Usage().Used
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if diskUse(t, cfg.Dirs[0]) < used+blocksAhead {
		t.Fatal("what is being written was given back while its process might have been killed")
	}
	s = openStore(t, cfg)
	checkUse(t, cfg.Dirs[0], used)
	for _, one := range []sample{one, other} {
		if err := one.check(s); err != nil {
			t.Error(err)
		}
	}
}

// TestGaps: the blocks that a file system makes by itself between two records are
// given back as soon as it makes no more there, or, if that fails, at the next start.
func TestGaps(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprint("fails ", fails), func(t *testing.T) { testGaps(t, fails) })
	}
}

func testGaps(t *testing.T, fails bool) {
	cfg := blocksConfig(t)
	cfg.allocates = func(string) bool { return false }
	cfg.foresees = func(string) bool { return true }
	var failing atomic.Bool
	cfg.punch = func(f *os.File, offset, length int64) error {
		if failing.Load() {
			return unix.EIO
		}
		return punch(f, offset, length)
	}
	s := openStore(t, cfg)
	d, alone := s.dirs[0], foreseesWrites(cfg.Dirs[0])
	if _, _, err := d.allocate(64, 1); err != nil { // the scan begins with this
		t.Fatal(err)
	}
	failing.Store(fails)
	var held []sample
	for n := range uint64(3) {
		one := newSample(n+1, largeShard)
		if !alone {
			if err := allocate(d.active.file, d.active.end, unit/4); err != nil {
				t.Skip("no blocks can be made here: ", err)
			}
		}
		mustPut(t, s, one)
		held = append(held, one)
	}
	used := s.Usage().Used
	failing.Store(false)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if fails && !alone && diskUse(t, cfg.Dirs[0]) < used+2*unit/4 {
		t.Fatal("blocks were given back though that failed")
	}
	if fails {
		s = openStore(t, cfg)
	}
	checkUse(t, cfg.Dirs[0], used)
	if !fails {
		s = openStore(t, cfg)
	}
	for _, one := range held {
		if err := one.check(s); err != nil {
			t.Error(err)
		}
	}
}

// TestBlocksPledged: what has blocks already is not held free for its shard once
// more, whether the blocks could be made or not.
func TestBlocksPledged(t *testing.T) {
	for _, allocates := range []bool{true, false} {
		cfg := blocksConfig(t)
		cfg.allocates = func(string) bool { return allocates }
		s := openStore(t, cfg)
		d := s.dirs[0]
		const size, at = 4 << 20, largeShard + unit
		one := newSample(1, size)
		room := place{reserved: size, slots: 10}.length()
		w := one.begin(t, s, size, at, unit)
		made := w.at - w.place.offset
		if allocates {
			made = blocksAhead
		}
		if d.pledged != room-made {
			t.Errorf("blocks %t: %d of %d bytes are pledged, want %d", allocates, d.pledged, room, room-made)
		}
		for rest := one.data[at:]; len(rest) > 0; rest = rest[unit:] {
			if _, err := w.Write(rest[:unit]); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.Commit(context.Background(), one.meta); err != nil {
			t.Fatal(err)
		}
		if d.pledged != 0 || d.begun != 0 {
			t.Errorf("%d bytes are pledged, %d begun for nothing", d.pledged, d.begun)
		}
	}
}

// TestNoBlocks: where blocks cannot be made, or that is of no use, shards are stored
// all the same.
func TestNoBlocks(t *testing.T) {
	for _, allocates := range []bool{false, true} {
		t.Run(fmt.Sprint(allocates), func(t *testing.T) {
			cfg := blocksConfig(t)
			cfg.allocates = func(string) bool { return allocates }
			s := openStore(t, cfg)
			if allocates {
				// One that is open for reading alone refuses what is asked.
				v, _, err := s.dirs[0].allocate(64, 1)
				if err != nil {
					t.Fatal(err)
				}
				readOnly, err := os.Open(v.file.Name())
				if err != nil {
					t.Fatal(err)
				}
				defer readOnly.Close()
				one := place{volume: v.number, offset: v.end, reserved: largeShard, slots: 1}
				probe := &volume{file: readOnly}
				if made, ok := s.dirs[0].makeBlocks(probe, one, one.offset, unit, 0); made == 0 || ok {
					t.Errorf("what failed is tried again for every piece, or counted: %d, %t", made, ok)
				}
			}
			one := newSample(1, largeShard)
			mustPut(t, s, one)
			if err := one.check(s); err != nil {
				t.Error(err)
			}
		})
	}
}
