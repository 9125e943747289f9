package meta

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/kv"
)

func TestGroups(t *testing.T) {
	r := memRig(t)
	r.commit(3, "a")
	r.commit(1, "a")
	next := Group{ID: 1, Epoch: 2, Record: &pb.Signed{Body: []byte("second"), Signature: []byte{2}}}
	r.must(r.PutGroup(r.ctx, next))
	r.wants(r.PutGroup(r.ctx, next), ErrStaleEpoch)
	r.wants(r.PutGroup(r.ctx, Group{ID: 3, Epoch: 2, Record: next.Record}), ErrStaleEpoch)
	r.wants(r.PutGroup(r.ctx, Group{Epoch: 1, Record: next.Record}), ErrInvalid)

	all, err := r.Groups(r.ctx)
	r.must(err)
	if len(all) != 2 || all[0].Epoch != 2 || string(all[0].Record.Body) != "second" || all[1].Epoch != 1 {
		t.Errorf("groups %+v", all)
	}
	if j := all[0].Journal; j.Head != 7 || j.Segments != 1 {
		t.Errorf("journal %+v", j)
	}
	past, err := r.GroupAt(r.ctx, 1, 1)
	r.must(err)
	if string(past.Record.Body) != "group 1" || past.Epoch != 1 {
		t.Errorf("past epoch: %+v", past)
	}
	newest, err := r.GroupAt(r.ctx, 1, 0)
	r.must(err)
	if newest.Epoch != 2 {
		t.Errorf("newest epoch: %+v", newest)
	}
	r.wants(ignore(r.GroupAt(r.ctx, 1, 3)), ErrGroupNotFound)
	r.wants(ignore(r.GroupAt(r.ctx, 9, 0)), ErrGroupNotFound)
	if id, err := r.NextGroup(r.ctx); err != nil || id != 3 {
		t.Errorf("next group %d, %v", id, err)
	}
	heads, err := r.Journals(r.ctx, []uint32{1, 2, 9})
	r.must(err)
	if len(heads) != 2 || heads[1] != all[0].Journal {
		t.Errorf("journals %+v", heads)
	}
}

func TestEntries(t *testing.T) {
	r := memRig(t)
	o := r.commit(5, "a")
	r.must(ignore(r.DeleteObjects(r.ctx, DeleteRequest{Project: r.project, Bucket: "bucket", Keys: [][]byte{o.Key}})))
	for after := uint64(0); after <= 12; after++ {
		p, err := r.Entries(r.ctx, 1, after, 4)
		r.must(err)
		want := int(min(4, 10-min(after, 10)))
		if len(p.Entries) != want || p.Head != 10 || p.Through != after+uint64(want) || p.Sparse {
			t.Fatalf("after %d: want %d entries: %+v", after, want, p)
		}
		for i, e := range p.Entries {
			if e.Seq != after+1+uint64(i) || (e.Kind == pb.EntryKind_ENTRY_KIND_LIVE) != (e.Seq <= 5) {
				t.Fatalf("after %d: entry %+v", after, e)
			}
		}
	}
	r.wants(ignore(r.Entries(r.ctx, 9, 0, 4)), ErrGroupNotFound)
	r.must(ignore(r.Entries(r.ctx, 1, 1<<64-1, 4)))

	r.must(r.kv.Update(r.ctx, func(tx kv.Tx) error { return tx.Delete(entryKey(1, 7)) }))
	r.wants(ignore(r.Entries(r.ctx, 1, 4, 100)), ErrDamaged)
	r.must(r.kv.Update(r.ctx, func(tx kv.Tx) error { return tx.Delete(entryKey(1, 10)) }))
	r.wants(ignore(r.Entries(r.ctx, 1, 7, 100)), ErrDamaged)
}

func TestNodes(t *testing.T) {
	r := memRig(t)
	when := r.clock
	a := Node{ID: ident.ID{1}, Addresses: []string{"/ip4/192.0.2.1/tcp/1"}, Capacity: 5, FirstSeen: when, LastSeen: when}
	b := Node{ID: ident.ID{2}, Remote: netip.MustParseAddr("2001:db8::1"), FirstSeen: when, LastSeen: when.Add(time.Second)}
	r.must(r.PutNodes(r.ctx, []Node{b, a}))
	b.Free = 9
	r.must(r.PutNodes(r.ctx, []Node{b}))
	r.must(r.PutNodes(r.ctx, nil))
	r.wants(r.PutNodes(r.ctx, []Node{{}}), ErrInvalid)
	got, err := r.Nodes(r.ctx)
	r.must(err)
	if !reflect.DeepEqual(got, []Node{a, b}) {
		t.Errorf("got %+v, want %+v", got, []Node{a, b})
	}
	// More than one transaction could hold.
	many := make([]Node, 3000)
	for i := range many {
		many[i] = Node{ID: ident.ID{3, byte(i), byte(i >> 8)}, Addresses: []string{strings.Repeat("a", kv.MaxTx/2000)}}
	}
	r.must(r.PutNodes(r.ctx, many))
	if got, err = r.Nodes(r.ctx); err != nil || len(got) != 2+len(many) {
		t.Errorf("%d nodes, %v", len(got), err)
	}
	for i := range many {
		r.must(r.DeleteNodes(r.ctx, []ident.ID{many[i].ID}))
	}
	r.must(r.DeleteNodes(r.ctx, []ident.ID{a.ID, {9}}))
	got, err = r.Nodes(r.ctx)
	r.must(err)
	if !reflect.DeepEqual(got, []Node{b}) {
		t.Errorf("got %+v, want %+v", got, []Node{b})
	}
}

// TestDamageIsNotServed flips bits in values and reads them.
func TestDamageIsNotServed(t *testing.T) {
	r := memRig(t)
	o := r.upload(4, key("a"))
	cut := func(k []byte) {
		t.Helper()
		r.must(r.kv.Update(r.ctx, func(tx kv.Tx) error {
			v, err := tx.Get(k)
			if err != nil {
				return err
			}
			return tx.Set(k, v[:len(v)-1])
		}))
	}
	get := GetRequest{Project: r.project, Bucket: "bucket", Key: o.Key}
	got, err := r.Get(r.ctx, get)
	r.must(err)
	cut(segmentKey(got.Extents[3].Segment))
	r.wants(ignore(r.Get(r.ctx, get)), ErrDamaged)
	r.wants(ignore(r.DeleteObjects(r.ctx, DeleteRequest{Project: r.project, Bucket: "bucket", Keys: [][]byte{o.Key}})), ErrDamaged)
	cut(versionKey(bucketRef{r.project, 1}, o.Key, o.Version))
	r.wants(ignore(r.Get(r.ctx, get)), ErrDamaged)
	r.wants(ignore(r.List(r.ctx, ListRequest{Project: r.project, Bucket: "bucket"})), ErrDamaged)
	cut(headKey(1))
	r.wants(ignore(r.Groups(r.ctx)), ErrDamaged)
	cut(bucketKey(r.project, "bucket"))
	r.wants(ignore(r.Get(r.ctx, get)), ErrDamaged)
}
