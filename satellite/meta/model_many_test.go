package meta

import (
	"bytes"
	"errors"
	"slices"
)

// commitMany commits objects that share segments, sometimes one after another
// under one key.
func (d *duel) commitMany() {
	r := CommitManyRequest{Project: d.project}
	var extents []Extent
	r.Segments, extents = d.content(3)
	for range 1 + d.random.IntN(6) {
		r.Objects = append(r.Objects, d.newObject(extents))
	}
	for _, s := range r.Segments { // which all have to be referred to
		if d.chance(97) {
			o := d.newObject(nil)
			o.Inline, o.Extents, o.Size = nil, []Extent{{Segment: s.ID, Offset: d.random.Uint64N(20), Length: 1 + d.random.Uint64N(20)}}, 0
			o.Size = totalLength(o.Extents)
			r.Objects = append(r.Objects, o)
		}
	}
	if d.chance(30) {
		r.Nonce = bytes.Repeat([]byte{byte(d.random.IntN(200))}, nonceLen)
	}
	if len(d.many) > 0 && d.chance(10) {
		r = d.many[len(d.many)-1-d.random.IntN(min(len(d.many), 5))]
	}
	d.many = append(d.many, r)
	got, err := d.CommitMany(d.ctx, r)
	if checkCommitMany(&r) != nil {
		d.same("commit of many", err, ErrInvalid)
		return
	}
	before := d.versions(&r)
	window := int64(d.window())
	want, repeated, wantErr := d.model.commitMany(r, window)
	if wantErr != nil { // which of several faults is told is not fixed
		if err == nil {
			d.t.Fatalf("commit of many succeeded, want %v: %+v", wantErr, r)
		}
		return
	}
	d.must(err)
	d.equal("outcomes", len(got), len(want))
	for i := range want {
		if !errors.Is(got[i].Err, want[i].Err) || got[i].Err != nil && want[i].Err == nil {
			d.t.Fatalf("object %d of many: %v, want %v", i, got[i].Err, want[i].Err)
		}
		got[i].Err = want[i].Err
	}
	if !repeated {
		d.manyVersions(&r, got, want, before)
		if len(r.Nonce) > 0 {
			d.model.nonces[string(nonceKey(0, r.Project, r.Nonce))] = modelNonce{digest: r.digest(), many: slices.Clone(want), window: window}
		}
	}
	d.equal("commit of many", got, want)
}

// newObject draws an object of some of the extents, or an inline one.
func (d *duel) newObject(extents []Extent) NewObject {
	o := NewObject{Bucket: d.bucketName(), Key: d.key(), SealedMetadata: []byte{byte(d.random.IntN(256))}, IfAbsent: d.chance(10)}
	if len(extents) == 0 || d.chance(30) {
		o.Inline = make([]byte, 1+d.random.IntN(20))
		o.Size = d.random.Uint64N(uint64(len(o.Inline)) + 1)
	} else {
		from := d.random.IntN(len(extents))
		o.Extents = slices.Clone(extents[from : from+1+d.random.IntN(min(2, len(extents)-from))])
		o.Size = totalLength(o.Extents)
	}
	if d.chance(2) {
		o.Size += 100
	}
	if b, err := d.model.bucket(d.project, o.Bucket); err == nil && d.chance(30) {
		if present := b.objects[string(o.Key)]; present != nil {
			o.IfVersion = present.version + Version(d.random.IntN(3)/2)
		} else {
			o.IfVersion = Version(d.random.IntN(2))
		}
	}
	return o
}

// versions are those of the objects that a request may replace, in its order.
func (d *duel) versions(r *CommitManyRequest) []*modelObject {
	before := make([]*modelObject, len(r.Objects))
	for i := range r.Objects {
		if b, err := d.model.bucket(r.Project, r.Objects[i].Bucket); err == nil {
			before[i] = b.objects[string(r.Objects[i].Key)]
		}
	}
	return before
}

// manyVersions takes the versions of what was made over into the model.
func (d *duel) manyVersions(r *CommitManyRequest, got, want []Outcome, before []*modelObject) {
	for i := range got {
		if got[i].Version == 0 {
			continue
		}
		want[i].Version = got[i].Version
		d.newVersion(got[i].Object, before[i])
		b, _ := d.model.bucket(r.Project, r.Objects[i].Bucket)
		present := b.objects[string(r.Objects[i].Key)]
		if got[i].Version <= present.version {
			d.t.Fatalf("version %d follows %d in one commit", got[i].Version, present.version)
		}
		present.version = got[i].Version
	}
}

// places are those of the segments of a page of a list.
func (m *model) places(items []Item) (all []Place) {
	for _, item := range items {
		if item.Extent == nil {
			continue
		}
		s := m.segments[item.Extent.Segment]
		p := Place{ID: s.ID, Group: s.Group, Size: s.Size, Root: s.Root}
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}
