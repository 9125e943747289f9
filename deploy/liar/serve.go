package liar

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
)

// missing is what an honest claim leaves out. l.mu is held.
func (l *Liar) missing(g *group) seqset.Set {
	if l.faults.Claim {
		return nil
	}
	var numbers []uint64
	for seq, id := range g.live {
		if s := l.shards[key{g.record.ID, id}]; s == nil || s.data == nil {
			numbers = append(numbers, seq)
		}
	}
	slices.Sort(numbers)
	return seqset.Numbers(numbers).Coarsen(order.MaxClaimRuns / 2)
}

// serve is one shard stream. It checks nothing: what others may do to a node is
// tested elsewhere.
func (l *Liar) serve(ctx context.Context, s *transport.Stream) {
	defer s.Reset()
	r, w := wire.NewReader(s), wire.NewWriter(s)
	var open pb.Open
	if !expect(r, wire.TypeOpen, &open) {
		return
	}
	group, err := order.OpenGroup(open.Group, l.c.Satellite.ID)
	if err != nil {
		return
	}
	limit, err := order.OpenLimit(open.Limit, l.c.Satellite.ID)
	if err != nil {
		return
	}
	if limit.Action == order.ActionPut {
		l.servePuts(ctx, r, w, group, limit)
		return
	}
	for l.serveGet(ctx, r, w, group.ID) {
	}
}

func expect(r *wire.Reader, t wire.Type, m proto.Message) bool {
	h, err := r.Next()
	return err == nil && h.Type == t && r.ReadControl(m) == nil
}

func (l *Liar) servePuts(ctx context.Context, r *wire.Reader, w *wire.Writer, group *order.Group, limit *order.Limit) {
	slot, ok := group.SlotOf(l.ID())
	for ok {
		var begin pb.PutBegin
		if !expect(r, wire.TypePutBegin, &begin) {
			return
		}
		data, end := readShard(r)
		if end == nil {
			return
		}
		roots, err := merkle.SplitHashes(end.ShardRoots)
		if err != nil || len(roots) != group.Scheme.Total || len(end.Root) != merkle.HashSize {
			return
		}
		kept := &shard{data: data, size: int64(end.Size), root: merkle.Hash(end.Root), roots: roots, slot: slot, group: group}
		receipt, err := l.keep(order.SegmentID(begin.Segment), kept, limit)
		if err != nil || w.WriteControl(wire.TypePutDone, &pb.PutDone{Receipt: receipt}) != nil {
			return
		}
	}
}

// readShard reads data frames up to PutEnd; nil for anything else.
func readShard(r *wire.Reader) (data []byte, end *pb.PutEnd) {
	for {
		h, err := r.Next()
		switch {
		case err != nil:
			return nil, nil
		case h.Type == wire.TypeData:
			from := len(data)
			data = append(data, make([]byte, h.Length)...)
			if _, err := r.ReadData(data[from:]); err != nil {
				return nil, nil
			}
		case h.Type == wire.TypePutEnd:
			end = new(pb.PutEnd)
			if r.ReadControl(end) != nil {
				return nil, nil
			}
			return data, end
		default:
			return nil, nil
		}
	}
}

// keep keeps a shard, or forgets it at once, and signs for it.
func (l *Liar) keep(id order.SegmentID, s *shard, limit *order.Limit) (*pb.Signed, error) {
	l.mu.Lock()
	l.forget(s)
	l.shards[key{s.group.ID, id}] = s
	l.mu.Unlock()
	return order.SignReceipt(l.c.Key, &order.Receipt{
		Node: l.ID(), Segment: id, Root: s.root, Size: s.size, Group: s.group.ID, Epoch: s.group.Epoch,
		Slot: s.slot, Serial: limit.Serial, Stored: time.Now(),
	})
}

func (l *Liar) find(group uint32, segment []byte) *shard {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(segment) != len(order.SegmentID{}) {
		return nil
	}
	return l.shards[key{group, order.SegmentID(segment)}]
}

// serveGet answers one request and reports whether the stream goes on.
func (l *Liar) serveGet(ctx context.Context, r *wire.Reader, w *wire.Writer, group uint32) bool {
	h, err := r.Next()
	if err != nil {
		return false
	}
	answer := func(m proto.Message, do func() bool) bool {
		if r.ReadControl(m) != nil {
			return false
		}
		if l.how().Silent {
			l.note(func(t *Told) { t.Silences++ })
			<-ctx.Done()
			return false
		}
		return do()
	}
	switch h.Type {
	case wire.TypeGet:
		var m pb.Get
		return answer(&m, func() bool { return l.get(w, group, &m) })
	case wire.TypeProve:
		var m pb.Prove
		return answer(&m, func() bool { return l.prove(w, group, &m) })
	case wire.TypeRoots:
		var m pb.Roots
		return answer(&m, func() bool {
			s := l.find(group, m.Segment)
			if s == nil {
				return notFound(w)
			}
			return w.WriteControl(wire.TypeSegmentRoots, &pb.SegmentRoots{Size: uint64(s.size), ShardRoots: merkle.JoinHashes(s.roots)}) == nil
		})
	}
	return false
}

func notFound(w *wire.Writer) bool {
	return w.WriteControl(wire.TypeFail, &pb.Fail{Code: pb.Code_CODE_NOT_FOUND}) == nil
}

// bytes is what the liar gives out for a part of a shard: nil if it has nothing
// to say.
func (l *Liar) bytes(s *shard, offset, length int64) []byte {
	f := l.how()
	switch {
	case s == nil:
		return nil
	case s.data != nil && offset+length <= int64(len(s.data)) && !f.WrongBytes:
		return s.data[offset : offset+length]
	case !f.WrongBytes && !f.FalseProof:
		return nil
	}
	l.note(func(t *Told) { t.Gets++ })
	wrong := make([]byte, length)
	for i := range wrong {
		wrong[i] = byte(rand.Uint32())
	}
	return wrong
}

func (l *Liar) get(w *wire.Writer, group uint32, m *pb.Get) bool {
	data := l.bytes(l.find(group, m.Segment), int64(m.Offset), int64(m.Length))
	if data == nil {
		return notFound(w)
	}
	return writeData(w, data)
}

func writeData(w *wire.Writer, data []byte) bool {
	for len(data) > 0 {
		n := min(len(data), wire.MaxData)
		if w.WriteData(append(make([]byte, wire.HeaderSize), data[:n]...)) != nil {
			return false
		}
		data = data[n:]
	}
	return true
}

// prove proves what the shard has, or what it has made up.
func (l *Liar) prove(w *wire.Writer, group uint32, m *pb.Prove) bool {
	s := l.find(group, m.Segment)
	if s == nil {
		return notFound(w)
	}
	layout, err := s.group.Scheme.Layout(s.size)
	if err != nil {
		return notFound(w)
	}
	offset, length, err := merkle.LeafRange(layout, int(m.First), int(m.Count))
	if err != nil {
		return notFound(w)
	}
	proof, leaves := l.proof(s, int(m.First), int(m.Count), offset, length)
	if leaves == nil {
		return notFound(w)
	}
	return w.Queue(wire.TypeProof, &pb.Proof{
		Size: uint64(s.size), Path: merkle.JoinHashes(proof.Path), SlotPath: merkle.JoinHashes(proof.SlotPath), Length: uint32(length),
	}) == nil && writeData(w, leaves)
}

// proof is that of some leaves: true of what is held, unless the liar gives out
// wrong bytes, and made up of what is not.
func (l *Liar) proof(s *shard, first, count int, offset, length int64) (merkle.Proof, []byte) {
	leaves := l.bytes(s, offset, length)
	if leaves == nil {
		return merkle.Proof{}, nil
	}
	data := s.data
	if data == nil {
		data = make([]byte, s.size/int64(s.group.Scheme.Required))
	}
	layout, err := s.group.Scheme.Layout(s.size)
	if err != nil {
		return merkle.Proof{}, nil
	}
	hasher := merkle.NewHasher(int64(len(data)))
	hasher.Write(data)
	from, size, err := merkle.Window(layout, first, count)
	if err != nil {
		return merkle.Proof{}, nil
	}
	proof, err := merkle.Prove(layout, s.slot, s.roots, hasher.Subtrees(), first, count, data[from:from+size])
	if err != nil {
		return merkle.Proof{}, nil
	}
	return proof, leaves
}
