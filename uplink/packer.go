package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// MaxPacked is the largest content that a Packer stores with others, in bytes.
const MaxPacked = 1 << 20

// packsUnderWay is how many packs of a Packer are being stored at a time.
const packsUnderWay = 2

// A Packer stores many small objects at little cost each: it gathers them, sends
// them to the nodes as one segment, a pack, and has them appear by one call to
// the satellite. An object that came by a Packer is like any other. It is safe
// for concurrent use.
type Packer struct {
	p      *Project
	ctx    context.Context
	coding chan struct{} // see carrier
	under  chan struct{} // holds a token for each pack being stored
	limits packLimits
	slabs  slabs

	mu   sync.Mutex
	open *pack // takes the next file

	checking sync.Mutex
	checked  map[string]bool // buckets

	flushing sync.Mutex
	outcome  sync.Mutex
	failed   int
	first    error // of those that failed
}

// NewPacker begins to store objects. The context bounds all that is done; when
// it ends, what does not exist yet will not.
func (p *Project) NewPacker(ctx context.Context) *Packer {
	return &Packer{
		p: p, ctx: ctx, coding: newCoding(), under: make(chan struct{}, packsUnderWay),
		checked: make(map[string]bool),
		limits:  packLimits{bytes: packBytes, objects: packObjects, metadata: packMetadata},
	}
}

// Add takes in all that r yields as an object, which is stored by the next Flush
// at the latest. Then done, unless it is nil, is told what came of it, once,
// often from another goroutine; it must not use the Packer. Content of more than
// MaxPacked is stored on its own before Add returns.
//
// An error is about this object: it was not taken in, nothing of it is left, and
// done will not be called. Errors: ErrName, those of r, and for large content
// those of Upload and Commit.
func (k *Packer) Add(bucket, key string, r io.Reader, o UploadOptions, done func(Object, error)) error {
	n, err := k.p.name(bucket, key)
	if err != nil {
		return err
	}
	room := k.slabs.take(roomFor(o.Size))
	plain, more, err := readSmall(r, room.bytes[:0])
	if err == nil && !more && k.ctx.Err() == nil && len(plain) > seal.MaxInline {
		room.keep(len(plain))
	} else {
		defer room.release()
		room = slabCut{}
	}
	switch {
	case err != nil:
		return n.at(err, "upload")
	case k.ctx.Err() != nil:
		return n.at(context.Cause(k.ctx), "upload")
	case more:
		return k.alone(n, plain, r, o, done)
	}
	f, err := k.p.newPackedFile(n, plain, o)
	if err != nil {
		room.release()
		return n.at(err, "upload")
	}
	f.done, f.room = done, room
	k.add(f)
	return nil
}

// roomFor is how many bytes content of the expected size may take, with one to
// see the end.
func roomFor(expected int64) int {
	if expected < 0 || expected > MaxPacked {
		expected = MaxPacked
	}
	return int(expected) + 1
}

// readSmall reads content that may be packed, or the beginning of more, into the
// room of plain as long as that is enough.
func readSmall(r io.Reader, plain []byte) (_ []byte, more bool, err error) {
	for len(plain) <= MaxPacked {
		if len(plain) == cap(plain) {
			plain = append(plain, 0)[:len(plain)]
		}
		n, err := r.Read(plain[len(plain):min(cap(plain), MaxPacked+1)])
		plain = plain[:len(plain)+n]
		if err == io.EOF {
			return plain, false, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
	return plain, true, nil
}

// alone stores an object that is too large to be packed.
func (k *Packer) alone(n name, head []byte, r io.Reader, o UploadOptions, done func(Object, error)) error {
	u, err := k.p.Upload(k.ctx, n.bucket, n.key, o)
	if err != nil {
		return err
	}
	if _, err = u.Write(head); err == nil {
		_, err = u.ReadFrom(r)
	}
	if err != nil {
		_ = u.Abort() // why it failed matters more
		return err
	}
	object, err := u.Commit(k.ctx)
	if err == nil && done != nil {
		done(object, nil)
	}
	return err
}

// add puts files that belong together into the open pack, and sends that off
// before if it is full.
func (k *Packer) add(files ...*packedFile) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open != nil && !k.open.fits(files, k.limits) {
		k.send()
	}
	if k.open == nil {
		k.open = new(pack)
	}
	for _, f := range files {
		k.open.add(f)
	}
}

// send has the open pack stored once there are not too many under way. The
// caller holds the lock.
func (k *Packer) send() {
	pk := k.open
	k.open = nil
	select {
	case k.under <- struct{}{}:
	case <-k.ctx.Done():
		pk.fail(context.Cause(k.ctx), everyFile)
		k.settle(pk)
		return
	}
	go func() {
		defer func() { <-k.under }()
		k.store(pk)
		k.settle(pk)
	}()
}

// store is the life of a pack: its files go to the nodes as one segment, and
// when that is durable they appear. Inline ones need no nodes.
func (k *Packer) store(pk *pack) {
	k.checkBuckets(pk)
	var segments []*pb.Segment
	if len(pk.left(inSegment)) > 0 {
		segment, err := k.carry(pk)
		if err != nil {
			pk.fail(err, inSegment)
		} else {
			segments = append(segments, segment)
		}
	}
	if files := pk.left(everyFile); len(files) > 0 {
		if err := k.commit(pk, segments, files); err != nil {
			pk.fail(err, everyFile)
		}
	}
}

// checkBuckets finds out before much is sent for nothing that there is no such
// bucket, or no satellite.
func (k *Packer) checkBuckets(pk *pack) {
	k.checking.Lock()
	defer k.checking.Unlock()
	for _, f := range pk.files {
		bucket := f.name.bucket
		if f.err != nil || k.checked[bucket] {
			continue
		}
		_, err := k.p.sat.ListObjects(k.ctx, &pb.ListObjectsRequest{Bucket: bucket, Limit: 1})
		if errors.Is(err, ErrBucketNotFound) || errors.Is(err, ErrSatelliteUnreachable) {
			pk.fail(err, func(f *packedFile) bool { return f.name.bucket == bucket })
			continue
		}
		k.checked[bucket] = true // should it go later, or may not be listed, the commit tells
	}
}

// commit makes the files appear.
func (k *Packer) commit(pk *pack, segments []*pb.Segment, files []*packedFile) error {
	req := &pb.CommitObjectsRequest{Nonce: make([]byte, 16), Segments: segments}
	if _, err := io.ReadFull(k.p.rand, req.Nonce); err != nil {
		return fmt.Errorf("draw a nonce: %w", err)
	}
	for _, f := range files {
		req.Objects = append(req.Objects, f.message(pk.id[:]))
	}
	res, err := k.p.sat.CommitObjects(k.ctx, req)
	if err == nil && len(res.Objects) != len(files) {
		err = fmt.Errorf("%w: the satellite answered for %d of %d objects", ErrCorrupt, len(res.Objects), len(files))
	}
	if err != nil {
		return err
	}
	for i, f := range files {
		f.settle(res.Objects[i])
	}
	return nil
}

// settle tells what came of the files of a pack.
func (k *Packer) settle(pk *pack) {
	pk.sealed()
	for _, f := range pk.files {
		if f.err != nil {
			f.err = f.name.at(f.err, "upload")
			k.note(f.err)
		}
		if f.done != nil {
			f.done(f.object, f.err)
		}
	}
}

func (k *Packer) note(err error) {
	k.outcome.Lock()
	defer k.outcome.Unlock()
	if k.failed++; k.first == nil {
		k.first = err
	}
}

// Flush stores what was added and waits until all of it is. The error is about
// objects that could not be stored since the last Flush.
func (k *Packer) Flush() error {
	k.mu.Lock()
	if k.open != nil {
		k.send()
	}
	k.mu.Unlock()
	k.await()
	k.outcome.Lock()
	defer k.outcome.Unlock()
	failed, first := k.failed, k.first
	k.failed, k.first = 0, nil
	if failed > 1 {
		return fmt.Errorf("%d objects were not stored, the first: %w", failed, first)
	}
	return first
}

// await waits until no pack is under way.
func (k *Packer) await() {
	k.flushing.Lock()
	defer k.flushing.Unlock()
	for range cap(k.under) {
		k.under <- struct{}{}
	}
	for range cap(k.under) {
		<-k.under
	}
}
