package erasure

const (
	// cacheLine is the bytes that a processor takes from memory at a time.
	cacheLine = 64
	// staggers is how many places there are in a page for buffers to begin at.
	staggers = 24
	// MaxHead is the most headroom of a buffer, in bytes.
	MaxHead = cacheLine
)

// NewBuffer makes memory for size bytes of chunks, with head bytes before them.
// Buffers whose chunks are coded together should have indices that follow one
// another: chunks begin at lines of the cache, and not all at the same one of a
// page. A cache keeps a line in one of few places, which it finds by where in its
// page the line is, so that as many chunks side by side drive each other out; and
// an instruction that takes a line takes two if it is not at the beginning of one.
// Both together halve the time that coding a wide stripe takes.
func NewBuffer(index, head, size int) []byte {
	if index < 0 || head < 0 || head > MaxHead {
		panic("erasure: no such buffer")
	}
	// What is large begins at a page.
	start := cacheLine * (1 + 5*(index%staggers))
	return make([]byte, start+size)[start-head:]
}
