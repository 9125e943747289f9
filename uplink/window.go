package uplink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

const (
	// slowness times what others took is what a slot may take to answer.
	slowness = 3
	// lookAgain is how soon slots are looked at again that have not answered but
	// keep up.
	lookAgain = 20 * time.Millisecond
	// maxRenewals is how often a window gets another lease.
	maxRenewals = 3
)

// A window is a few whole stripes of a segment being read, or some chunks of
// one stripe, or a block of a pack and what lies beside it in the other chunks
// of its stripe. It has the chunks of each slot in one piece.
type window struct {
	segment *segmentReader
	session *getSession
	memory  *share
	spare   []*buffer // for pieces
	first   int       // stripe
	stripes int
	wanted  []int       // data slots whose plaintext is asked for, ascending
	block   *seal.Block // all there is of each chunk; nil: whole chunks
	number  int         // of the block in its extent

	pieces   []piece         // by slot
	decoded  map[int]*buffer // by slot, of those that are not here
	plain    []*buffer       // what is read, by place in wanted
	arrivals chan arrival
	asked    time.Time       // when slots were asked last
	looked   time.Time       // when those who have not answered were looked at last
	times    []time.Duration // that the pieces took which are here
	renewals int
}

// A piece is a slot's chunks of a window.
type piece struct {
	state   pieceState
	asked   time.Time   // when it was asked for
	session *getSession // asked in it
	request *request    // not yet done
	buffer  *buffer
	err     error
}

type pieceState int

const (
	pieceNone pieceState = iota
	pieceAsked
	pieceLate // asked, but others were asked in its place
	pieceHere
	pieceFailed
)

// arrival says what became of a request.
type arrival struct {
	slot    int
	request *request
	err     error
}

// start asks for chunks: of the data slots if they are well, else of any k. fetch
// has to follow.
func (w *window) start() { w.ask(w.plan()) }

// fetch is the flow of a get, once it has been started: chunks from those who were
// asked, or others in their place; decode what is missing; decrypt, which verifies;
// and if that fails, find out by Merkle proofs who lied, and do without them.
func (w *window) fetch(ctx context.Context) error {
	defer w.letGo()
	for {
		if err := w.collect(ctx); err != nil {
			return err
		}
		if err := w.decode(); err != nil {
			return err
		}
		bad, ok := w.decrypt()
		if ok {
			return nil
		}
		if err := w.blame(ctx, bad); err != nil {
			return err
		}
	}
}

func (w *window) required() int { return w.segment.layout.Required }

// plan chooses whom to ask first: those who have the data, if they are among
// the best, else the best.
func (w *window) plan() []int {
	ranked := w.candidates()
	best := ranked[:min(w.required(), len(ranked))]
	for _, slot := range w.wanted {
		if !slices.Contains(best, slot) {
			return best
		}
	}
	return w.wanted
}

// candidates are the slots that can be asked, the best first.
func (w *window) candidates() []int {
	return slices.DeleteFunc(w.session.rank(), func(slot int) bool {
		return w.pieces[slot].state != pieceNone || w.segment.blamed.has(w.node(slot)) || w.segment.absent.has(w.node(slot))
	})
}

func (w *window) node(slot int) ident.ID { return w.session.lease.group.Nodes[slot] }

// ask asks slots for their pieces.
func (w *window) ask(slots []int) {
	w.asked = time.Now()
	for _, slot := range slots {
		p := &w.pieces[slot]
		p.buffer = w.buffer()
		p.buffer.hold() // for the reader of the slot, which may outlive the window
		p.state, p.asked, p.session, p.request = pieceAsked, w.asked, w.session, w.request(slot, p.buffer)
		p.session.slots[slot].ask(p.request)
	}
}

func (w *window) request(slot int, into *buffer) *request {
	q := &request{segment: w.segment.id, offset: w.offset(0), into: into.payload()[:w.size()]}
	q.done = func(err error) {
		into.release()
		w.arrivals <- arrival{slot, q, err}
	}
	return q
}

// buffer is one of those set aside for the window, or one beyond the bounds: as
// many as slots that fail or are slow may be needed besides.
func (w *window) buffer() *buffer {
	if last := len(w.spare) - 1; last >= 0 {
		b := w.spare[last]
		w.spare = w.spare[:last]
		return b
	}
	return w.memory.force()
}

// chunkSize is the bytes of a chunk in a row.
func (w *window) chunkSize(row int) int {
	if w.block != nil {
		return w.block.Size
	}
	return w.segment.layout.ChunkSize(w.first + row)
}

// offset is where in its shard a chunk in a row begins.
func (w *window) offset(row int) int64 {
	offset := w.segment.layout.ShardOffset(w.first + row)
	if w.block != nil {
		offset += int64(w.block.Within)
	}
	return offset
}

// index is what the cipher knows a chunk by.
func (w *window) index(at place) uint64 {
	if w.block != nil {
		return uint64(w.number)
	}
	return uint64((w.first+at.row)*w.required() + at.slot)
}

// size is the bytes of a piece.
func (w *window) size() int {
	last := w.stripes - 1
	return int(w.offset(last)-w.offset(0)) + w.chunkSize(last)
}

// collect waits for the pieces that are needed: those of the wanted slots, or
// of any k.
func (w *window) collect(ctx context.Context) error {
	due := time.NewTimer(time.Hour)
	defer due.Stop()
	for !w.enough(pieceHere) {
		w.replace()
		if !w.enough(pieceHere, pieceAsked, pieceLate) {
			return w.failure()
		}
		var hedge <-chan time.Time // none when all are taken for slow already
		if w.count(pieceAsked) > 0 {
			due.Reset(time.Until(w.hedgeAt()))
			hedge = due.C
		}
		select {
		case a := <-w.arrivals:
			if err := w.arrived(ctx, a); err != nil {
				return err
			}
		case <-hedge:
			w.hedge()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// enough tells whether pieces in these states are all that is needed.
func (w *window) enough(states ...pieceState) bool {
	for _, slot := range w.wanted {
		if !slices.Contains(states, w.pieces[slot].state) {
			return w.count(states...) >= w.required()
		}
	}
	return true
}

func (w *window) count(states ...pieceState) int {
	n := 0
	for i := range w.pieces {
		if slices.Contains(states, w.pieces[i].state) {
			n++
		}
	}
	return n
}

// replace asks further slots if those asked will not do.
func (w *window) replace() {
	if w.enough(pieceHere, pieceAsked) {
		return
	}
	more := w.candidates()
	lacking := w.required() - w.count(pieceHere, pieceAsked)
	if more = more[:min(lacking, len(more))]; len(more) > 0 {
		w.ask(more)
	}
}

// hedgeAt is when those who have not answered are to be taken for slow.
func (w *window) hedgeAt() time.Time {
	wait := max(w.session.tolerate.firstHedge, slowness*w.session.typical.get())
	if 2*len(w.times) >= w.count(pieceHere, pieceAsked) {
		wait = max(w.session.tolerate.hedge, slowness*slices.Sorted(slices.Values(w.times))[len(w.times)/2])
	}
	due := w.asked.Add(wait)
	if again := w.looked.Add(lookAgain); again.After(due) {
		due = again
	}
	return due
}

// hedge takes for slow who has not answered, so that others are asked. Who is as
// quick as others and has only been asked for more before is not slow: in his place
// others would have to be reached first, and he would have sent it for nothing.
func (w *window) hedge() {
	w.looked = time.Now()
	usual := w.session.pace()
	for slot := range w.pieces {
		p := &w.pieces[slot]
		if p.state == pieceAsked && !p.session.slots[slot].keepsUp(usual) {
			p.state = pieceLate
			p.session.slots[slot].lag()
		}
	}
}

// arrived takes in what became of a request.
func (w *window) arrived(ctx context.Context, a arrival) error {
	p := &w.pieces[a.slot]
	if p.request != a.request {
		return nil
	}
	p.request = nil
	switch {
	case a.err == nil:
		took := time.Since(p.asked)
		w.times = append(w.times, took)
		w.session.typical.add(took)
		p.state = pieceHere
	case w.renewals < maxRenewals && (leaseError(a.err) != nil || errors.Is(a.err, ErrClosed)):
		stale := p.session != w.session // which was renewed since
		w.drop(a.slot, pieceNone, nil)
		if stale {
			return nil
		}
		return w.renew(ctx)
	default:
		w.drop(a.slot, pieceFailed, a.err)
		if errors.Is(a.err, wire.ErrNotFound) {
			w.segment.absent.add(w.node(a.slot), a.err)
		}
	}
	return nil
}

// drop lets go of a piece.
func (w *window) drop(slot int, state pieceState, err error) {
	p := &w.pieces[slot]
	p.buffer.release()
	*p = piece{state: state, err: err}
}

// renew gets another lease when nodes do not honour the one there is.
func (w *window) renew(ctx context.Context) error {
	w.renewals++
	w.segment.transfers.dropGet(w.session)
	session, err := w.segment.session(ctx)
	if err != nil {
		return err
	}
	w.session = session
	return nil
}

// letGo releases all but the plaintext.
func (w *window) letGo() {
	for slot := range w.pieces {
		p := &w.pieces[slot]
		if p.request != nil {
			p.session.slots[slot].withdraw(p.request)
		}
		if p.buffer != nil {
			p.buffer.release()
			p.buffer = nil
		}
	}
	for _, b := range w.decoded {
		b.release()
	}
	clear(w.decoded)
	releaseAll(w.spare)
	w.spare = nil
}

// release lets go of the plaintext.
func (w *window) release() {
	releaseAll(w.plain)
	w.plain = nil
}

// failure says that too few slots can be read, and why.
func (w *window) failure() error {
	var reasons []string
	kind := ErrTooFewNodes
	for slot := range w.pieces {
		err := w.pieces[slot].err
		if err == nil {
			err = w.segment.absent.reason(w.node(slot))
		}
		if blamed := w.segment.blamed.reason(w.node(slot)); blamed != nil {
			err, kind = blamed, ErrCorrupt
		}
		if err != nil {
			reasons = append(reasons, fmt.Sprintf("slot %d, node %s: %v", slot, w.node(slot).Short(), err))
		}
	}
	layout := w.segment.layout
	return fmt.Errorf("%w: segment %s: %d of its %d shards can be read and %d are needed: %s", kind,
		w.segment.id, layout.Total-len(reasons), layout.Total, layout.Required, strings.Join(reasons, "; "))
}
