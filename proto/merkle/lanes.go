package merkle

import (
	"encoding/binary"

	"github.com/minio/sha256-simd"
)

// Messages of one length can be hashed at once, one in each lane of a routine, in
// less time than one after another. Whoever has several leaves or nodes to hash
// therefore hands them over together.

// A method is a way to hash messages; its value is the number of its lanes.
type method int

const (
	single  method = 1
	pair    method = 2  // the instructions made for SHA-256, for two messages in turn
	eight   method = 8  // AVX2
	sixteen method = 16 // AVX-512

	maxLanes = int(sixteen)
)

// methods is those that this machine gains by, with the most lanes first.
var methods = detectMethods()

// least is the number of messages for which the method is worth it.
func (m method) least() int {
	switch m {
	case sixteen:
		return 12
	case eight:
		return 3
	}
	return int(m)
}

// choose is the method for so many messages.
func choose(messages int) method {
	for _, m := range methods {
		if messages >= m.least() {
			return m
		}
	}
	return single
}

// hashEqual puts the hash of each message, with a prefix before it, into dst. All
// have one length, of LeafSize at most. A hash may be put where its message lies,
// or an earlier one.
func hashEqual(dst []Hash, prefix byte, messages [][]byte) {
	for len(messages) > 0 {
		m := choose(len(messages))
		n := min(len(messages), int(m))
		m.hash(dst[:n], prefix, messages[:n])
		dst, messages = dst[n:], messages[n:]
	}
}

// hash is hashEqual for as many messages as there are lanes, or fewer.
func (m method) hash(dst []Hash, prefix byte, messages [][]byte) {
	switch m {
	case single:
		dst[0] = hashOne(prefix, messages[0])
	case pair:
		var (
			edges  [pair]edge
			states [8 * pair]uint32
		)
		m.inLanes(dst, prefix, messages, edges[:], states[:])
	case eight:
		var (
			edges  [eight]edge
			states [8 * eight]uint32
		)
		m.inLanes(dst, prefix, messages, edges[:], states[:])
	case sixteen:
		var (
			edges  [sixteen]edge
			states [8 * sixteen]uint32
		)
		m.inLanes(dst, prefix, messages, edges[:], states[:])
	}
}

// hashOne is the hash of one message with a prefix before it.
func hashOne(prefix byte, message []byte) Hash {
	if len(message) <= 2*HashSize {
		var short [1 + 2*HashSize]byte
		short[0] = prefix
		return sha256.Sum256(short[:1+copy(short[1:], message)])
	}
	var long [1 + LeafSize]byte
	long[0] = prefix
	return sha256.Sum256(long[:1+copy(long[1:], message)])
}

// inLanes hashes a message in each lane, and the first one in those left over. It
// needs an edge and the words of a state for each.
func (m method) inLanes(dst []Hash, prefix byte, messages [][]byte, edges []edge, states []uint32) {
	m.begin(states)
	var starts [maxLanes]*byte
	blocks := 0
	size := len(messages[0])
	if size >= headSize+block {
		for lane, message := range messages {
			edges[lane].head(prefix, message)
		}
		for lane := range edges {
			starts[lane] = &edges[within(lane, len(messages))][0]
		}
		m.take(states, &starts, 1)
		for lane := range edges {
			starts[lane] = &messages[within(lane, len(messages))][headSize]
		}
		inner := (size - headSize) / block
		m.take(states, &starts, inner)
		for lane, message := range messages {
			blocks = edges[lane].tail(message[headSize+inner*block:], 1+size)
		}
	} else {
		for lane, message := range messages {
			blocks = edges[lane].whole(prefix, message)
		}
	}
	for lane := range edges {
		starts[lane] = &edges[within(lane, len(messages))][0]
	}
	m.take(states, &starts, blocks)
	for lane := range messages {
		m.sum(states, lane, &dst[lane])
	}
}

// within is the index of what a lane is to work on, out of so many.
func within(lane, count int) int {
	if lane < count {
		return lane
	}
	return 0
}

const (
	block    = 64        // bytes that SHA-256 takes in at a time
	headSize = block - 1 // bytes of a message that make a block with the prefix
	padding  = 1 + 8     // bytes after a message at least
)

// An edge is those blocks of a message that do not lie in memory as they are to be
// hashed: the first, with the prefix, and the last, with the padding.
type edge [3 * block]byte

// head makes the first block.
func (e *edge) head(prefix byte, message []byte) {
	e[0] = prefix
	copy(e[1:block], message)
}

// tail makes the blocks at the end, of which there is something left of a message
// that has, with its prefix, length bytes. It returns how many there are.
func (e *edge) tail(rest []byte, length int) (blocks int) {
	return e.end(copy(e[:], rest), length)
}

// whole makes all blocks of a message that has no others.
func (e *edge) whole(prefix byte, message []byte) (blocks int) {
	e[0] = prefix
	length := 1 + copy(e[1:], message)
	return e.end(length, length)
}

// end pads what has been filled.
func (e *edge) end(filled, length int) (blocks int) {
	blocks = (filled + padding + block - 1) / block
	clear(e[filled : blocks*block])
	e[filled] = 0x80
	binary.BigEndian.PutUint64(e[blocks*block-8:], 8*uint64(length))
	return blocks
}
