package uplink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
)

// excluded is nodes that are not asked again, with the reasons. It is safe for
// concurrent use.
type excluded struct {
	mu      sync.Mutex
	reasons map[ident.ID]error
}

func (e *excluded) add(node ident.ID, reason error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.reasons == nil {
		e.reasons = make(map[ident.ID]error)
	}
	e.reasons[node] = reason
}

func (e *excluded) reason(node ident.ID) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.reasons[node]
}

func (e *excluded) has(node ident.ID) bool { return e.reason(node) != nil }

// errWrongData is what a node is blamed for that proves other bytes than it
// returned.
var errWrongData = errors.New("returned wrong data")

// blame finds out which of the slots that a chunk came from returned wrong
// bytes, and gives their pieces up. If none did, the chunk was wrong when it was
// uploaded.
func (w *window) blame(ctx context.Context, bad place) error {
	suspects := []int{bad.slot}
	if w.pieces[bad.slot].state != pieceHere { // it was decoded, from all of them
		suspects = suspects[:0]
		for slot := range w.pieces {
			if w.pieces[slot].state == pieceHere {
				suspects = append(suspects, slot)
			}
		}
	}
	verdicts := make([]error, len(suspects))
	var wait sync.WaitGroup
	for i, slot := range suspects {
		wait.Go(func() { verdicts[i] = w.try(ctx, bad.row, slot) })
	}
	wait.Wait()
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	guilty := false
	for i, slot := range suspects {
		if err := verdicts[i]; err != nil {
			guilty = true
			w.convict(slot, err)
		}
	}
	if !guilty {
		return fmt.Errorf("%w: segment %s does not decrypt, though all nodes prove that they hold what was uploaded", ErrCorrupt, w.segment.id)
	}
	for slot, b := range w.decoded {
		b.release()
		delete(w.decoded, slot)
	}
	return nil
}

// try has a slot prove its chunk of a row and compares it with what the slot
// returned before.
func (w *window) try(ctx context.Context, row, slot int) error {
	if err := w.segment.blamed.reason(w.node(slot)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, w.session.tolerate.proof)
	defer cancel()
	segment, size := w.segment, int64(w.chunkSize(row))
	from := w.offset(row)
	first := from / merkle.LeafSize
	leaves, err := w.session.prove(ctx, w.session.lease.nodes[slot].address, proofRequest{
		segment: segment.id, layout: segment.layout, root: segment.root, slot: slot,
		first: int(first), count: merkle.LeafCount(from + size - first*merkle.LeafSize),
	})
	if err == nil {
		proved := leaves[from-first*merkle.LeafSize:][:size]
		if !bytes.Equal(proved, w.pieces[slot].buffer.chunk(row, int(size))) {
			err = errWrongData
		}
	}
	return err
}

// convict gives up a piece, and for the rest of the download the node if it was
// shown to lie.
func (w *window) convict(slot int, err error) {
	w.drop(slot, pieceFailed, err)
	if errors.Is(err, errWrongData) || errors.Is(err, nodeclient.ErrWrongProof) || errors.Is(err, nodeclient.ErrMisbehaved) {
		w.segment.blamed.add(w.node(slot), err)
		w.segment.log.Warn("a node returned wrong data", "node", w.node(slot), "segment", w.segment.id, "slot", slot, "error", err)
	}
}
