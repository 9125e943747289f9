#include "textflag.h"

// AES-GCM of pieces of 32 blocks, four in each register.
//
// While a piece is encrypted or decrypted, another is taken into the hash, between
// the rounds: what is decrypted, or what was encrypted before. The cipher and the
// products of the hash are for different parts of a processor.
//
// SI is the schedule, DX the message. R9 is the piece taken into the hash. Z0–Z7
// are the blocks of a piece, Z8 a round key. Z9 is a block for the hash, Z10 powers
// of the hash key. Z16–Z18 add up products: their low, middle and high parts. Z19
// and Z20 are scratch. X21 is the hash, Z22 the next four counters, Z23 what they
// grow by, Z24 the polynomial, Z25 reverses blocks.

#define ROUNDS 0
#define POWERS 240
#define SHORT 752
#define HASH 0
#define COUNTER 16

#define SETUP \
	MOVQ            s+0(FP), SI; \
	MOVQ            m+8(FP), DX; \
	MOVQ            out+16(FP), R11; \
	MOVQ            in+24(FP), R10; \
	MOVQ            pieces+32(FP), CX; \
	VBROADCASTI32X4 ·reverseBytes(SB), Z25; \
	VBROADCASTI32X4 ·polynomial(SB), Z24; \
	VMOVDQU32       ·laneCounts(SB), Z23; \
	VBROADCASTI32X4 COUNTER(DX), Z22; \
	VPADDD          ·laneNumbers(SB), Z22, Z22; \
	VMOVDQU32       HASH(DX), X21; \
	MOVQ            SHORT(SI), R8

// COUNTERS makes the blocks of counters of a piece.
#define COUNTERS \
	VMOVDQA32 Z22, Z0; \
	VPADDD    Z23, Z0, Z1; \
	VPADDD    Z23, Z1, Z2; \
	VPADDD    Z23, Z2, Z3; \
	VPADDD    Z23, Z3, Z4; \
	VPADDD    Z23, Z4, Z5; \
	VPADDD    Z23, Z5, Z6; \
	VPADDD    Z23, Z6, Z7; \
	VPADDD    Z23, Z7, Z22; \
	VPSHUFB   Z25, Z0, Z0; \
	VPSHUFB   Z25, Z1, Z1; \
	VPSHUFB   Z25, Z2, Z2; \
	VPSHUFB   Z25, Z3, Z3; \
	VPSHUFB   Z25, Z4, Z4; \
	VPSHUFB   Z25, Z5, Z5; \
	VPSHUFB   Z25, Z6, Z6; \
	VPSHUFB   Z25, Z7, Z7

#define EACH(operation, slot) \
	VBROADCASTI32X4 (ROUNDS+slot*16)(SI), Z8; \
	operation       Z8, Z0, Z0; \
	operation       Z8, Z1, Z1; \
	operation       Z8, Z2, Z2; \
	operation       Z8, Z3, Z3; \
	operation       Z8, Z4, Z4; \
	operation       Z8, Z5, Z5; \
	operation       Z8, Z6, Z6; \
	operation       Z8, Z7, Z7

#define LONGROUNDS \
	EACH(VAESENC, 1); \
	EACH(VAESENC, 2); \
	EACH(VAESENC, 3); \
	EACH(VAESENC, 4)

#define ROUNDSALONE \
	EACH(VAESENC, 5); \
	EACH(VAESENC, 6); \
	EACH(VAESENC, 7); \
	EACH(VAESENC, 8); \
	EACH(VAESENC, 9); \
	EACH(VAESENC, 10); \
	EACH(VAESENC, 11); \
	EACH(VAESENC, 12); \
	EACH(VAESENC, 13)

#define ROUNDSANDHASH \
	HASHFIRST; \
	EACH(VAESENC, 5); \
	HASHNEXT(1); \
	EACH(VAESENC, 6); \
	HASHNEXT(2); \
	EACH(VAESENC, 7); \
	HASHNEXT(3); \
	EACH(VAESENC, 8); \
	HASHNEXT(4); \
	EACH(VAESENC, 9); \
	HASHNEXT(5); \
	EACH(VAESENC, 10); \
	HASHNEXT(6); \
	EACH(VAESENC, 11); \
	HASHNEXT(7); \
	EACH(VAESENC, 12); \
	REDUCE; \
	EACH(VAESENC, 13)

#define HASHALONE \
	HASHFIRST; \
	HASHNEXT(1); \
	HASHNEXT(2); \
	HASHNEXT(3); \
	HASHNEXT(4); \
	HASHNEXT(5); \
	HASHNEXT(6); \
	HASHNEXT(7); \
	REDUCE

// LAST does the last round with the text at a place, which adds it to the stream.
#define LAST(i, z) \
	VPXORQ      (i*64)(R10), Z8, Z9; \
	VAESENCLAST Z9, z, z; \
	VMOVDQU32   z, (i*64)(R11)

#define LASTROUND \
	VBROADCASTI32X4 (ROUNDS+14*16)(SI), Z8; \
	LAST(0, Z0); \
	LAST(1, Z1); \
	LAST(2, Z2); \
	LAST(3, Z3); \
	LAST(4, Z4); \
	LAST(5, Z5); \
	LAST(6, Z6); \
	LAST(7, Z7)

// MULTIPLY adds the products of the blocks in Z9 and powers.
#define MULTIPLY(i) \
	VMOVDQU32  (POWERS+i*64)(SI), Z10; \
	VPCLMULQDQ $0x00, Z10, Z9, Z19; \
	VPXORQ     Z19, Z16, Z16; \
	VPCLMULQDQ $0x11, Z10, Z9, Z20; \
	VPXORQ     Z20, Z18, Z18; \
	VPCLMULQDQ $0x01, Z10, Z9, Z19; \
	VPCLMULQDQ $0x10, Z10, Z9, Z20; \
	VPTERNLOGD $0x96, Z19, Z20, Z17

// HASHFIRST, seven of HASHNEXT and REDUCE take a piece into the hash.
#define HASHFIRST \
	VMOVDQU32 (R9), Z9; \
	VPSHUFB   Z25, Z9, Z9; \
	VPXORQ    Z21, Z9, Z9; \
	VPXORQ    Z16, Z16, Z16; \
	VPXORQ    Z17, Z17, Z17; \
	VPXORQ    Z18, Z18, Z18; \
	MULTIPLY(0)

#define HASHNEXT(i) \
	VMOVDQU32 (i*64)(R9), Z9; \
	VPSHUFB   Z25, Z9, Z9; \
	MULTIPLY(i)

#define REDUCE \
	VPCLMULQDQ $0x01, Z16, Z24, Z19; \
	VPSHUFD    $0x4e, Z16, Z16; \
	VPTERNLOGD $0x96, Z19, Z16, Z17; \
	VPCLMULQDQ $0x01, Z17, Z24, Z19; \
	VPSHUFD    $0x4e, Z17, Z17; \
	VPTERNLOGD $0x96, Z19, Z17, Z18; \
	VEXTRACTI64X4 $1, Z18, Y19; \
	VPXORQ     Y19, Y18, Y18; \
	VEXTRACTI32X4 $1, Y18, X19; \
	VPXORQ     X19, X18, X21

// FETCH fetches text, and where it goes, before their use. What is in memory and
// in no cache would be waited for: a processor looks ahead by a piece or two.
#define AHEAD 2048

#define FETCH \
	FETCHFROM(R10); \
	FETCHFROM(R11)

#define FETCHFROM(text) \
	PREFETCHT0 (AHEAD+0)(text); \
	PREFETCHT0 (AHEAD+64)(text); \
	PREFETCHT0 (AHEAD+128)(text); \
	PREFETCHT0 (AHEAD+192)(text); \
	PREFETCHT0 (AHEAD+256)(text); \
	PREFETCHT0 (AHEAD+320)(text); \
	PREFETCHT0 (AHEAD+384)(text); \
	PREFETCHT0 (AHEAD+448)(text)

#define NEXT \
	ADDQ $512, R10; \
	ADDQ $512, R11; \
	DECQ CX

#define FINISH \
	VMOVDQU32 X21, HASH(DX); \
	VMOVDQU32 X22, COUNTER(DX); \
	VZEROUPPER

// func sealPieces(s *schedule, m *message, out, in *byte, pieces int)
TEXT ·sealPieces(SB), NOSPLIT, $0-40
	SETUP
	COUNTERS
	EACH(VPXORQ, 0)
	TESTQ R8, R8
	JNZ   firstRest
	LONGROUNDS

firstRest:
	ROUNDSALONE
	LASTROUND
	MOVQ R11, R9
	NEXT
	JZ   sealEnd

seal:
	FETCH
	COUNTERS
	EACH(VPXORQ, 0)
	TESTQ R8, R8
	JNZ   sealRest
	LONGROUNDS

sealRest:
	ROUNDSANDHASH
	LASTROUND
	MOVQ R11, R9
	NEXT
	JNZ  seal

sealEnd:
	HASHALONE
	FINISH
	RET

// func openPieces(s *schedule, m *message, out, in *byte, pieces int)
TEXT ·openPieces(SB), NOSPLIT, $0-40
	SETUP

open:
	FETCH
	MOVQ R10, R9
	COUNTERS
	EACH(VPXORQ, 0)
	TESTQ R8, R8
	JNZ   openRest
	LONGROUNDS

openRest:
	ROUNDSANDHASH
	LASTROUND
	NEXT
	JNZ open
	FINISH
	RET

// func hashBlocks(s *schedule, m *message, blocks *byte, count int)
TEXT ·hashBlocks(SB), NOSPLIT, $0-32
	MOVQ s+0(FP), SI
	MOVQ m+8(FP), DX
	MOVQ blocks+16(FP), R10
	MOVQ count+24(FP), CX
	VBROADCASTI32X4 ·reverseBytes(SB), Z25
	VBROADCASTI32X4 ·polynomial(SB), Z24
	VMOVDQU32 HASH(DX), X21
	VPXORQ X16, X16, X16
	VPXORQ X17, X17, X17
	VPXORQ X18, X18, X18

	// The last block is multiplied by the first power, which is the last.
	MOVQ CX, R9
	SHLQ $4, R9
	LEAQ (POWERS+512)(SI), R8
	SUBQ R9, R8

hash:
	VMOVDQU32  (R10), X0
	VPSHUFB    X25, X0, X0
	VPXORQ     X21, X0, X0
	VPXORQ     X21, X21, X21
	VMOVDQU32  (R8), X8
	VPCLMULQDQ $0x00, X8, X0, X19
	VPXORQ     X19, X16, X16
	VPCLMULQDQ $0x11, X8, X0, X20
	VPXORQ     X20, X18, X18
	VPCLMULQDQ $0x01, X8, X0, X19
	VPCLMULQDQ $0x10, X8, X0, X20
	VPTERNLOGD $0x96, X19, X20, X17
	ADDQ $16, R10
	ADDQ $16, R8
	DECQ CX
	JNZ  hash

	VPCLMULQDQ $0x01, X16, X24, X19
	VPSHUFD    $0x4e, X16, X16
	VPTERNLOGD $0x96, X19, X16, X17
	VPCLMULQDQ $0x01, X17, X24, X19
	VPSHUFD    $0x4e, X17, X17
	VPTERNLOGD $0x96, X19, X17, X18
	VMOVDQU32  X18, HASH(DX)
	VZEROUPPER
	RET

// func substitute(word uint32) uint32
TEXT ·substitute(SB), NOSPLIT, $0-12
	MOVL word+0(FP), AX
	MOVQ AX, X0
	PSHUFD $0, X0, X0
	AESKEYGENASSIST $0, X0, X1
	MOVQ X1, AX
	MOVL AX, ret+8(FP)
	RET
