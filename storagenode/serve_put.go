package storagenode

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

const (
	// maxWaiting is how many shards of one stream may wait to become durable
	// while the next one arrives.
	maxWaiting = 4

	// maxSmall is how many bytes a shard has at most for which reading stops
	// until it is durable.
	maxSmall = 48 << 10
)

// servePut takes in shards one after another. Reading goes on while shards that
// have arrived become durable; a second goroutine waits for that and answers them
// in order. Both stay for the whole stream: to begin one for each shard would
// cost a small shard as much as its hash. To wake one is not worth it for a small
// shard either: behind that usually nothing comes before its receipt is there.
func (c *session) servePut(ctx context.Context) {
	// One more is with the reader and one with the other goroutine.
	answers := make(chan putAnswer, maxWaiting-2)
	var answering sync.WaitGroup
	answering.Go(func() { c.answerPuts(answers) })
	err := c.readPuts(ctx, answers)
	if err != nil && err != errAnswered {
		c.unanswered.Add(1)
		answers <- putAnswer{err: err} // after those that are on their way
	}
	close(answers)
	answering.Wait()
}

// putAnswer is what a PutEnd is answered with: a receipt for a shard that is
// becoming durable, or an error.
type putAnswer struct {
	shard *shardstore.Submitted
	meta  shardstore.Meta
	err   error
}

// answerPuts writes the answers as they come due. The first failure is the last
// word on the stream.
func (c *session) answerPuts(answers <-chan putAnswer) {
	over := false
	for a := range answers {
		if over = c.answerPut(a, over); !over { // else what follows is for here, too
			c.unanswered.Add(-1)
		}
	}
}

// answerPut writes an answer, unless the stream is over, and tells whether it is
// then.
func (c *session) answerPut(a putAnswer, over bool) bool {
	receipt, err := c.conclude(a) // also once over: nothing may be left under way
	if over && err != nil {
		return true // because of the failure before it
	}
	c.answered(requestPut, err)
	if over {
		return true
	}
	if err == nil {
		err = c.w.WriteControl(wire.TypePutDone, &pb.PutDone{Receipt: receipt})
	}
	if err != nil {
		c.refuse(err)
	}
	return err != nil
}

// readPuts reads shards until the peer ends the stream, which is no error.
func (c *session) readPuts(ctx context.Context, answers chan<- putAnswer) error {
	for {
		h, err := c.r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Type != wire.TypePutBegin {
			return wire.Unexpected(h, "where PutBegin was expected")
		}
		if err := c.readShard(ctx, answers); err != nil {
			return err
		}
		c.s.NextMessage(betweenMessages)
	}
}

// readShard reads one shard from its PutBegin on and has it committed.
func (c *session) readShard(ctx context.Context, answers chan<- putAnswer) error {
	key, writer, err := c.begin(ctx)
	if err != nil {
		return err
	}
	end, err := c.readData(ctx, writer)
	if err != nil || end == nil { // end is nil for a shard that was cancelled
		writer.Abort()
		if err == nil {
			c.counts.requests[requestPut][outcomeCancelled].Add(1)
		}
		return err
	}
	meta, err := c.meta(key, end, writer.Size())
	if err != nil {
		writer.Abort()
		return err
	}
	return c.submit(ctx, writer, meta, answers)
}

// errAnswered ends the reading of a stream that was refused already.
var errAnswered = errors.New("the stream is over")

// submit has a shard committed and, sooner or later, answered. Both goroutines
// write answers, but one only while the other has none to write.
func (c *session) submit(ctx context.Context, writer *shardstore.Writer, meta shardstore.Meta, answers chan<- putAnswer) error {
	a := putAnswer{shard: writer.Submit(ctx, meta), meta: meta}
	if meta.Layout.ShardSize() > maxSmall || c.unanswered.Load() > 0 {
		c.unanswered.Add(1)
		answers <- a // waits while there are maxWaiting
		return nil
	}
	if c.answerPut(a, false) {
		return errAnswered
	}
	return nil
}

// begin reads PutBegin and makes room for the shard.
func (c *session) begin(ctx context.Context) (shardstore.Key, *shardstore.Writer, error) {
	var begin pb.PutBegin
	if err := c.r.ReadControl(&begin); err != nil {
		return shardstore.Key{}, nil, err
	}
	if err := c.permitted(); err != nil {
		return shardstore.Key{}, nil, err
	}
	id, err := segmentID(begin.Segment)
	if err != nil {
		return shardstore.Key{}, nil, err
	}
	if most := uint64(erasure.MaxSegment / c.group.Scheme.Required); begin.MaxSize == 0 || begin.MaxSize > most {
		return shardstore.Key{}, nil, wire.Errorf(pb.Code_CODE_BAD_REQUEST, "max_size %d is not between 1 and %d", begin.MaxSize, most)
	}
	key := shardstore.Key{Segment: id, Group: c.group.ID}
	writer, err := c.c.Store.Create(ctx, key, int64(begin.MaxSize), c.group.Scheme.Total)
	return key, writer, err
}

// readData writes data frames to the shard until PutEnd, which it returns, or
// PutCancel, for which it returns nil.
func (c *session) readData(ctx context.Context, writer *shardstore.Writer) (*pb.PutEnd, error) {
	for {
		h, err := c.r.Next()
		if err == io.EOF {
			return nil, io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		switch h.Type {
		case wire.TypeData:
			if err := c.readFrame(ctx, h, writer); err != nil {
				return nil, err
			}
		case wire.TypePutEnd:
			var end pb.PutEnd
			return &end, c.r.ReadControl(&end)
		case wire.TypePutCancel:
			return nil, c.r.ReadControl(&pb.PutCancel{})
		default:
			return nil, wire.Unexpected(h, "within a shard")
		}
	}
}

// readFrame takes in one data frame, which counts against the order limit. Only a
// frame that has begun to come takes up a buffer.
func (c *session) readFrame(ctx context.Context, h wire.Header, writer *shardstore.Writer) error {
	if err := c.c.Ledger.Use(c.limit, int64(h.Length)); err != nil {
		return err
	}
	buffer, err := c.share.get(ctx)
	if err != nil {
		return err
	}
	defer c.share.put(buffer)
	c.use()
	n, err := c.r.ReadData(buffer)
	if err != nil {
		return err
	}
	c.counts.put.Add(uint64(n))
	_, err = writer.Write(buffer[:n])
	return err
}

// meta checks what PutEnd says for its form; whether the roots are right is found
// out by Commit.
func (c *session) meta(key shardstore.Key, end *pb.PutEnd, size int64) (shardstore.Meta, error) {
	scheme := c.group.Scheme
	if end.Size > erasure.MaxSegment {
		return shardstore.Meta{}, wire.Errorf(pb.Code_CODE_BAD_REQUEST, "segment of %d bytes is too large", end.Size)
	}
	layout, err := scheme.Layout(int64(end.Size))
	if err != nil {
		return shardstore.Meta{}, wire.Errorf(pb.Code_CODE_BAD_REQUEST, "no segment of scheme %s has %d bytes", scheme, end.Size)
	}
	root, err := merkle.HashFromBytes(end.Root)
	if err != nil {
		return shardstore.Meta{}, wire.Errorf(pb.Code_CODE_BAD_REQUEST, "segment root of %d bytes", len(end.Root))
	}
	roots, err := merkle.SplitHashes(end.ShardRoots)
	if err != nil || len(roots) != scheme.Total {
		return shardstore.Meta{}, wire.Errorf(pb.Code_CODE_BAD_REQUEST, "shard roots of %d bytes, want one of 32 for each of %d slots", len(end.ShardRoots), scheme.Total)
	}
	if want := layout.ShardSize(); size != want {
		return shardstore.Meta{}, wire.Errorf(pb.Code_CODE_MISMATCH, "%d bytes arrived of a shard of %d", size, want)
	}
	return shardstore.Meta{Key: key, Slot: c.slot, Layout: layout, Root: root, ShardRoots: roots}, nil
}

// conclude waits until the shard is durable and only then signs for it.
func (c *session) conclude(a putAnswer) (*pb.Signed, error) {
	if a.err != nil {
		return nil, a.err
	}
	held, err := a.shard.Wait()
	if err != nil {
		return nil, err
	}
	// A staged shard expires by its age here, which a repeat does not change: the
	// satellite must see from the receipt that it may be gone before a commit.
	stored := held.Created
	if held.Live {
		stored = c.c.Now()
	}
	receipt, err := order.SignReceipt(c.c.Key, &order.Receipt{
		Node: c.c.Key.ID(), Segment: a.meta.Segment, Root: a.meta.Root, Size: a.meta.Layout.Size,
		Group: c.group.ID, Epoch: c.group.Epoch, Slot: a.meta.Slot,
		Serial: c.limit.Serial, Stored: stored,
	})
	if err != nil {
		return nil, errors.Join(errors.New("sign receipt"), err)
	}
	return receipt, nil
}
