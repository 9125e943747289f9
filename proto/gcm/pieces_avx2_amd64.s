#include "textflag.h"

// AES-GCM of pieces of 32 blocks, half a piece at a time, two blocks in each
// register.
//
// Sixteen registers are too few to do enough blocks at a time for a processor to
// be busy with the cipher, or with the hash, alone. So while half a piece is
// encrypted or decrypted, another is taken into the hash, between the rounds: what
// is decrypted, or what was encrypted before. Multiplying takes longest: three
// products take the place of four, as Karatsuba has it, and stand together, since
// some processors issue nothing else along with one.
//
// SI is the schedule, DX the message. R9 is the half taken into the hash, R12 the
// powers for it, R13 where those end. Y0–Y7 are the blocks of a half, Y8 a round
// key. Y10–Y12 add up products: their low, middle and high parts. Y8, Y9 and Y13
// are scratch, X13 the hash between two pieces and zero between two halves. Y14
// is the next two counters, Y15 reverses blocks.

#define ROUNDS 0
#define POWERS 240
#define AFTERPOWERS 752
#define SHORT 752
#define SUMS 760
#define HASH 0
#define COUNTER 16

#define SETUP \
	MOVQ           s+0(FP), SI; \
	MOVQ           m+8(FP), DX; \
	MOVQ           out+16(FP), R11; \
	MOVQ           in+24(FP), R10; \
	MOVQ           pieces+32(FP), CX; \
	SHLQ           $1, CX; \
	LEAQ           POWERS(SI), R12; \
	LEAQ           AFTERPOWERS(SI), R13; \
	MOVQ           SHORT(SI), R8; \
	VBROADCASTI128 ·reverseBytes(SB), Y15; \
	VBROADCASTI128 COUNTER(DX), Y14; \
	VPADDD         ·laneNumbers(SB), Y14, Y14; \
	VMOVDQU        HASH(DX), X13; \
	CLEAR

#define CLEAR \
	VPXOR Y10, Y10, Y10; \
	VPXOR Y11, Y11, Y11; \
	VPXOR Y12, Y12, Y12

// COUNTERS makes the blocks of counters of a half.
#define COUNTERS \
	VMOVDQU ·pairCounts(SB), Y8; \
	VMOVDQA Y14, Y0; \
	VPADDD  Y8, Y0, Y1; \
	VPADDD  Y8, Y1, Y2; \
	VPADDD  Y8, Y2, Y3; \
	VPADDD  Y8, Y3, Y4; \
	VPADDD  Y8, Y4, Y5; \
	VPADDD  Y8, Y5, Y6; \
	VPADDD  Y8, Y6, Y7; \
	VPADDD  Y8, Y7, Y14; \
	VPSHUFB Y15, Y0, Y0; \
	VPSHUFB Y15, Y1, Y1; \
	VPSHUFB Y15, Y2, Y2; \
	VPSHUFB Y15, Y3, Y3; \
	VPSHUFB Y15, Y4, Y4; \
	VPSHUFB Y15, Y5, Y5; \
	VPSHUFB Y15, Y6, Y6; \
	VPSHUFB Y15, Y7, Y7

#define EACH(operation, slot) \
	VBROADCASTI128 (ROUNDS+slot*16)(SI), Y8; \
	operation      Y8, Y0, Y0; \
	operation      Y8, Y1, Y1; \
	operation      Y8, Y2, Y2; \
	operation      Y8, Y3, Y3; \
	operation      Y8, Y4, Y4; \
	operation      Y8, Y5, Y5; \
	operation      Y8, Y6, Y6; \
	operation      Y8, Y7, Y7

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
	HASHEND; \
	EACH(VAESENC, 13)

// LAST does the last round with the text at a place, which adds it to the stream.
#define LAST(i, y) \
	VPXOR       (i*32)(R10), Y8, Y9; \
	VAESENCLAST Y9, y, y; \
	VMOVDQU     y, (i*32)(R11)

#define LASTROUND \
	VBROADCASTI128 (ROUNDS+14*16)(SI), Y8; \
	LAST(0, Y0); \
	LAST(1, Y1); \
	LAST(2, Y2); \
	LAST(3, Y3); \
	LAST(4, Y4); \
	LAST(5, Y5); \
	LAST(6, Y6); \
	LAST(7, Y7)

// MULTIPLY adds the products of the blocks in Y9 and powers: that of their low
// halves, of their high ones, and of the sums of both, in which are the others.
#define MULTIPLY(power, sum) \
	VPSHUFD    $0x4e, Y9, Y8; \
	VPXOR      Y9, Y8, Y8; \
	VPCLMULQDQ $0x00, power, Y9, Y13; \
	VPCLMULQDQ $0x11, power, Y9, Y9; \
	VPCLMULQDQ $0x00, sum, Y8, Y8; \
	VPXOR      Y13, Y10, Y10; \
	VPXOR      Y9, Y12, Y12; \
	VPXOR      Y8, Y11, Y11

// HASHFIRST, seven of HASHNEXT and HASHEND take a half into the sums.
#define HASHFIRST \
	VMOVDQU (R9), Y9; \
	VPSHUFB Y15, Y9, Y9; \
	VPXOR   Y13, Y9, Y9; \
	MULTIPLY((R12), (SUMS-POWERS)(R12))

#define HASHNEXT(i) \
	VMOVDQU (i*32)(R9), Y9; \
	VPSHUFB Y15, Y9, Y9; \
	MULTIPLY((i*32)(R12), (i*32+SUMS-POWERS)(R12))

#define HASHEND \
	VPXOR Y13, Y13, Y13; \
	ADDQ  $256, R12

// REDUCE brings the sums down to the hash.
#define REDUCE \
	VPXOR          Y10, Y11, Y11; \
	VPXOR          Y12, Y11, Y11; \
	VBROADCASTI128 ·polynomial(SB), Y9; \
	VPCLMULQDQ     $0x01, Y10, Y9, Y8; \
	VPSHUFD        $0x4e, Y10, Y10; \
	VPXOR          Y8, Y11, Y11; \
	VPXOR          Y10, Y11, Y11; \
	VPCLMULQDQ     $0x01, Y11, Y9, Y8; \
	VPSHUFD        $0x4e, Y11, Y11; \
	VPXOR          Y8, Y12, Y12; \
	VPXOR          Y11, Y12, Y12; \
	VEXTRACTI128   $1, Y12, X13; \
	VPXOR          X12, X13, X13

#define NEXTPIECE \
	REDUCE; \
	CLEAR; \
	SUBQ $512, R12

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
	PREFETCHT0 (AHEAD+192)(text)

#define NEXTHALF \
	ADDQ $256, R10; \
	ADDQ $256, R11; \
	DECQ CX

#define FINISH \
	VMOVDQU X13, HASH(DX); \
	VMOVDQU X14, COUNTER(DX); \
	VZEROUPPER

// func sealPieces2(s *schedule, m *message, out, in *byte, pieces int)
TEXT ·sealPieces2(SB), NOSPLIT, $0-40
	SETUP
	COUNTERS
	EACH(VPXOR, 0)
	TESTQ R8, R8
	JNZ   firstRest
	LONGROUNDS

firstRest:
	ROUNDSALONE
	LASTROUND
	MOVQ R11, R9
	NEXTHALF

seal:
	FETCH
	COUNTERS
	EACH(VPXOR, 0)
	TESTQ R8, R8
	JNZ   sealRest
	LONGROUNDS

sealRest:
	ROUNDSANDHASH
	LASTROUND
	CMPQ R12, R13
	JNE  sealNext
	NEXTPIECE

sealNext:
	MOVQ R11, R9
	NEXTHALF
	JNZ  seal

	HASHFIRST
	HASHNEXT(1)
	HASHNEXT(2)
	HASHNEXT(3)
	HASHNEXT(4)
	HASHNEXT(5)
	HASHNEXT(6)
	HASHNEXT(7)
	REDUCE
	FINISH
	RET

// func openPieces2(s *schedule, m *message, out, in *byte, pieces int)
TEXT ·openPieces2(SB), NOSPLIT, $0-40
	SETUP

open:
	FETCH
	MOVQ R10, R9
	COUNTERS
	EACH(VPXOR, 0)
	TESTQ R8, R8
	JNZ   openRest
	LONGROUNDS

openRest:
	ROUNDSANDHASH
	LASTROUND
	CMPQ R12, R13
	JNE  openNext
	NEXTPIECE

openNext:
	NEXTHALF
	JNZ open
	FINISH
	RET

// func hashBlocks2(s *schedule, m *message, blocks *byte, count int)
TEXT ·hashBlocks2(SB), NOSPLIT, $0-32
	MOVQ s+0(FP), SI
	MOVQ m+8(FP), DX
	MOVQ blocks+16(FP), R10
	MOVQ count+24(FP), CX
	VMOVDQU ·reverseBytes(SB), X15
	VMOVDQU HASH(DX), X13
	CLEAR

	// The last block is multiplied by the first power, which is the last.
	MOVQ CX, R9
	SHLQ $4, R9
	LEAQ AFTERPOWERS(SI), R12
	SUBQ R9, R12

hash: // one block, and zeros in the upper half of each register
	VMOVDQU (R10), X9
	VPSHUFB X15, X9, X9
	VPXOR   X13, X9, X9
	VMOVDQU (R12), X0
	VMOVDQU (SUMS-POWERS)(R12), X1
	MULTIPLY(Y0, Y1)
	VPXOR   X13, X13, X13
	ADDQ    $16, R10
	ADDQ    $16, R12
	DECQ    CX
	JNZ     hash

	REDUCE
	VMOVDQU X13, HASH(DX)
	VZEROUPPER
	RET
