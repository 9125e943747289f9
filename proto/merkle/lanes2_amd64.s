#include "textflag.h"

// SHA-256 of two messages at a time with the instructions made for it. A step of
// one message waits for the step before it; those of the other fill the gap.
//
// X1–X6 are the first message's, X7–X12 the second's: two of state, in the order
// that the instructions want, and the last sixteen words of the schedule. X0 is
// the words that a step takes, X13 and X14 scratch, X15 four constants.

// STEPS is four rounds of both messages with the words w and v, each the next
// four of its schedule, and the constants at an offset.
#define STEPS(w, v, constants) \
	MOVOU       constants(R9), X15; \
	MOVO        X15, X0; \
	PADDD       w, X0; \
	SHA256RNDS2 X0, X1, X2; \
	PSHUFD      $0x0e, X0, X0; \
	SHA256RNDS2 X0, X2, X1; \
	MOVO        X15, X0; \
	PADDD       v, X0; \
	SHA256RNDS2 X0, X7, X8; \
	PSHUFD      $0x0e, X0, X0; \
	SHA256RNDS2 X0, X8, X7

// EXTEND makes the four words of a schedule that come after w3 in the place of
// w0, the first step towards which BEGIN has done.
#define EXTEND(w0, w2, w3, t) \
	MOVO       w3, t; \
	PALIGNR    $4, w2, t; \
	PADDD      t, w0; \
	SHA256MSG2 w3, w0

// BEGIN is the first step towards the words in the place of w0.
#define BEGIN(w0, w1) \
	SHA256MSG1 w1, w0

// LOAD takes in four words of a message.
#define LOAD(at, message, w) \
	MOVOU  at(message), w; \
	PSHUFB X14, w

// func hash2(states *uint32, messages *[maxLanes]*byte, blocks int)
TEXT ·hash2(SB), NOSPLIT, $0-24
	MOVQ states+0(FP), DX
	MOVQ messages+8(FP), DI
	MOVQ 0(DI), SI
	MOVQ 8(DI), DI
	MOVQ blocks+16(FP), CX
	LEAQ ·roundConstants(SB), R9

	MOVOU 0(DX), X1
	MOVOU 16(DX), X2
	MOVOU 32(DX), X7
	MOVOU 48(DX), X8

block:
	MOVOU ·swapBytes(SB), X14
	LOAD(0, SI, X3)
	LOAD(0, DI, X9)
	LOAD(16, SI, X4)
	LOAD(16, DI, X10)
	LOAD(32, SI, X5)
	LOAD(32, DI, X11)
	LOAD(48, SI, X6)
	LOAD(48, DI, X12)
	STEPS(X3, X9, 0)
	STEPS(X4, X10, 16)
	BEGIN(X3, X4)
	BEGIN(X9, X10)
	STEPS(X5, X11, 32)
	BEGIN(X4, X5)
	BEGIN(X10, X11)
	EXTEND(X3, X5, X6, X13)
	EXTEND(X9, X11, X12, X14)
	STEPS(X6, X12, 48)
	BEGIN(X5, X6)
	BEGIN(X11, X12)
	EXTEND(X4, X6, X3, X13)
	EXTEND(X10, X12, X9, X14)
	STEPS(X3, X9, 64)
	BEGIN(X6, X3)
	BEGIN(X12, X9)
	EXTEND(X5, X3, X4, X13)
	EXTEND(X11, X9, X10, X14)
	STEPS(X4, X10, 80)
	BEGIN(X3, X4)
	BEGIN(X9, X10)
	EXTEND(X6, X4, X5, X13)
	EXTEND(X12, X10, X11, X14)
	STEPS(X5, X11, 96)
	BEGIN(X4, X5)
	BEGIN(X10, X11)
	EXTEND(X3, X5, X6, X13)
	EXTEND(X9, X11, X12, X14)
	STEPS(X6, X12, 112)
	BEGIN(X5, X6)
	BEGIN(X11, X12)
	EXTEND(X4, X6, X3, X13)
	EXTEND(X10, X12, X9, X14)
	STEPS(X3, X9, 128)
	BEGIN(X6, X3)
	BEGIN(X12, X9)
	EXTEND(X5, X3, X4, X13)
	EXTEND(X11, X9, X10, X14)
	STEPS(X4, X10, 144)
	BEGIN(X3, X4)
	BEGIN(X9, X10)
	EXTEND(X6, X4, X5, X13)
	EXTEND(X12, X10, X11, X14)
	STEPS(X5, X11, 160)
	BEGIN(X4, X5)
	BEGIN(X10, X11)
	EXTEND(X3, X5, X6, X13)
	EXTEND(X9, X11, X12, X14)
	STEPS(X6, X12, 176)
	BEGIN(X5, X6)
	BEGIN(X11, X12)
	EXTEND(X4, X6, X3, X13)
	EXTEND(X10, X12, X9, X14)
	STEPS(X3, X9, 192)
	BEGIN(X6, X3)
	BEGIN(X12, X9)
	EXTEND(X5, X3, X4, X13)
	EXTEND(X11, X9, X10, X14)
	STEPS(X4, X10, 208)
	EXTEND(X6, X4, X5, X13)
	EXTEND(X12, X10, X11, X14)
	STEPS(X5, X11, 224)
	STEPS(X6, X12, 240)

	MOVOU 0(DX), X13
	MOVOU 16(DX), X14
	PADDD X13, X1
	PADDD X14, X2
	MOVOU X1, 0(DX)
	MOVOU X2, 16(DX)
	MOVOU 32(DX), X13
	MOVOU 48(DX), X14
	PADDD X13, X7
	PADDD X14, X8
	MOVOU X7, 32(DX)
	MOVOU X8, 48(DX)

	ADDQ $64, SI
	ADDQ $64, DI
	DECQ CX
	JNZ  block
	RET
