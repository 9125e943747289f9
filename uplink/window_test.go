package uplink

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// fakeHolder is a node as a slotReader sees it, on the clock of synctest.
type fakeHolder struct {
	shard  []byte
	dial   time.Duration // takes so long to reach
	answer time.Duration // takes so long for each request
	fail   error         // says this to each request
	wrong  func([]byte)  // changes what it returns
	lies   bool          // cannot prove what it should hold

	mu       sync.Mutex
	asked    int // pieces
	requests int
}

type fakeRequest struct{ offset, length int }

// fakeGet is a getStream to a fakeHolder.
type fakeGet struct {
	node     *fakeHolder
	requests chan fakeRequest
	reset    chan struct{}
	once     sync.Once
}

func (s *fakeGet) RequestParts(_ order.SegmentID, offset int64, lengths []int) error {
	s.node.mu.Lock()
	s.node.requests++
	s.node.mu.Unlock()
	for _, length := range lengths {
		s.requests <- fakeRequest{int(offset), length}
		offset += int64(length)
	}
	return nil
}

func (s *fakeGet) Receive(into []byte) error {
	select {
	case r := <-s.requests:
		s.node.mu.Lock()
		s.node.asked++
		s.node.mu.Unlock()
		select {
		case <-time.After(s.node.answer):
		case <-s.reset:
			return errFakeReset
		}
		if s.node.fail != nil {
			return s.node.fail
		}
		copy(into, s.node.shard[r.offset:r.offset+r.length])
		if s.node.wrong != nil {
			s.node.wrong(into)
		}
		return nil
	case <-s.reset:
		return errFakeReset
	}
}

func (s *fakeGet) Reset()       { s.once.Do(func() { close(s.reset) }) }
func (s *fakeGet) Close() error { s.Reset(); return nil }

// fakeSegment is a segment of so many plaintext bytes, 3 of 6, with its holders.
func fakeSegment(t *testing.T, data []byte) (*segmentReader, *getSession, []*fakeHolder) {
	t.Helper()
	scheme := erasure.Scheme{Required: 3, RepairBelow: 4, Success: 5, Total: 6}
	coder, err := erasure.NewCoder(scheme.Required, scheme.Total)
	if err != nil {
		t.Fatal(err)
	}
	cipher := seal.NewSegment([32]byte{7}, [16]byte{1}, 0)
	holders := make([]*fakeHolder, scheme.Total)
	session := &getSession{
		coder: coder, peers: newPeers(time.Now), tolerate: defaultTolerances(),
		lease: &lease{group: &order.Group{ID: 1, Scheme: scheme}, limit: &order.Limit{MaxBytes: 1 << 40}},
	}
	session.ctx, session.cancel = context.WithCancel(context.Background())
	for slot := range holders {
		holders[slot] = &fakeHolder{answer: 10 * time.Millisecond}
		id := ident.ID{byte(slot + 1)}
		node := leaseNode{address: transport.Address{ID: id}, online: true}
		session.lease.nodes = append(session.lease.nodes, node)
		session.lease.group.Nodes = append(session.lease.group.Nodes, id)
		session.slots = append(session.slots, &slotReader{session: session, slot: slot, node: node, wake: make(chan struct{}, 1)})
	}
	session.open = func(ctx context.Context, to transport.Address) (getStream, error) {
		node := holders[to.ID[0]-1]
		select {
		case <-time.After(node.dial):
			return &fakeGet{node: node, requests: make(chan fakeRequest, 100), reset: make(chan struct{})}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	session.prove = func(_ context.Context, to transport.Address, r proofRequest) ([]byte, error) {
		node := holders[to.ID[0]-1]
		if node.lies {
			return nil, nodeclient.ErrWrongProof
		}
		from := r.first * 4096
		return slices.Clone(node.shard[from:min(from+r.count*4096, len(node.shard))]), nil
	}
	layout := codeShards(t, data, scheme, coder, cipher, holders)
	t.Cleanup(session.abandon)
	return &segmentReader{
		blamed: new(excluded), log: slog.New(slog.DiscardHandler), id: order.SegmentID{1}, group: 1,
		layout: layout, cipher: cipher, length: int64(len(data)),
	}, session, holders
}

// codeShards makes the shards of data as an upload does.
func codeShards(t *testing.T, data []byte, scheme erasure.Scheme, coder *erasure.Coder, cipher *seal.Segment, holders []*fakeHolder) erasure.Layout {
	t.Helper()
	w := &segmentWriter{scheme: scheme, coder: coder, seal: sealer(cipher)}
	memory := newPool(1 << 30).share()
	first := 0
	for len(data) > 0 {
		b := newBatch(scheme.Required, batchStripes, memory.tryTake(scheme.Total))
		b.first = first
		for len(data) > 0 && !b.full() {
			data = data[b.write(data):]
		}
		b.close()
		if err := w.code(b); err != nil {
			t.Fatal(err)
		}
		for slot, buffer := range b.buffers {
			holders[slot].shard = append(holders[slot].shard, buffer.payload()[:b.size()]...)
		}
		first += b.stripes
	}
	layout, err := scheme.Layout(int64(len(holders[0].shard) * scheme.Required))
	if err != nil {
		t.Fatal(err)
	}
	return layout
}

// fetchAll reads the segment window by window, one after another.
func fetchAll(t *testing.T, segment *segmentReader, session *getSession) ([]byte, error) {
	t.Helper()
	pool := newPool(1 << 30)
	memory := pool.share()
	var got []byte
	for at := int64(0); at < segment.length; {
		sp := segment.span(at, segment.length, batchStripes)
		sp.window.prepare(session, memory, memory.tryTake(sp.need()))
		sp.window.start()
		err := sp.window.fetch(context.Background())
		if err != nil {
			sp.window.release()
			return got, err
		}
		for i, left := 0, sp.length; left > 0; i++ {
			plain := sp.window.chunk(i)
			plain = plain[:min(left, len(plain))]
			got = append(got, plain...)
			left -= len(plain)
		}
		sp.window.release()
		at += int64(sp.length)
	}
	synctest.Wait()
	return got, nil
}

func fakeData(stripes int) []byte {
	data := make([]byte, stripes*3*seal.ChunkPlain-1000)
	for i := range data {
		data[i] = byte(i * 31 >> 3)
	}
	return data
}

// What bad data slots may cost a segment of ten windows and a rest, each of
// which takes 10 ms when all are well.
func TestBadSlotsCostLittle(t *testing.T) {
	data := fakeData(41)
	for name, test := range map[string]struct {
		change func(*fakeHolder)
		most   time.Duration
	}{
		"none":       {func(*fakeHolder) {}, 110 * time.Millisecond},
		"gone":       {func(h *fakeHolder) { h.fail = &wire.Error{Code: 7} }, 230 * time.Millisecond},
		"absent":     {func(h *fakeHolder) { h.fail = wire.ErrNotFound }, 120 * time.Millisecond},
		"breaks":     {func(h *fakeHolder) { h.fail = errFakeReset }, 130 * time.Millisecond},
		"black hole": {func(h *fakeHolder) { h.dial = forever }, 620 * time.Millisecond},
		"stalls":     {func(h *fakeHolder) { h.answer = forever }, 620 * time.Millisecond},
		"wrong":      {func(h *fakeHolder) { h.wrong = func(b []byte) { b[5]++ } }, 140 * time.Millisecond},
		"lies":       {func(h *fakeHolder) { h.wrong, h.lies = func(b []byte) { b[5]++ }, true }, 140 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				segment, session, holders := fakeSegment(t, data)
				test.change(holders[0])
				test.change(holders[2])
				begin := time.Now()
				got, err := fetchAll(t, segment, session)
				if err != nil || !bytes.Equal(got, data) {
					t.Fatalf("%d bytes came back differently, %v", len(got), err)
				}
				if took := time.Since(begin); took > test.most {
					t.Errorf("it took %v, more than %v", took, test.most)
				}
			})
		})
	}
}

// One slot that is much slower than the others is not waited for.
func TestSlowSlotIsHedged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := fakeData(41)
		segment, session, holders := fakeSegment(t, data)
		holders[1].answer = 400 * time.Millisecond
		begin := time.Now()
		got, err := fetchAll(t, segment, session)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes came back differently, %v", len(got), err)
		}
		if took := time.Since(begin); took > 270*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if holders[1].asked > 1 {
			t.Errorf("the slow slot was asked %d times", holders[1].asked)
		}
	})
}

// A slot that is as quick as others, and only has more to answer, is waited for.
func TestBusySlotIsNotHedged(t *testing.T) {
	for name, test := range map[string]struct {
		answer time.Duration // of the slot with much to answer; others take 10 ms
		hedged bool
	}{
		"as quick": {15 * time.Millisecond, false},
		"slower":   {25 * time.Millisecond, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				segment, session, holders := fakeSegment(t, fakeData(41))
				holders[1].answer = test.answer
				memory := newPool(1 << 30).share()
				begin := func(from, to int64) *window {
					sp := segment.span(from, to, batchStripes)
					sp.window.prepare(session, memory, memory.tryTake(sp.need()))
					sp.window.start()
					return sp.window
				}
				var all sync.WaitGroup
				fetch := func(chunk, size int64) {
					w := begin(chunk*seal.ChunkPlain, chunk*seal.ChunkPlain+size)
					all.Go(func() {
						if err := w.fetch(context.Background()); err != nil {
							t.Error(err)
						}
						w.release()
					})
				}
				for range 20 {
					fetch(1, 1)
				}
				for range 5 {
					fetch(0, 1)
					fetch(2, 1)
				}
				fetch(0, segment.length)
				all.Wait()
				synctest.Wait()
				if got := holders[3].asked > 0; got != test.hedged {
					t.Errorf("another slot was asked: %v", got)
				}
			})
		})
	}
}

// A slot that was slow is tried ever more rarely until it has been well for as
// long as it was left alone.
func TestSlowSlotIsTriedRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		segment, session, holders := fakeSegment(t, fakeData(41))
		fetch := func(answer time.Duration) {
			t.Helper()
			holders[1].answer = answer
			if _, err := fetchAll(t, segment, session); err != nil {
				t.Fatal(err)
			}
		}
		const slow, well = 400 * time.Millisecond, 0
		later := func(penalties int, quick bool) {
			t.Helper()
			time.Sleep(time.Duration(penalties)*minPenalty + time.Second)
			if got := session.slots[1].quick(); got != quick {
				t.Errorf("after %d penalties more it is quick: %v", penalties, got)
			}
		}
		fetch(slow)
		later(1, true)
		fetch(well) // at first
		fetch(slow)
		later(1, false)
		later(1, true)
		time.Sleep(2 * minPenalty)
		fetch(well)
		fetch(slow)
		later(1, true)
	})
}

// A slot that stays mute is cut when it is found too slow again.
func TestMuteSlotIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		segment, session, holders := fakeSegment(t, fakeData(41))
		holders[1].answer = forever
		for _, cut := range []bool{false, true} {
			if _, err := fetchAll(t, segment, session); err != nil {
				t.Fatal(err)
			}
			if got := !session.peers.usable(session.slots[1].node.address.ID); got != cut {
				t.Errorf("cut: %v, want %v", got, cut)
			}
			time.Sleep(minPenalty + time.Second)
		}
	})
}

// A parity slot that lies is found out, though it spoils all chunks alike.
func TestLyingParitySlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := fakeData(9)
		segment, session, holders := fakeSegment(t, data)
		holders[1].fail = &wire.Error{Code: 7}
		holders[3].wrong = func(b []byte) { b[len(b)-1]++ }
		got, err := fetchAll(t, segment, session)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes came back differently, %v", len(got), err)
		}
		for slot := range holders {
			if segment.blamed.has(session.lease.group.Nodes[slot]) != (slot == 3) {
				t.Errorf("slot %d: blamed for %v", slot, segment.blamed.reason(session.lease.group.Nodes[slot]))
			}
		}
	})
}

// What was uploaded wrong is nobody's fault among the nodes.
func TestWrongAtTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		segment, session, _ := fakeSegment(t, fakeData(5))
		segment.cipher = seal.NewSegment([32]byte{8}, [16]byte{1}, 0)
		got, err := fetchAll(t, segment, session)
		if !errors.Is(err, ErrCorrupt) || len(got) > 0 || len(segment.blamed.reasons) > 0 {
			t.Errorf("%d bytes, %v, blamed %v", len(got), err, segment.blamed.reasons)
		}
	})
}

func TestTooFewSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		segment, session, holders := fakeSegment(t, fakeData(5))
		for _, h := range holders[1:5] {
			h.fail = &wire.Error{Code: 7, Message: "looked everywhere"}
		}
		_, err := fetchAll(t, segment, session)
		if !errors.Is(err, ErrTooFewNodes) || !strings.Contains(err.Error(), "2 of its 6 shards") || strings.Count(err.Error(), "looked everywhere") != 4 {
			t.Errorf("error %v", err)
		}
	})
}

// A long read asks each slot for several pieces at a time.
func TestPiecesAreAskedForTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := fakeData(200)
		segment, session, holders := fakeSegment(t, data)
		session.lease.until = time.Now().Add(time.Hour)
		transfers := newTransfers(nil, nil, time.Now)
		transfers.getting[segment.group] = session
		segment.transfers = transfers
		reader := newRangeReader(t.Context(), &extents{p: &Project{transfers: transfers}, known: []*segmentReader{segment}}, 0, segment.length)
		got, err := io.ReadAll(readerFunc(reader.read))
		reader.close()
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes came back differently, %v", len(got), err)
		}
		for slot, h := range holders[:3] {
			if h.asked < 200/batchStripes || h.requests > h.asked/2 {
				t.Errorf("slot %d was asked for %d pieces in %d requests", slot, h.asked, h.requests)
			}
		}
		if used := transfers.get.used; used != 0 {
			t.Errorf("%d buffers are still in use", used)
		}
	})
}

func TestTogether(t *testing.T) {
	at := func(segment byte, offset int64, length int) *request {
		return &request{segment: order.SegmentID{segment}, offset: offset, into: make([]byte, length)}
	}
	for name, test := range map[string]struct {
		queue []*request
		want  int
	}{
		"one":             {[]*request{at(1, 0, 100)}, 1},
		"continued":       {[]*request{at(1, 0, 100), at(1, 100, 50), at(1, 150, 1)}, 3},
		"gap":             {[]*request{at(1, 0, 100), at(1, 101, 50)}, 1},
		"backwards":       {[]*request{at(1, 100, 100), at(1, 0, 100)}, 1},
		"another segment": {[]*request{at(1, 0, 100), at(2, 100, 50)}, 1},
		"at most":         {[]*request{at(1, 0, maxTogether-1), at(1, maxTogether-1, 1), at(1, maxTogether, 1)}, 2},
	} {
		if got := together(test.queue); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

// Spans cover a range exactly, and nothing they could leave out.
func TestSpansCoverRanges(t *testing.T) {
	data := fakeData(10)
	segment, session, _ := fakeSegment(t, data)
	defer session.cancel()
	stripe := int64(3 * seal.ChunkPlain)
	for _, from := range []int64{0, 1, seal.ChunkPlain - 1, seal.ChunkPlain, stripe - 1, stripe, stripe + 5, 9*stripe + 10} {
		for _, length := range []int64{1, 4096, seal.ChunkPlain, stripe, 3*stripe + 7, segment.length} {
			to := min(from+length, segment.length)
			for at := from; at < to; {
				sp := segment.span(at, to, 4)
				w := sp.window
				if sp.length < 1 || sp.skip < 0 || at+int64(sp.length) > to {
					t.Fatalf("range %d to %d: at %d the span skips %d and has %d", from, to, at, sp.skip, sp.length)
				}
				if w.stripes > 1 && len(w.wanted) != 3 {
					t.Fatalf("range %d to %d: a window of %d stripes wants slots %v", from, to, w.stripes, w.wanted)
				}
				start, _ := seal.Span(segment.layout, int64(w.first*3+w.wanted[0]))
				if start+int64(sp.skip) != at {
					t.Fatalf("range %d to %d: at %d the window begins at %d and %d are skipped", from, to, at, start, sp.skip)
				}
				if _, size := seal.Span(segment.layout, int64(w.first*3)); sp.skip >= size {
					t.Errorf("range %d to %d: a chunk is read for nothing", from, to)
				}
				at += int64(sp.length)
			}
		}
	}
}

// A satellite that says two things of one group must not make a download
// index slots that are not there.
func TestTwoSchemesForAGroup(t *testing.T) {
	segment, session, _ := fakeSegment(t, make([]byte, 1000))
	session.lease.until = time.Now().Add(time.Hour)
	segment.transfers = newTransfers(nil, nil, time.Now)
	segment.transfers.getting[segment.group] = session
	if got, err := segment.session(context.Background()); got != session || err != nil {
		t.Fatalf("%v, %v", got, err)
	}
	segment.layout.Total--
	if _, err := segment.session(context.Background()); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another scheme: %v", err)
	}
}
