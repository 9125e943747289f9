package storagenode

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// TestTrimmedJournal: a node that was off while a tombstone was kept, and is on
// again when it is gone.
func TestTrimmedJournal(t *testing.T) {
	r := newFollowerRig(t)
	kept, dropped, late := putShard(t, r.store, 7, 1), putShard(t, r.store, 7, 2), putShard(t, r.store, 7, 3)
	r.satellite.live(7, kept)
	r.satellite.live(7, dropped)
	r.round()
	r.want(2, 3, 1, 0)
	lacking, gone := kept, kept
	lacking.Segment, gone.Segment = order.SegmentID{8}, order.SegmentID{9}
	r.satellite.live(7, gone)
	r.satellite.live(7, lacking)
	r.satellite.tombstone(7, gone.Segment)
	r.satellite.tombstone(7, dropped.Segment)
	r.satellite.trim(7, 6)
	r.satellite.live(7, late)
	r.round()
	r.want(7, 2, 0, 1)
	if _, err := r.store.Stat(dropped.Key); !errors.Is(err, shardstore.ErrNotFound) {
		t.Errorf("a shard whose tombstone was trimmed: %v", err)
	}
	if len(r.troubles()) != 0 {
		t.Errorf("trouble: %v", r.troubles())
	}
	// What it has followed by then is not compared again.
	reads := r.satellite.reads
	r.satellite.tombstone(7, late.Segment)
	r.round()
	r.want(8, 1, 0, 1)
	if r.satellite.reads != reads+1 {
		t.Errorf("%d reads for one entry", r.satellite.reads-reads)
	}
}

// TestTrimmedWhileComparing: what is compared with a journal that is trimmed
// again meanwhile is compared again, and nothing is deleted by half of it.
func TestTrimmedWhileComparing(t *testing.T) {
	r := newFollowerRig(t)
	m := putShard(t, r.store, 7, 1)
	other := m
	for n := range 2*journalPage + 10 {
		other.Segment = order.SegmentID{2, byte(n), byte(n >> 8)}
		r.satellite.live(7, other)
	}
	r.satellite.live(7, m)
	end := uint64(2*journalPage + 11)
	r.satellite.trim(7, end-5)
	moved := false
	r.satellite.corrupt = func(res *pb.JournalResponse) {
		if moved = res.Through > journalPage; moved {
			res.Base = end - 4
		}
	}
	r.round()
	if !moved {
		t.Fatal("the base has not moved")
	}
	r.want(0, 1, 1, journalPage) // the page that was read before is done, and harmless
	if len(r.troubles()) != 1 {
		t.Errorf("trouble: %v", r.troubles())
	}
	r.satellite.corrupt = nil
	r.round()
	r.want(end, 1, 0, 2*journalPage+10)
	if len(r.troubles()) != 0 {
		t.Errorf("trouble: %v", r.troubles())
	}
}

// TestBadSparsePages: no sparse page that contradicts itself deletes anything.
func TestBadSparsePages(t *testing.T) {
	r := newFollowerRig(t)
	kept, dropped := putShard(t, r.store, 7, 1), putShard(t, r.store, 7, 2)
	r.satellite.live(7, kept)
	r.satellite.live(7, dropped)
	r.round()
	lacking := kept
	lacking.Segment = order.SegmentID{8}
	r.satellite.live(7, lacking)
	r.satellite.tombstone(7, dropped.Segment)
	r.satellite.tombstone(7, order.SegmentID{9})
	r.satellite.trim(7, 5)
	r.satellite.tombstone(7, order.SegmentID{9})
	for name, corrupt := range map[string]func(*pb.JournalResponse){
		"not sparse":        func(res *pb.JournalResponse) { res.Sparse = false },
		"beyond the base":   func(res *pb.JournalResponse) { res.Through = 6 },
		"of nothing":        func(res *pb.JournalResponse) { res.Through, res.Entries = 0, nil },
		"base beyond":       func(res *pb.JournalResponse) { res.Base = 7 },
		"entry beyond":      func(res *pb.JournalResponse) { res.Entries[0].Seq = 6 },
		"entry 0":           func(res *pb.JournalResponse) { res.Entries[0].Seq = 0 },
		"entries twice":     func(res *pb.JournalResponse) { res.Entries = append(res.Entries, res.Entries[0]) },
		"entry of nothing":  func(res *pb.JournalResponse) { res.Entries[0].Root = nil },
		"entry, no segment": func(res *pb.JournalResponse) { res.Entries[0].Segment = nil },
		"no head":           func(res *pb.JournalResponse) { res.Head = nil },
	} {
		r.satellite.corrupt = func(res *pb.JournalResponse) {
			for i := range res.Entries {
				res.Entries[i] = proto.CloneOf(res.Entries[i])
			}
			corrupt(res)
		}
		r.round()
		if len(r.troubles()) == 0 {
			t.Errorf("%s: no trouble is told", name)
		}
		r.want(2, 2, 0, 0)
	}
	r.satellite.corrupt = nil
	r.round()
	r.want(6, 1, 0, 1)
}

// TestTrimmingModel: whenever and however much is trimmed, and whenever a node is
// there to follow, it holds in the end what counts, and nothing else.
func TestTrimmingModel(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 5))
			r := newFollowerRig(t)
			counts := make(map[order.SegmentID]bool)
			var held []shardstore.Meta
			for range 60 {
				switch random.IntN(6) {
				case 0, 1:
					m := putShard(t, r.store, 7, byte(len(held)))
					held = append(held, m)
					r.satellite.live(7, m)
					counts[m.Segment] = true
				case 2, 3:
					if len(held) > 0 {
						m := held[random.IntN(len(held))]
						if counts[m.Segment] {
							r.satellite.tombstone(7, m.Segment)
						}
						counts[m.Segment] = false
					}
				case 4:
					if n := uint64(len(r.satellite.journals[7])); n > r.satellite.base[7] {
						r.satellite.trim(7, r.satellite.base[7]+1+random.Uint64N(n-r.satellite.base[7]))
					}
				default:
					r.round()
				}
			}
			r.round()
			if len(r.troubles()) != 0 {
				t.Fatalf("trouble: %v", r.troubles())
			}
			for _, m := range held {
				info, err := r.store.Stat(m.Key)
				if alive := err == nil && info.Live; alive != counts[m.Segment] {
					t.Errorf("segment %s: held %v, counts %v", m.Segment, alive, counts[m.Segment])
				}
			}
			if u := r.store.Usage(); u.Missing != 0 {
				t.Errorf("usage %+v", u)
			}
		})
	}
}

// FuzzReadPage reads hostile pages: what is taken is in order and within its
// bounds.
func FuzzReadPage(f *testing.F) {
	for _, m := range []*pb.JournalResponse{
		{Through: 4, Entries: []*pb.Entry{{Seq: 4, Kind: 2, Segment: make([]byte, 16)}}},
		{Through: 9, Base: 9, Sparse: true, Entries: []*pb.Entry{{Seq: 7, Kind: 1, Segment: append(make([]byte, 15), 1), Root: make([]byte, 32), Size: 64}}},
	} {
		raw, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, uint64(3), uint64(10))
	}
	f.Fuzz(func(t *testing.T, raw []byte, after, end uint64) {
		var m pb.JournalResponse
		if proto.Unmarshal(raw, &m) != nil {
			return
		}
		p, err := readPage(&m, after, end)
		if err != nil || end <= after {
			return
		}
		last := after
		for _, e := range p.entries {
			if e.Seq <= last || e.Seq > p.through {
				t.Fatalf("entry %d after %d of a page to %d", e.Seq, last, p.through)
			}
			last = e.Seq
		}
		if p.through <= after || p.through > end || p.sparse && p.through > p.base || !p.sparse && uint64(len(p.entries)) != p.through-after {
			t.Fatalf("page %+v after %d, the end is %d", p, after, end)
		}
	})
}
