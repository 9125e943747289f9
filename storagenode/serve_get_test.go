package storagenode

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
)

func TestRangesAndProofs(t *testing.T) {
	v := newServed(t, nil)
	s := newTestShard(t, 1<<20+64)
	v.put(s)
	g := v.openGet(1 << 30)
	edges := []int{0, 1, 4095, 4096, 65535, 65536, 256<<10 - 1, 256 << 10, 256<<10 + 1, 1 << 20, len(s.data)}
	type span struct{ from, to int }
	var spans []span
	for i, from := range edges {
		for _, to := range edges[i+1:] {
			spans = append(spans, span{from, to})
		}
	}
	var requesting sync.WaitGroup
	requesting.Go(func() {
		for _, p := range spans { // runs ahead of what is received
			if err := g.Request(s.id, int64(p.from), p.to-p.from); err != nil {
				t.Error(err)
			}
		}
	})
	for _, p := range spans {
		got := make([]byte, p.to-p.from)
		if err := g.Receive(got); err != nil || !bytes.Equal(got, s.data[p.from:p.to]) {
			t.Errorf("bytes %d to %d: %v", p.from, p.to, err)
		}
	}
	requesting.Wait() // Prove is for the goroutine that sends
	last := merkle.LeafCount(int64(len(s.data))) - 1
	for _, leaves := range []span{{0, 1}, {0, 16}, {15, 17}, {100, 101}, {last, last + 1}, {0, last + 1}} {
		got, err := g.Prove(s.id, s.layout, s.root, testSlot, leaves.from, leaves.to-leaves.from)
		want := s.data[leaves.from*merkle.LeafSize : min(len(s.data), leaves.to*merkle.LeafSize)]
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("leaves %d to %d: %v", leaves.from, leaves.to, err)
		}
	}
	if _, err := g.Prove(s.id, s.layout, s.root, testSlot, last+1, 1); !errors.Is(err, merkle.ErrRange) {
		t.Errorf("a leaf too many: %v", err)
	}
	if _, err := g.Prove(s.id, s.layout, merkle.Hash{1}, testSlot, 0, 1); !errors.Is(err, nodeclient.ErrWrongProof) {
		t.Errorf("proof for another root: %v", err)
	}
	for range 2 {
		if roots, err := g.Roots(s.id, s.layout, s.root); err != nil || !slices.Equal(roots, s.roots) {
			t.Errorf("shard roots: %v", err)
		}
	}
	if _, err := g.Roots(s.id, s.layout, merkle.Hash{1}); !errors.Is(err, nodeclient.ErrWrongProof) {
		t.Errorf("shard roots for another root: %v", err)
	}
}

func TestGetRefusals(t *testing.T) {
	v := newServed(t, nil)
	shard := newTestShard(t, 4096+64)
	v.put(shard)
	get := func(id []byte, offset uint64, length uint32) func(s rawStream) {
		return func(s rawStream) {
			s.w.WriteControl(wire.TypeGet, &pb.Get{Segment: id, Offset: offset, Length: length})
		}
	}
	prove := func(first uint64, count uint32) func(s rawStream) {
		return func(s rawStream) {
			s.w.WriteControl(wire.TypeProve, &pb.Prove{Segment: shard.id[:], First: first, Count: count})
		}
	}
	roots := func(id []byte) func(s rawStream) {
		return func(s rawStream) { s.w.WriteControl(wire.TypeRoots, &pb.Roots{Segment: id}) }
	}
	id := shard.id[:]
	cases := map[string]struct {
		step  func(s rawStream)
		code  pb.Code
		fatal bool
	}{
		"not held":          {get(newTestShard(t, 64).id[:], 0, 1), pb.Code_CODE_NOT_FOUND, false},
		"no segment id":     {get(nil, 0, 1), pb.Code_CODE_BAD_REQUEST, false},
		"no length":         {get(id, 0, 0), pb.Code_CODE_BAD_REQUEST, false},
		"behind the end":    {get(id, 4160, 1), pb.Code_CODE_BAD_REQUEST, false},
		"beyond the end":    {get(id, 4159, 2), pb.Code_CODE_BAD_REQUEST, false},
		"overflow":          {get(id, 1<<64-1, 2), pb.Code_CODE_BAD_REQUEST, false},
		"too long":          {get(id, 0, wire.MaxGet+1), pb.Code_CODE_BAD_REQUEST, false},
		"longest":           {get(id, 0, 1<<32-1), pb.Code_CODE_BAD_REQUEST, false},
		"no leaves":         {prove(0, 0), pb.Code_CODE_BAD_REQUEST, false},
		"leaf behind":       {prove(2, 1), pb.Code_CODE_BAD_REQUEST, false},
		"leaf beyond":       {prove(1, 2), pb.Code_CODE_BAD_REQUEST, false},
		"leaf overflow":     {prove(1<<64-1, 2), pb.Code_CODE_BAD_REQUEST, false},
		"too many leaves":   {prove(0, 1<<31), pb.Code_CODE_BAD_REQUEST, false},
		"roots, not held":   {roots(newTestShard(t, 64).id[:]), pb.Code_CODE_NOT_FOUND, false},
		"roots of nothing":  {roots(nil), pb.Code_CODE_BAD_REQUEST, false},
		"roots not allowed": {func(s rawStream) { get(id, 0, 4160)(s); get(id, 0, 600)(s); s.answer(); roots(id)(s) }, pb.Code_CODE_EXHAUSTED, false},
		"put on get":        {func(s rawStream) { s.w.WriteControl(wire.TypePutBegin, &pb.PutBegin{Segment: id, MaxSize: 1}) }, pb.Code_CODE_BAD_REQUEST, true},
		"data on get":       {func(s rawStream) { s.w.WriteData(make([]byte, 10)) }, pb.Code_CODE_BAD_REQUEST, true},
		"no message":        {func(s rawStream) { s.Write([]byte{6, 0, 0, 0, 1, 255}) }, pb.Code_CODE_BAD_REQUEST, true},
		"unknown frame":     {func(s rawStream) { s.Write([]byte{0, 0, 0, 0, 0}) }, pb.Code_CODE_BAD_REQUEST, true},
		"oversized frame":   {func(s rawStream) { s.Write([]byte{6, 1, 0, 0, 0}) }, pb.Code_CODE_BAD_REQUEST, true},
		"more than allowed": {func(s rawStream) { get(id, 0, 4160)(s); get(id, 0, 900)(s) }, pb.Code_CODE_EXHAUSTED, false},
		"proof not allowed": {func(s rawStream) { get(id, 0, 1000)(s); prove(0, 1)(s) }, pb.Code_CODE_EXHAUSTED, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := v.raw()
			s.open(v.lease(v.group, v.newLimit(order.ActionGet, 5000)))
			c.step(s)
			err := s.answer()
			if err == nil { // the answer to a step before
				err = s.answer()
			}
			wantCode(t, err, c.code)
			if c.fatal {
				s.wantCut(t)
				return
			}
			get(id, 0, 64)(s)
			if err := s.answer(); err != nil {
				t.Errorf("the request after: %v", err)
			}
		})
	}
	t.Run("no open", func(t *testing.T) {
		s := v.raw()
		get(id, 0, 1)(s)
		wantCode(t, s.answer(), pb.Code_CODE_BAD_REQUEST)
		s.wantCut(t)
	})
}

// Who is patient is served when nobody else was for a while.
func TestPatience(t *testing.T) {
	v := newServed(t, nil)
	shard := newTestShard(t, 4096+64)
	lease := v.lease(v.group, v.newLimit(order.ActionGet, 1<<20))
	open := func(patient bool) *nodeclient.Get {
		g, err := nodeclient.Dialer{Host: v.uplink, Patient: patient}.OpenGet(t.Context(), v.address, lease)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(g.Reset)
		return g
	}
	patient, other := open(true), open(false)
	get := func(g *nodeclient.Get) error {
		if err := g.Request(shard.id, 0, 64); err != nil {
			t.Fatal(err)
		}
		return g.Receive(make([]byte, 64))
	}
	roots := func() error {
		_, err := patient.Roots(shard.id, shard.layout, shard.root)
		return err
	}
	prove := func() error {
		_, err := patient.Prove(shard.id, shard.layout, shard.root, testSlot, 0, 1)
		return err
	}
	served := func(after string, want error) {
		t.Helper()
		for name, err := range map[string]error{"get": get(patient), "roots": roots(), "proof": prove()} {
			if !errors.Is(err, want) {
				t.Errorf("%s: %s: %v, want %v", after, name, err, want)
			}
		}
	}
	v.put(shard)
	v.ahead.Store(int64(-quiet)) // however long the test takes, it was just now
	served("right after a shard came", wire.ErrBusy)
	v.ahead.Store(int64(quiet))
	served("after a while", nil)
	served("after itself", nil)
	if err := get(other); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	v.ahead.Store(0)
	served("right after somebody else", wire.ErrBusy)
	v.ahead.Store(int64(2 * quiet))
	served("after a while", nil)
}

// A disk that lost bytes shows as CORRUPT, one that changed them in the proof.
func TestDamagedShard(t *testing.T) {
	v := newServed(t, nil)
	shard := newTestShard(t, 1<<20)
	v.put(shard)
	var volume string
	filepath.WalkDir(v.dir, func(path string, e os.DirEntry, err error) error {
		if info, err := e.Info(); err == nil && !e.IsDir() && info.Size() >= 1<<20 {
			if raw, err := os.ReadFile(path); err == nil && bytes.Contains(raw, shard.data[:64]) {
				volume = path
			}
		}
		return nil
	})
	raw, err := os.ReadFile(volume)
	if err != nil {
		t.Fatal(err)
	}
	at := int64(bytes.Index(raw, shard.data[:64]))
	file, err := os.OpenFile(volume, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte{shard.data[70000] ^ 1}, at+70000); err != nil {
		t.Fatal(err)
	}
	g := v.openGet(1 << 30)
	_, err = g.Prove(shard.id, shard.layout, shard.root, testSlot, 70000/merkle.LeafSize, 1)
	wantCode(t, err, pb.Code_CODE_CORRUPT)
	if _, err := g.Prove(shard.id, shard.layout, shard.root, testSlot, 0, 1); err != nil {
		t.Errorf("leaves elsewhere: %v", err)
	}
	if err := file.Truncate(at + 300<<10); err != nil {
		t.Fatal(err)
	}
	g.Request(shard.id, 0, len(shard.data)) // fails after the first frame
	wantCode(t, g.Receive(make([]byte, len(shard.data))), pb.Code_CODE_CORRUPT)
	g.Request(shard.id, 0, 100)
	if err := g.Receive(make([]byte, 100)); err != nil {
		t.Errorf("bytes that are left: %v", err)
	}
}
