package uplink_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/deploy/localnet/network"
	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/satellite"
	"github.com/cairnstorage/cairn/satellite/satclient"
	"github.com/cairnstorage/cairn/uplink"
)

// double is a storage node that keeps shards in memory and misbehaves as a test
// tells it to. It speaks the real protocols, to satellite and uplink.
type double struct {
	key       ident.Key
	satellite ident.ID
	host      *transport.Host
	served    serves

	mu     sync.Mutex
	faults faults
	shards map[order.SegmentID]held
}

// serves counts what a double was asked for.
type serves struct{ gets, proofs int }

// faults is how a double misbehaves. The zero value is an honest node.
type faults struct {
	refuse      pb.Code       // every request, with this; BUSY if there is only a number
	refuseFirst *atomic.Int32 // only so many requests
	putStall    int           // stop reading a stream after so many bytes of shards
	putBreak    int           // cut a stream after so many bytes of shards
	breakFirst  *atomic.Int32 // only so many streams
	hold        chan struct{} // take no further data until it is closed
	slow        time.Duration // per data frame put
	missing     bool          // it holds no shards
	get         func(*getFault)
	lie         bool // prove the wrong data, too
}

// getFault is an answer to Get that is about to be given: to be changed, cut
// short, or held back.
type getFault struct {
	data  []byte
	reset bool // after data
	stall bool // instead
}

// refuses tells whether the next request is refused.
func (f faults) refuses() bool {
	if f.refuseFirst == nil {
		return f.refuse != 0
	}
	return f.refuseFirst.Add(-1) >= 0
}

// breaks tells whether a stream is cut that has taken so much.
func (f faults) breaks(taken int) bool {
	if f.putBreak == 0 || taken < f.putBreak {
		return false
	}
	return f.breakFirst == nil || f.breakFirst.Add(-1) >= 0
}

type held struct {
	data  []byte
	size  int64
	root  merkle.Hash
	roots []merkle.Hash
	slot  int
	group *order.Group
}

// startDoubles runs a network whose nodes are all doubles.
func startDoubles(t testing.TB, scheme erasure.Scheme) ([]*double, *uplink.Project) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n, err := network.Start(ctx, network.Config{
		Dir: t.TempDir(), Joining: scheme.Total, Scheme: scheme, Logger: logger(),
		Satellite: func(c *satellite.Config) { c.CheckIn = time.Hour }, // doubles need no news
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	satellite, err := transport.ParseAddress(n.SatelliteAddress())
	if err != nil {
		t.Fatal(err)
	}
	doubles := make([]*double, scheme.Total)
	for i := range doubles {
		doubles[i] = startDouble(t, satellite)
	}
	if err := n.AwaitNodes(ctx, len(doubles)); err != nil {
		t.Fatal(err)
	}
	grant, err := n.Grant(ctx, "test", "passphrase")
	if err != nil {
		t.Fatal(err)
	}
	p := openProject(t, grant)
	if _, err := p.CreateBucket(ctx, bucket); err != nil {
		t.Fatal(err)
	}
	return doubles, p
}

func startDouble(t testing.TB, satellite transport.Address) *double {
	t.Helper()
	key, err := ident.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	host, err := transport.New(transport.Config{Key: key, Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := satclient.New(host, satellite, satclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := &double{key: key, satellite: satellite.ID, host: host, shards: make(map[order.SegmentID]held)}
	host.Handle(wire.Protocol, func(ctx context.Context, s *transport.Stream) { d.serve(ctx, s) })
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { d.checkIn(ctx, client) })
	t.Cleanup(func() {
		cancel()
		client.Close()
		host.Close()
		running.Wait()
	})
	return d
}

func (d *double) checkIn(ctx context.Context, client *satclient.Client) {
	for ctx.Err() == nil {
		res, err := client.CheckIn(ctx, &pb.CheckInRequest{
			Addresses: d.host.Addresses(), Capacity: 1 << 40, Free: 1 << 40, Version: "double",
		})
		wait := 100 * time.Millisecond
		if err == nil {
			wait = time.Duration(res.IntervalMs) * time.Millisecond
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// set changes how the double misbehaves.
func (d *double) set(f faults) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = f
}

func (d *double) how() faults {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.faults
}

func (d *double) counts() serves {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.served
}

// serve is one stream, without the checks of a real node.
func (d *double) serve(ctx context.Context, s *transport.Stream) {
	r, w := wire.NewReader(s), wire.NewWriter(s)
	var open pb.Open
	if !expect(r, &open) {
		s.Reset()
		return
	}
	group, err := order.OpenGroup(open.Group, d.satellite)
	if err != nil {
		panic(err)
	}
	limit, err := order.OpenLimit(open.Limit, d.satellite)
	if err != nil {
		panic(err)
	}
	if limit.Action == order.ActionPut {
		d.servePut(ctx, s, r, w, group, limit)
	} else {
		d.serveGet(ctx, s, r, w, group)
	}
	s.Reset()
}

func expect(r *wire.Reader, m proto.Message) bool {
	_, err := r.Next()
	return err == nil && r.ReadControl(m) == nil
}

func (d *double) servePut(ctx context.Context, s *transport.Stream, r *wire.Reader, w *wire.Writer, group *order.Group, limit *order.Limit) {
	slot, _ := group.SlotOf(d.key.ID())
	var id order.SegmentID
	var data []byte
	taken := 0
	for {
		h, err := r.Next()
		if err != nil {
			return
		}
		f := d.how()
		switch h.Type {
		case wire.TypePutBegin:
			var begin pb.PutBegin
			if r.ReadControl(&begin) != nil {
				return
			}
			if f.refuses() {
				w.WriteControl(wire.TypeFail, &pb.Fail{Code: cmp.Or(f.refuse, pb.Code_CODE_BUSY), Message: "so the test wants it"})
				s.Refuse()
				return
			}
			id, data = order.SegmentID(begin.Segment), nil
		case wire.TypeData:
			chunk := make([]byte, h.Length)
			if _, err := r.ReadData(chunk); err != nil {
				return
			}
			data = append(data, chunk...)
			taken += len(chunk)
			f.delay(ctx)
			if f.breaks(taken) {
				return
			}
			if f.putStall > 0 && taken >= f.putStall {
				<-ctx.Done()
				return
			}
		case wire.TypePutEnd:
			var end pb.PutEnd
			if r.ReadControl(&end) != nil {
				return
			}
			roots, _ := merkle.SplitHashes(end.ShardRoots)
			h := held{data: data, size: int64(end.Size), root: merkle.Hash(end.Root), roots: roots, slot: slot, group: group}
			if merkle.ShardRoot(data) != roots[slot] {
				w.WriteControl(wire.TypeFail, &pb.Fail{Code: pb.Code_CODE_MISMATCH})
				s.Refuse()
				return
			}
			d.mu.Lock()
			d.shards[id] = h
			d.mu.Unlock()
			receipt, err := order.SignReceipt(d.key, &order.Receipt{
				Node: d.key.ID(), Segment: id, Root: h.root, Size: h.size, Group: group.ID, Epoch: group.Epoch,
				Slot: slot, Serial: limit.Serial, Stored: time.Now(),
			})
			if err != nil {
				panic(err)
			}
			if w.WriteControl(wire.TypePutDone, &pb.PutDone{Receipt: receipt}) != nil {
				return
			}
		default:
			return
		}
	}
}

// delay is what the node does before it takes more data.
func (f faults) delay(ctx context.Context) {
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
		}
	}
	if f.slow > 0 {
		select {
		case <-time.After(f.slow):
		case <-ctx.Done():
		}
	}
}

func (d *double) serveGet(ctx context.Context, s *transport.Stream, r *wire.Reader, w *wire.Writer, group *order.Group) {
	for {
		h, err := r.Next()
		if err != nil {
			return
		}
		switch h.Type {
		case wire.TypeGet:
			var get pb.Get
			if r.ReadControl(&get) != nil || !d.get(ctx, w, &get) {
				return
			}
		case wire.TypeProve:
			var prove pb.Prove
			if r.ReadControl(&prove) != nil || !d.prove(w, &prove) {
				return
			}
		default:
			return
		}
	}
}

func (d *double) shard(id []byte) (held, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, ok := d.shards[order.SegmentID(id)]
	return h, ok && !d.faults.missing
}

func (d *double) get(ctx context.Context, w *wire.Writer, get *pb.Get) bool {
	h, ok := d.shard(get.Segment)
	d.mu.Lock()
	d.served.gets++
	d.mu.Unlock()
	if !ok {
		return w.WriteControl(wire.TypeFail, &pb.Fail{Code: pb.Code_CODE_NOT_FOUND}) == nil
	}
	if how := d.how(); how.refuses() {
		return w.WriteControl(wire.TypeFail, &pb.Fail{Code: cmp.Or(how.refuse, pb.Code_CODE_BUSY)}) == nil
	}
	f := getFault{data: append([]byte(nil), h.data[get.Offset:get.Offset+uint64(get.Length)]...)}
	if change := d.how().get; change != nil {
		change(&f)
	}
	if f.stall {
		<-ctx.Done()
		return false
	}
	return writeData(w, f.data) == nil && !f.reset
}

func writeData(w *wire.Writer, data []byte) error {
	frame := make([]byte, wire.HeaderSize+min(len(data), wire.MaxData))
	for len(data) > 0 {
		n := copy(frame[wire.HeaderSize:], data)
		if err := w.WriteData(frame[:wire.HeaderSize+n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

func (d *double) prove(w *wire.Writer, prove *pb.Prove) bool {
	h, ok := d.shard(prove.Segment)
	d.mu.Lock()
	d.served.proofs++
	d.mu.Unlock()
	if !ok {
		return w.WriteControl(wire.TypeFail, &pb.Fail{Code: pb.Code_CODE_NOT_FOUND}) == nil
	}
	layout, err := h.group.Scheme.Layout(h.size)
	if err != nil {
		panic(err)
	}
	first, count := int(prove.First), int(prove.Count)
	offset, length, err := merkle.Window(layout, first, count)
	if err != nil {
		return false
	}
	hasher := merkle.NewHasher(int64(len(h.data)))
	hasher.Write(h.data)
	proof, err := merkle.Prove(layout, h.slot, h.roots, hasher.Subtrees(), first, count, h.data[offset:offset+length])
	if err != nil {
		panic(err)
	}
	offset, length, _ = merkle.LeafRange(layout, first, count)
	leaves := append([]byte(nil), h.data[offset:offset+length]...)
	if d.how().lie {
		leaves[0] ^= 1
	}
	if w.WriteControl(wire.TypeProof, &pb.Proof{
		Size: uint64(h.size), Path: merkle.JoinHashes(proof.Path), SlotPath: merkle.JoinHashes(proof.SlotPath), Length: uint32(length),
	}) != nil {
		return false
	}
	return writeData(w, leaves) == nil
}
