package shardstore

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/dgraph-io/badger/v4"
)

// missing is what a journal entry comes to if its shard is not held.
func (s sample) missing(seq uint64) Missing {
	return Missing{Seq: seq, Segment: s.meta.Segment, Size: s.meta.Layout.Size, Root: s.meta.Root}
}

// wantMissing compares what is missing of a group, in order of segment ids.
func wantMissing(t *testing.T, s *Store, group uint32, want ...Missing) {
	t.Helper()
	var got []Missing
	if err := s.Missing(group, func(m Missing) bool { got = append(got, m); return true }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("missing of group %d: %v\nwant %v", group, got, want)
	}
	var numbers []uint64
	for _, m := range want {
		numbers = append(numbers, m.Seq)
		one, ok, err := s.MissingOf(Key{Segment: m.Segment, Group: group})
		if err != nil || !ok || one != m {
			t.Errorf("missing of segment %s: %v, %v, %v", m.Segment, one, ok, err)
		}
	}
	slices.Sort(numbers)
	runs, _, err := s.MissingRuns(group)
	if err != nil || !slices.Equal(runs, seqset.Numbers(numbers)) {
		t.Errorf("missing runs of group %d: %v, %v, want %v", group, runs, err, numbers)
	}
}

func wantSeq(t *testing.T, s *Store, one sample, seq uint64) {
	t.Helper()
	info, err := s.Stat(one.meta.Key)
	if err != nil || info.Seq != seq || info.Live != (seq != 0) {
		t.Errorf("%+v, %v; want number %d", info, err, seq)
	}
	if m, ok, err := s.MissingOf(one.meta.Key); ok || err != nil {
		t.Errorf("missing though it is held: %v, %v", m, err)
	}
}

// TestSeq: every live shard knows the number of its live journal entry, however
// it became live.
func TestSeq(t *testing.T) {
	for _, dirs := range []int{1, 2} {
		cfg := testConfig(t)
		if dirs == 2 {
			cfg, _, _ = twoDirs(t)
		}
		s := openStore(t, cfg)
		x := sameGroup(4)
		early, again, late, gone := x[0], x[1], x[2], x[3]
		mustPut(t, s, early, again)
		wantSeq(t, s, early, 0)
		journal := []Entry{
			early.entry(1), again.entry(2), late.entry(3), gone.entry(4), again.entry(5), late.entry(6),
			{Seq: 7, Segment: gone.meta.Segment},
		}
		for i := range journal { // each in a batch of its own
			mustAdvance(t, s, 1, journal[i])
		}
		wantMissing(t, s, 1, late.missing(6))
		mustPut(t, s, late)
		wantMissing(t, s, 1)
		check := func() {
			t.Helper()
			wantUsage(t, s, 3, 0, 0)
			wantSeq(t, s, early, 1)
			wantSeq(t, s, again, 5)
			wantSeq(t, s, late, 6)
		}
		check()
		s.Close()
		s = openStore(t, cfg)
		check()
		for i := range journal { // old news, one by one
			mustAdvance(t, s, 1, journal[i])
			check()
		}
		s.Close()
		for _, dir := range cfg.Dirs {
			if _, err := RebuildIndex(t.Context(), dir, func(d Damage) { t.Error(d) }); err != nil {
				t.Fatal(err)
			}
		}
		s = openStore(t, cfg)
		wantSeq(t, s, late, 0)
		mustAdvance(t, s, 1, journal...)
		check()
	}
}

// TestOldNews: what a journal said before it said that a segment is live does
// not touch the shard, in whatever pieces it is read again.
func TestOldNews(t *testing.T) {
	cfg, a, b := twoDirs(t)
	one := sameGroup(1)[0]
	buried := Entry{Seq: 2, Segment: one.meta.Segment}
	// One directory has followed further than the other.
	ahead := cfg
	ahead.Dirs = []string{a}
	s := openStore(t, ahead)
	mustPut(t, s, one)
	mustAdvance(t, s, 1, one.entry(1), buried, one.entry(3))
	mustPut(t, s, one)
	wantSeq(t, s, one, 3)
	s.Close()
	cfg.Dirs = []string{b, a}
	s = openStore(t, cfg)
	for _, e := range []Entry{one.entry(1), buried, one.entry(3)} {
		mustAdvance(t, s, 1, e)
		wantSeq(t, s, one, 3)
	}
	wantUsage(t, s, 1, 0, 0)
}

// TestOtherRootLater: when a missing segment is live again with another root,
// that is what is missing.
func TestOtherRootLater(t *testing.T) {
	s := openStore(t, testConfig(t))
	one := sameGroup(1)[0]
	other := withKey(newSample(77, 8192), one.meta.Key)
	mustAdvance(t, s, 1, one.entry(1))
	mustAdvance(t, s, 1, Entry{Seq: 2, Segment: one.meta.Segment}, other.entry(3))
	wantMissing(t, s, 1, other.missing(3))
	if err := one.put(s); !errors.Is(err, ErrMismatch) {
		t.Errorf("put the one before: %v", err)
	}
	mustPut(t, s, other)
	wantSeq(t, s, other, 3)
	wantUsage(t, s, 1, 0, 0)
}

// TestBadOrder: numbers ascend, and there is no 0.
func TestBadOrder(t *testing.T) {
	s := openStore(t, testConfig(t))
	x := sameGroup(2)
	for _, entries := range [][]Entry{{x[0].entry(0)}, {x[0].entry(2), x[1].entry(2)}, {x[0].entry(2), x[1].entry(1)}} {
		if err := s.Advance(1, entries); err == nil {
			t.Errorf("took entries %v", entries)
		}
	}
	if seq, err := s.Cursor(1); seq != 0 || err != nil {
		t.Errorf("cursor %d, %v", seq, err)
	}
}

// TestMissingPages goes over many pages, with marks that only some directories
// have, and shards that come meanwhile.
func TestMissingPages(t *testing.T) {
	cfg, a, b := twoDirs(t)
	const count = 2*missingPage + 7
	x := sameGroup(count)
	var want []Missing
	var journal []Entry
	for i, one := range x {
		journal = append(journal, one.entry(uint64(2*i+1)))
		want = append(want, one.missing(uint64(2*i+1)))
	}
	for i, dir := range []string{a, b} {
		part := cfg
		part.Dirs = []string{dir}
		s := openStore(t, part)
		mustAdvance(t, s, 1, journal[i*100:]...) // b has missed the first
		mustAdvance(t, s, 4, withGroup(x[0], 4).entry(1))
		s.Close()
	}
	s := openStore(t, cfg)
	wantUsage(t, s, 0, 0, count+1)
	wantMissing(t, s, 1, want...)
	wantMissing(t, s, 2)
	wantMissing(t, s, 4, withGroup(x[0], 4).missing(1))
	seen := 0
	err := s.Missing(1, func(m Missing) bool {
		if seen++; seen%100 == 1 {
			mustPut(t, s, x[seen-1])
		}
		return seen < count-1
	})
	if err != nil || seen != count-1 {
		t.Errorf("%d calls, %v", seen, err)
	}
	wantUsage(t, s, 11, 0, count+1-11)
}

func withGroup(s sample, group uint32) sample {
	s.meta.Group = group
	return s
}

// TestRevision: it changes with every change to what is missing or to the
// cursor, and with nothing else.
func TestRevision(t *testing.T) {
	s := openStore(t, testConfig(t))
	x := sameGroup(3)
	last := s.Revision(1)
	step := func(what string, changes bool, do func()) {
		t.Helper()
		do()
		_, revision, err := s.MissingRuns(1)
		if err != nil || revision != s.Revision(1) || (revision != last) != changes {
			t.Errorf("%s: revision %d after %d, %v", what, revision, last, err)
		}
		last = revision
	}
	step("put", false, func() { mustPut(t, s, x[0], x[1]) })
	step("confirm", true, func() { mustAdvance(t, s, 1, x[0].entry(1), x[1].entry(2)) })
	step("miss", true, func() { mustAdvance(t, s, 1, x[2].entry(3)) })
	step("another group", false, func() { mustAdvance(t, s, 2, newSample(1, 64).entry(1)) })
	step("verify", false, func() { mustVerify(t, s, x[0], x[1]) })
	step("heal", true, func() { mustPut(t, s, x[2]) })
	step("bury", true, func() { mustAdvance(t, s, 1, Entry{Seq: 4, Segment: x[0].meta.Segment}) })
	step("lose", true, func() {
		harm(t, s, x[1], 1000)
		if err := s.Verify(t.Context(), x[1].meta.Key); !errors.Is(err, ErrCorrupt) {
			t.Error(err)
		}
	})
}

// TestInventory merges directories, groups apart and each segment once.
func TestInventory(t *testing.T) {
	cfg, a, b := twoDirs(t)
	x := sameGroup(30)
	for i, dir := range []string{a, b} {
		part := cfg
		part.Dirs = []string{dir}
		s := openStore(t, part)
		for j, one := range x {
			if j%3 == i || j%3 == 2 { // every third in both
				mustPut(t, s, one, withGroup(one, 2))
			}
		}
		if i == 1 {
			mustAdvance(t, s, 1, x[5].entry(9))
		}
		s.Close()
	}
	s := openStore(t, cfg)
	for _, limit := range []int{1, 2, 7, 29, 30, 31, 1000} {
		var got []Info
		var after order.SegmentID
		for {
			page, err := s.Inventory(1, after, limit)
			if err != nil || len(page) > limit {
				t.Fatalf("page of %d shards: %v", len(page), err)
			}
			got = append(got, page...)
			if len(page) < limit {
				break
			}
			after = page[len(page)-1].Segment
		}
		if len(got) != len(x) {
			t.Fatalf("%d shards instead of %d", len(got), len(x))
		}
		for i, info := range got {
			if info.Key != x[i].meta.Key || info.Root != x[i].meta.Root || info.Live != (i == 5) || info.Live != (info.Seq == 9) {
				t.Errorf("shard %d: %+v", i, info)
			}
		}
	}
}

// TestWhole: the store tells when a directory is away.
func TestWhole(t *testing.T) {
	cfg, _, b := twoDirs(t)
	s := openStore(t, cfg)
	if !s.Whole() {
		t.Error("a whole store is not")
	}
	cfg.Known = map[string]string{b: s.Usage().Dirs[1].ID}
	s.Close()
	if err := os.Rename(b, b+"-away"); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, cfg)
	if s.Whole() {
		t.Error("a store without one directory is whole")
	}
	s.Close()
	if err := os.Rename(b+"-away", b); err != nil {
		t.Fatal(err)
	}
	if s = openStore(t, cfg); !s.Whole() {
		t.Error("a store that has its directory back is not whole")
	}
}

// TestOldIndex: an index of another version is refused, and made again.
func TestOldIndex(t *testing.T) {
	for name, version := range map[string][]byte{"first": nil, "next": {indexVersion + 1}} {
		cfg, samples := filled(t, 4096, 64)
		path := filepath.Join(cfg.Dirs[0], indexDir)
		x, err := openIndex(path, false)
		if err != nil {
			t.Fatal(err)
		}
		id, err := readIdentity(cfg.Dirs[0])
		if err != nil {
			t.Fatal(err)
		}
		err = x.update(func(txn *badger.Txn) error {
			return txn.Set([]byte{keyIdentity}, append(id.id[:len(id.id):len(id.id)], version...))
		})
		if err := errors.Join(err, x.close()); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(cfg); !errors.Is(err, ErrIndex) {
			t.Fatalf("%s version: open: %v, %v", name, s, err)
		}
		if _, faults := findings(t, cfg.Dirs[0]); !slices.Equal(faults, []Fault{FaultIndex}) {
			t.Errorf("%s version: fsck: %v", name, faults)
		}
		if _, err := RebuildIndex(t.Context(), cfg.Dirs[0], func(d Damage) { t.Error(d) }); err != nil {
			t.Fatal(err)
		}
		s := openStore(t, cfg)
		for _, one := range samples {
			if err := one.check(s); err != nil {
				t.Error(err)
			}
		}
		s.Close()
	}
}

// TestBadEntry: an entry that says impossible things is found by fsck, and the
// store is not opened with it.
func TestBadEntry(t *testing.T) {
	cfg, samples := filled(t, 4096, 64)
	x, err := openIndex(filepath.Join(cfg.Dirs[0], indexDir), false)
	if err != nil {
		t.Fatal(err)
	}
	e, ok, err := x.get(samples[0].meta.Key)
	if err != nil || !ok {
		t.Fatal(err)
	}
	e.Live = true
	if err := x.update(func(txn *badger.Txn) error { return setEntry(txn, e) }); !errors.Is(err, errFormat) {
		t.Errorf("wrote a live entry without a number: %v", err)
	}
	err = x.update(func(txn *badger.Txn) error { return txn.Set(shardKey(e.Key), e.encode()) })
	if err := errors.Join(err, x.close()); err != nil {
		t.Fatal(err)
	}
	if _, faults := findings(t, cfg.Dirs[0]); !slices.Contains(faults, FaultEntry) {
		t.Errorf("fsck: %v", faults)
	}
	if s, err := Open(cfg); !errors.Is(err, ErrIndex) {
		t.Errorf("open: %v, %v", s, err)
	}
}
