package meta

import (
	"bytes"
	"errors"
	"maps"
	"reflect"
	"slices"
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
	}
	for step := range steps {
		d.clock = d.clock.Add(time.Duration(d.random.IntN(1500)-50) * time.Millisecond)
		d.project = d.projects[d.random.IntN(2)]
		d.step()
		if step%every == every-1 {
			d.check()
			d.compareSegments()
		}
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
	case n < 52:
		d.commit()
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

func (d *duel) createBucket() {
	name := d.bucketName()
	b, err := d.CreateBucket(d.ctx, d.project, name)
	if d.same("create bucket", err, d.model.createBucket(d.project, name, d.timestamp())) {
		d.equal("bucket", b, Bucket{Name: name, Created: d.timestamp()})
	}
}

func (d *duel) deleteBucket() {
	name, force := d.bucketName(), d.chance(50)
	total := 0
	for {
		n, more, err := d.DeleteBucket(d.ctx, d.project, name, force)
		total += n
		if err == nil && more {
			continue
		}
		want, wantErr := d.model.deleteBucket(d.project, name, force)
		if d.same("delete bucket", err, wantErr) {
			d.equal("objects deleted", total, want)
		}
		return
	}
}

func (d *duel) beginUpload() {
	name, k := d.bucketName(), d.key()
	u, err := d.BeginUpload(d.ctx, d.project, name, k)
	b, want := d.model.bucket(d.project, name)
	if checkKey(k) != nil {
		want = ErrInvalid
	}
	if !d.same("begin upload", err, want) {
		return
	}
	d.equal("upload", u, Upload{ID: u.ID, Expires: d.uploadExpiry()})
	d.model.uploads[u.ID] = &modelUpload{project: d.project, bucket: b, key: string(k), expires: u.Expires}
	d.uploads = append(d.uploads, u.ID)
}

// upload draws an upload, mostly a late one.
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

func (d *duel) addSegments() {
	r := AddRequest{Project: d.project, Upload: d.uploadID()}
	if u := d.model.uploads[r.Upload]; u != nil {
		r.First = uint64(len(u.extents()))
		if d.chance(95) {
			r.Project = u.project
		}
		if n := len(u.calls); n > 0 && d.chance(10) { // repeat
			call := u.calls[d.random.IntN(n)]
			for i := range u.calls {
				if &u.calls[i].extents[0] == &call.extents[0] {
					r.First = 0
					for _, before := range u.calls[:i] {
						r.First += uint64(len(before.extents))
					}
				}
			}
			r.Extents = call.extents
			d.add(r)
			return
		}
	}
	if d.chance(3) {
		r.First += uint64(d.random.IntN(3)) - 1
	}
	r.Segments, r.Extents = d.content(5)
	d.add(r)
}

func (d *duel) add(r AddRequest) {
	u, err := d.AddSegments(d.ctx, r)
	n, want := d.model.addSegments(r, d.uploadExpiry())
	if d.same("add segments", err, want) {
		d.equal("upload", u, Upload{ID: r.Upload, Expires: d.uploadExpiry(), Segments: n})
	}
}

func (d *duel) abortUpload() {
	id := d.uploadID()
	_, want := d.model.upload(d.project, id)
	if d.same("abort upload", d.AbortUpload(d.ctx, d.project, id), want) {
		delete(d.model.uploads, id)
		d.model.sweep()
	}
}

func (d *duel) commit() {
	r := CommitRequest{
		Project: d.project, Bucket: d.bucketName(), Key: d.key(),
		SealedMetadata: make([]byte, d.random.IntN(4)), IfAbsent: d.chance(10),
	}
	if len(r.SealedMetadata) == 0 {
		r.SealedMetadata = nil
	}
	switch n := d.random.IntN(10); {
	case n < 3:
		r.Inline = make([]byte, 1+d.random.IntN(20))
		r.Size = d.random.Uint64N(uint64(len(r.Inline)) + 1)
	default:
		r.Segments, r.Extents = d.content(4)
	}
	if d.chance(40) {
		r.Upload = d.uploadID()
		if u := d.model.uploads[r.Upload]; u != nil {
			r.Size += totalLength(u.extents())
			r.Key = []byte(u.key)
			for k, b := range d.model.buckets {
				if b == u.bucket {
					r.Bucket, r.Project = k[5:], u.project
				}
			}
		}
	}
	r.Size += totalLength(r.Extents)
	if d.chance(3) {
		r.Size++
	}
	if d.chance(30) {
		r.Nonce = bytes.Repeat([]byte{byte(d.random.IntN(200))}, nonceLen)
	}
	if len(d.commits) > 0 && d.chance(10) {
		r = d.commits[len(d.commits)-1-d.random.IntN(min(len(d.commits), 5))]
	}
	d.commitOne(r)
}

func (d *duel) commitOne(r CommitRequest) {
	d.commits = append(d.commits, r)
	_, invalid := checkCommit(&r)
	got, err := d.Commit(d.ctx, r)
	if invalid != nil {
		d.same("commit", err, ErrInvalid)
		return
	}
	// Which of several faults is told is not fixed.
	before := map[string]*modelObject{}
	if b, err := d.model.bucket(r.Project, r.Bucket); err == nil {
		maps.Copy(before, b.objects)
	}
	window := int64(d.window())
	want, repeated, wantErr := d.model.commit(r, window)
	if wantErr != nil {
		if err == nil {
			d.t.Fatalf("commit succeeded, want %v: %+v", wantErr, r)
		}
		return
	}
	d.must(err)
	if !repeated {
		want.Version = got.Version
		d.newVersion(got, before[string(r.Key)])
		b, _ := d.model.bucket(r.Project, r.Bucket)
		b.objects[string(r.Key)].version = got.Version
		if len(r.Nonce) > 0 {
			d.model.nonces[string(nonceKey(0, r.Project, r.Nonce))] = modelNonce{r.digest(), want, window}
		}
	}
	d.equal("commit", got, want)
}

// newVersion checks that a version is of now, and above the one it replaces.
func (d *duel) newVersion(o Object, before *modelObject) {
	d.t.Helper()
	if before != nil && o.Version <= before.version {
		d.t.Fatalf("version %d follows %d", o.Version, before.version)
	}
	if age := d.clock.Sub(o.Version.Created()); age < -time.Second || age > time.Second {
		d.t.Fatalf("version %d was created %v ago", o.Version, age)
	}
}

func (d *duel) get() {
	q := GetRequest{Project: d.project, Bucket: d.bucketName(), Key: d.key(), Limit: 1 + d.random.IntN(12), StatOnly: d.chance(20)}
	if b, err := d.model.bucket(d.project, q.Bucket); err == nil {
		if o := b.objects[string(q.Key)]; o != nil {
			q.Offset, q.Length = d.offset(o), d.offset(o)
			if d.chance(30) {
				q.Version = o.version - Version(d.random.IntN(2))
			}
		}
	}
	got, err := d.Get(d.ctx, q)
	want, wantErr := d.model.get(q)
	if checkKey(q.Key) != nil {
		wantErr = ErrInvalid
	}
	if d.same("get", err, wantErr) {
		d.equal("get", got, want)
	}
}

// offset draws a place in an object, often where an extent begins.
func (d *duel) offset(o *modelObject) uint64 {
	if len(o.extents) == 0 || d.chance(50) {
		return d.random.Uint64N(o.size + 2)
	}
	return totalLength(o.extents[:d.random.IntN(len(o.extents)+1)])
}

func (d *duel) list() {
	q := ListRequest{
		Project: d.project, Bucket: d.bucketName(), Limit: 1 + d.random.IntN(9),
		Recursive: d.chance(50), WithMetadata: d.chance(50),
	}
	if d.chance(50) {
		q.Prefix = d.key()
	}
	want, wantErr := d.model.list(q)
	if checkComponents(q.Prefix) != nil {
		wantErr = ErrInvalid
	}
	var got []Item
	for {
		page, err := d.List(d.ctx, q)
		if !d.same("list", err, wantErr) {
			return
		}
		got = append(got, page.Items...)
		if page.More && len(page.Items) != q.Limit {
			d.t.Fatalf("page of %d items, want %d", len(page.Items), q.Limit)
		}
		if !page.More {
			break
		}
		q.After = page.Next
	}
	d.equal("list", got, want)
}

func (d *duel) delete() {
	name := d.bucketName()
	var keys [][]byte
	for range d.random.IntN(4) {
		k := d.key()
		if checkKey(k) == nil {
			keys = append(keys, k)
		}
	}
	found, err := d.DeleteObjects(d.ctx, d.project, name, keys)
	b, want := d.model.bucket(d.project, name)
	if !d.same("delete", err, want) {
		return
	}
	for i, k := range keys {
		d.equal("found", found[i], b.objects[string(k)] != nil)
		delete(b.objects, string(k))
	}
	d.model.sweep()
}

func (d *duel) copy() {
	r := CopyRequest{
		Project: d.project, Bucket: d.bucketName(), Key: d.key(), ToBucket: d.bucketName(), ToKey: d.key(),
		SealedMetadata: []byte{byte(d.random.IntN(256))}, Move: d.chance(40), IfAbsent: d.chance(10),
	}
	if d.chance(10) {
		r.ToBucket, r.ToKey = r.Bucket, r.Key
	}
	before := map[string]*modelObject{}
	if b, err := d.model.bucket(r.Project, r.ToBucket); err == nil {
		maps.Copy(before, b.objects)
	}
	if b, err := d.model.bucket(r.Project, r.Bucket); err == nil && d.chance(30) {
		if o := b.objects[string(r.Key)]; o != nil {
			r.Version = o.version + Version(d.random.IntN(2))
		}
	}
	got, err := d.Copy(d.ctx, r)
	if checkKey(r.Key) != nil || checkKey(r.ToKey) != nil {
		d.same("copy", err, ErrInvalid)
		return
	}
	want, wantErr := d.model.copy(r)
	if !d.same("copy", err, wantErr) {
		return
	}
	want.Version = got.Version
	d.equal("copy", got, want)
	d.newVersion(got, before[string(r.ToKey)])
	b, _ := d.model.bucket(r.Project, r.ToBucket)
	b.objects[string(r.ToKey)].version = got.Version
}

func (d *duel) expire() {
	if d.chance(10) {
		d.clock = d.clock.Add(time.Hour)
	}
	uploads := 0
	for {
		e, err := d.Expire(d.ctx)
		d.must(err)
		uploads += e.Uploads
		if !e.More {
			break
		}
	}
	d.equal("uploads expired", uploads, d.model.expire(d.clock))
}

func (d *duel) nextEpoch() {
	id := 1 + uint32(d.random.IntN(3))
	epoch := d.model.epochs[id]
	g, err := d.GroupAt(d.ctx, id, 0)
	d.must(err)
	d.equal("epoch", g.Epoch, epoch)
	d.wants(d.PutGroup(d.ctx, g), ErrStaleEpoch)
	g.Epoch++
	d.must(d.PutGroup(d.ctx, g))
	d.model.epochs[id]++
}

// counts compares the statistics.
func (d *duel) counts() {
	var want Stats
	want.Projects, want.Groups, want.Uploads = 2, 3, uint64(len(d.model.uploads))
	for _, b := range d.model.buckets {
		for _, o := range b.objects {
			want.Objects++
			want.Bytes += o.size
		}
	}
	for _, s := range d.model.segments {
		if s.live {
			want.Segments++
			want.Stored += uint64(s.Size)
		}
	}
	got, err := d.Stats(d.ctx)
	d.must(err)
	d.equal("stats", got, want)
	buckets, more, err := d.Buckets(d.ctx, d.project, "", 0)
	d.must(err)
	var names []Bucket
	for _, k := range slices.Sorted(maps.Keys(d.model.buckets)) {
		if bytes.HasPrefix([]byte(k), bucketsKey(d.project)) {
			names = append(names, Bucket{Name: k[5:], Created: d.model.buckets[k].created})
		}
	}
	if more {
		d.t.Fatal("more buckets")
	}
	d.equal("buckets", buckets, names)
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
