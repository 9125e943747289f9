package meta

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cairnstorage/cairn/proto/order"
)

// model is what a Store should do, in maps and slices, without any thought of
// cost. Its methods take the requests of a Store and return the same answers,
// but for what the Store draws at random, which the caller hands over.
type model struct {
	buckets  map[string]*modelBucket // by project and name
	uploads  map[UploadID]*modelUpload
	segments map[order.SegmentID]*modelSegment
	nonces   map[string]modelNonce
	epochs   map[uint32]uint64
	now      time.Time
}

type modelBucket struct {
	created time.Time
	objects map[string]*modelObject
}

type modelObject struct {
	version Version
	size    uint64
	sealed  []byte
	inline  []byte
	extents []Extent
	listed  bool // by an upload
}

type modelUpload struct {
	project ProjectNumber
	bucket  *modelBucket
	key     string
	expires time.Time
	calls   []modelCall
}

type modelCall struct{ extents []Extent }

type modelSegment struct {
	NewSegment
	project ProjectNumber
	live    bool
	buried  time.Time // when it ceased to be live
}

type modelNonce struct {
	digest [16]byte
	object Object
	many   []Outcome
	window int64
}

func newModel() *model {
	return &model{
		buckets: map[string]*modelBucket{}, uploads: map[UploadID]*modelUpload{},
		segments: map[order.SegmentID]*modelSegment{}, nonces: map[string]modelNonce{},
		epochs: map[uint32]uint64{},
	}
}

func (m *model) bucket(p ProjectNumber, name string) (*modelBucket, error) {
	if b, ok := m.buckets[string(bucketKey(p, name))]; ok {
		return b, nil
	}
	return nil, ErrBucketNotFound
}

func (m *model) createBucket(p ProjectNumber, name string, now time.Time) error {
	if len(name) < 3 {
		return ErrInvalid
	}
	if _, err := m.bucket(p, name); err == nil {
		return ErrBucketExists
	}
	m.buckets[string(bucketKey(p, name))] = &modelBucket{created: now, objects: map[string]*modelObject{}}
	return nil
}

func (m *model) deleteBucket(p ProjectNumber, name string, force bool) (int, error) {
	b, err := m.bucket(p, name)
	if err != nil {
		return 0, err
	}
	n := len(b.objects)
	if n > 0 && !force {
		return 0, ErrBucketNotEmpty
	}
	clear(b.objects)
	delete(m.buckets, string(bucketKey(p, name)))
	m.sweep()
	return n, nil
}

// used returns what the extents of everything there is refer to.
func (m *model) used() map[order.SegmentID]bool {
	used := map[order.SegmentID]bool{}
	note := func(extents []Extent) {
		for _, e := range extents {
			used[e.Segment] = true
		}
	}
	for _, b := range m.buckets {
		for _, o := range b.objects {
			note(o.extents)
		}
	}
	for _, u := range m.uploads {
		note(u.extents())
	}
	return used
}

// sweep buries the segments that nothing refers to.
func (m *model) sweep() {
	used := m.used()
	for id, s := range m.segments {
		if s.live && !used[id] {
			s.live, s.buried = false, m.now
		}
	}
}

func (u *modelUpload) extents() (all []Extent) {
	for _, c := range u.calls {
		all = append(all, c.extents...)
	}
	return all
}

func (m *model) upload(p ProjectNumber, id UploadID) (*modelUpload, error) {
	if u, ok := m.uploads[id]; ok && u.project == p {
		return u, nil
	}
	return nil, ErrUploadNotFound
}

// hold checks segments and extents and makes the segments live, or changes
// nothing.
func (m *model) hold(p ProjectNumber, segments []NewSegment, extents []Extent) error {
	fresh := map[order.SegmentID]*modelSegment{}
	used := map[order.SegmentID]bool{}
	for _, e := range extents {
		used[e.Segment] = true
	}
	for _, n := range segments {
		epoch, known := m.epochs[n.Group]
		switch {
		case !used[n.ID]:
			return ErrInvalid
		case m.segments[n.ID] != nil || fresh[n.ID] != nil:
			return ErrSegmentExists
		case !known:
			return ErrGroupNotFound
		case n.Epoch != epoch:
			return ErrStaleEpoch
		}
		for _, e := range extents {
			if e.Segment == n.ID && e.Offset+e.Length > uint64(n.Size) {
				return ErrInvalid
			}
		}
		fresh[n.ID] = &modelSegment{NewSegment: n, project: p, live: true}
	}
	for _, e := range extents {
		s := m.segments[e.Segment]
		switch {
		case fresh[e.Segment] != nil:
		case s == nil || !s.live || s.project != p:
			return ErrSegmentUnknown
		case e.Offset+e.Length > uint64(s.Size):
			return ErrInvalid
		}
	}
	maps.Copy(m.segments, fresh)
	return nil
}

func (m *model) addSegments(r AddRequest, expires time.Time) (uint64, error) {
	u, err := m.upload(r.Project, r.Upload)
	if err != nil {
		return 0, err
	}
	have := uint64(len(u.extents()))
	switch {
	case r.First < have:
		at := uint64(0)
		for _, c := range u.calls {
			if at == r.First {
				if !slices.Equal(c.extents, r.Extents) {
					return 0, ErrInvalid
				}
				u.expires = expires
				return have, nil
			}
			at += uint64(len(c.extents))
		}
		return 0, ErrInvalid
	case r.First > have:
		return 0, ErrInvalid
	}
	if err := m.hold(r.Project, r.Segments, r.Extents); err != nil {
		return 0, err
	}
	if len(r.Extents) > 0 {
		u.calls = append(u.calls, modelCall{slices.Clone(r.Extents)})
	}
	u.expires = expires
	return have + uint64(len(r.Extents)), nil
}

// commit returns the object without its version, or that of an earlier commit.
func (m *model) commit(r CommitRequest, window int64) (o Object, repeated bool, err error) {
	nonce := string(nonceKey(0, r.Project, r.Nonce))
	if n, ok := m.nonces[nonce]; ok && len(r.Nonce) > 0 && n.window >= window-1 {
		if n.digest != r.digest() {
			return Object{}, false, ErrNonceReused
		}
		return n.object, true, nil
	}
	b, err := m.bucket(r.Project, r.Bucket)
	if err != nil {
		return Object{}, false, err
	}
	extents, listed := r.Extents, false
	if r.Upload != (UploadID{}) {
		u, err := m.upload(r.Project, r.Upload)
		if err != nil {
			return Object{}, false, err
		}
		if u.bucket != b || u.key != string(r.Key) || len(r.Inline) > 0 && len(u.calls) > 0 {
			return Object{}, false, ErrInvalid
		}
		extents, listed = append(u.extents(), extents...), len(u.calls) > 0
	}
	if len(r.Inline) == 0 && totalLength(extents) != r.Size {
		return Object{}, false, ErrInvalid
	}
	if r.IfAbsent && b.objects[string(r.Key)] != nil {
		return Object{}, false, ErrObjectExists
	}
	if err := m.hold(r.Project, r.Segments, r.Extents); err != nil {
		return Object{}, false, err
	}
	delete(m.uploads, r.Upload)
	b.objects[string(r.Key)] = &modelObject{size: r.Size, sealed: r.SealedMetadata, inline: r.Inline, extents: extents, listed: listed}
	m.sweep()
	return Object{Key: r.Key, Size: r.Size, Segments: len(extents)}, false, nil
}

// commitMany returns the outcomes without the versions, or those of an earlier
// commit.
func (m *model) commitMany(r CommitManyRequest, window int64) (outcomes []Outcome, repeated bool, err error) {
	nonce := string(nonceKey(0, r.Project, r.Nonce))
	if n, ok := m.nonces[nonce]; ok && len(r.Nonce) > 0 && n.window >= window-1 {
		if n.digest != r.digest() {
			return nil, false, ErrNonceReused
		}
		return n.many, true, nil
	}
	made := make([]error, len(r.Objects))
	var extents []Extent
	after := map[*modelBucket]map[string]Version{} // of objects made here: not known yet
	for i, o := range r.Objects {
		b, err := m.bucket(r.Project, o.Bucket)
		if err != nil {
			made[i] = err
			continue
		}
		if after[b] == nil {
			after[b] = map[string]Version{}
		}
		_, fresh := after[b][string(o.Key)]
		before := b.objects[string(o.Key)]
		switch {
		case o.IfAbsent && (fresh || before != nil):
			made[i] = ErrObjectExists
		case o.IfVersion != 0 && !fresh && before == nil:
			made[i] = ErrObjectNotFound
		case o.IfVersion != 0 && (fresh || before.version != o.IfVersion):
			made[i] = ErrChanged
		default:
			after[b][string(o.Key)] = 0
			extents = append(extents, o.Extents...)
		}
	}
	var segments []NewSegment
	for _, s := range r.Segments {
		if slices.ContainsFunc(extents, func(e Extent) bool { return e.Segment == s.ID }) {
			segments = append(segments, s)
		}
	}
	if err := m.hold(r.Project, segments, extents); err != nil {
		return nil, false, err
	}
	outcomes = make([]Outcome, len(r.Objects))
	for i, o := range r.Objects {
		if outcomes[i].Err = made[i]; made[i] != nil {
			continue
		}
		b, _ := m.bucket(r.Project, o.Bucket)
		b.objects[string(o.Key)] = &modelObject{size: o.Size, sealed: o.SealedMetadata, inline: o.Inline, extents: o.Extents}
		outcomes[i].Object = Object{Key: o.Key, Size: o.Size, Segments: len(o.Extents)}
	}
	m.sweep()
	return outcomes, false, nil
}

func (m *model) copy(r CopyRequest) (Object, error) {
	from, err := m.bucket(r.Project, r.Bucket)
	if err != nil {
		return Object{}, err
	}
	to, err := m.bucket(r.Project, r.ToBucket)
	if err != nil {
		return Object{}, err
	}
	o := from.objects[string(r.Key)]
	switch {
	case o == nil:
		return Object{}, ErrObjectNotFound
	case r.Version != 0 && r.Version != o.version:
		return Object{}, ErrChanged
	case r.IfAbsent && to.objects[string(r.ToKey)] != nil:
		return Object{}, ErrObjectExists
	}
	made := *o
	made.sealed = r.SealedMetadata
	if r.Move {
		delete(from.objects, string(r.Key))
	}
	to.objects[string(r.ToKey)] = &made
	m.sweep()
	return Object{Key: r.ToKey, Size: made.size, Segments: len(made.extents)}, nil
}

func (m *model) get(q GetRequest) (Got, error) {
	b, err := m.bucket(q.Project, q.Bucket)
	if err != nil {
		return Got{}, err
	}
	o := b.objects[string(q.Key)]
	if o == nil || q.Version != 0 && q.Version != o.version {
		return Got{}, ErrObjectNotFound
	}
	got := Got{Object: Object{
		Key: q.Key, Version: o.version, Size: o.size, Segments: len(o.extents),
		SealedMetadata: o.sealed, Inline: o.inline,
	}}
	if q.StatOnly {
		got.Inline = nil
		return got, nil
	}
	if q.Offset > o.size {
		return Got{}, ErrInvalid
	}
	end := o.size
	if q.Length > 0 {
		end = min(end, q.Offset+q.Length)
	}
	at := uint64(0)
	for i, e := range o.extents {
		if at < end && at+e.Length > q.Offset && len(got.Extents) < q.Limit {
			if len(got.Extents) == 0 {
				got.FirstOffset, got.FirstIndex = at, i
			}
			got.Extents = append(got.Extents, e)
			s := m.segments[e.Segment]
			place := Place{ID: e.Segment, Group: s.Group, Size: s.Size, Root: s.Root}
			if !slices.Contains(got.Places, place) {
				got.Places = append(got.Places, place)
			}
		}
		at += e.Length
	}
	return got, nil
}

// list returns the whole listing of a request.
func (m *model) list(q ListRequest) ([]Item, error) {
	b, err := m.bucket(q.Project, q.Bucket)
	if err != nil {
		return nil, err
	}
	var items []Item
	for _, k := range slices.SortedFunc(maps.Keys(b.objects), strings.Compare) {
		rest, below := strings.CutPrefix(k, string(q.Prefix))
		if !below || rest == "" {
			continue
		}
		end, _ := componentEnd([]byte(rest))
		if !q.Recursive && end < len(rest) {
			p := []byte(k[:len(k)-len(rest)+end])
			if n := len(items); n == 0 || !bytes.Equal(items[n-1].Prefix, p) {
				items = append(items, Item{Prefix: p})
			}
			continue
		}
		o := b.objects[k]
		item := Item{Object: Object{Key: []byte(k), Version: o.version, Size: o.size, Segments: len(o.extents)}}
		if q.WithMetadata {
			item.SealedMetadata = o.sealed
		}
		if q.WithInline {
			item.Inline = o.inline
		}
		if q.WithExtents && len(o.extents) == 1 && !o.listed {
			item.Extent = &o.extents[0]
		}
		items = append(items, item)
	}
	return items, nil
}

// expire removes the uploads past their time.
func (m *model) expire(now time.Time) (n int) {
	for id, u := range m.uploads {
		if u.expires.Unix() < now.Unix() {
			delete(m.uploads, id)
			n++
		}
	}
	m.sweep()
	return n
}
