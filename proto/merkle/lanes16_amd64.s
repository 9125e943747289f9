#include "textflag.h"

// SHA-256 of sixteen messages at a time, one in each lane of the registers.
//
// Z0–Z7 are the working variables a–h, Z8–Z23 the last sixteen words of the
// schedule, Z24–Z29 scratch.

// ROTATIONS puts the exclusive or of three rotations of x into Z24.
#define ROTATIONS(x, n1, n2, n3) \
	VPRORD     $n1, x, Z24; \
	VPRORD     $n2, x, Z25; \
	VPRORD     $n3, x, Z26; \
	VPTERNLOGD $0x96, Z26, Z25, Z24

// ROUND is one round with the word w and the constant at an offset. The new a
// is left in h.
#define ROUND(a, b, c, d, e, f, g, h, w, constant) \
	VPADDD.BCST constant(R9), w, Z27; \
	VPADDD      Z27, h, h; \
	VMOVDQA32   e, Z28; \
	VPTERNLOGD  $0xca, g, f, Z28; \
	VPADDD      Z28, h, h; \
	ROTATIONS(e, 6, 11, 25); \
	VPADDD      Z24, h, h; \
	VPADDD      h, d, d; \
	ROTATIONS(a, 2, 13, 22); \
	VMOVDQA32   a, Z28; \
	VPTERNLOGD  $0xe8, c, b, Z28; \
	VPADDD      Z24, Z28, Z28; \
	VPADDD      Z28, h, h

// EXTEND makes the next word of the schedule in the place of the oldest, w0.
#define EXTEND(w0, w1, w9, w14) \
	VPADDD     w9, w0, w0; \
	VPRORD     $7, w1, Z24; \
	VPRORD     $18, w1, Z25; \
	VPSRLD     $3, w1, Z26; \
	VPTERNLOGD $0x96, Z26, Z25, Z24; \
	VPRORD     $17, w14, Z27; \
	VPRORD     $19, w14, Z28; \
	VPSRLD     $10, w14, Z29; \
	VPTERNLOGD $0x96, Z29, Z28, Z27; \
	VPADDD     Z24, w0, w0; \
	VPADDD     Z27, w0, w0

// LOAD takes in a block of the message of a lane.
#define LOAD(lane, w) \
	MOVQ      (lane*8)(DI), SI; \
	VMOVDQU32 (SI)(BX*1), w; \
	VPSHUFB   Z31, w, w

// WORDS transposes the words of four messages within their quarters.
#define WORDS(a, b, c, d) \
	VPUNPCKLDQ  b, a, Z24; \
	VPUNPCKHDQ  b, a, Z25; \
	VPUNPCKLDQ  d, c, Z26; \
	VPUNPCKHDQ  d, c, Z27; \
	VPUNPCKLQDQ Z26, Z24, a; \
	VPUNPCKHQDQ Z26, Z24, b; \
	VPUNPCKLQDQ Z27, Z25, c; \
	VPUNPCKHQDQ Z27, Z25, d

// QUARTERS transposes the quarters of four registers.
#define QUARTERS(a, b, c, d) \
	VSHUFI32X4 $0x88, b, a, Z24; \
	VSHUFI32X4 $0xdd, b, a, Z25; \
	VSHUFI32X4 $0x88, d, c, Z26; \
	VSHUFI32X4 $0xdd, d, c, Z27; \
	VSHUFI32X4 $0x88, Z26, Z24, a; \
	VSHUFI32X4 $0x88, Z27, Z25, b; \
	VSHUFI32X4 $0xdd, Z26, Z24, c; \
	VSHUFI32X4 $0xdd, Z27, Z25, d

// TRANSPOSE makes words of all messages of blocks of each.
#define TRANSPOSE \
	WORDS(Z8, Z9, Z10, Z11); \
	WORDS(Z12, Z13, Z14, Z15); \
	WORDS(Z16, Z17, Z18, Z19); \
	WORDS(Z20, Z21, Z22, Z23); \
	QUARTERS(Z8, Z12, Z16, Z20); \
	QUARTERS(Z9, Z13, Z17, Z21); \
	QUARTERS(Z10, Z14, Z18, Z22); \
	QUARTERS(Z11, Z15, Z19, Z23)

// ADDSTATE ends a block: what its rounds come to is added to the state.
#define ADDSTATE \
	VPADDD    0(DX), Z0, Z0; \
	VPADDD    64(DX), Z1, Z1; \
	VPADDD    128(DX), Z2, Z2; \
	VPADDD    192(DX), Z3, Z3; \
	VPADDD    256(DX), Z4, Z4; \
	VPADDD    320(DX), Z5, Z5; \
	VPADDD    384(DX), Z6, Z6; \
	VPADDD    448(DX), Z7, Z7; \
	VMOVDQU32 Z0, 0(DX); \
	VMOVDQU32 Z1, 64(DX); \
	VMOVDQU32 Z2, 128(DX); \
	VMOVDQU32 Z3, 192(DX); \
	VMOVDQU32 Z4, 256(DX); \
	VMOVDQU32 Z5, 320(DX); \
	VMOVDQU32 Z6, 384(DX); \
	VMOVDQU32 Z7, 448(DX)

// rounds16 are the rounds of a block whose words are in Z8–Z23.
TEXT ·rounds16(SB), NOSPLIT, $0-0
	LEAQ ·roundConstants(SB), R9
	MOVQ $3, R8
	ROUND(Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, 0)
	ROUND(Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z9, 4)
	ROUND(Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z10, 8)
	ROUND(Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z11, 12)
	ROUND(Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z12, 16)
	ROUND(Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z13, 20)
	ROUND(Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z14, 24)
	ROUND(Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z15, 28)
	ROUND(Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z16, 32)
	ROUND(Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z17, 36)
	ROUND(Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z18, 40)
	ROUND(Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z19, 44)
	ROUND(Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z20, 48)
	ROUND(Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z21, 52)
	ROUND(Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z22, 56)
	ROUND(Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z23, 60)

rounds:
	ADDQ $64, R9
	EXTEND(Z8, Z9, Z17, Z22)
	ROUND(Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, 0)
	EXTEND(Z9, Z10, Z18, Z23)
	ROUND(Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z9, 4)
	EXTEND(Z10, Z11, Z19, Z8)
	ROUND(Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z10, 8)
	EXTEND(Z11, Z12, Z20, Z9)
	ROUND(Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z11, 12)
	EXTEND(Z12, Z13, Z21, Z10)
	ROUND(Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z12, 16)
	EXTEND(Z13, Z14, Z22, Z11)
	ROUND(Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z13, 20)
	EXTEND(Z14, Z15, Z23, Z12)
	ROUND(Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z14, 24)
	EXTEND(Z15, Z16, Z8, Z13)
	ROUND(Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z15, 28)
	EXTEND(Z16, Z17, Z9, Z14)
	ROUND(Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z16, 32)
	EXTEND(Z17, Z18, Z10, Z15)
	ROUND(Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z17, 36)
	EXTEND(Z18, Z19, Z11, Z16)
	ROUND(Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z18, 40)
	EXTEND(Z19, Z20, Z12, Z17)
	ROUND(Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z19, 44)
	EXTEND(Z20, Z21, Z13, Z18)
	ROUND(Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z20, 48)
	EXTEND(Z21, Z22, Z14, Z19)
	ROUND(Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z21, 52)
	EXTEND(Z22, Z23, Z15, Z20)
	ROUND(Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z22, 56)
	EXTEND(Z23, Z8, Z16, Z21)
	ROUND(Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z23, 60)
	DECQ R8
	JNZ  rounds
	RET

// func hash16(states *uint32, messages *[maxLanes]*byte, blocks int)
TEXT ·hash16(SB), NOSPLIT, $0-24
	MOVQ states+0(FP), DX
	MOVQ messages+8(FP), DI
	MOVQ blocks+16(FP), CX
	XORQ BX, BX

	VBROADCASTI32X4 ·swapBytes(SB), Z31

	VMOVDQU32 0(DX), Z0
	VMOVDQU32 64(DX), Z1
	VMOVDQU32 128(DX), Z2
	VMOVDQU32 192(DX), Z3
	VMOVDQU32 256(DX), Z4
	VMOVDQU32 320(DX), Z5
	VMOVDQU32 384(DX), Z6
	VMOVDQU32 448(DX), Z7

block:
	LOAD(0, Z8)
	LOAD(1, Z9)
	LOAD(2, Z10)
	LOAD(3, Z11)
	LOAD(4, Z12)
	LOAD(5, Z13)
	LOAD(6, Z14)
	LOAD(7, Z15)
	LOAD(8, Z16)
	LOAD(9, Z17)
	LOAD(10, Z18)
	LOAD(11, Z19)
	LOAD(12, Z20)
	LOAD(13, Z21)
	LOAD(14, Z22)
	LOAD(15, Z23)
	TRANSPOSE
	CALL ·rounds16(SB)
	ADDSTATE

	ADDQ $64, BX
	DECQ CX
	JNZ  block

	VZEROUPPER
	RET

// Leaves of 4 KiB that lie one behind the other need no edges: a block begins one
// byte before it would without the prefix, which is zero.

// HEAD takes in the first block of a leaf, but not the byte before it, which may be
// nobody's.
#define HEAD(lane, w) \
	VMOVDQU8.Z (lane*4096-1)(SI), K1, w; \
	VPSHUFB    Z31, w, w

// INNER takes in any block of a leaf but the first and the last.
#define INNER(lane, w) \
	VMOVDQU32 (lane*4096-1)(SI)(BX*1), w; \
	VPSHUFB   Z31, w, w

// STATE begins a word of the state.
#define STATE(word, z) \
	VPBROADCASTD ·firstState+(word*4)(SB), z; \
	VMOVDQU32    z, (word*64)(DX)

// PUT puts halves of four hashes where they go.
#define PUT(half, z0, z1, z2, z3) \
	PUTQUARTER(half, 0, z0, z1, z2, z3); \
	PUTQUARTER(half, 1, z0, z1, z2, z3); \
	PUTQUARTER(half, 2, z0, z1, z2, z3); \
	PUTQUARTER(half, 3, z0, z1, z2, z3)

#define PUTQUARTER(half, quarter, z0, z1, z2, z3) \
	VEXTRACTI32X4 $quarter, z0, (quarter*128+half*16)(DI); \
	VEXTRACTI32X4 $quarter, z1, (quarter*128+half*16+32)(DI); \
	VEXTRACTI32X4 $quarter, z2, (quarter*128+half*16+64)(DI); \
	VEXTRACTI32X4 $quarter, z3, (quarter*128+half*16+96)(DI)

// func hashSubtree16(hashes *[subtreeLeaves]Hash, leaves *byte)
TEXT ·hashSubtree16(SB), 0, $512-16
	MOVQ hashes+0(FP), DI
	MOVQ leaves+8(FP), SI
	LEAQ state-512(SP), DX
	MOVQ $64, BX
	MOVQ $-2, AX
	KMOVQ AX, K1

	VBROADCASTI32X4 ·swapBytes(SB), Z31

	STATE(0, Z0)
	STATE(1, Z1)
	STATE(2, Z2)
	STATE(3, Z3)
	STATE(4, Z4)
	STATE(5, Z5)
	STATE(6, Z6)
	STATE(7, Z7)

	HEAD(0, Z8)
	HEAD(1, Z9)
	HEAD(2, Z10)
	HEAD(3, Z11)
	HEAD(4, Z12)
	HEAD(5, Z13)
	HEAD(6, Z14)
	HEAD(7, Z15)
	HEAD(8, Z16)
	HEAD(9, Z17)
	HEAD(10, Z18)
	HEAD(11, Z19)
	HEAD(12, Z20)
	HEAD(13, Z21)
	HEAD(14, Z22)
	HEAD(15, Z23)

mix:
	TRANSPOSE
	CALL ·rounds16(SB)
	ADDSTATE
	CMPQ BX, $4096
	JEQ  tail

	INNER(0, Z8)
	INNER(1, Z9)
	INNER(2, Z10)
	INNER(3, Z11)
	INNER(4, Z12)
	INNER(5, Z13)
	INNER(6, Z14)
	INNER(7, Z15)
	INNER(8, Z16)
	INNER(9, Z17)
	INNER(10, Z18)
	INNER(11, Z19)
	INNER(12, Z20)
	INNER(13, Z21)
	INNER(14, Z22)
	INNER(15, Z23)
	ADDQ $64, BX
	JMP  mix

tail: // the last byte of the leaf, a bit, zeros and the number of bits
	VMOVDQU32     ·leafOffsets(SB), Z24
	KXNORQ        K1, K1, K1
	VPGATHERDD    4092(SI)(Z24*1), K1, Z8
	VPANDD.BCST   ·lastByte(SB), Z8, Z8
	VPORD.BCST    ·endBit(SB), Z8, Z8
	VPXORD        Z9, Z9, Z9
	VMOVDQA32     Z9, Z10
	VMOVDQA32     Z9, Z11
	VMOVDQA32     Z9, Z12
	VMOVDQA32     Z9, Z13
	VMOVDQA32     Z9, Z14
	VMOVDQA32     Z9, Z15
	VMOVDQA32     Z9, Z16
	VMOVDQA32     Z9, Z17
	VMOVDQA32     Z9, Z18
	VMOVDQA32     Z9, Z19
	VMOVDQA32     Z9, Z20
	VMOVDQA32     Z9, Z21
	VMOVDQA32     Z9, Z22
	VPBROADCASTD  ·leafBits(SB), Z23
	CALL ·rounds16(SB)
	ADDSTATE

	VPSHUFB Z31, Z0, Z0
	VPSHUFB Z31, Z1, Z1
	VPSHUFB Z31, Z2, Z2
	VPSHUFB Z31, Z3, Z3
	VPSHUFB Z31, Z4, Z4
	VPSHUFB Z31, Z5, Z5
	VPSHUFB Z31, Z6, Z6
	VPSHUFB Z31, Z7, Z7
	WORDS(Z0, Z1, Z2, Z3)
	WORDS(Z4, Z5, Z6, Z7)
	PUT(0, Z0, Z1, Z2, Z3)
	PUT(1, Z4, Z5, Z6, Z7)
	VZEROUPPER
	RET
