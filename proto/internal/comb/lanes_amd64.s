#include "textflag.h"

// Four points at a time, one in each lane of the registers. DI is the work
// throughout; offsets are those of its fields.
#define X 320
#define Y 960
#define Z 1600
#define T 2240
#define S0 2880
#define S1 3520
#define S2 4160
#define S3 4800
#define S4 5440
#define S5 6080
#define STEPS 6400
#define ENDSTEPS 6912

// Twice the prime, whose limbs are as large as any that is taken away.
DATA twoP<>+0(SB)/8, $0x7ffffda
DATA twoP<>+8(SB)/8, $0x7ffffda
DATA twoP<>+16(SB)/8, $0x7ffffda
DATA twoP<>+24(SB)/8, $0x7ffffda
DATA twoP<>+32(SB)/8, $0x3fffffe
DATA twoP<>+40(SB)/8, $0x3fffffe
DATA twoP<>+48(SB)/8, $0x3fffffe
DATA twoP<>+56(SB)/8, $0x3fffffe
DATA twoP<>+64(SB)/8, $0x7fffffe
DATA twoP<>+72(SB)/8, $0x7fffffe
DATA twoP<>+80(SB)/8, $0x7fffffe
DATA twoP<>+88(SB)/8, $0x7fffffe
DATA twoP<>+96(SB)/8, $0x3fffffe
DATA twoP<>+104(SB)/8, $0x3fffffe
DATA twoP<>+112(SB)/8, $0x3fffffe
DATA twoP<>+120(SB)/8, $0x3fffffe
DATA twoP<>+128(SB)/8, $0x7fffffe
DATA twoP<>+136(SB)/8, $0x7fffffe
DATA twoP<>+144(SB)/8, $0x7fffffe
DATA twoP<>+152(SB)/8, $0x7fffffe
DATA twoP<>+160(SB)/8, $0x3fffffe
DATA twoP<>+168(SB)/8, $0x3fffffe
DATA twoP<>+176(SB)/8, $0x3fffffe
DATA twoP<>+184(SB)/8, $0x3fffffe
DATA twoP<>+192(SB)/8, $0x7fffffe
DATA twoP<>+200(SB)/8, $0x7fffffe
DATA twoP<>+208(SB)/8, $0x7fffffe
DATA twoP<>+216(SB)/8, $0x7fffffe
DATA twoP<>+224(SB)/8, $0x3fffffe
DATA twoP<>+232(SB)/8, $0x3fffffe
DATA twoP<>+240(SB)/8, $0x3fffffe
DATA twoP<>+248(SB)/8, $0x3fffffe
DATA twoP<>+256(SB)/8, $0x7fffffe
DATA twoP<>+264(SB)/8, $0x7fffffe
DATA twoP<>+272(SB)/8, $0x7fffffe
DATA twoP<>+280(SB)/8, $0x7fffffe
DATA twoP<>+288(SB)/8, $0x3fffffe
DATA twoP<>+296(SB)/8, $0x3fffffe
DATA twoP<>+304(SB)/8, $0x3fffffe
DATA twoP<>+312(SB)/8, $0x3fffffe
GLOBL twoP<>(SB), RODATA|NOPTR, $320

// Four times it, for what is taken away is a difference itself.
DATA fourP<>+0(SB)/8, $0xfffffb4
DATA fourP<>+8(SB)/8, $0xfffffb4
DATA fourP<>+16(SB)/8, $0xfffffb4
DATA fourP<>+24(SB)/8, $0xfffffb4
DATA fourP<>+32(SB)/8, $0x7fffffc
DATA fourP<>+40(SB)/8, $0x7fffffc
DATA fourP<>+48(SB)/8, $0x7fffffc
DATA fourP<>+56(SB)/8, $0x7fffffc
DATA fourP<>+64(SB)/8, $0xffffffc
DATA fourP<>+72(SB)/8, $0xffffffc
DATA fourP<>+80(SB)/8, $0xffffffc
DATA fourP<>+88(SB)/8, $0xffffffc
DATA fourP<>+96(SB)/8, $0x7fffffc
DATA fourP<>+104(SB)/8, $0x7fffffc
DATA fourP<>+112(SB)/8, $0x7fffffc
DATA fourP<>+120(SB)/8, $0x7fffffc
DATA fourP<>+128(SB)/8, $0xffffffc
DATA fourP<>+136(SB)/8, $0xffffffc
DATA fourP<>+144(SB)/8, $0xffffffc
DATA fourP<>+152(SB)/8, $0xffffffc
DATA fourP<>+160(SB)/8, $0x7fffffc
DATA fourP<>+168(SB)/8, $0x7fffffc
DATA fourP<>+176(SB)/8, $0x7fffffc
DATA fourP<>+184(SB)/8, $0x7fffffc
DATA fourP<>+192(SB)/8, $0xffffffc
DATA fourP<>+200(SB)/8, $0xffffffc
DATA fourP<>+208(SB)/8, $0xffffffc
DATA fourP<>+216(SB)/8, $0xffffffc
DATA fourP<>+224(SB)/8, $0x7fffffc
DATA fourP<>+232(SB)/8, $0x7fffffc
DATA fourP<>+240(SB)/8, $0x7fffffc
DATA fourP<>+248(SB)/8, $0x7fffffc
DATA fourP<>+256(SB)/8, $0xffffffc
DATA fourP<>+264(SB)/8, $0xffffffc
DATA fourP<>+272(SB)/8, $0xffffffc
DATA fourP<>+280(SB)/8, $0xffffffc
DATA fourP<>+288(SB)/8, $0x7fffffc
DATA fourP<>+296(SB)/8, $0x7fffffc
DATA fourP<>+304(SB)/8, $0x7fffffc
DATA fourP<>+312(SB)/8, $0x7fffffc
GLOBL fourP<>(SB), RODATA|NOPTR, $320

DATA low26<>+0(SB)/8, $0x3ffffff
DATA low26<>+8(SB)/8, $0x3ffffff
DATA low26<>+16(SB)/8, $0x3ffffff
DATA low26<>+24(SB)/8, $0x3ffffff
GLOBL low26<>(SB), RODATA|NOPTR, $32

DATA low25<>+0(SB)/8, $0x1ffffff
DATA low25<>+8(SB)/8, $0x1ffffff
DATA low25<>+16(SB)/8, $0x1ffffff
DATA low25<>+24(SB)/8, $0x1ffffff
GLOBL low25<>(SB), RODATA|NOPTR, $32

DATA nineteen<>+0(SB)/8, $0x13
DATA nineteen<>+8(SB)/8, $0x13
DATA nineteen<>+16(SB)/8, $0x13
DATA nineteen<>+24(SB)/8, $0x13
GLOBL nineteen<>(SB), RODATA|NOPTR, $32

// CARRY moves what is above the bits of a limb to the next one.
#define CARRY(bits, low, limb, next) \
	VPSRLQ $bits, limb, Y12; \
	VPAND  low<>(SB), limb, limb; \
	VPADDQ Y12, next, next

// NINETEEN puts 19 times a limb of the second factor before its limbs, where
// products that come round the end find it.
#define NINETEEN(i) \
	VPMULUDQ (i*32)(BX), Y15, Y12; \
	VMOVDQU  Y12, (i*32-320)(BX)

#define PRODUCT(i, limb, place, sum) \
	VPMULUDQ ((place-i)*32)(BX), limb, Y12; \
	VPADDQ   Y12, sum, sum

// ROW adds limb i of the first factor times all of the second. For odd i the
// products that go to even places count twice.
#define ROW(i, even, odd) \
	PRODUCT(i, even, 0, Y0); \
	PRODUCT(i, odd, 1, Y1); \
	PRODUCT(i, even, 2, Y2); \
	PRODUCT(i, odd, 3, Y3); \
	PRODUCT(i, even, 4, Y4); \
	PRODUCT(i, odd, 5, Y5); \
	PRODUCT(i, even, 6, Y6); \
	PRODUCT(i, odd, 7, Y7); \
	PRODUCT(i, even, 8, Y8); \
	PRODUCT(i, odd, 9, Y9)

#define EVENROW(i) \
	VMOVDQU (i*32)(AX), Y10; \
	ROW(i, Y10, Y10)

#define ODDROW(i) \
	VMOVDQU (i*32)(AX), Y10; \
	VPADDQ  Y10, Y10, Y11; \
	ROW(i, Y11, Y10)

#define FIRST(place, sum) \
	VPMULUDQ (place*32)(BX), Y10, sum

// multiply puts the product of (AX) and (BX) into (DX), which may be one of
// them. Limbs of (BX) must be below 2^27.75, or 2^26.75 at odd places; those of
// (AX) below 2^28.6, or 2^27.6. Those of the product are below 2^26 and 2^25, but
// for a hundredth.
TEXT multiply<>(SB), NOSPLIT|NOFRAME, $0
	VMOVDQU nineteen<>(SB), Y15
	NINETEEN(1)
	NINETEEN(2)
	NINETEEN(3)
	NINETEEN(4)
	NINETEEN(5)
	NINETEEN(6)
	NINETEEN(7)
	NINETEEN(8)
	NINETEEN(9)
	JMP again<>(SB)

// again is multiply by the second factor of the last time.
TEXT again<>(SB), NOSPLIT|NOFRAME, $0
	VMOVDQU (AX), Y10
	FIRST(0, Y0)
	FIRST(1, Y1)
	FIRST(2, Y2)
	FIRST(3, Y3)
	FIRST(4, Y4)
	FIRST(5, Y5)
	FIRST(6, Y6)
	FIRST(7, Y7)
	FIRST(8, Y8)
	FIRST(9, Y9)
	ODDROW(1)
	EVENROW(2)
	ODDROW(3)
	EVENROW(4)
	ODDROW(5)
	EVENROW(6)
	ODDROW(7)
	EVENROW(8)
	ODDROW(9)
	CARRY(26, low26, Y0, Y1)
	CARRY(26, low26, Y4, Y5)
	CARRY(25, low25, Y1, Y2)
	CARRY(25, low25, Y5, Y6)
	CARRY(26, low26, Y2, Y3)
	CARRY(26, low26, Y6, Y7)
	CARRY(25, low25, Y3, Y4)
	CARRY(25, low25, Y7, Y8)
	CARRY(26, low26, Y4, Y5)
	CARRY(26, low26, Y8, Y9)
	VPSRLQ  $25, Y9, Y12
	VPAND   low25<>(SB), Y9, Y9
	VPADDQ  Y12, Y0, Y0
	VPSLLQ  $1, Y12, Y13
	VPSLLQ  $4, Y12, Y12
	VPADDQ  Y13, Y0, Y0
	VPADDQ  Y12, Y0, Y0
	CARRY(26, low26, Y0, Y1)
	VMOVDQU Y0, (DX)
	VMOVDQU Y1, 32(DX)
	VMOVDQU Y2, 64(DX)
	VMOVDQU Y3, 96(DX)
	VMOVDQU Y4, 128(DX)
	VMOVDQU Y5, 160(DX)
	VMOVDQU Y6, 192(DX)
	VMOVDQU Y7, 224(DX)
	VMOVDQU Y8, 256(DX)
	VMOVDQU Y9, 288(DX)
	RET

#define MULTIPLY(a, b, product) \
	LEAQ a(DI), AX; \
	LEAQ b(DI), BX; \
	LEAQ product(DI), DX; \
	CALL multiply<>(SB)

#define AGAIN(a, product) \
	LEAQ a(DI), AX; \
	LEAQ product(DI), DX; \
	CALL again<>(SB)

// SPREADLIMB is SPREAD of the limb at an offset.
#define SPREADLIMB(a, b, sum, difference, at) \
	VMOVDQU (a+at)(DI), Y0; \
	VMOVDQU (b+at)(DI), Y1; \
	VPADDQ  Y0, Y1, Y2; \
	VPADDQ  twoP<>+at(SB), Y1, Y1; \
	VPSUBQ  Y0, Y1, Y1; \
	VMOVDQU Y2, (sum+at)(DI); \
	VMOVDQU Y1, (difference+at)(DI)

// SPREAD makes b + a and b − a. Of a the limbs must be those of a product.
#define SPREAD(a, b, sum, difference) \
	SPREADLIMB(a, b, sum, difference, 0); \
	SPREADLIMB(a, b, sum, difference, 32); \
	SPREADLIMB(a, b, sum, difference, 64); \
	SPREADLIMB(a, b, sum, difference, 96); \
	SPREADLIMB(a, b, sum, difference, 128); \
	SPREADLIMB(a, b, sum, difference, 160); \
	SPREADLIMB(a, b, sum, difference, 192); \
	SPREADLIMB(a, b, sum, difference, 224); \
	SPREADLIMB(a, b, sum, difference, 256); \
	SPREADLIMB(a, b, sum, difference, 288)

#define SPREADTWICELIMB(a, b, sum, difference, at) \
	VMOVDQU (a+at)(DI), Y0; \
	VMOVDQU (b+at)(DI), Y1; \
	VPADDQ  Y1, Y1, Y1; \
	VPADDQ  Y0, Y1, Y2; \
	VPADDQ  twoP<>+at(SB), Y1, Y1; \
	VPSUBQ  Y0, Y1, Y1; \
	VMOVDQU Y2, (sum+at)(DI); \
	VMOVDQU Y1, (difference+at)(DI)

// SPREADTWICE makes 2b + a and 2b − a.
#define SPREADTWICE(a, b, sum, difference) \
	SPREADTWICELIMB(a, b, sum, difference, 0); \
	SPREADTWICELIMB(a, b, sum, difference, 32); \
	SPREADTWICELIMB(a, b, sum, difference, 64); \
	SPREADTWICELIMB(a, b, sum, difference, 96); \
	SPREADTWICELIMB(a, b, sum, difference, 128); \
	SPREADTWICELIMB(a, b, sum, difference, 160); \
	SPREADTWICELIMB(a, b, sum, difference, 192); \
	SPREADTWICELIMB(a, b, sum, difference, 224); \
	SPREADTWICELIMB(a, b, sum, difference, 256); \
	SPREADTWICELIMB(a, b, sum, difference, 288)

// TWICELIMB makes a limb of 2a, and one of 2b − c in the place of b. Of c the
// limbs are those of the difference of two products.
#define TWICELIMB(a, b, c, at) \
	VMOVDQU (a+at)(DI), Y0; \
	VPADDQ  Y0, Y0, Y0; \
	VMOVDQU Y0, (a+at)(DI); \
	VMOVDQU (b+at)(DI), Y1; \
	VPADDQ  Y1, Y1, Y1; \
	VPADDQ  fourP<>+at(SB), Y1, Y1; \
	VPSUBQ  (c+at)(DI), Y1, Y1; \
	VMOVDQU Y1, (b+at)(DI)

// TWICE makes 2a and 2b − c.
#define TWICE(a, b, c) \
	TWICELIMB(a, b, c, 0); \
	TWICELIMB(a, b, c, 32); \
	TWICELIMB(a, b, c, 64); \
	TWICELIMB(a, b, c, 96); \
	TWICELIMB(a, b, c, 128); \
	TWICELIMB(a, b, c, 160); \
	TWICELIMB(a, b, c, 192); \
	TWICELIMB(a, b, c, 224); \
	TWICELIMB(a, b, c, 256); \
	TWICELIMB(a, b, c, 288)

// SIGNLIMB makes a limb of −a in those lanes that Y14 selects.
#define SIGNLIMB(a, at) \
	VMOVDQU   (a+at)(DI), Y0; \
	VMOVDQU   twoP<>+at(SB), Y1; \
	VPSUBQ    Y0, Y1, Y1; \
	VPBLENDVB Y14, Y1, Y0, Y0; \
	VMOVDQU   Y0, (a+at)(DI)

#define SIGN(a) \
	SIGNLIMB(a, 0); \
	SIGNLIMB(a, 32); \
	SIGNLIMB(a, 64); \
	SIGNLIMB(a, 96); \
	SIGNLIMB(a, 128); \
	SIGNLIMB(a, 160); \
	SIGNLIMB(a, 192); \
	SIGNLIMB(a, 224); \
	SIGNLIMB(a, 256); \
	SIGNLIMB(a, 288)

// UNPACK makes limbs of what lies at an offset from R8, R11, R12 and R13.
#define UNPACK(from, to) \
	VMOVDQU     from(R8), Y0; \
	VMOVDQU     from(R11), Y1; \
	VMOVDQU     from(R12), Y2; \
	VMOVDQU     from(R13), Y3; \
	VPUNPCKLQDQ Y1, Y0, Y4; \
	VPUNPCKHQDQ Y1, Y0, Y5; \
	VPUNPCKLQDQ Y3, Y2, Y6; \
	VPUNPCKHQDQ Y3, Y2, Y7; \
	VPERM2I128  $0x20, Y6, Y4, Y0; \
	VPERM2I128  $0x20, Y7, Y5, Y1; \
	VPERM2I128  $0x31, Y6, Y4, Y2; \
	VPERM2I128  $0x31, Y7, Y5, Y3; \
	LIMB(0, Y0, Y8, to, 0); \
	LIMB(26, Y0, Y9, to, 32); \
	LIMBOFTWO(51, Y0, Y1, Y8, to, 64); \
	LIMB(13, Y1, Y9, to, 96); \
	LIMB(38, Y1, Y8, to, 128); \
	LIMB(0, Y2, Y9, to, 160); \
	LIMB(25, Y2, Y8, to, 192); \
	LIMBOFTWO(51, Y2, Y3, Y9, to, 224); \
	LIMB(12, Y3, Y8, to, 256); \
	LIMB(38, Y3, Y9, to, 288)

#define LIMB(bits, word, low, to, at) \
	VPSRLQ  $bits, word, Y4; \
	VPAND   low, Y4, Y4; \
	VMOVDQU Y4, (to+at)(DI)

#define LIMBOFTWO(bits, word, next, low, to, at) \
	VPSRLQ  $bits, word, Y4; \
	VPSLLQ  $(64-bits), next, Y5; \
	VPOR    Y4, Y5, Y4; \
	VPAND   low, Y4, Y4; \
	VMOVDQU Y4, (to+at)(DI)

// LOCATE has entry point to what is added as y + x: to the difference of an entry
// that is taken away.
#define LOCATE(lane, entry) \
	MOVQ (lane*8)(R9), entry; \
	MOVQ (32+lane*8)(R9), CX; \
	ANDQ $32, CX; \
	ADDQ CX, entry

// TURN has entry point to the other of the two, and back.
#define TURN(lane, entry) \
	MOVQ (lane*8)(R9), CX; \
	LEAQ 32(CX)(CX*1), CX; \
	SUBQ entry, CX; \
	MOVQ CX, entry

#define BEGINNING(lane, entry) \
	MOVQ (lane*8)(R9), entry

#define AHEAD(lane) \
	MOVQ       (64+lane*8)(R9), CX; \
	PREFETCHT0 (CX); \
	PREFETCHT0 64(CX)

// func addSteps(w *work)
TEXT ·addSteps(SB), NOSPLIT, $8-8
	MOVQ w+0(FP), DI
	LEAQ ENDSTEPS(DI), R10
	CALL addUpTo<>(SB)
	RET

// func addSome(w *work, steps int)
TEXT ·addSome(SB), NOSPLIT, $8-16
	MOVQ w+0(FP), DI
	MOVQ steps+8(FP), R10
	SHLQ $6, R10
	LEAQ STEPS(DI)(R10*1), R10
	CALL addUpTo<>(SB)
	RET

// addUpTo adds the entries of all steps before R10.
TEXT addUpTo<>(SB), NOSPLIT|NOFRAME, $0
	LEAQ STEPS(DI), R9

add:
	VMOVDQU low26<>(SB), Y8
	VMOVDQU low25<>(SB), Y9
	LOCATE(0, R8)
	LOCATE(1, R11)
	LOCATE(2, R12)
	LOCATE(3, R13)
	UNPACK(0, S0)
	TURN(0, R8)
	TURN(1, R11)
	TURN(2, R12)
	TURN(3, R13)
	UNPACK(0, S1)
	BEGINNING(0, R8)
	BEGINNING(1, R11)
	BEGINNING(2, R12)
	BEGINNING(3, R13)
	UNPACK(64, S2)
	VMOVDQU 32(R9), Y14
	SIGN(S2)
	AHEAD(0)
	AHEAD(1)
	AHEAD(2)
	AHEAD(3)
	SPREAD(X, Y, S3, S4)
	MULTIPLY(S4, S1, S4)
	MULTIPLY(S3, S0, S3)
	MULTIPLY(T, S2, S5)
	SPREAD(S4, S3, S0, S1)
	SPREADTWICE(S5, Z, S2, S3)
	MULTIPLY(S3, S1, X)
	AGAIN(S0, T)
	MULTIPLY(S3, S2, Z)
	AGAIN(S0, Y)
	ADDQ $64, R9
	CMPQ R9, R10
	JB   add
	VZEROUPPER
	RET

// func doubleLanes(w *work, times int)
TEXT ·doubleLanes(SB), NOSPLIT, $8-16
	MOVQ w+0(FP), DI
	MOVQ times+8(FP), R9

double:
	MULTIPLY(X, X, S0)
	MULTIPLY(Y, Y, S1)
	MULTIPLY(X, Y, S2)
	MULTIPLY(Z, Z, S3)
	SPREAD(S0, S1, S4, S5)
	TWICE(S2, S3, S5)
	MULTIPLY(S3, S2, X)
	AGAIN(S4, T)
	MULTIPLY(S3, S5, Z)
	AGAIN(S4, Y)
	DECQ R9
	JNZ  double
	VZEROUPPER
	RET
