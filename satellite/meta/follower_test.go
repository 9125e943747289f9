package meta

import (
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
)

// follower follows a journal as section 9 of SPEC.md tells nodes to.
type follower struct {
	*rig
	group  uint32
	cursor uint64
	live   map[order.SegmentID]Entry
	resyns int // how often it compared all it had
}

// follow reads pages of so many entries to the end of the journal.
func (f *follower) follow(limit int) {
	f.t.Helper()
	for f.step(limit) {
	}
}

// step reads one page, or compares everything if that is needed; it returns
// whether there is more.
func (f *follower) step(limit int) bool {
	f.t.Helper()
	if f.live == nil {
		f.live = map[order.SegmentID]Entry{}
	}
	p := f.page(f.cursor, limit)
	if p.Sparse {
		f.compare(limit)
		return true
	}
	for _, e := range p.Entries {
		f.cursor++
		if e.Seq != f.cursor {
			f.t.Fatalf("group %d: entry %d stands where %d should", f.group, e.Seq, f.cursor)
		}
		_, there := f.live[e.Segment]
		switch e.Kind {
		case pb.EntryKind_ENTRY_KIND_LIVE:
			if there {
				f.t.Fatalf("group %d: segment %s is live twice", f.group, e.Segment)
			}
			f.live[e.Segment] = e
		case pb.EntryKind_ENTRY_KIND_TOMBSTONE:
			if !there && f.resyns == 0 {
				f.t.Fatalf("group %d: tombstone for %s, which is not live", f.group, e.Segment)
			}
			delete(f.live, e.Segment)
		}
	}
	if p.Through != f.cursor {
		f.t.Fatalf("group %d: a page ends at %d and says that it goes to %d", f.group, f.cursor, p.Through)
	}
	return f.cursor < p.Head
}

// compare brings the follower to the base of the journal.
func (f *follower) compare(limit int) {
	f.t.Helper()
	f.resyns++
	base := f.page(0, limit).Base
	for at := uint64(0); at < base; {
		p := f.page(at, limit)
		if !p.Sparse || p.Base != base || p.Through <= at {
			f.t.Fatalf("group %d: page after %d, before base %d: %+v", f.group, at, base, p)
		}
		listed := map[order.SegmentID]bool{}
		for _, e := range p.Entries {
			if e.Kind != pb.EntryKind_ENTRY_KIND_LIVE || e.Seq <= at || e.Seq > p.Through {
				f.t.Fatalf("group %d: page from %d to %d has %+v", f.group, at, p.Through, e)
			}
			listed[e.Segment] = true
		}
		for id, e := range f.live {
			if e.Seq > at && e.Seq <= p.Through && !listed[id] {
				delete(f.live, id)
			}
		}
		for _, e := range p.Entries {
			f.live[e.Segment] = e
		}
		at = p.Through
	}
	f.cursor = base
}

func (f *follower) page(after uint64, limit int) JournalPage {
	f.t.Helper()
	p, err := f.Entries(f.ctx, f.group, after, limit)
	f.must(err)
	return p
}
