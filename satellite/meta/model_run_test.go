package meta

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/memkv"
)

// duel does the same random operations to a Store and to a model and compares
// every answer.
type duel struct {
	*rig
	model    *model
	projects []ProjectNumber
	uploads  []UploadID // also past ones
	commits  []CommitRequest
	many     []CommitManyRequest
	fast     []*follower // by group: nodes that are there
	slow     []*follower // nodes that hardly ever are
	losses   int         // that were accepted
}

func TestModelOnMemory(t *testing.T) {
	store := memkv.New()
	t.Cleanup(func() { _ = store.Close() })
	play(t, store, 20000, 250)
}

func TestModelOnBadger(t *testing.T) {
	steps := 4000
	if testing.Short() {
		steps = 300
	}
	play(t, openBadger(t, t.TempDir()), steps, 150)
}

func play(t *testing.T, store kv.Store, steps, every int) {
	d := &duel{rig: newRig(t, store), model: newModel()}
	for _, name := range []string{"one", "two"} {
		p, err := d.CreateProject(d.ctx, name, [16]byte{}, [16]byte{})
		d.must(err)
		d.projects = append(d.projects, p.Number)
	}
	for id := range uint32(3) {
		d.group(id + 1)
		d.model.epochs[id+1] = 1
		d.fast = append(d.fast, &follower{rig: d.rig, group: id + 1})
		d.slow = append(d.slow, &follower{rig: d.rig, group: id + 1})
	}
	for step := range steps {
		d.clock = d.clock.Add(time.Duration(d.random.IntN(1500)-50) * time.Millisecond)
		d.project = d.projects[d.random.IntN(2)]
		d.model.now = d.clock
		d.step()
		d.follow()
		if step%every == every-1 {
			d.check()
			d.compareSegments()
		}
	}
	if j := d.journal(1); steps >= 20_000 && (j.Base == 0 || d.slow[0].resyns == 0) {
		t.Errorf("journal %+v, compared by a slow node %d times: nothing was tested", j, d.slow[0].resyns)
	}
}
func (d *duel) step() {
	d.t.Helper()
	switch n := d.random.IntN(100); {
	case n < 2:
		d.createBucket()
	case n < 3:
		d.deleteBucket()
	case n < 8:
		d.beginUpload()
	case n < 23:
		d.addSegments()
	case n < 25:
		d.abortUpload()
	case n < 43:
		d.commit()
	case n < 52:
		d.commitMany()
	case n < 64:
		d.get()
	case n < 76:
		d.list()
	case n < 82:
		d.delete()
	case n < 95:
		d.copy()
	case n < 97:
		d.expire()
	case n < 98:
		d.nextEpoch()
	case n < 99:
		d.trimAll()
	default:
		d.counts()
	}
}

// same fails unless both errors are of one kind; it returns whether both are
// nil.
func (d *duel) same(what string, got, want error) bool {
	d.t.Helper()
	if want == nil && got == nil {
		return true
	}
	if want == nil || !errors.Is(got, want) {
		d.t.Fatalf("%s: error %v, want %v", what, got, want)
	}
	return false
}

func (d *duel) equal(what string, got, want any) {
	d.t.Helper()
	if !reflect.DeepEqual(got, want) {
		d.t.Fatalf("%s:\ngot  %+v\nwant %+v", what, got, want)
	}
}

func (d *duel) chance(percent int) bool { return d.random.IntN(100) < percent }

func (d *duel) bucketName() string {
	return []string{"aaa", "bbb", "ccc", "ddd", "xx"}[min(d.random.IntN(40)/10, 3)+d.random.IntN(60)/59]
}

// key draws one of a few keys, so that they meet: 1 to 3 components, some with
// bytes that mean something in the layout.
func (d *duel) key() []byte {
	names := []string{"a", "\x00", "\x00\x01", "\xff\xff"}
	components := make([]string, 1+d.random.IntN(5)/2)
	for i := range components {
		components[i] = names[d.random.IntN(len(names))]
	}
	if d.chance(1) {
		return append(key(components...), 5)
	}
	return key(components...)
}

// uploadID draws an upload, mostly a late one.
func (d *duel) uploadID() UploadID {
	if len(d.uploads) == 0 {
		return UploadID{1}
	}
	back := d.random.IntN(min(len(d.uploads), 6))
	return d.uploads[len(d.uploads)-1-back]
}

// content draws new segments and extents, sometimes wrong ones.
func (d *duel) content(most int) (segments []NewSegment, extents []Extent) {
	for range d.random.IntN(3) {
		s, e := d.segments(1+uint32(d.random.IntN(3)), d.random.IntN(most+1))
		segments, extents = append(segments, s...), append(extents, e...)
	}
	for i := range segments {
		segments[i].Epoch = d.model.epochs[segments[i].Group]
	}
	if len(segments) > 0 && d.chance(4) {
		n := &segments[d.random.IntN(len(segments))]
		switch d.random.IntN(4) {
		case 0:
			n.Epoch++
		case 1:
			n.Group = 9
		case 2:
			extents[0].Length += 1000
		case 3:
			extents = extents[1:]
		}
	}
	if len(d.model.segments) > 0 && d.chance(25) { // refer to another, perhaps a dead or foreign one
		var id order.SegmentID
		id[15], id[14] = byte(d.random.IntN(256)), byte(d.random.IntN(int(d.serial>>8)+1))
		for range 1 + d.random.IntN(2) {
			extents = append(extents, Extent{Segment: id, Offset: 1, Length: 1 + d.random.Uint64N(60)})
		}
	}
	return segments, extents
}

// offset draws a place in an object, often where an extent begins.
func (d *duel) offset(o *modelObject) uint64 {
	if len(o.extents) == 0 || d.chance(50) {
		return d.random.Uint64N(o.size + 2)
	}
	return totalLength(o.extents[:d.random.IntN(len(o.extents)+1)])
}

// compareSegments compares what replaying the journals leaves with what the
// model says is live.
func (d *duel) compareSegments() {
	d.t.Helper()
	for group := range uint32(3) {
		live := d.live(group + 1)
		for id, s := range d.model.segments {
			e, there := live[id]
			if s.Group != group+1 {
				continue
			}
			if there != s.live {
				d.t.Fatalf("segment %s: live in the journal %v, in the model %v", id, there, s.live)
			}
			if there && (e.Root != s.Root || e.Size != s.Size || !bytes.Equal(e.Held, s.Held)) {
				d.t.Fatalf("segment %s: entry %+v, model %+v", id, e, s)
			}
			delete(live, id)
		}
		if len(live) > 0 {
			d.t.Fatalf("group %d: live segments that the model does not know: %v", group+1, live)
		}
	}
}
