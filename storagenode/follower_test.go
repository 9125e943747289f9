package storagenode

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// A followerRig is a follower with a fake satellite and a clock, without a
// network.
type followerRig struct {
	*follower
	t         *testing.T
	satellite *fakeSatellite
	dir       string
	now       time.Time
	ahead     time.Duration // of the satellite's clock
}

func newFollowerRig(t *testing.T) *followerRig {
	r := &followerRig{t: t, satellite: newFakeSatellite(t), dir: t.TempDir(), now: time.Now().Truncate(time.Second)}
	r.start()
	r.satellite.join(7, 1, r.ID())
	return r
}

func (r *followerRig) start() {
	r.t.Helper()
	n := &Node{
		config:    Config{Now: func() time.Time { return r.now }},
		log:       testLogger(r.t),
		client:    r.satellite,
		satellite: transport.Address{ID: r.satellite.key.ID()},
		trouble:   make(map[string]string),
		slots:     make(map[uint32]int),
	}
	var err error
	if n.key, _, err = ident.LoadOrCreate(r.dir + "/key.pem"); err != nil {
		r.t.Fatal(err)
	}
	if n.state, err = readState(r.dir); err == nil {
		err = n.state.bind(n.satellite.ID)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	n.store, err = shardstore.Open(shardstore.Config{Dirs: []string{r.dir + "/data"}, Reserve: 1 << 20, Now: n.config.Now})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { n.store.Close() })
	n.claims = newClaimer(n)
	r.follower = newFollower(n)
}

// restart is a new process; forget is what it does not find any more.
func (r *followerRig) restart() {
	r.t.Helper()
	if err := r.store.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.start()
}

// round is one check-in and what follows from it.
func (r *followerRig) round() {
	r.t.Helper()
	asked := r.now
	cursors, err := r.cursors()
	if err != nil {
		r.t.Fatal(err)
	}
	res, err := r.satellite.CheckIn(r.t.Context(), &pb.CheckInRequest{Cursors: cursors})
	if err != nil {
		r.t.Fatal(err)
	}
	heads, err := r.takeNews(asked, res)
	if err != nil {
		r.t.Fatal(err)
	}
	r.followAll(r.t.Context(), &news{asked: asked, ahead: r.ahead, staging: time.Duration(res.Staging) * time.Second, heads: heads})
}

func (r *followerRig) want(cursor uint64, shards, staged, missing int) {
	r.t.Helper()
	seq, err := r.store.Cursor(7)
	u := r.store.Usage()
	if err != nil || seq != cursor || u.Shards != shards || u.Staged != staged || u.Missing != missing {
		r.t.Errorf("cursor %d, %d shards, %d staged, %d missing, %v; want %d, %d, %d, %d",
			seq, u.Shards, u.Staged, u.Missing, err, cursor, shards, staged, missing)
	}
}

func TestFollow(t *testing.T) {
	r := newFollowerRig(t)
	a, b := putShard(t, r.store, 7, 1), putShard(t, r.store, 7, 2)
	r.round()
	r.want(0, 2, 2, 0)
	r.satellite.live(7, a)
	r.round()
	r.want(1, 2, 1, 0)
	r.satellite.tombstone(7, a.Segment)
	r.satellite.live(7, b)
	r.round()
	r.want(3, 1, 0, 0)
	reads := r.satellite.reads
	r.restart()
	r.round()
	r.want(3, 1, 0, 0)
	if r.satellite.reads != reads {
		t.Error("a journal without news was read")
	}
	if epoch, known := r.state.epoch(7); !known || epoch != 1 {
		t.Errorf("epoch %d, %v after a restart", epoch, known)
	}
	if _, head := r.state.head(7); head == nil || head.Seq != 3 {
		t.Errorf("head after a restart: %+v", head)
	}
	if trouble := r.troubles(); len(trouble) != 0 {
		t.Errorf("trouble: %v", trouble)
	}
}

func TestFollowManyPages(t *testing.T) {
	r := newFollowerRig(t)
	m := putShard(t, r.store, 7, 1)
	for n := range 2*journalPage + 10 {
		other := m
		other.Segment = order.SegmentID{2, byte(n), byte(n >> 8)}
		r.satellite.live(7, other)
	}
	r.satellite.live(7, m)
	r.round()
	r.want(2*journalPage+11, 1, 0, 2*journalPage+10)
}

// TestRebuiltIndex: the journal is read again when the index was made again.
func TestRebuiltIndex(t *testing.T) {
	r := newFollowerRig(t)
	a, b := putShard(t, r.store, 7, 1), putShard(t, r.store, 7, 2)
	r.satellite.live(7, a)
	r.satellite.live(7, b)
	r.satellite.tombstone(7, b.Segment)
	r.round()
	r.want(3, 1, 0, 0)
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := shardstore.RebuildIndex(t.Context(), r.dir+"/data", func(d shardstore.Damage) { t.Error(d) }); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.want(0, 1, 1, 0)
	r.now = r.now.Add(2 * r.satellite.staging)
	r.round()
	r.want(3, 1, 0, 0)
}

// TestStagedExpires: only when its time was over at the check-in that told the
// head the journal was followed to.
func TestStagedExpires(t *testing.T) {
	r := newFollowerRig(t)
	m := putShard(t, r.store, 7, 1)
	putShard(t, r.store, 8, 2) // of a group this node hears nothing of
	r.round()
	r.now = r.now.Add(r.satellite.staging)
	r.round()
	r.want(0, 2, 2, 0)
	r.now = r.now.Add(2 * time.Second)
	late := m
	late.Segment[5] = 9
	r.satellite.live(7, late)
	r.satellite.change(func() { r.satellite.corrupt = func(res *pb.JournalResponse) { res.Entries = nil } })
	r.lastExpired = time.Time{}
	r.round()
	r.want(0, 2, 2, 0) // it could not follow
	r.satellite.change(func() { r.satellite.corrupt = nil })
	r.lastExpired = time.Time{}
	r.round()
	r.want(1, 1, 1, 1)
	if _, err := r.store.Stat(m.Key); !errors.Is(err, shardstore.ErrNotFound) {
		t.Errorf("the expired shard: %v", err)
	}
}

// TestClockJumps: nothing expires by a clock that disagrees with the satellite's,
// nor, later, by what it said then.
func TestClockJumps(t *testing.T) {
	r := newFollowerRig(t)
	putShard(t, r.store, 7, 1)
	r.round()
	for _, jump := range []time.Duration{48 * time.Hour, -48 * time.Hour, maxClockError + time.Second} {
		then := r.now
		r.now, r.ahead = r.now.Add(max(jump, 2*r.satellite.staging)), jump
		r.round()
		r.want(0, 1, 1, 0)
		r.now, r.ahead = then, 0
		r.satellite.change(func() { r.satellite.corrupt = func(res *pb.JournalResponse) { res.Head = nil } })
		r.satellite.tombstone(7, order.SegmentID{9})
		r.lastExpired = time.Time{}
		r.round() // cannot follow
		r.want(0, 1, 1, 0)
		r.satellite.change(func() { r.satellite.corrupt, r.satellite.journals = nil, make(map[uint32][]*pb.Entry) })
	}
	r.now, r.ahead = r.now.Add(2*r.satellite.staging), -maxClockError
	r.round()
	r.want(0, 0, 0, 0)
}

func TestClockAhead(t *testing.T) {
	at := func(seconds float64) time.Time { return time.Unix(1e9, 0).Add(time.Duration(seconds * 1e9)) }
	for _, c := range []struct{ asked, answered, now, want float64 }{
		{0, 0, 0, 0}, {0.9, 0.9, 0, 0}, {1, 2, 0, 0}, {0, 10, 10, 0}, {0, 10, 5, 0},
		{1.5, 3, 0, 0.5}, {0, 9.5, 10, -0.5}, {200, 201, 0, 199}, {0, 1, 200, -199},
	} {
		if got := clockAhead(at(c.asked), at(c.answered), at(c.now)); got.Seconds() != c.want {
			t.Errorf("asked at %v, answered at %v, satellite's %v: %v ahead", c.asked, c.answered, c.now, got)
		}
	}
}

// TestContest: a satellite that has gone back is shown its own signature, and
// nothing is followed.
func TestContest(t *testing.T) {
	r := newFollowerRig(t)
	a, b := putShard(t, r.store, 7, 1), putShard(t, r.store, 7, 2)
	r.satellite.live(7, a)
	r.satellite.live(7, b)
	r.round()
	r.want(2, 2, 0, 0)
	r.restart()
	for range 3 {
		r.satellite.change(func() { r.satellite.journals[7] = r.satellite.journals[7][:1] })
		r.round()
	}
	r.want(2, 2, 0, 0)
	if len(r.satellite.contested) != 1 || r.satellite.contested[0].Seq != 2 {
		t.Errorf("contested: %+v", r.satellite.contested)
	}
	if len(r.troubles()) == 0 {
		t.Error("no trouble is told")
	}
	r.now = r.now.Add(contestPause)
	r.round()
	if len(r.satellite.contested) != 2 {
		t.Errorf("contested %d times", len(r.satellite.contested))
	}
	// It has found its entries again.
	r.satellite.live(7, b)
	r.round()
	if trouble := r.troubles(); len(trouble) != 0 {
		t.Errorf("trouble has stayed: %v", trouble)
	}
}

// TestStaleNews: news may be older than what the follower has read since.
func TestStaleNews(t *testing.T) {
	r := newFollowerRig(t)
	m := putShard(t, r.store, 7, 1)
	r.round()
	r.satellite.live(7, m)
	old := &news{asked: r.now, heads: map[uint32]uint64{7: 0}}
	r.round()
	r.followAll(t.Context(), old)
	r.want(1, 1, 0, 0)
	if len(r.satellite.contested) != 0 || len(r.troubles()) != 0 {
		t.Errorf("contested: %v, trouble %v", r.satellite.contested, r.troubles())
	}
}

// TestBadJournals: nothing that a satellite may answer wrongly moves the cursor
// or harms a shard.
func TestBadJournals(t *testing.T) {
	r := newFollowerRig(t)
	m := putShard(t, r.store, 7, 1)
	r.satellite.tombstone(7, order.SegmentID{9})
	r.satellite.tombstone(7, m.Segment)
	other := newFakeSatellite(t)
	for name, corrupt := range map[string]func(*pb.JournalResponse){
		"no entries":    func(res *pb.JournalResponse) { res.Entries = nil },
		"no head":       func(res *pb.JournalResponse) { res.Head = nil },
		"a gap":         func(res *pb.JournalResponse) { res.Entries = res.Entries[1:] },
		"out of order":  func(res *pb.JournalResponse) { slices.Reverse(res.Entries) },
		"no kind":       func(res *pb.JournalResponse) { res.Entries[1].Kind = 0 },
		"bad segment":   func(res *pb.JournalResponse) { res.Entries[1].Segment = []byte{1} },
		"live, no root": func(res *pb.JournalResponse) { res.Entries[0].Kind = pb.EntryKind_ENTRY_KIND_LIVE },
		"beyond the end": func(res *pb.JournalResponse) {
			res.Entries = append(res.Entries, &pb.Entry{Seq: 3, Kind: 2, Segment: m.Segment[:]})
		},
		"page beyond the end": func(res *pb.JournalResponse) { res.Through = 3 },
		"page of nothing":     func(res *pb.JournalResponse) { res.Through, res.Entries = 0, nil },
		"page too short":      func(res *pb.JournalResponse) { res.Through = 1 },
		"sparse, no base":     func(res *pb.JournalResponse) { res.Sparse = true },
		"base, not sparse":    func(res *pb.JournalResponse) { res.Base = 2 },
		"base beyond the end": func(res *pb.JournalResponse) { res.Sparse, res.Base = true, 3 },
		"nothing at all":      func(res *pb.JournalResponse) { res.Entries = []*pb.Entry{nil, nil} },
		"other's head": func(res *pb.JournalResponse) {
			res.Head, _ = order.SignHead(other.key, &order.Head{Satellite: other.key.ID(), Group: 7, Seq: 2, Issued: r.now})
		},
		"other group": func(res *pb.JournalResponse) {
			res.Head, _ = order.SignHead(r.satellite.key, &order.Head{Satellite: r.satellite.key.ID(), Group: 8, Seq: 2, Issued: r.now})
		},
		"unsigned head": func(res *pb.JournalResponse) { res.Head.Signature[3] ^= 1 },
	} {
		r.satellite.change(func() {
			r.satellite.corrupt = func(res *pb.JournalResponse) {
				for i, e := range res.Entries {
					res.Entries[i] = &pb.Entry{Seq: e.Seq, Kind: e.Kind, Segment: e.Segment}
				}
				corrupt(res)
			}
		})
		r.round()
		if len(r.troubles()) == 0 {
			t.Errorf("%s: no trouble is told", name)
		}
		r.want(0, 1, 1, 0)
	}
	r.satellite.change(func() { r.satellite.corrupt = nil })
	r.round()
	r.want(2, 0, 0, 0)
}
