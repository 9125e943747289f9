package shardstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/order"
)

// A model is what a store must be: a map, and a journal that it follows.
type model struct {
	t       *testing.T
	rng     *rand.Rand
	cfg     Config
	store   *Store
	now     time.Time
	held    map[uint64]*modelShard // by sample number
	made    []sample
	next    uint64
	journal map[uint32][]Entry // all groups' entries from 1 on
	read    map[uint32]int     // how many of them the store was given
	calls   atomic.Int64       // of statfs, after which the disks are full; 0: they are not
}

type modelShard struct {
	sample
	seq     uint64 // of the journal entry by which it is live; 0: it is staged
	created time.Time
}

func newModel(t *testing.T, seed uint64, dirs int) *model {
	m := &model{
		t:       t,
		rng:     rand.New(rand.NewPCG(seed, 1)),
		cfg:     testConfig(t),
		now:     time.Unix(1_800_000_000, 0),
		held:    make(map[uint64]*modelShard),
		journal: make(map[uint32][]Entry),
		read:    make(map[uint32]int),
	}
	for range dirs - 1 {
		m.cfg.Dirs = append(m.cfg.Dirs, tempDir(t))
	}
	m.cfg.VolumeSize = 300 << 10
	m.cfg.spare = 2 // so that filters are made all the time
	m.cfg.Now = func() time.Time { return m.now }
	m.cfg.statfs = func(path string) (free, total int64, err error) {
		free, total, err = freeSpace(path)
		if m.calls.Load() > 0 && m.calls.Add(-1) == 0 {
			m.calls.Store(1) // still
			free = 0
		}
		return free, total, err
	}
	m.store = openStore(t, m.cfg)
	return m
}

// pick gives the number of one of the held shards, or of none.
func (m *model) pick() (uint64, *modelShard) {
	if len(m.held) == 0 {
		return 0, nil
	}
	var numbers []uint64
	for n := range m.held {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	n := numbers[m.rng.IntN(len(numbers))]
	return n, m.held[n]
}

func (m *model) check(what string, err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("%s: %v", what, err)
	}
}

// liveAs is the number of a segment's live entry, if that is the last the store
// was given of it, or 0.
func (m *model) liveAs(s sample) uint64 {
	seq := uint64(0)
	for _, e := range m.journal[s.meta.Group][:m.read[s.meta.Group]] {
		if e.Segment == s.meta.Segment {
			seq = e.liveSeq()
		}
	}
	return seq
}

func (e Entry) liveSeq() uint64 {
	if !e.Live {
		return 0
	}
	return e.Seq
}

func (m *model) put() {
	m.next++
	s := newSample(m.next, 64*(1+m.rng.IntN(1200)))
	m.made = append(m.made, s)
	if m.rng.IntN(5) == 0 { // the commit is in the journal before the shard is here
		m.appendLive(s)
		m.advance(s.meta.Group)
	}
	m.check("put", s.put(m.store))
	m.held[m.next] = &modelShard{sample: s, seq: m.liveAs(s), created: m.now}
}

func (m *model) putAgain() {
	if _, s := m.pick(); s != nil {
		m.check("put again", s.put(m.store))
		other := sampleOf(0, append([]byte(nil), s.data...), 4, 10)
		other.data[0] ^= 1
		other.meta.Key, other.meta.Slot = s.meta.Key, s.meta.Slot
		other = withKey(sampleOf(0, other.data, 4, 10), s.meta.Key)
		if err := other.put(m.store); !errors.Is(err, ErrMismatch) {
			m.t.Fatalf("put another shard under a key: %v", err)
		}
	}
}

func withKey(s sample, key Key) sample {
	s.meta.Key = key
	return s
}

func (m *model) abort() {
	s := newSample(1<<40+m.rng.Uint64N(1<<30), 64*(1+m.rng.IntN(1200)))
	w, err := s.write(m.store)
	m.check("write", err)
	w.Abort()
}

func (m *model) appendEntry(group uint32, e Entry) {
	e.Seq = uint64(len(m.journal[group]) + 1)
	m.journal[group] = append(m.journal[group], e)
}

func (m *model) appendLive(s sample) {
	m.appendEntry(s.meta.Group, Entry{Live: true, Segment: s.meta.Segment, Root: s.meta.Root, Size: s.meta.Layout.Size})
}

// confirm has the journal say that a shard is live, tombstone that it is gone.
func (m *model) confirm() {
	if _, s := m.pick(); s != nil && !m.isBuried(s.sample) { // no segment lives twice
		m.appendLive(s.sample)
		m.advance(s.meta.Group)
	}
}

func (m *model) tombstone() {
	if _, s := m.pick(); s != nil {
		m.appendEntry(s.meta.Group, Entry{Segment: s.meta.Segment})
		m.advance(s.meta.Group)
	}
}

// advance gives the store what is new in a journal, and sometimes what is not.
func (m *model) advance(group uint32) {
	cursor, err := m.store.Cursor(group)
	m.check("cursor", err)
	again := min(cursor, uint64(m.rng.IntN(3)))
	entries := m.journal[group][cursor-again:]
	m.check("advance", m.store.Advance(group, entries))
	m.read[group] = len(m.journal[group])
	for n, s := range m.held {
		if s.meta.Group != group {
			continue
		}
		for _, e := range entries {
			if e.Segment == s.meta.Segment {
				s.seq = e.liveSeq()
				if !e.Live {
					delete(m.held, n)
				}
			}
		}
	}
}

func (m *model) expire() {
	m.now = m.now.Add(time.Duration(m.rng.IntN(20)) * time.Second)
	limit := m.now.Add(-60 * time.Second)
	group := uint32(1 + m.rng.IntN(3))
	got, err := m.store.ExpireStaged(func(g uint32) time.Time {
		if g == group {
			return limit
		}
		return time.Time{}
	})
	m.check("expire", err)
	want := 0
	for n, s := range m.held {
		if s.meta.Group == group && s.seq == 0 && s.created.Before(limit) {
			want++
			delete(m.held, n)
		}
	}
	if got != want {
		m.t.Fatalf("%d staged shards expired instead of %d", got, want)
	}
}

// verify reads a shard that is sound.
func (m *model) verify() {
	if _, s := m.pick(); s != nil {
		m.check("verify", m.store.Verify(m.t.Context(), s.meta.Key))
	}
}

// damage flips a byte of a shard's record, which is found then.
func (m *model) damage() {
	n, s := m.pick()
	if s == nil {
		return
	}
	_, p := placeOf(m.t, m.store, s.sample)
	size := footerSize(int64(len(s.data)), 10)
	at := []int64{m.rng.Int64N(recordHeaderSize + int64(len(s.data))), p.footerOffset() - p.offset + m.rng.Int64N(size)}
	harm(m.t, m.store, s.sample, at[m.rng.IntN(2)])
	if err := m.store.Verify(m.t.Context(), s.meta.Key); !errors.Is(err, ErrCorrupt) {
		m.t.Fatalf("verify a damaged shard: %v", err)
	}
	delete(m.held, n)
}

// heal puts a shard that is missing.
func (m *model) heal() {
	for n := range m.next {
		if _, held := m.held[n+1]; held || m.rng.IntN(2) == 0 {
			continue
		}
		if s := m.made[n]; m.liveAs(s) != 0 {
			m.check("heal", s.put(m.store))
			m.held[n+1] = &modelShard{sample: s, seq: m.liveAs(s), created: m.now}
			return
		}
	}
}

func (m *model) reopen() {
	m.check("close", m.store.Close())
	m.store = openStore(m.t, m.cfg)
}

// crash goes on with what a killed process would have left.
func (m *model) crash() {
	var dirs []string
	for _, dir := range m.cfg.Dirs {
		dirs = append(dirs, copyDir(m.t, dir))
	}
	m.check("close", m.store.Close())
	for _, dir := range m.cfg.Dirs {
		m.check("remove", os.RemoveAll(dir))
	}
	m.cfg.Dirs = dirs
	m.store = openStore(m.t, m.cfg)
}

// rebuild makes one index again and reads the journals once more.
func (m *model) rebuild() {
	m.check("close", m.store.Close())
	dir := m.cfg.Dirs[m.rng.IntN(len(m.cfg.Dirs))]
	report, err := RebuildIndex(m.t.Context(), dir, func(d Damage) { m.t.Errorf("rebuild: %s", d) })
	if err != nil || report.Damages != 0 {
		m.t.Fatalf("rebuild: %+v, %v", report, err)
	}
	m.store = openStore(m.t, m.cfg)
	for group := range m.journal {
		m.advance(group)
	}
}

// compare holds the store against the model.
func (m *model) compare() {
	m.t.Helper()
	seen := make(map[Key]Info)
	m.check("each", m.store.Each(func(i Info) bool {
		seen[i.Key] = i
		return true
	}))
	staged, used := 0, int64(0)
	for n, s := range m.held {
		info, ok := seen[s.meta.Key]
		if !ok || info.Live != (s.seq != 0) || info.Seq != s.seq || info.Root != s.meta.Root || info.Size() != int64(len(s.data)) {
			m.t.Fatalf("shard %d: held %v, %+v instead of number %d", n, ok, info, s.seq)
		}
		if err := s.sample.check(m.store); err != nil {
			m.t.Fatalf("shard %d: %v", n, err)
		}
		if s.seq == 0 {
			staged++
		}
		used += place{reserved: int64(len(s.data)), slots: 10}.onDisk(int64(len(s.data)))
	}
	u := m.store.Usage()
	if len(seen) != len(m.held) || u.Shards != len(m.held) || u.Staged != staged || u.Used != used {
		m.t.Fatalf("%d shards, usage %+v; want %d, %d staged, %d bytes", len(seen), u, len(m.held), staged, used)
	}
	missing := 0
	for group := range m.journal {
		missing += m.compareGroup(group, seen)
	}
	if u.Missing != missing {
		m.t.Fatalf("%d shards are missing instead of %d", u.Missing, missing)
	}
}

// compareGroup compares what is missing and what is held of a group, and says
// how many are missing.
func (m *model) compareGroup(group uint32, seen map[Key]Info) int {
	m.t.Helper()
	var missing []Missing
	var held []Info
	for _, s := range m.made { // in order of segment ids
		if s.meta.Group != group {
			continue
		}
		info, ok := seen[s.meta.Key]
		if seq := m.liveAs(s); ok {
			held = append(held, info)
		} else if seq != 0 {
			missing = append(missing, s.missing(seq))
		}
	}
	wantMissing(m.t, m.store, group, missing...)
	inventory, err := m.store.Inventory(group, order.SegmentID{}, len(m.made))
	if err != nil || !slices.Equal(inventory, held) {
		m.t.Fatalf("inventory of group %d: %v, %v\nwant %v", group, inventory, err, held)
	}
	return len(missing)
}

func TestModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := newModel(t, seed, 1+int(seed%3))
			ops := []struct {
				weight int
				op     func()
			}{
				{30, m.put}, {3, m.putAgain}, {5, m.abort}, {15, m.confirm}, {8, m.tombstone},
				{4, m.expire}, {1, m.reopen}, {2, m.crash}, {1, m.rebuild}, {3, m.compare},
				{5, m.verify}, {4, m.damage}, {3, m.heal}, {4, m.resync}, {2, m.rollback}, {1, m.release}, {1, m.rewind},
			}
			total := 0
			for _, o := range ops {
				total += o.weight
			}
			for range 300 {
				at := m.rng.IntN(total)
				for _, o := range ops {
					if at -= o.weight; at < 0 {
						o.op()
						break
					}
				}
			}
			m.compare()
			m.check("close", m.store.Close())
			for _, dir := range m.cfg.Dirs {
				if report, err := Fsck(t.Context(), dir, func(d Damage) { t.Error(d) }); err != nil || report.Pending != 0 {
					t.Errorf("fsck: %+v, %v", report, err)
				}
			}
		})
	}
}

// copyDir copies a data directory as a kill would leave it, without its locks.
// It tries again when files came or went meanwhile: Badger tidies up.
func copyDir(t testing.TB, dir string) string {
	t.Helper()
	for {
		to := filepath.Join(tempDir(t), "copy")
		before := listFiles(t, dir)
		err := copyTree(dir, to)
		if slices.Equal(before, listFiles(t, dir)) {
			if err != nil {
				t.Fatal(err)
			}
			os.Remove(filepath.Join(to, "lock"))
			os.Remove(filepath.Join(to, indexDir, "LOCK"))
			return to
		}
	}
}

func listFiles(t testing.TB, dir string) []string {
	var names []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		if os.IsNotExist(err) {
			err = nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
