package uplink

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/uplink/internal/keys"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// UploadOptions says what to store beside the content. The zero value is good.
type UploadOptions struct {
	Metadata map[string]string
	Modified time.Time // when the content was last changed; zero: now
	Size     int64     // bytes expected, a hint; 0 or less: not known
	IfAbsent bool      // fail with ErrObjectExists instead of replacing
}

// An Upload is an object being written. What is written is sealed, coded and
// sent as it comes, with bounded memory. The object appears at Commit, as a
// whole; an Upload that is not committed has to be aborted. It is for one
// goroutine, but Abort may be called from any.
type Upload struct {
	carrier
	name    name
	options UploadOptions
	content keys.Content
	memory  *share
	fail    context.CancelCauseFunc
	tasks   sync.WaitGroup

	using   sync.Mutex // held by the methods of an Upload
	size    int64      // plaintext bytes
	carried int64      // those of them that are in segments
	small   []byte     // all of them, as long as they may become an inline object
	batch   *batch     // the one being filled, if any
	target  *putSession
	ended   bool

	opening sync.Mutex
	open    *segmentWriter // takes the next batch; nil: a new one does
	idle    *time.Timer    // closes it when the source yields nothing

	placed []*placement // of each segment, in the object's order; guarded by placing

	committing sync.Mutex
	upload     []byte // as the satellite knows it, once it does
	registered int    // so many segments are known to it
}

// Upload begins an object. As long as it may become an inline object nothing is
// sent, so that trouble with the bucket may show only later. Errors: ErrName.
func (p *Project) Upload(ctx context.Context, bucket, key string, o UploadOptions) (*Upload, error) {
	n, err := p.name(bucket, key)
	if err != nil {
		return nil, err
	}
	content, err := keys.NewContent(p.rand)
	if err != nil {
		return nil, n.at(err, "upload")
	}
	if o.Modified.IsZero() {
		o.Modified = p.now()
	}
	u := &Upload{carrier: carrier{p: p, t: p.transfers, coding: newCoding()}, name: n, options: o, content: content,
		memory: p.transfers.put.share()}
	u.ctx, u.fail = context.WithCancelCause(ctx)
	if _, err := seal.Secret(n.metadata, u.secret(), p.rand); err != nil { // better now than after the data
		u.Abort()
		return nil, n.at(err, "upload")
	}
	return u, nil
}

// Write takes in the next bytes of the object. An error may be about bytes
// written earlier, and is final.
func (u *Upload) Write(p []byte) (int, error) {
	u.using.Lock()
	defer u.using.Unlock()
	return u.write(p)
}

func (u *Upload) write(p []byte) (int, error) {
	if u.size+int64(len(p)) <= seal.MaxInline && u.dead() == nil {
		u.small = append(u.small, p...)
		u.size += int64(len(p))
		return len(p), nil
	}
	for done := 0; done < len(p); {
		n, err := u.fill(func(b *batch) (int, error) { return b.write(p[done:]), nil })
		done += n
		if err != nil {
			return done, err
		}
	}
	return len(p), nil
}

// ReadFrom takes in all that r yields. It reads straight into the memory where
// the bytes are sealed.
func (u *Upload) ReadFrom(r io.Reader) (read int64, err error) {
	u.using.Lock()
	defer u.using.Unlock()
	if u.size <= seal.MaxInline {
		head := make([]byte, seal.MaxInline+1-u.size)
		n, err := io.ReadFull(r, head)
		if _, err := u.write(head[:n]); err != nil {
			return int64(n), err
		}
		if read = int64(n); err != nil {
			return read, endOfInput(err)
		}
	}
	for err == nil {
		var n int
		n, err = u.fill(func(b *batch) (int, error) { return b.readFrom(r) })
		read += int64(n)
	}
	return read, endOfInput(err)
}

// endOfInput is nil for the errors by which a reader says that it has no more.
func endOfInput(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}

// fill is the flow of a put: plaintext goes into a batch of stripes, and a
// batch that is full goes to the nodes.
func (u *Upload) fill(from func(*batch) (int, error)) (int, error) {
	b, err := u.room()
	if err != nil {
		return 0, u.name.at(err, "upload")
	}
	n, err := from(b)
	u.size += int64(n)
	if b.full() {
		u.carry()
	}
	return n, err
}

// room returns the batch being filled, or a new one once all that it will need
// is there.
func (u *Upload) room() (*batch, error) {
	if err := u.dead(); err != nil || u.batch != nil {
		return u.batch, err
	}
	session, err := u.lease() // a group's record and one order limit for many segments
	if err != nil {
		return nil, err
	}
	if err := session.pace(u.ctx); err != nil { // the nodes keep up
		return nil, err
	}
	if err := u.turn(); err != nil { // the cores keep up
		return nil, err
	}
	buffers, err := u.gather(session) // memory, in bounds
	if err != nil {
		<-u.coding
		return nil, err
	}
	u.batch, u.target = u.newBatch(session, buffers), session
	return u.batch, nil
}

// carry has a batch sealed, coded and hashed, and chunk i of each stripe sent to
// slot i.
func (u *Upload) carry() {
	b := u.batch
	u.batch = nil
	b.close()
	u.opening.Lock()
	if u.open == nil {
		u.open = u.begin(u.target, u.size-int64(b.filled), b.stripes) // a shard at each slot
	}
	s := u.open
	index := s.add(b)
	u.carried += int64(b.filled)
	u.watch()
	if b.first+b.stripes == s.stripes {
		u.closeSegment()
	}
	u.opening.Unlock()
	u.tasks.Go(func() {
		defer func() { <-u.coding }()
		if err := s.carry(index, b); err != nil {
			u.fail(err)
		}
	})
}

// Commit makes the object appear with all that was written, as soon as enough
// nodes hold it durably. The context bounds the waiting. Errors:
// ErrBucketNotFound, ErrObjectExists, ErrTooFewNodes, ErrSatelliteUnreachable,
// ErrAborted; the upload is over in any case.
func (u *Upload) Commit(ctx context.Context) (Object, error) {
	u.using.Lock()
	defer u.using.Unlock()
	defer context.AfterFunc(ctx, func() { u.fail(context.Cause(ctx)) })()
	object, err := u.commit()
	if err != nil {
		u.end(err)
		return Object{}, u.name.at(err, "upload")
	}
	u.end(ErrClosed)
	return object, nil
}

func (u *Upload) commit() (Object, error) {
	if err := u.dead(); err != nil {
		return Object{}, err
	}
	if u.size <= seal.MaxInline {
		return u.commitInline()
	}
	u.finish()                        // the last stripe is a shorter one
	if err := u.await(); err != nil { // Success receipts for each segment
		return Object{}, err
	}
	u.linger(u.placed) // stragglers may still hand in theirs
	return u.commitSegments()
}

// finish carries what is left.
func (u *Upload) finish() {
	if u.batch != nil && u.batch.filled > 0 {
		u.carry()
	}
	u.opening.Lock()
	defer u.opening.Unlock()
	u.closeSegment()
}

// Abort drops the upload: there will be no object. It waits for a Write that is
// going on and does nothing after Commit.
func (u *Upload) Abort() error {
	u.fail(ErrAborted)
	u.using.Lock()
	defer u.using.Unlock()
	u.end(ErrAborted)
	return nil
}

// dead is why the upload cannot go on, if it cannot.
func (u *Upload) dead() error {
	if u.ctx.Err() != nil {
		return context.Cause(u.ctx)
	}
	return nil
}

// end gives back all that the upload holds. What slots are still being sent of
// stored segments goes on without it, unless it failed.
func (u *Upload) end(why error) {
	if u.ended {
		return
	}
	u.ended = true
	failed := u.dead() != nil || why != ErrClosed
	u.fail(why)
	u.dropSegment()
	u.tasks.Wait()
	if u.batch != nil {
		u.batch.release(0)
		u.batch = nil
	}
	for _, o := range u.placed {
		if failed {
			o.delivery.cut(ErrAborted)
		}
		o.segment.release()
	}
	u.memory.close()
	u.park()
	if failed {
		u.abandon()
	}
}
