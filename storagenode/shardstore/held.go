package shardstore

// maxHeld is how many bytes of a record are held back at most. A record of a
// shard of up to 32 KiB takes one system call to write, header and footer
// included. Of a larger one what does not fill a page is held back: it costs
// more to write a page twice, and one that lies in two pages of memory.
const maxHeld = 40 << 10

// held is what of a record was not written yet.
type held struct {
	bytes  int
	buffer [maxHeld]byte
}

// newHeld returns an empty one, of those that are not in use if there is any.
func (s *Store) newHeld() *held {
	h, _ := s.held.Get().(*held)
	if h == nil {
		h = new(held)
	}
	h.bytes = 0
	return h
}

func (h *held) fits(n int64) bool { return int64(h.bytes)+n <= maxHeld }

func (h *held) append(p []byte) { h.bytes += copy(h.buffer[h.bytes:], p) }

// skip appends zeros.
func (h *held) skip(n int64) {
	clear(h.buffer[h.bytes:][:n])
	h.bytes += int(n)
}

func (h *held) content() []byte { return h.buffer[:h.bytes] }
