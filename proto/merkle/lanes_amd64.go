package merkle

import (
	"encoding/binary"

	"github.com/klauspost/cpuid/v2"
)

// detectMethods is the methods that this machine has and gains by. Two messages
// in turn are done sooner than eight with AVX2, and than sixteen with AVX-512 where
// that goes by halves.
func detectMethods() (found []method) {
	for _, m := range []method{sixteen, pair, eight} {
		worse := pair.supported() && (m == eight || m == sixteen && halvesAVX512())
		if m.supported() && !worse {
			found = append(found, m)
		}
	}
	return found
}

// halvesAVX512 tells whether the processor is one of AMD's before Zen 5, which do
// with a register of AVX-512 in two steps what others do in one.
func halvesAVX512() bool {
	return cpuid.CPU.IsVendor(cpuid.AMD) && cpuid.CPU.Family < 0x1a
}

// supported tells whether this machine has the instructions.
func (m method) supported() bool {
	switch m {
	case pair:
		return cpuid.CPU.Supports(cpuid.SHA, cpuid.SSSE3)
	case eight:
		return cpuid.CPU.Supports(cpuid.AVX2)
	case sixteen:
		return cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512BW)
	}
	return m == single
}

// The words of state of the lanes lie as their routine wants them: those of a pair
// message by message and in an order of their own, otherwise each word of all
// lanes together.

// pairOrder is where the words of a message of a pair lie.
var pairOrder = [8]int{3, 2, 7, 6, 1, 0, 5, 4}

// begin gives each lane the state in which a message begins.
func (m method) begin(states []uint32) {
	if m == pair {
		for word, at := range pairOrder {
			states[at], states[8+at] = firstState[word], firstState[word]
		}
		return
	}
	for word, value := range firstState {
		for lane := range int(m) {
			states[word*int(m)+lane] = value
		}
	}
}

// take takes in so many blocks, at least one, of each lane's message.
func (m method) take(states []uint32, starts *[maxLanes]*byte, blocks int) {
	switch m {
	case pair:
		hash2(&states[0], starts, blocks)
	case eight:
		hash8(&states[0], starts, blocks)
	case sixteen:
		hash16(&states[0], starts, blocks)
	}
}

// sum is the hash of the message in a lane, all of which has been taken in.
func (m method) sum(states []uint32, lane int, hash *Hash) {
	if m == pair {
		for word, at := range pairOrder {
			binary.BigEndian.PutUint32(hash[4*word:], states[8*lane+at])
		}
		return
	}
	for word := range 8 {
		binary.BigEndian.PutUint32(hash[4*word:], states[word*int(m)+lane])
	}
}

// hashSubtree puts the hashes of the leaves of a whole subtree into hashes, if the
// method has a routine for that.
func (m method) hashSubtree(hashes *[subtreeLeaves]Hash, leaves *[SubtreeSize]byte) bool {
	if m != sixteen {
		return false
	}
	hashSubtree16(hashes, &leaves[0])
	return true
}

//go:noescape
func hash2(states *uint32, messages *[maxLanes]*byte, blocks int)

//go:noescape
func hash8(states *uint32, messages *[maxLanes]*byte, blocks int)

//go:noescape
func hash16(states *uint32, messages *[maxLanes]*byte, blocks int)

//go:noescape
func hashSubtree16(hashes *[subtreeLeaves]Hash, leaves *byte)

// rounds16 is for the routines of sixteen lanes alone.
func rounds16()

// What the last block of a leaf is made of, and where the lanes' leaves lie.
var (
	lastByte    uint32 = 0xff << 24
	endBit      uint32 = 0x80 << 16
	leafBits    uint32 = 8 * (1 + LeafSize)
	leafOffsets        = [16]uint32{
		0, LeafSize, 2 * LeafSize, 3 * LeafSize, 4 * LeafSize, 5 * LeafSize, 6 * LeafSize, 7 * LeafSize,
		8 * LeafSize, 9 * LeafSize, 10 * LeafSize, 11 * LeafSize, 12 * LeafSize, 13 * LeafSize, 14 * LeafSize, 15 * LeafSize,
	}
)

// swapBytes turns round the bytes of each word of a quarter of a register.
var swapBytes = [16]byte{3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12}

// The constants of SHA-256, FIPS 180-4.
var (
	firstState = [8]uint32{
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
	}
	roundConstants = [64]uint32{
		0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
		0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
		0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
		0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
		0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
		0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
		0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
		0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
	}
)
