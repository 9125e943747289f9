package storagenode

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
)

const (
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
	absent      map[uint32]int // check-ins in a row that showed no part in a group
	lookedAt    time.Time      // at what is held of groups that are not the node's
	lastExpired time.Time
}

func newFollower(n *Node) *follower {
	return &follower{
		Node: n, caughtUp: make(map[uint32]time.Time), contested: make(map[uint32]time.Time), absent: make(map[uint32]int),
	}
}

// followLoop follows the journals whenever a check-in brings news. It has a
// goroutine of its own, so that a long journal does not keep the node from
// checking in.
func (n *Node) followLoop(ctx context.Context, box *newsBox) {
	f := newFollower(n)
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
	f.note(troubleSlots, f.settle())
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
		f.setTrouble(troubleJournal(group), err)
	}
	f.note(troubleGroups, f.leave())
	if dated {
		f.expire(latest.staging)
	}
}

func troubleJournal(group uint32) string { return fmt.Sprintf("journal of group %d", group) }

// note notes and logs what went wrong, if anything did.
func (f *follower) note(about string, err error) {
	if err != nil {
		f.log.Error("could not delete shards", "about", about, "error", err)
	}
	f.setTrouble(about, err)
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

// step takes in one page of a journal, or all that is left of what was trimmed,
// and says where the journal ends.
func (f *follower) step(ctx context.Context, group uint32, cursor uint64) (end uint64, err error) {
	p, err := f.page(ctx, group, cursor)
	switch {
	case err != nil:
		return 0, err
	case p.end < cursor:
		return 0, fmt.Errorf("%w: the journal ends at %d, this node has followed it to %d", errRolledBack, p.end, cursor)
	case p.end == cursor:
		return cursor, nil
	case p.sparse:
		return p.end, f.resync(ctx, group, p.base)
	default:
		return p.end, f.store.Advance(group, p.entries)
	}
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
