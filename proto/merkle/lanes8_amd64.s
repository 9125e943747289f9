#include "textflag.h"

// SHA-256 of eight messages at a time, one in each lane of the registers.
//
// Y0–Y7 are the working variables a–h, Y8–Y15 scratch. The last sixteen words of
// the schedule are on the stack. The exclusive or of a round's a and b is kept in
// Y14, as that of the next one's b and c.

// ROTATIONS puts the exclusive or of three rotations of x into Y8. The r are what
// the n lack to 32.
#define ROTATIONS(x, n1, r1, n2, r2, n3, r3) \
	VPSRLD $n1, x, Y8; \
	VPSLLD $r1, x, Y9; \
	VPSRLD $n2, x, Y10; \
	VPSLLD $r2, x, Y11; \
	VPXOR  Y9, Y8, Y8; \
	VPXOR  Y11, Y10, Y10; \
	VPSRLD $n3, x, Y9; \
	VPSLLD $r3, x, Y11; \
	VPXOR  Y10, Y8, Y8; \
	VPXOR  Y11, Y9, Y9; \
	VPXOR  Y9, Y8, Y8

// ROUND is one round with the word in Y12 and the constant at an offset. The new
// a is left in h.
#define ROUND(a, b, c, d, e, f, g, h, constant) \
	VPBROADCASTD constant(R9), Y13; \
	VPADDD Y12, h, h; \
	VPXOR  g, f, Y15; \
	ROTATIONS(e, 6, 26, 11, 21, 25, 7); \
	VPADDD Y13, h, h; \
	VPAND  e, Y15, Y15; \
	VPADDD Y8, h, h; \
	VPXOR  g, Y15, Y15; \
	VPADDD Y15, h, h; \
	ROTATIONS(a, 2, 30, 13, 19, 22, 10); \
	VPADDD h, d, d; \
	VPXOR  b, a, Y13; \
	VPADDD Y8, h, h; \
	VPAND  Y13, Y14, Y14; \
	VPXOR  b, Y14, Y14; \
	VPADDD Y14, h, h; \
	VMOVDQA Y13, Y14

// FIRST is a round with a word of the message.
#define FIRST(a, b, c, d, e, f, g, h, i) \
	VMOVDQU (i*32)(R10), Y12; \
	ROUND(a, b, c, d, e, f, g, h, (i*4))

// LATER is a round with the next word of the schedule, made in the place of the
// oldest, that at i.
#define LATER(a, b, c, d, e, f, g, h, i, i1, i9, i14) \
	VMOVDQU (i1*32)(R10), Y15; \
	VMOVDQU (i*32)(R10), Y12; \
	VPADDD  (i9*32)(R10), Y12, Y12; \
	VPSRLD  $7, Y15, Y8; \
	VPSLLD  $25, Y15, Y9; \
	VPSRLD  $18, Y15, Y10; \
	VPSLLD  $14, Y15, Y11; \
	VPSRLD  $3, Y15, Y15; \
	VMOVDQU (i14*32)(R10), Y13; \
	VPXOR   Y9, Y8, Y8; \
	VPXOR   Y11, Y10, Y10; \
	VPXOR   Y15, Y8, Y8; \
	VPSRLD  $17, Y13, Y9; \
	VPSLLD  $15, Y13, Y11; \
	VPXOR   Y10, Y8, Y8; \
	VPSRLD  $19, Y13, Y10; \
	VPSLLD  $13, Y13, Y15; \
	VPADDD  Y8, Y12, Y12; \
	VPSRLD  $10, Y13, Y13; \
	VPXOR   Y11, Y9, Y9; \
	VPXOR   Y15, Y10, Y10; \
	VPXOR   Y13, Y9, Y9; \
	VPXOR   Y10, Y9, Y9; \
	VPADDD  Y9, Y12, Y12; \
	VMOVDQU Y12, (i*32)(R10); \
	ROUND(a, b, c, d, e, f, g, h, (i*4))

// LOAD takes in eight words of the message of a lane.
#define LOAD(lane, at, w) \
	MOVQ    (lane*8)(DI), SI; \
	VMOVDQU at(SI)(BX*1), w; \
	VPSHUFB Y15, w, w

// TRANSPOSE takes in eight words of each message and puts them on the stack, word
// by word of all.
#define TRANSPOSE(at, to) \
	LOAD(0, at, Y0); \
	LOAD(1, at, Y1); \
	LOAD(2, at, Y2); \
	LOAD(3, at, Y3); \
	LOAD(4, at, Y4); \
	LOAD(5, at, Y5); \
	LOAD(6, at, Y6); \
	LOAD(7, at, Y7); \
	VPUNPCKLDQ Y1, Y0, Y8; \
	VPUNPCKHDQ Y1, Y0, Y9; \
	VPUNPCKLDQ Y3, Y2, Y10; \
	VPUNPCKHDQ Y3, Y2, Y11; \
	VPUNPCKLDQ Y5, Y4, Y0; \
	VPUNPCKHDQ Y5, Y4, Y1; \
	VPUNPCKLDQ Y7, Y6, Y2; \
	VPUNPCKHDQ Y7, Y6, Y3; \
	VPUNPCKLQDQ Y10, Y8, Y4; \
	VPUNPCKHQDQ Y10, Y8, Y5; \
	VPUNPCKLQDQ Y11, Y9, Y6; \
	VPUNPCKHQDQ Y11, Y9, Y7; \
	VPUNPCKLQDQ Y2, Y0, Y8; \
	VPUNPCKHQDQ Y2, Y0, Y9; \
	VPUNPCKLQDQ Y3, Y1, Y10; \
	VPUNPCKHQDQ Y3, Y1, Y11; \
	VPERM2I128 $0x20, Y8, Y4, Y0; \
	VPERM2I128 $0x20, Y9, Y5, Y1; \
	VPERM2I128 $0x20, Y10, Y6, Y2; \
	VPERM2I128 $0x20, Y11, Y7, Y3; \
	VPERM2I128 $0x31, Y8, Y4, Y4; \
	VPERM2I128 $0x31, Y9, Y5, Y5; \
	VPERM2I128 $0x31, Y10, Y6, Y6; \
	VPERM2I128 $0x31, Y11, Y7, Y7; \
	VMOVDQU Y0, (to+0)(R10); \
	VMOVDQU Y1, (to+32)(R10); \
	VMOVDQU Y2, (to+64)(R10); \
	VMOVDQU Y3, (to+96)(R10); \
	VMOVDQU Y4, (to+128)(R10); \
	VMOVDQU Y5, (to+160)(R10); \
	VMOVDQU Y6, (to+192)(R10); \
	VMOVDQU Y7, (to+224)(R10)

// func hash8(states *uint32, messages *[maxLanes]*byte, blocks int)
TEXT ·hash8(SB), NOSPLIT, $544-24
	MOVQ states+0(FP), DX
	MOVQ messages+8(FP), DI
	MOVQ blocks+16(FP), CX
	XORQ BX, BX
	LEAQ 31(SP), R10
	ANDQ $-32, R10

block:
	VBROADCASTI128 ·swapBytes(SB), Y15
	TRANSPOSE(0, 0)
	TRANSPOSE(32, 256)

	VMOVDQU 0(DX), Y0
	VMOVDQU 32(DX), Y1
	VMOVDQU 64(DX), Y2
	VMOVDQU 96(DX), Y3
	VMOVDQU 128(DX), Y4
	VMOVDQU 160(DX), Y5
	VMOVDQU 192(DX), Y6
	VMOVDQU 224(DX), Y7
	VPXOR   Y2, Y1, Y14

	LEAQ ·roundConstants(SB), R9
	MOVQ $3, R8
	FIRST(Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, 0)
	FIRST(Y7, Y0, Y1, Y2, Y3, Y4, Y5, Y6, 1)
	FIRST(Y6, Y7, Y0, Y1, Y2, Y3, Y4, Y5, 2)
	FIRST(Y5, Y6, Y7, Y0, Y1, Y2, Y3, Y4, 3)
	FIRST(Y4, Y5, Y6, Y7, Y0, Y1, Y2, Y3, 4)
	FIRST(Y3, Y4, Y5, Y6, Y7, Y0, Y1, Y2, 5)
	FIRST(Y2, Y3, Y4, Y5, Y6, Y7, Y0, Y1, 6)
	FIRST(Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y0, 7)
	FIRST(Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, 8)
	FIRST(Y7, Y0, Y1, Y2, Y3, Y4, Y5, Y6, 9)
	FIRST(Y6, Y7, Y0, Y1, Y2, Y3, Y4, Y5, 10)
	FIRST(Y5, Y6, Y7, Y0, Y1, Y2, Y3, Y4, 11)
	FIRST(Y4, Y5, Y6, Y7, Y0, Y1, Y2, Y3, 12)
	FIRST(Y3, Y4, Y5, Y6, Y7, Y0, Y1, Y2, 13)
	FIRST(Y2, Y3, Y4, Y5, Y6, Y7, Y0, Y1, 14)
	FIRST(Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y0, 15)

rounds:
	ADDQ $64, R9
	LATER(Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, 0, 1, 9, 14)
	LATER(Y7, Y0, Y1, Y2, Y3, Y4, Y5, Y6, 1, 2, 10, 15)
	LATER(Y6, Y7, Y0, Y1, Y2, Y3, Y4, Y5, 2, 3, 11, 0)
	LATER(Y5, Y6, Y7, Y0, Y1, Y2, Y3, Y4, 3, 4, 12, 1)
	LATER(Y4, Y5, Y6, Y7, Y0, Y1, Y2, Y3, 4, 5, 13, 2)
	LATER(Y3, Y4, Y5, Y6, Y7, Y0, Y1, Y2, 5, 6, 14, 3)
	LATER(Y2, Y3, Y4, Y5, Y6, Y7, Y0, Y1, 6, 7, 15, 4)
	LATER(Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y0, 7, 8, 0, 5)
	LATER(Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, 8, 9, 1, 6)
	LATER(Y7, Y0, Y1, Y2, Y3, Y4, Y5, Y6, 9, 10, 2, 7)
	LATER(Y6, Y7, Y0, Y1, Y2, Y3, Y4, Y5, 10, 11, 3, 8)
	LATER(Y5, Y6, Y7, Y0, Y1, Y2, Y3, Y4, 11, 12, 4, 9)
	LATER(Y4, Y5, Y6, Y7, Y0, Y1, Y2, Y3, 12, 13, 5, 10)
	LATER(Y3, Y4, Y5, Y6, Y7, Y0, Y1, Y2, 13, 14, 6, 11)
	LATER(Y2, Y3, Y4, Y5, Y6, Y7, Y0, Y1, 14, 15, 7, 12)
	LATER(Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y0, 15, 0, 8, 13)
	DECQ R8
	JNZ  rounds

	VPADDD  0(DX), Y0, Y0
	VPADDD  32(DX), Y1, Y1
	VPADDD  64(DX), Y2, Y2
	VPADDD  96(DX), Y3, Y3
	VPADDD  128(DX), Y4, Y4
	VPADDD  160(DX), Y5, Y5
	VPADDD  192(DX), Y6, Y6
	VPADDD  224(DX), Y7, Y7
	VMOVDQU Y0, 0(DX)
	VMOVDQU Y1, 32(DX)
	VMOVDQU Y2, 64(DX)
	VMOVDQU Y3, 96(DX)
	VMOVDQU Y4, 128(DX)
	VMOVDQU Y5, 160(DX)
	VMOVDQU Y6, 192(DX)
	VMOVDQU Y7, 224(DX)

	ADDQ $64, BX
	DECQ CX
	JNZ  block

	VZEROUPPER
	RET
