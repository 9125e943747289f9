package satellite

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// upload stores an object, in one of the ways there are.
func (u *simUplink) upload() {
	if !u.settled() {
		return
	}
	switch u.dice.IntN(10) {
	case 0:
		u.uploadInParts()
		return
	case 1:
		u.copy()
		return
	}
	var segments []*simSegment
	for range 1 + u.dice.IntN(3) {
		s := u.put()
		if s == nil {
			return
		}
		segments = append(segments, s)
	}
	key := u.newName()
	switch u.dice.IntN(20) {
	case 0: // the uplink dies
		u.count("uploads left before the commit")
	case 1, 2, 3:
		u.after(time.Duration(u.dice.Int64N(int64(3*time.Hour))), func() { u.commit(key, nil, segments) })
	default:
		u.commit(key, nil, segments)
	}
}

// newName is the key of a new object, or, now and then, that of one there is.
func (u *simUplink) newName() []byte {
	if len(u.objects) > 0 && u.dice.IntN(20) == 0 {
		return u.objects[u.dice.IntN(len(u.objects))].key
	}
	u.names++
	return component(fmt.Sprintf("object %d", u.names))
}

// uploadInParts begins an upload, adds to it some time later, and commits it,
// gives it up, or forgets it.
func (u *simUplink) uploadInParts() {
	key := u.newName()
	begun, err := u.sat.metadata.BeginUpload(u.ctx, &pb.BeginUploadRequest{Bucket: simBucket, Key: key})
	must(u.t, err)
	var segments []*simSegment
	add := func() bool {
		s := u.put()
		if s == nil {
			return false
		}
		_, err := u.sat.metadata.AddSegments(u.ctx, &pb.AddSegmentsRequest{
			Upload: begun.Upload, First: uint64(len(segments)), Segments: []*pb.Segment{s.Segment}, Extents: extentsFor(s),
		})
		if u.refused(err) {
			return false
		}
		u.enter(s)
		segments = append(segments, s)
		return true
	}
	end := u.dice.IntN(4)
	if !add() {
		end = 0
	}
	u.after(time.Duration(u.dice.Int64N(int64(20*time.Hour))), func() {
		switch {
		case end == 0 || !u.settled():
			u.forget(segments)
		case end == 1:
			_, err := u.sat.metadata.AbortUpload(u.ctx, &pb.AbortUploadRequest{Upload: begun.Upload})
			must(u.t, err)
			u.count("uploads aborted")
			u.release(segments...)
		default:
			add()
			u.commit(key, begun.Upload, segments)
		}
	})
}

// forget leaves an upload to expire, at some time within three days.
func (u *simUplink) forget(segments []*simSegment) {
	u.count("uploads forgotten")
	for _, s := range segments {
		s.fading = true
	}
	u.after(days(3), func() { u.release(segments...) })
}

func extentsFor(segments ...*simSegment) (list []*pb.Extent) {
	for _, s := range segments {
		list = append(list, &pb.Extent{Segment: s.Id, Length: s.Size})
	}
	return list
}

// commit makes an object of segments, which it enters, or of those an upload
// has entered.
func (u *simUplink) commit(key, upload []byte, segments []*simSegment) {
	if !u.settled() {
		u.count("uploads left before the commit")
		if upload != nil {
			u.forget(segments)
		}
		return
	}
	m := &pb.CommitObjectRequest{Bucket: simBucket, Key: key, Upload: upload, SealedMetadata: []byte("sealed"), Nonce: make([]byte, 16)}
	u.bytes.Read(m.Nonce)
	for _, s := range segments {
		m.Size += s.Size
		if upload == nil {
			m.Segments = append(m.Segments, s.Segment)
		}
	}
	if upload == nil {
		m.Extents = extentsFor(segments...)
	}
	if _, err := u.sat.metadata.CommitObject(u.ctx, m); u.refused(err) {
		return
	}
	u.count("objects committed")
	if upload == nil {
		u.enter(segments...)
	}
	u.replace(key, segments)
}

// refused says whether a commit failed as it may: groups go on to other epochs.
func (u *simUplink) refused(err error) bool {
	if errors.Is(fault(err), satclient.ErrReceipts) {
		u.count("commits refused for their receipts")
		return true
	}
	must(u.t, err)
	return false
}

// enter notes that segments count now.
func (u *simUplink) enter(segments ...*simSegment) {
	for _, s := range segments {
		s.refs, s.entered = 1, u.time
		u.inGroup[s.Group] = append(u.inGroup[s.Group], s)
		u.count("segments entered")
	}
}

// release takes away a reference to each segment.
func (u *simUplink) release(segments ...*simSegment) {
	for _, s := range segments {
		if s.refs--; s.refs == 0 {
			s.deleted = u.time
			u.inGroup[s.Group] = slices.DeleteFunc(u.inGroup[s.Group], func(o *simSegment) bool { return o == s })
			u.count("segments deleted")
			u.doom(s)
			delete(u.segments, s.id)
		}
	}
}

// replace has an object be what a key stands for, or with none, nothing.
func (u *simUplink) replace(key []byte, segments []*simSegment) {
	for i, o := range u.objects {
		if string(o.key) == string(key) {
			u.objects = slices.Delete(u.objects, i, i+1)
			u.release(o.segments...)
			break
		}
	}
	if segments != nil {
		u.objects = append(u.objects, &simObject{key, segments})
	}
}

// copy makes another object of the same segments, or moves it.
func (u *simUplink) copy() {
	if len(u.objects) == 0 {
		return
	}
	from := u.objects[u.dice.IntN(len(u.objects))]
	to, move := u.newName(), u.dice.IntN(3) == 0
	if string(to) == string(from.key) {
		return
	}
	_, err := u.sat.metadata.CopyObject(u.ctx, &pb.CopyObjectRequest{
		Bucket: simBucket, Key: from.key, ToBucket: simBucket, ToKey: to, SealedMetadata: []byte("sealed again"), Move: move,
	})
	must(u.t, err)
	for _, s := range from.segments {
		s.refs++
	}
	u.replace(to, from.segments)
	if move {
		u.replace(from.key, nil)
	}
}

// tidy deletes objects when there are more than there should be.
func (u *simUplink) tidy() {
	if !u.settled() || len(u.objects) <= u.keeping {
		return
	}
	m := &pb.DeleteObjectsRequest{Bucket: simBucket}
	for range min(3, len(u.objects)) {
		key := u.objects[u.dice.IntN(len(u.objects))].key
		u.replace(key, nil)
		m.Keys = append(m.Keys, key)
	}
	_, err := u.sat.metadata.DeleteObjects(u.ctx, m)
	must(u.t, err)
}

// read reads an object and compares it with what was put.
func (u *simUplink) read() {
	if len(u.objects) == 0 || !u.settled() {
		return
	}
	o := u.objects[u.dice.IntN(len(u.objects))]
	res, err := u.sat.metadata.GetObject(u.ctx, &pb.GetObjectRequest{Bucket: simBucket, Key: o.key})
	must(u.t, err)
	leases := make(map[uint32]*pb.GroupLease)
	for _, l := range res.Leases {
		leases[u.openGroup(l.Group).ID] = l
	}
	for _, s := range o.segments {
		if !s.bad {
			u.readSegment(s, leases[s.Group])
		}
	}
}

func (u *simUplink) readSegment(s *simSegment, lease *pb.GroupLease) {
	group, limit := u.openGroup(lease.Group), u.openLimit(lease.Limit)
	chunks := make([][]byte, u.scheme.Total)
	got := 0
	for slot, id := range group.Nodes {
		if got == u.scheme.Required {
			break
		}
		shard := u.byID[id].serve(u.id, group, limit, s.id)
		if shard != nil && shard.slot == slot && merkle.ShardRoot(shard.data) == s.roots[slot] {
			chunks[slot] = shard.data
			got++
		}
	}
	if got < u.scheme.Required {
		u.count("reads without enough nodes")
		return
	}
	must(u.t, u.coder.ReconstructData(chunks))
	for i := range u.scheme.Required {
		if string(chunks[i]) != string(s.shards[i]) {
			u.fail("segment %s reads as something else", s.id)
			return
		}
	}
	u.count("segments read")
}
