package gcm

import (
	"github.com/klauspost/cpuid/v2"
	"golang.org/x/sys/cpu"
)

// detectWidths returns the widths that this machine has, the fastest first.
func detectWidths() (found []width) {
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL &&
		cpu.X86.HasAVX512VAES && cpu.X86.HasAVX512VPCLMULQDQ {
		found = append(found, four)
	}
	// AVX2 is only there if the operating system keeps the registers.
	if cpuid.CPU.Supports(cpuid.AVX2, cpuid.AESNI, cpuid.VAES, cpuid.VPCLMULQDQ) {
		found = append(found, two)
	}
	return found
}

// sealPieces encrypts pieces, at least one, and takes them into the hash.
func (w width) sealPieces(s *schedule, m *message, out, in *byte, pieces int) {
	if w == four {
		sealPieces(s, m, out, in, pieces)
	} else {
		sealPieces2(s, m, out, in, pieces)
	}
}

// openPieces takes pieces, at least one, into the hash and decrypts them.
func (w width) openPieces(s *schedule, m *message, out, in *byte, pieces int) {
	if w == four {
		openPieces(s, m, out, in, pieces)
	} else {
		openPieces2(s, m, out, in, pieces)
	}
}

// hashBlocks takes blocks, 1 to together, into the hash.
func (w width) hashBlocks(s *schedule, m *message, blocks *byte, count int) {
	if w == four {
		hashBlocks(s, m, blocks, count)
	} else {
		hashBlocks2(s, m, blocks, count)
	}
}

// The routines of four blocks in a register.

//go:noescape
func sealPieces(s *schedule, m *message, out, in *byte, pieces int)

//go:noescape
func openPieces(s *schedule, m *message, out, in *byte, pieces int)

//go:noescape
func hashBlocks(s *schedule, m *message, blocks *byte, count int)

// The routines of two.

//go:noescape
func sealPieces2(s *schedule, m *message, out, in *byte, pieces int)

//go:noescape
func openPieces2(s *schedule, m *message, out, in *byte, pieces int)

//go:noescape
func hashBlocks2(s *schedule, m *message, blocks *byte, count int)

// substitute is SubWord of FIPS 197.
//
//go:noescape
func substitute(word uint32) uint32

// Constants of the routines.
var (
	reverseBytes = [16]byte{15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}
	// polynomial is x^128 + x^7 + x^2 + x + 1, but for x^128, reversed.
	polynomial = [2]uint64{1, 0xc200000000000000}
	// laneNumbers are 0 to 3, each in the counter of a lane; laneCounts are 4, and
	// pairCounts 2.
	laneNumbers = [16]uint32{0: 0, 4: 1, 8: 2, 12: 3}
	laneCounts  = [16]uint32{0: 4, 4: 4, 8: 4, 12: 4}
	pairCounts  = [8]uint32{0: 2, 4: 2}
)
