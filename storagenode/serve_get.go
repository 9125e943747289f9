package storagenode

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// maxProve is the most leaves that one Prove may ask for: 4 MiB.
const maxProve = 1 << 10

// serveGet answers requests in order. Those the peer sends ahead wait in the
// stream's receive window.
func (c *session) serveGet(ctx context.Context) {
	for {
		err := c.serveRequest(ctx)
		if err == nil {
			c.s.NextMessage(betweenMessages)
			continue
		}
		if err == io.EOF {
			return
		}
		var one *requestError
		if !errors.As(err, &one) {
			c.refuse(err)
			return
		}
		c.log(one.cause)
		if err := c.w.WriteControl(wire.TypeFail, wire.ToFail(c.tell(one.cause))); err != nil {
			c.refuse(err)
			return
		}
		c.s.NextMessage(betweenMessages)
	}
}

// requestError fails one request while the stream goes on.
type requestError struct{ cause error }

func (e *requestError) Error() string { return e.cause.Error() }
func (e *requestError) Unwrap() error { return e.cause }

// serveRequest answers the next request. It returns io.EOF at the end of the stream.
func (c *session) serveRequest(ctx context.Context) error {
	h, err := c.r.Next()
	if err != nil {
		return err
	}
	switch h.Type {
	case wire.TypeGet:
		var m pb.Get
		if err := c.r.ReadControl(&m); err != nil {
			return err
		}
		return c.answered(requestGet, c.get(ctx, &m))
	case wire.TypeProve:
		var m pb.Prove
		if err := c.r.ReadControl(&m); err != nil {
			return err
		}
		return c.answered(requestProve, c.prove(ctx, &m))
	case wire.TypeRoots:
		var m pb.Roots
		if err := c.r.ReadControl(&m); err != nil {
			return err
		}
		return c.answered(requestRoots, c.roots(&m))
	default:
		return wire.Unexpected(h, "where Get, Prove or Roots was expected")
	}
}

// get sends the bytes asked for.
func (c *session) get(ctx context.Context, m *pb.Get) error {
	shard, err := c.find(m.Segment)
	if err != nil {
		return err
	}
	defer shard.Close()
	size := shard.Info().Size()
	if m.Length == 0 || m.Length > wire.MaxGet || m.Offset > uint64(size) || uint64(m.Length) > uint64(size)-m.Offset {
		return &requestError{wire.Errorf(pb.Code_CODE_BAD_REQUEST,
			"bytes %d+%d of a shard of %d cannot be had at once", m.Offset, m.Length, size)}
	}
	if err := c.c.Ledger.Use(c.limit, int64(m.Length)); err != nil {
		return &requestError{err}
	}
	buffer, err := c.share.get(ctx)
	if err != nil {
		return &requestError{err}
	}
	defer c.share.put(buffer)
	return c.sendShard(shard, int64(m.Offset), int(m.Length), buffer)
}

// sendShard sends length bytes of a shard in as few frames as possible.
func (c *session) sendShard(shard *shardstore.Shard, offset int64, length int, buffer []byte) error {
	for length > 0 {
		n := min(length, wire.MaxData)
		frame := buffer[:wire.HeaderSize+n]
		if _, err := shard.ReadAt(frame[wire.HeaderSize:], offset); err != nil {
			// What the disk says is not for the peer, but it has to know.
			return &requestError{fmt.Errorf("read shard: %w: %w", err, shardstore.ErrCorrupt)}
		}
		if err := c.w.WriteData(frame); err != nil {
			return err
		}
		c.use() // over a thin line that was a while
		c.counts.got.Add(uint64(n))
		offset += int64(n)
		length -= n
	}
	return nil
}

// prove sends leaves with the proof that they are of the segment.
func (c *session) prove(ctx context.Context, m *pb.Prove) error {
	shard, err := c.find(m.Segment)
	if err != nil {
		return err
	}
	defer shard.Close()
	layout := shard.Info().Layout
	if m.Count == 0 || m.Count > maxProve || m.First > uint64(merkle.LeafCount(layout.ShardSize())) {
		return &requestError{wire.Errorf(pb.Code_CODE_BAD_REQUEST, "%d leaves from %d on cannot be proved at once", m.Count, m.First)}
	}
	offset, length, err := merkle.LeafRange(layout, int(m.First), int(m.Count))
	if err != nil {
		return &requestError{wire.Errorf(pb.Code_CODE_BAD_REQUEST, "the shard has no leaves %d+%d", m.First, m.Count)}
	}
	if err := c.c.Ledger.Use(c.limit, length); err != nil {
		return &requestError{err}
	}
	buffer, err := c.share.get(ctx)
	if err != nil {
		return &requestError{err}
	}
	defer c.share.put(buffer)
	proof, err := c.makeProof(ctx, shard, m)
	if err != nil {
		return &requestError{err}
	}
	if err := c.w.Queue(wire.TypeProof, &pb.Proof{
		Size: uint64(layout.Size), Path: merkle.JoinHashes(proof.Path), SlotPath: merkle.JoinHashes(proof.SlotPath),
		Length: uint32(length),
	}); err != nil {
		return err
	}
	// The leaves are read once more: a peer that is slow to take them should not
	// have all of them in memory.
	return c.sendShard(shard, offset, int(length), buffer)
}

// makeProof makes the proof asked for. That takes memory, and only so many are
// made at a time.
func (c *session) makeProof(ctx context.Context, shard *shardstore.Shard, m *pb.Prove) (merkle.Proof, error) {
	if err := c.buffers.take(ctx, c.proofs); err != nil {
		return merkle.Proof{}, err
	}
	defer func() { <-c.proofs }()
	proof, _, err := shard.Prove(int(m.First), int(m.Count))
	return proof, err
}

// roots sends the roots of all shards of the segment.
func (c *session) roots(m *pb.Roots) error {
	shard, err := c.find(m.Segment)
	if err != nil {
		return err
	}
	defer shard.Close()
	layout := shard.Info().Layout
	if err := c.c.Ledger.Use(c.limit, int64(layout.Total)*merkle.HashSize); err != nil {
		return &requestError{err}
	}
	meta, err := shard.Meta()
	if err != nil {
		return &requestError{err}
	}
	return c.w.WriteControl(wire.TypeSegmentRoots, &pb.SegmentRoots{
		Size: uint64(layout.Size), ShardRoots: merkle.JoinHashes(meta.ShardRoots),
	})
}

// errYields is what who is patient is told while the node serves others.
var errYields = wire.Errorf(pb.Code_CODE_BUSY, "others are served first")

// find opens the shard a request is for.
func (c *session) find(segment []byte) (*shardstore.Shard, error) {
	if err := c.permitted(); err != nil {
		return nil, err
	}
	if c.patient && !c.Quiet() {
		return nil, &requestError{errYields}
	}
	c.use()
	id, err := segmentID(segment)
	if err != nil {
		return nil, &requestError{err}
	}
	shard, err := c.c.Store.Open(shardstore.Key{Segment: id, Group: c.group.ID})
	if err != nil {
		return nil, &requestError{err}
	}
	return shard, nil
}
