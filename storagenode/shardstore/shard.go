package shardstore

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/cairnstorage/cairn/proto/merkle"
)

// A Shard is open for reading. It stays whole while it is open, even when it
// is deleted meanwhile. It is safe for concurrent use until Close.
type Shard struct {
	dir    *dir
	volume *volume
	entry  entry
	close  sync.Once

	mu       sync.Mutex
	meta     *Meta // what lies beside the shard, once it was read
	subtrees []merkle.Hash
}

// Open opens a shard for reading, or returns ErrNotFound. ErrCorrupt means that
// its volume is gone.
func (s *Store) Open(key Key) (*Shard, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.exit()
	for {
		d, e, err := s.lookup(key)
		if err != nil {
			return nil, err
		}
		v, failed := d.acquire(e.place)
		// A delete takes the entry out first, then looks for readers, then may
		// remove the volume: if the entry is still there now, it has seen or
		// will see this reader, and a volume that is gone was not deleted.
		again, ok, err := d.index.get(key)
		same := err == nil && ok && again.place == e.place
		if same && failed == nil {
			return &Shard{dir: d, volume: v, entry: e}, nil
		}
		if failed == nil {
			d.letGo(v, e.place)
		}
		if same || err != nil {
			return nil, errors.Join(failed, err)
		}
	}
}

// Close lets go of the shard.
func (h *Shard) Close() error {
	h.close.Do(func() { h.dir.letGo(h.volume, h.entry.place) })
	return nil
}

// Info is what the index knows of the shard.
func (h *Shard) Info() Info { return h.entry.Info }

// ReadAt reads shard bytes as io.ReaderAt does. They are not verified: the
// uplink does that, and Prove. ErrCorrupt means that the volume is cut off.
func (h *Shard) ReadAt(p []byte, off int64) (int, error) {
	size := h.entry.Size()
	if off < 0 || off > size {
		return 0, fmt.Errorf("offset %d of a shard of %d bytes", off, size)
	}
	part := p[:min(int64(len(p)), size-off)]
	n, err := h.volume.file.ReadAt(part, h.entry.dataOffset()+off)
	switch {
	case n == len(part) && len(part) < len(p):
		return n, io.EOF
	case n == len(part):
		return n, nil
	case errors.Is(err, io.EOF):
		return n, fmt.Errorf("%w: its volume is cut off", ErrCorrupt)
	}
	return n, err
}

// Meta reads what lies beside the shard. Errors: ErrCorrupt.
func (h *Shard) Meta() (Meta, error) {
	m, _, err := h.footer()
	if err != nil {
		return Meta{}, err
	}
	return *m, nil
}

// footer reads what lies beside the shard, once.
func (h *Shard) footer() (*Meta, []merkle.Hash, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.meta == nil {
		m, subtrees, err := h.readFooter()
		if err != nil {
			return nil, nil, err
		}
		h.meta, h.subtrees = m, subtrees
	}
	return h.meta, h.subtrees, nil
}

func (h *Shard) readFooter() (*Meta, []merkle.Hash, error) {
	m, subtrees, err := readFooter(h.volume.file, h.dir.identity, h.entry.place)
	if err == nil && !h.entry.sameAs(m) {
		err = fmt.Errorf("index and volume disagree: %w", errFormat)
	}
	if errors.Is(err, errFormat) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return m, subtrees, err
}

// Prove makes the proof for count leaves from first on, and gives their bytes.
// It reads only the 64 KiB parts that they touch. Errors: merkle.ErrRange, and
// ErrCorrupt when a proof cannot be made of what is on disk.
func (h *Shard) Prove(first, count int) (merkle.Proof, []byte, error) {
	return h.ProveIn(nil, first, count)
}

// ProveIn is Prove with room for what it reads, of which the leaves are a part.
// It makes its own when that is too small; 64 KiB are enough for one leaf.
func (h *Shard) ProveIn(room []byte, first, count int) (merkle.Proof, []byte, error) {
	l := h.entry.Layout
	from, length, err := merkle.Window(l, first, count)
	if err != nil {
		return merkle.Proof{}, nil, err
	}
	m, subtrees, err := h.footer()
	if err != nil {
		return merkle.Proof{}, nil, err
	}
	window := slices.Grow(room[:0], int(length))[:length]
	if _, err := h.ReadAt(window, from); err != nil {
		return merkle.Proof{}, nil, err
	}
	proof, err := merkle.Prove(l, m.Slot, m.ShardRoots, subtrees, first, count, window)
	if err != nil {
		if errors.Is(err, merkle.ErrCorrupt) {
			err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return merkle.Proof{}, nil, err
	}
	start, size, err := merkle.LeafRange(l, first, count)
	if err != nil {
		return merkle.Proof{}, nil, err
	}
	return proof, window[start-from:][:size], nil
}
