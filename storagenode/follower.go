package storagenode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

const (
	journalPage = 1000 // entries asked for at a time

	// expirePause is the least time between two searches for staged shards
	// that have expired.
	expirePause = time.Minute

	// contestPause is the least time between telling a satellite twice that it
	// has lost entries of one journal.
	contestPause = time.Minute

	// maxClockError is by how much this node's clock may differ from the
	// satellite's for it to judge how old shards are.
	maxClockError = 5 * time.Minute

	troubleExpiry = "staged shards"
)

// errRolledBack means that the satellite's journal is shorter than it was.
var errRolledBack = errors.New("the satellite has lost journal entries that it had signed")

// A follower does what the journals of the node's groups say.
type follower struct {
	*Node
	caughtUp    map[uint32]time.Time // all that was committed before is done
	contested   map[uint32]time.Time
	lastExpired time.Time
}

// followLoop follows the journals whenever a check-in brings news. It has a
// goroutine of its own, so that a long journal does not keep the node from
// checking in.
func (n *Node) followLoop(ctx context.Context, box *newsBox) {
	f := &follower{Node: n, caughtUp: make(map[uint32]time.Time), contested: make(map[uint32]time.Time)}
	for {
		select {
		case <-ctx.Done():
			return
		case <-box.full:
		}
		if latest := box.take(); latest != nil {
			f.followAll(ctx, latest)
		}
	}
}

// followAll follows every journal up to the head that the news tell.
func (f *follower) followAll(ctx context.Context, latest *news) {
	// By a clock that has jumped ahead every staged shard has expired.
	dated := latest.ahead.Abs() <= maxClockError
	for group, head := range latest.heads {
		err := f.follow(ctx, group, head)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err == nil && dated:
			f.caughtUp[group] = latest.asked
		case err != nil:
			f.log.Warn("could not follow a journal", "group", group, "error", err)
		}
		f.setTrouble(fmt.Sprintf("journal of group %d", group), err)
	}
	if dated {
		f.expire(latest.staging)
	}
}

// follow brings the store to the end of a group's journal, which a check-in has
// told to be at told. By now it may be further on, so that only what Journal
// answers tells whether it has become shorter.
func (f *follower) follow(ctx context.Context, group uint32, told uint64) error {
	cursor, err := f.store.Cursor(group)
	if err != nil {
		return err
	}
	_, newest := f.state.head(group)
	if cursor == told && (newest == nil || newest.Seq <= told) {
		return nil
	}
	for {
		end, err := f.step(ctx, group, cursor)
		if err != nil {
			return err
		}
		if cursor, err = f.store.Cursor(group); err != nil || cursor == end {
			return err
		}
	}
}

// step takes in one page of a journal and says where the journal ends.
func (f *follower) step(ctx context.Context, group uint32, cursor uint64) (end uint64, err error) {
	res, err := f.client.Journal(ctx, &pb.JournalRequest{Group: group, After: cursor, Limit: journalPage})
	if err != nil {
		return 0, err
	}
	head, err := order.OpenHead(res.Head, f.satellite.ID)
	if err != nil {
		return 0, fmt.Errorf("head of the journal: %w", err)
	}
	if head.Group != group {
		return 0, fmt.Errorf("head of the journal is that of group %d", head.Group)
	}
	if err := f.contest(ctx, head); err != nil {
		return 0, err
	}
	switch {
	case head.Seq < cursor:
		return 0, fmt.Errorf("%w: the journal ends at %d, this node has followed it to %d", errRolledBack, head.Seq, cursor)
	case head.Seq == cursor:
		return cursor, nil
	}
	entries, err := journalEntries(res.Entries, cursor, head.Seq)
	if err != nil {
		return 0, err
	}
	// The head is kept first: what the node has done it can then show to have
	// been in the journal.
	if err := f.state.setHead(res.Head, head); err != nil {
		return 0, err
	}
	return head.Seq, f.store.Advance(group, entries)
}

// journalEntries reads a page of the journal after the entry numbered after.
func journalEntries(page []*pb.Entry, after, head uint64) ([]shardstore.Entry, error) {
	if len(page) == 0 {
		return nil, fmt.Errorf("the satellite gave no entry after %d, though the journal ends at %d", after, head)
	}
	entries := make([]shardstore.Entry, len(page))
	for i, p := range page {
		e, err := journalEntry(p)
		if err == nil && (e.Seq != after+1+uint64(i) || e.Seq > head) {
			err = fmt.Errorf("it has number %d", p.Seq)
		}
		if err != nil {
			return nil, fmt.Errorf("journal entry %d: %w", after+1+uint64(i), err)
		}
		entries[i] = e
	}
	return entries, nil
}

// isFiller tells an entry that stands where the satellite has lost one. It
// buries the zero id, which no segment has.
func isFiller(p *pb.Entry) bool {
	return p.Kind == pb.EntryKind_ENTRY_KIND_TOMBSTONE && bytes.Equal(p.Segment, make([]byte, len(order.SegmentID{})))
}

func journalEntry(p *pb.Entry) (e shardstore.Entry, err error) {
	e.Seq = p.Seq
	if e.Segment, err = order.SegmentIDFromBytes(p.Segment); err != nil && !isFiller(p) {
		return e, err
	}
	switch p.Kind {
	case pb.EntryKind_ENTRY_KIND_TOMBSTONE:
		return e, nil
	case pb.EntryKind_ENTRY_KIND_LIVE:
	default:
		return e, fmt.Errorf("unknown kind %v", p.Kind)
	}
	e.Live = true
	if p.Size == 0 || p.Size > erasure.MaxSegment {
		return e, fmt.Errorf("segment of %d bytes", p.Size)
	}
	e.Size = int64(p.Size)
	e.Root, err = merkle.HashFromBytes(p.Root)
	return e, err
}

// contest makes sure that the journal is not shorter than a head the satellite
// has signed before. If it is, the satellite is shown its own word: it must not
// go on as if nothing had happened.
func (f *follower) contest(ctx context.Context, now *order.Head) error {
	signed, newest := f.state.head(now.Group)
	if newest == nil || newest.Seq <= now.Seq {
		return nil
	}
	err := fmt.Errorf("%w: the journal of group %d ends at %d, but ended at %d on %s", errRolledBack,
		now.Group, now.Seq, newest.Seq, newest.Issued.UTC().Format(time.DateTime))
	at := f.config.Now()
	if at.Sub(f.contested[now.Group]) < contestPause {
		return err
	}
	f.log.Error("the satellite is shown that it has lost journal entries", "group", now.Group, "error", err)
	if _, callErr := f.client.Contest(ctx, &pb.ContestRequest{Head: signed}); callErr != nil {
		return errors.Join(err, callErr)
	}
	f.contested[now.Group] = at
	return err
}

// expire deletes staged shards that no commit has claimed in time. A shard
// goes only when the journal was followed to a head that was asked for after
// the shard's time was over: a commit it knows nothing of cannot exist then.
func (f *follower) expire(staging time.Duration) {
	now := f.config.Now()
	if staging <= 0 || now.Sub(f.lastExpired) < min(expirePause, staging/4) {
		return
	}
	f.lastExpired = now
	n, err := f.store.ExpireStaged(func(group uint32) time.Time {
		at, ok := f.caughtUp[group]
		if !ok {
			return time.Time{}
		}
		return at.Add(-staging)
	})
	if err != nil {
		f.log.Error("could not delete expired shards", "error", err)
	}
	f.setTrouble(troubleExpiry, err)
	if n > 0 {
		f.log.Info("deleted staged shards that were never committed", "shards", n)
	}
}
