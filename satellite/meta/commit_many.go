package meta

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
)

// CommitMany makes objects visible and returns what became of each, in order
// and without metadata and inline bytes. A new segment is entered if an object
// that was made refers to it. Errors, after which nothing was made: ErrInvalid,
// ErrSegmentExists, ErrSegmentUnknown, ErrGroupNotFound, ErrStaleEpoch,
// ErrNonceReused.
func (s *Store) CommitMany(ctx context.Context, r CommitManyRequest) ([]Outcome, error) {
	if err := checkCommitMany(&r); err != nil {
		return nil, err
	}
	v, err := s.newVersion()
	if err != nil {
		return nil, err
	}
	digest := r.digest()
	var outcomes []Outcome
	err = s.once(ctx, r.Project, r.Nonce, func(raw []byte) (err error) {
		outcomes, err = r.repeated(raw, digest)
		return err
	}, func(c *change) (record []byte, err error) {
		outcomes, err = c.commitMany(&r, v)
		n := manyRecord{digest: digest, outcomes: outcomes}
		return n.encode(), err
	})
	if err != nil {
		return nil, err
	}
	return outcomes, nil
}

// repeated returns the outcomes of the commit that r repeats.
func (r *CommitManyRequest) repeated(raw []byte, digest [16]byte) ([]Outcome, error) {
	if !bytes.HasPrefix(raw, digest[:]) {
		return nil, ErrNonceReused
	}
	n, err := decodeMany(raw)
	if err == nil && len(n.outcomes) != len(r.Objects) {
		err = fmt.Errorf("%w: a nonce of %d objects for %d", ErrDamaged, len(n.outcomes), len(r.Objects))
	}
	if err != nil {
		return nil, err
	}
	for i := range n.outcomes {
		if o, made := &r.Objects[i], &n.outcomes[i]; made.Err == nil {
			made.Object = Object{Key: o.Key, Version: made.Version, Size: o.Size, Segments: len(o.Extents)}
		}
	}
	return n.outcomes, nil
}

// proposal is an object that nothing stands against.
type proposal struct {
	*NewObject
	index   int // in the request
	bucket  *bucketRecord
	ref     bucketRef
	version Version
	content content
	before  *version // that it replaces
}

// commitMany judges the objects, counts what those refer to that are made, and
// writes them.
func (c *change) commitMany(r *CommitManyRequest, v Version) ([]Outcome, error) {
	outcomes := make([]Outcome, len(r.Objects))
	accepted, err := c.judge(r, v, outcomes)
	if err != nil {
		return nil, err
	}
	segments, extents := referred(r.Segments, accepted)
	if err := c.hold(r.Project, segments, extents); err != nil {
		return nil, err
	}
	for i := range accepted {
		p := &accepted[i]
		outcomes[p.index].Object, err = c.replace(p.bucket, p.ref, p.Key, p.version, &p.content, p.before)
		if err != nil {
			return nil, err
		}
	}
	return outcomes, nil
}

// judge finds what stands against each object, given those before it.
func (c *change) judge(r *CommitManyRequest, v Version, outcomes []Outcome) ([]proposal, error) {
	accepted := make([]proposal, 0, len(r.Objects))
	present := make(map[string]*version) // by key, as the objects before leave it
	work := 0
	for i := range r.Objects {
		p := proposal{NewObject: &r.Objects[i], index: i, version: v}
		p.content = content{size: p.Size, sealed: p.SealedMetadata, extents: p.Extents, inline: p.Inline}
		if len(p.Inline) > 0 {
			p.content.form = formInline
		}
		err := c.propose(r.Project, &p, present)
		if err == nil && p.before != nil {
			more := p.before.work()
			if work > 0 && work+more > batchWork {
				err = ErrTooMuch
			} else {
				work += more
			}
		}
		switch {
		case err == nil:
			key := versionKey(p.ref, p.Key, p.version)
			present[string(objectKey(p.ref, p.Key))] = &version{key, p.content}
			accepted = append(accepted, p)
		case outcomeCode(err) == 0:
			return nil, err
		default:
			outcomes[i].Err = err
		}
	}
	return accepted, nil
}

// propose finds what an object would replace, and whether it may.
func (c *change) propose(project ProjectNumber, p *proposal, present map[string]*version) (err error) {
	if p.bucket, p.ref, err = c.bucket(project, p.Bucket); err != nil {
		return err
	}
	k := string(objectKey(p.ref, p.Key))
	before, known := present[k]
	if !known {
		if before, err = c.newestVersion(p.ref, p.Key); err != nil {
			return err
		}
		present[k] = before
	}
	if before == nil {
		if p.IfVersion != 0 {
			return ErrObjectNotFound
		}
		return nil
	}
	_, v, err := parseVersionKey(before.key)
	switch {
	case err != nil:
		return err
	case p.IfAbsent:
		return ErrObjectExists
	case p.IfVersion != 0 && p.IfVersion != v:
		return ErrChanged
	}
	p.before, p.version = before, max(p.version, v+1)
	return nil
}

// newestVersion returns the present version of an object, or nil.
func (c *change) newestVersion(b bucketRef, key []byte) (*version, error) {
	o, v, found, err := newest(c.tx, b, key)
	if err != nil || !found {
		return nil, err
	}
	return &version{versionKey(b, key, v), o}, nil
}

// referred lists the extents of objects and those of the segments that they
// refer to.
func referred(segments []NewSegment, objects []proposal) (some []NewSegment, extents []Extent) {
	for i := range objects {
		extents = append(extents, objects[i].Extents...)
	}
	refs, _ := tally(extents)
	for i := range segments {
		if refs[segments[i].ID] > 0 {
			some = append(some, segments[i])
		}
	}
	return some, extents
}

// digest is over all that makes a commit what it is, as that of a commit of one
// object. No two requests of different kinds have the same.
func (r *CommitManyRequest) digest() (d [16]byte) {
	b := append(make([]byte, 0, 256*len(r.Objects)), "many\x00"...)
	b = putSegments(b, r.Segments)
	b = putUvarint(b, uint64(len(r.Objects)))
	for i := range r.Objects {
		o := &r.Objects[i]
		b = putString(b, o.Bucket)
		b = putBytes(b, o.Key)
		b = putExtents(b, o.Extents)
		b = putBytes(b, o.Inline)
		b = putUvarint(b, o.Size)
		b = putBytes(b, o.SealedMetadata)
		if o.IfAbsent {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
		b = u64(b, uint64(o.IfVersion))
	}
	sum := sha256.Sum256(b)
	copy(d[:], sum[:])
	return d
}

// checkCommitMany checks what can be checked without the store.
func checkCommitMany(r *CommitManyRequest) error {
	if len(r.Objects) > MaxCommit {
		return fmt.Errorf("%w: %d objects, at most %d", ErrInvalid, len(r.Objects), MaxCommit)
	}
	if err := checkNonce(r.Nonce); err != nil {
		return err
	}
	if _, err := checkContent(r.Segments, nil); err != nil {
		return err
	}
	all := 0
	refs := make(map[string]bool)
	for i := range r.Objects {
		o := &r.Objects[i]
		if err := checkNewObject(o); err != nil {
			return fmt.Errorf("object %d: %w", i, err)
		}
		for j := range o.Extents {
			refs[string(o.Extents[j].Segment[:])] = true
		}
		all += len(o.Extents)
	}
	if all > batchWork {
		return fmt.Errorf("%w: objects of %d extents in one request, at most %d", ErrInvalid, all, batchWork)
	}
	for i := range r.Segments {
		if id := &r.Segments[i].ID; !refs[string(id[:])] {
			return fmt.Errorf("%w: no extent refers to segment %s", ErrInvalid, id)
		}
	}
	return nil
}

func checkNewObject(o *NewObject) error {
	if err := checkKey(o.Key); err != nil {
		return err
	}
	total, err := checkContent(nil, o.Extents)
	if err != nil {
		return err
	}
	if len(o.Inline) == 0 && total != o.Size {
		return fmt.Errorf("%w: size is %d bytes, the extents have %d", ErrInvalid, o.Size, total)
	}
	return checkObject(o.SealedMetadata, o.Inline, o.Extents, o.Size)
}
