package storagenode

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// challenge asks for a leaf of the shard, which the journal has as entry seq.
func (s *testShard) challenge(seq uint64, leaf int) order.Challenge {
	return order.Challenge{Group: testGroup, Slot: testSlot, Seq: seq, Segment: s.id, Root: s.root, Layout: s.layout, Leaf: leaf}
}

func (s *testShard) leaf(i int) []byte {
	return s.data[i*merkle.LeafSize : min(len(s.data), (i+1)*merkle.LeafSize)]
}

// live is the shard's live entry.
func (s *testShard) live(seq uint64) shardstore.Entry {
	return shardstore.Entry{Seq: seq, Segment: s.id, Live: true, Root: s.root, Size: s.layout.Size}
}

func testAudit(challenges ...order.Challenge) *order.Audit {
	a := &order.Audit{Issued: time.Now().Truncate(time.Second), Challenges: challenges}
	rand.Read(a.Nonce[:])
	return a
}

// audited asks for one leaf each on a stream of its own.
func (v *served) audited(challenges ...order.Challenge) []order.Answer {
	v.t.Helper()
	for {
		a := v.openAudit()
		answers, _, err := a.Ask(testAudit(challenges...))
		a.Close()
		if errors.Is(err, wire.ErrBusy) {
			continue // streams that were closed have not all ended there
		}
		if err != nil {
			v.t.Fatal(err)
		}
		return answers
	}
}

func wantStatus(t *testing.T, what string, a order.Answer, status order.Status, claim merkle.Hash) {
	t.Helper()
	if a.Status != status || a.Claim != claim {
		t.Errorf("%s: %s, claim %x; want %s, %x", what, a.Status, a.Claim[:4], status, claim[:4])
	}
}

func TestAudit(t *testing.T) {
	v := newServed(t, nil)
	var challenges []order.Challenge
	shards := make(map[order.SegmentID]*testShard)
	for i, size := range []int{64, 4096, 4096 + 64, 64 << 10, 64<<10 + 64, 300<<10 + 64} {
		s := newTestShard(t, size)
		v.put(s)
		shards[s.id] = s
		for leaf := range merkle.LeafCount(int64(size)) {
			challenges = append(challenges, s.challenge(uint64(i+1), leaf))
		}
	}
	for len(challenges) < order.MaxChallenges {
		challenges = append(challenges, challenges[len(challenges)/3])
	}
	// Neighbours are of other shards, and blocks share them.
	slices.SortFunc(challenges, func(a, b order.Challenge) int {
		x, y := a.Hash(), b.Hash()
		return bytes.Compare(x[:], y[:])
	})
	a := v.openAudit()
	for _, n := range []int{1, auditBlock - 1, auditBlock, auditBlock + 1, order.MaxChallenges} {
		audit := testAudit(challenges[:n]...)
		answers, report, err := a.Ask(audit) // checks the report against both
		if err != nil || report == nil {
			t.Fatal(err)
		}
		for i, answer := range answers {
			c := &audit.Challenges[i]
			if answer.Status != order.Proved || c.Verify(&answer) != nil || !bytes.Equal(answer.Leaf, shards[c.Segment].leaf(c.Leaf)) {
				t.Errorf("%d challenges: answer %d: %s, %v", n, i, answer.Status, c.Verify(&answer))
			}
		}
	}
	if v.lost.Load() != 0 {
		t.Error("a loss was told of")
	}
}

// What is not there is owned up to, and the claim is named only for what the
// node, too, knows as live.
func TestAuditOfWhatIsMissing(t *testing.T) {
	v := newServed(t, nil)
	held, lost, other := newTestShard(t, 8192), newTestShard(t, 8192), newTestShard(t, 8192)
	v.put(held)
	if err := v.store.Advance(testGroup, []shardstore.Entry{held.live(1), lost.live(2)}); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		change func(c *order.Challenge)
		status order.Status
		claim  merkle.Hash
	}{
		"held":            {func(c *order.Challenge) { *c = held.challenge(1, 1) }, order.Proved, merkle.Hash{}},
		"held, no number": {func(c *order.Challenge) { *c = held.challenge(9, 1) }, order.Proved, merkle.Hash{}},
		"missing":         {func(c *order.Challenge) {}, order.Missing, testClaim},
		"another number":  {func(c *order.Challenge) { c.Seq = 3 }, order.Missing, merkle.Hash{}},
		"another root":    {func(c *order.Challenge) { c.Root[0] ^= 1 }, order.Missing, merkle.Hash{}},
		"never was":       {func(c *order.Challenge) { *c = other.challenge(2, 1) }, order.Missing, merkle.Hash{}},
		"held, another root": {func(c *order.Challenge) {
			*c = held.challenge(1, 1)
			c.Root[0] ^= 1
		}, order.Missing, merkle.Hash{}},
		"held, another slot": {func(c *order.Challenge) {
			*c = held.challenge(1, 1)
			c.Slot++
		}, order.Missing, merkle.Hash{}},
		"held, layout against the root": {func(c *order.Challenge) {
			*c = held.challenge(1, 1)
			c.Layout.Total++
		}, order.Unavailable, merkle.Hash{}},
		"a group without a claim": {func(c *order.Challenge) { c.Group++ }, order.Unavailable, merkle.Hash{}},
	}
	for name, tt := range cases {
		c := lost.challenge(2, 1)
		tt.change(&c)
		wantStatus(t, name, v.audited(c)[0], tt.status, tt.claim)
	}
	v.claims.Store(1)
	wantStatus(t, "not claimed", v.audited(lost.challenge(2, 1))[0], order.Missing, testClaim)
	v.claims.Store(2)
	wantStatus(t, "claimed, and not told yet", v.audited(lost.challenge(2, 1))[0], order.Unavailable, merkle.Hash{})
	if err := v.store.Advance(testGroup, []shardstore.Entry{{Seq: 3, Segment: lost.id}}); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, "after its tombstone", v.audited(lost.challenge(2, 1))[0], order.Missing, merkle.Hash{})
	v.store.Close()
	wantStatus(t, "once the store fails", v.audited(held.challenge(1, 1))[0], order.Unavailable, merkle.Hash{})
}

// A damaged shard is owned up to once; by then it is missing, which is told
// before it is owned up to again.
func TestAuditOfWhatIsDamaged(t *testing.T) {
	v := newServed(t, nil)
	live, staged, sound := newTestShard(t, 200<<10), newTestShard(t, 200<<10), newTestShard(t, 200<<10)
	for _, s := range []*testShard{live, staged, sound} {
		v.put(s)
	}
	if err := v.store.Advance(testGroup, []shardstore.Entry{live.live(1), sound.live(2)}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*testShard{live, staged} {
		v.damage(s, 70000)
	}
	v.claims.Store(2)
	at := 70000 / merkle.LeafSize
	answers := v.audited(live.challenge(1, 0), live.challenge(1, at), staged.challenge(3, at), live.challenge(1, at+1), sound.challenge(2, at))
	wantStatus(t, "a leaf elsewhere", answers[0], order.Proved, merkle.Hash{})
	wantStatus(t, "live", answers[1], order.Corrupt, testClaim)
	wantStatus(t, "staged", answers[2], order.Corrupt, merkle.Hash{})
	wantStatus(t, "live, asked for again", answers[3], order.Unavailable, merkle.Hash{})
	v.claims.Store(0)
	wantStatus(t, "live, told, and asked for again", v.audited(live.challenge(1, at))[0], order.Missing, testClaim)
	wantStatus(t, "sound", answers[4], order.Proved, merkle.Hash{})
	if v.lost.Load() != 2 {
		t.Errorf("%d losses were told of", v.lost.Load())
	}
	if u := v.store.Usage(); u.Shards != 1 || u.Missing != 1 {
		t.Errorf("usage %+v", u)
	}
}

// damage changes a byte of a shard on disk.
func (v *served) damage(s *testShard, at int) {
	v.t.Helper()
	paths, err := filepath.Glob(filepath.Join(v.dir, "data*", "volumes", "*.vol"))
	if err != nil {
		v.t.Fatal(err)
	}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			v.t.Fatal(err)
		}
		start := bytes.Index(raw, s.data[:64])
		if start < 0 {
			continue
		}
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			_, err = file.WriteAt([]byte{s.data[at] ^ 1}, int64(start+at))
			err = errors.Join(err, file.Close())
		}
		if err != nil {
			v.t.Fatal(err)
		}
		return
	}
	v.t.Fatal("the shard is in no volume")
}

// While a data directory is away, what is not found may be in it.
func TestAuditWithoutADirectory(t *testing.T) {
	v := newServed(t, func(v *served) {
		v.storeConfig.Dirs = append(v.storeConfig.Dirs, filepath.Join(v.dir, "data2"))
	})
	shards := []*testShard{newTestShard(t, 4096), newTestShard(t, 4096), newTestShard(t, 4096), newTestShard(t, 4096)}
	for _, s := range shards {
		v.put(s)
	}
	known := make(map[string]string)
	for _, d := range v.store.Usage().Dirs {
		if d.Shards == 0 {
			t.Fatal("all shards are in one directory")
		}
		known[d.Path] = d.ID
	}
	v.stop()
	if err := os.RemoveAll(filepath.Join(v.dir, "data2")); err != nil {
		t.Fatal(err)
	}
	v.storeConfig.Known = known
	v.start()
	counts := make(map[order.Status]int)
	for _, s := range shards {
		a := v.audited(s.challenge(1, 0))[0]
		if _, err := v.store.Stat(shardstore.Key{Segment: s.id, Group: testGroup}); (err == nil) != (a.Status == order.Proved) {
			t.Errorf("%s of a shard that is held: %v", a.Status, err)
		}
		counts[a.Status]++
	}
	if counts[order.Proved] == 0 || counts[order.Unavailable]+counts[order.Proved] != len(shards) {
		t.Errorf("answers: %v", counts)
	}
}

func TestAuditRefusals(t *testing.T) {
	v := newServed(t, nil)
	s := newTestShard(t, 4096)
	v.put(s)
	v.openAudit()
	audit := func(change func(m *pb.Audit)) func(rawStream) {
		return func(raw rawStream) {
			m := testAudit(s.challenge(1, 0)).Message()
			change(m)
			raw.w.WriteControl(wire.TypeAudit, m)
		}
	}
	inventory := func(m *pb.Inventory) func(rawStream) {
		return func(raw rawStream) { raw.w.WriteControl(wire.TypeInventory, m) }
	}
	for name, ask := range map[string]func(rawStream){
		"no nonce":           audit(func(m *pb.Audit) { m.Nonce = nil }),
		"no time":            audit(func(m *pb.Audit) { m.Issued = 0 }),
		"no challenges":      audit(func(m *pb.Audit) { m.Challenges = nil }),
		"too many":           audit(func(m *pb.Audit) { m.Challenges = slices.Repeat(m.Challenges, order.MaxChallenges+1) }),
		"leaf behind":        audit(func(m *pb.Audit) { m.Challenges[0].Leaf = 1 }),
		"last leaf":          audit(func(m *pb.Audit) { m.Challenges[0].Leaf = 1<<32 - 1 }),
		"no segment":         audit(func(m *pb.Audit) { m.Challenges[0].Segment = nil }),
		"no root":            audit(func(m *pb.Audit) { m.Challenges[0].Root = nil }),
		"slot behind":        audit(func(m *pb.Audit) { m.Challenges[0].Slot = uint32(testScheme.Total) }),
		"no layout":          audit(func(m *pb.Audit) { m.Challenges[0].Size = 1 << 63 }),
		"inventory of none":  inventory(&pb.Inventory{Group: testGroup}),
		"inventory, group 0": inventory(&pb.Inventory{Limit: 1}),
		"after no segment":   inventory(&pb.Inventory{Group: testGroup, Limit: 1, After: []byte{1}}),
		"after zeros":        inventory(&pb.Inventory{Group: testGroup, Limit: 1, After: make([]byte, 16)}),
		"a get":              func(raw rawStream) { raw.w.WriteControl(wire.TypeGet, &pb.Get{}) },
		"an answer":          func(raw rawStream) { raw.w.WriteControl(wire.TypeAuditAnswer, &pb.AuditAnswer{}) },
		"data":               func(raw rawStream) { raw.w.WriteData(make([]byte, 10)) },
		"no message":         func(raw rawStream) { raw.Write([]byte{byte(wire.TypeAudit), 0, 0, 0, 1, 255}) },
		"oversized":          func(raw rawStream) { raw.Write([]byte{byte(wire.TypeAudit), 0, 1, 0, 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			raw := v.rawAudit(v.auditor)
			ask(raw)
			wantCode(t, raw.answer(), pb.Code_CODE_BAD_REQUEST)
			raw.wantCut(t)
		})
	}
	wantStatus(t, "after all that", v.audited(s.challenge(1, 0))[0], order.Proved, merkle.Hash{})
}

// rawAudit opens a stream of audits from any host.
func (v *served) rawAudit(from *transport.Host) rawStream {
	v.t.Helper()
	s, err := from.Open(context.Background(), v.address, wire.AuditProtocol)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(s.Reset)
	return rawStream{Stream: s, w: wire.NewWriter(s), r: wire.NewReader(s)}
}

func TestOnlyTheSatelliteAudits(t *testing.T) {
	v := newServed(t, nil)
	s := newTestShard(t, 4096)
	v.put(s)
	for _, host := range []*transport.Host{v.uplink, testHost(t, transport.Config{})} {
		a, err := nodeclient.Dialer{Host: host}.OpenAudit(t.Context(), v.address)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = a.Ask(testAudit(s.challenge(1, 0)))
		wantCode(t, err, pb.Code_CODE_DENIED)
	}
}

// Audits beyond a number are put off, and one that stalls does not stay.
func TestAuditsAreBounded(t *testing.T) {
	v := newServed(t, nil)
	s := newTestShard(t, 1<<20)
	v.put(s)
	challenges := slices.Repeat([]order.Challenge{s.challenge(1, 5)}, order.MaxChallenges)
	v.openAudit()
	stall := func() error {
		raw := v.rawAudit(v.auditor)
		// More audits than the windows of the stream have room for the answers.
		for range 5 {
			raw.w.WriteControl(wire.TypeAudit, testAudit(challenges...).Message())
		}
		h, err := raw.r.Next()
		if err == nil && h.Type != wire.TypeAuditAnswer {
			t.Fatal(h)
		}
		return err
	}
	for range maxAudits {
		if err := stall(); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := v.openAudit().Ask(testAudit(challenges[0]))
	wantCode(t, err, pb.Code_CODE_BUSY)

	v.stop()
	v.idle = 200 * time.Millisecond
	v.start()
	for range maxAudits {
		if err := stall(); err != nil && !errors.Is(err, transport.ErrReset) { // by then it may be over
			t.Fatal(err)
		}
	}
	await(t, "the node to end an audit that stalls", func() bool {
		_, _, err := v.openAudit().Ask(testAudit(challenges[0]))
		return err == nil
	})
}

func TestInventory(t *testing.T) {
	v := newServed(t, nil)
	var held []*testShard
	for range 5 {
		held = append(held, newTestShard(t, 64))
		v.put(held[len(held)-1])
	}
	slices.SortFunc(held, func(a, b *testShard) int { return bytes.Compare(a.id[:], b.id[:]) })
	if err := v.store.Advance(testGroup, []shardstore.Entry{held[3].live(1)}); err != nil {
		t.Fatal(err)
	}
	a := v.openAudit()
	for _, limit := range []int{1, 2, 4, 5, 6, wire.MaxInventory} {
		var got []nodeclient.HeldShard
		var after order.SegmentID
		for more := true; more; {
			page, further, err := a.Inventory(testGroup, after, limit)
			if err != nil || len(page) > limit {
				t.Fatal(len(page), err)
			}
			got, more = append(got, page...), further
			if more {
				after = page[len(page)-1].Segment
			}
		}
		if len(got) != len(held) {
			t.Fatalf("in pages of %d: %d shards", limit, len(got))
		}
		for i, h := range got {
			seq := uint64(0)
			if i == 3 {
				seq = 1
			}
			if h.Segment != held[i].id || h.Root != held[i].root || h.Seq != seq || time.Since(h.Stored) > time.Hour {
				t.Errorf("shard %d: %+v", i, h)
			}
		}
	}
	if page, more, err := a.Inventory(testGroup+1, order.SegmentID{}, 5); err != nil || more || len(page) != 0 {
		t.Errorf("another group: %v, %v, %v", page, more, err)
	}
}

// FuzzAuditRequest reads hostile requests: those that are taken are valid, and
// the same when they travel again.
func FuzzAuditRequest(f *testing.F) {
	layout := erasure.Layout{Required: 4, Total: 10, Size: 64 << 10}
	c := order.Challenge{Group: 1, Slot: 3, Seq: 5, Segment: order.SegmentID{1}, Root: merkle.Hash{2}, Layout: layout, Leaf: 2}
	for _, queue := range []func(w *wire.Writer){
		func(w *wire.Writer) { w.WriteControl(wire.TypeAudit, testAudit(c, c).Message()) },
		func(w *wire.Writer) { w.WriteControl(wire.TypeInventory, &pb.Inventory{Group: 1, Limit: 7}) },
		func(w *wire.Writer) {
			w.WriteControl(wire.TypeInventory, &pb.Inventory{Group: 1, After: c.Segment[:], Limit: 1 << 31})
		},
	} {
		var raw bytes.Buffer
		queue(wire.NewWriter(&raw))
		f.Add(raw.Bytes())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		audit, inventory, err := readAuditRequest(wire.NewReader(bytes.NewReader(raw)))
		switch {
		case err != nil:
		case (audit == nil) == (inventory == nil):
			t.Fatal("not one request")
		case inventory != nil:
			if inventory.group == 0 || inventory.limit < 1 || inventory.limit > wire.MaxInventory {
				t.Fatalf("%+v", inventory)
			}
		default:
			again, err := order.AuditFrom(audit.Message())
			if err != nil || fmt.Sprint(again) != fmt.Sprint(audit) {
				t.Fatalf("%+v became %+v, %v", audit, again, err)
			}
		}
	})
}
