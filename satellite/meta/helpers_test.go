package meta

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/badgerkv"
	"github.com/cairnstorage/cairn/satellite/kv/memkv"
)

// rig is a Store with a clock and randomness that a test controls.
type rig struct {
	*Store
	t       testing.TB
	ctx     context.Context
	clock   time.Time
	random  *rand.Rand
	project ProjectNumber
	serial  uint64 // makes ids
}

var satelliteID = ident.ID{1: 7}

func newRig(t testing.TB, store kv.Store) *rig {
	t.Helper()
	seed := [32]byte{9}
	r := &rig{
		t: t, ctx: t.Context(), clock: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
		random: rand.New(rand.NewChaCha8(seed)),
	}
	c := Config{
		Satellite: satelliteID, UploadTTL: time.Hour, NonceTTL: time.Minute,
		Now: func() time.Time { return r.clock }, Rand: rand.NewChaCha8(seed),
	}
	var err error
	if r.Store, err = Open(r.ctx, store, c); err != nil {
		t.Fatal(err)
	}
	return r
}

// memRig is a rig on memkv with a project, a bucket "bucket" and two groups.
func memRig(t testing.TB) *rig {
	t.Helper()
	store := memkv.New()
	t.Cleanup(func() { _ = store.Close() })
	r := newRig(t, store)
	p, err := r.CreateProject(r.ctx, "demo", [16]byte{1}, [16]byte{2})
	if err != nil {
		t.Fatal(err)
	}
	r.project = p.Number
	r.must(ignore(r.CreateBucket(r.ctx, r.project, "bucket")))
	r.group(1)
	r.group(2)
	return r
}

func openBadger(t testing.TB, dir string) kv.Store {
	t.Helper()
	store, err := badgerkv.Open(badgerkv.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func ignore[T any](_ T, err error) error { return err }

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// wants checks an error's kind.
func (r *rig) wants(err, want error) {
	r.t.Helper()
	if !errors.Is(err, want) {
		r.t.Fatalf("error %v, want %v", err, want)
	}
}

func (r *rig) group(id uint32) {
	r.t.Helper()
	record := &pb.Signed{Body: fmt.Appendf(nil, "group %d", id), Signature: []byte{1}}
	r.must(r.PutGroup(r.ctx, Group{ID: id, Epoch: 1, Record: record}))
}

// segmentID makes another id.
func (r *rig) segmentID() (id order.SegmentID) {
	r.serial++
	binary.BigEndian.PutUint64(id[8:], r.serial)
	return id
}

// segments makes n new segments of a group, with an extent each.
func (r *rig) segments(group uint32, n int) (segments []NewSegment, extents []Extent) {
	for range n {
		id := r.segmentID()
		size := 64 * int64(1+id[15]%4)
		segments = append(segments, NewSegment{
			ID: id, Group: group, Epoch: 1, Size: size, Root: merkle.Hash{id[15], id[14]}, Held: []byte{0xff, 3},
		})
		extents = append(extents, Extent{Segment: id, Length: uint64(size - 16)})
	}
	return segments, extents
}

// key makes an encrypted object key of components.
func key(components ...string) (k []byte) {
	for _, c := range components {
		k = binary.AppendUvarint(k, uint64(len(c)))
		k = append(k, c...)
	}
	return k
}

// commit makes an object of n new segments.
func (r *rig) commit(n int, components ...string) Object {
	r.t.Helper()
	segments, extents := r.segments(1, n)
	o, err := r.Commit(r.ctx, CommitRequest{
		Project: r.project, Bucket: "bucket", Key: key(components...),
		Segments: segments, Extents: extents, Size: totalLength(extents), SealedMetadata: []byte("sealed"),
	})
	r.must(err)
	return o
}

// upload makes an object of n new segments, added three at a time.
func (r *rig) upload(n int, k []byte) Object {
	r.t.Helper()
	u, err := r.BeginUpload(r.ctx, r.project, "bucket", k)
	r.must(err)
	size := uint64(0)
	for done := 0; done < n; {
		segments, extents := r.segments(1, min(3, n-done))
		u, err = r.AddSegments(r.ctx, AddRequest{
			Project: r.project, Upload: u.ID, First: uint64(done), Segments: segments, Extents: extents,
		})
		r.must(err)
		size += totalLength(extents)
		if done += len(extents); u.Segments != uint64(done) {
			r.t.Fatalf("upload has %d segments, want %d", u.Segments, done)
		}
	}
	o, err := r.Commit(r.ctx, CommitRequest{
		Project: r.project, Bucket: "bucket", Key: k, Upload: u.ID, Size: size, SealedMetadata: []byte("sealed"),
	})
	r.must(err)
	return o
}

// live returns the segments that replaying a group's journal leaves.
func (r *rig) live(group uint32) map[order.SegmentID]Entry {
	r.t.Helper()
	f := follower{rig: r, group: group}
	f.follow(100)
	return f.live
}

// check checks the store, and that who follows its journals knows what counts.
func (r *rig) check() {
	r.t.Helper()
	r.must(r.Check(r.ctx))
	var journals map[uint32]map[order.SegmentID]Entry
	r.must(r.kv.View(r.ctx, func(reader kv.Reader) (err error) {
		journals, err = replayAll(reader)
		return err
	}))
	for group, want := range journals {
		if got := r.live(group); len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
			r.t.Fatalf("group %d has %v, and who follows it knows %v", group, want, got)
		}
	}
}

// stored counts the bytes of all keys and values.
func (r *rig) stored() (n int) {
	r.t.Helper()
	r.must(r.kv.View(r.ctx, func(reader kv.Reader) error {
		for pair, err := range reader.Scan(nil, nil) {
			if err != nil {
				return err
			}
			n += len(pair.Key) + len(pair.Value)
		}
		return nil
	}))
	return n
}

// count counts the keys of a kind.
func (r *rig) count(kind byte) (n int) {
	r.t.Helper()
	r.must(r.kv.View(r.ctx, func(reader kv.Reader) error {
		return each(reader, kind, func(kv.Pair) error { n++; return nil })
	}))
	return n
}

func isInvalid(err error) bool { return errors.Is(err, ErrInvalid) }
