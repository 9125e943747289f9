package meta

import (
	"bytes"
	"maps"
	"slices"
	"time"
)

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
			d.model.nonces[string(nonceKey(0, r.Project, r.Nonce))] = modelNonce{digest: r.digest(), object: want, window: window}
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

func (d *duel) list() {
	q := ListRequest{
		Project: d.project, Bucket: d.bucketName(), Limit: 1 + d.random.IntN(9),
		Recursive: d.chance(50), WithMetadata: d.chance(50), WithExtents: d.chance(50),
		WithInline: d.chance(50),
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
		d.equal("places", page.Places, d.model.places(page.Items))
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
	b, want := d.model.bucket(d.project, name)
	r := DeleteRequest{Project: d.project, Bucket: name, Keys: keys}
	if want == nil && d.chance(50) {
		r.Versions = make([]Version, len(keys))
		for i, k := range keys {
			if o := b.objects[string(k)]; o != nil && d.chance(70) {
				r.Versions[i] = o.version + Version(d.random.IntN(2))
			}
		}
	}
	found, err := d.DeleteObjects(d.ctx, r)
	if !d.same("delete", err, want) {
		return
	}
	for i, k := range keys {
		o := b.objects[string(k)]
		goes := o != nil && (r.Versions == nil || r.Versions[i] == 0 || r.Versions[i] == o.version)
		d.equal("found", found[i], goes)
		if goes {
			delete(b.objects, string(k))
		}
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
	journals, err := d.Journals(d.ctx, []uint32{1, 2, 3})
	d.must(err)
	for _, j := range journals {
		want.Entries += j.Head
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
