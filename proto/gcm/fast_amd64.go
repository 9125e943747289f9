package gcm

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
	"unsafe"
)

const (
	blockSize = 16
	// together is how many blocks are done at a time, and pieceSize their bytes.
	together  = 32
	pieceSize = together * blockSize
	// maxPlain is where the counter of blocks would come round.
	maxPlain = (1<<32 - 2) * blockSize
)

// Blocks are kept with their bytes in reverse, as the routines want them: then
// the counter is a number of the machine, and so is a polynomial, but for the
// order of its bits.
type reversed [blockSize]byte

// A schedule is all that depends on the key alone. The routines have its offsets.
type schedule struct {
	// rounds are the round keys. With a key of 16 bytes the second to fifth are
	// not there, and passed over.
	rounds [15][blockSize]byte
	// powers are those of the hash key, the highest first, each times x: that
	// makes up for a product of two reversed polynomials being one bit short.
	powers [together]reversed
	short  uint64 // 1: the key has 16 bytes
	// sums are those of the halves of each power, in their own first halves.
	sums [together]reversed
}

// A message is the state of one that is being sealed or opened. The routines
// have its offsets.
type message struct {
	hash    reversed // GHASH so far
	counter reversed // block of the counter that is next
}

// fast is the AEAD.
type fast struct {
	width    width
	schedule schedule
	block    cipher.Block // for single blocks
}

func newFast(key []byte, block cipher.Block, width width) *fast {
	f := &fast{width: width, block: block}
	f.schedule.expand(key)
	var zero, hashKey [blockSize]byte
	block.Encrypt(hashKey[:], zero[:])
	f.schedule.raise(hashKey, width)
	return f
}

// expand makes the round keys; FIPS 197, section 5.2.
func (s *schedule) expand(key []byte) {
	words := make([]uint32, 0, 4*15)
	for at := range slices.Chunk(key, 4) {
		words = append(words, binary.LittleEndian.Uint32(at))
	}
	size, constant := len(words), uint32(1)
	for len(words) < 4*(size+7) {
		word := words[len(words)-1]
		switch len(words) % size {
		case 0:
			word = bits.RotateLeft32(substitute(word), -8) ^ constant
			constant <<= 1
			if constant == 0x100 {
				constant = 0x1b
			}
		case 4: // with keys of 32 bytes only
			word = substitute(word)
		}
		words = append(words, word^words[len(words)-size])
	}
	for i, word := range words {
		slot := i / 4
		if size == 4 && slot > 0 {
			slot += 4
		}
		binary.LittleEndian.PutUint32(s.rounds[slot][i%4*4:], word)
	}
	if size == 4 {
		s.short = 1
	}
}

// raise makes the powers of the hash key.
func (s *schedule) raise(hashKey [blockSize]byte, width width) {
	high, low := binary.BigEndian.Uint64(hashKey[:8]), binary.BigEndian.Uint64(hashKey[8:])
	over := -(high >> 63) // all ones if x^127 becomes x^128
	high, low = high<<1|low>>63, low<<1
	high, low = high^over&0xc200000000000000, low^over&1
	last := &s.powers[together-1]
	binary.LittleEndian.PutUint64(last[:8], low)
	binary.LittleEndian.PutUint64(last[8:], high)
	s.sum(together - 1)
	var zero [blockSize]byte
	for i := together - 2; i >= 0; i-- {
		m := message{hash: s.powers[i+1]}
		width.hashBlocks(s, &m, &zero[0], 1) // times the hash key
		s.powers[i] = m.hash
		s.sum(i)
	}
}

// sum adds the halves of a power.
func (s *schedule) sum(i int) {
	subtle.XORBytes(s.sums[i][:8], s.powers[i][:8], s.powers[i][8:])
}

func (f *fast) NonceSize() int { return NonceSize }

func (f *fast) Overhead() int { return TagSize }

// begin returns the state of a message and what its tag is masked with.
func (f *fast) begin(nonce, data []byte) (m message, mask [TagSize]byte) {
	if len(nonce) != NonceSize {
		panic("gcm: a nonce has 12 bytes")
	}
	copy(mask[:], nonce)
	mask[blockSize-1] = 1
	m.counter = reverse(mask)
	m.counter[0] = 2
	f.block.Encrypt(mask[:], mask[:])
	f.hash(&m, data)
	return m, mask
}

// Seal is as cipher.AEAD has it.
func (f *fast) Seal(dst, nonce, plain, data []byte) []byte {
	if uint64(len(plain)) > maxPlain {
		panic("gcm: the message is too long")
	}
	whole := slices.Grow(dst, len(plain)+TagSize)[:len(dst)+len(plain)+TagSize]
	out := whole[len(dst):]
	checkOverlap(out, plain)
	m, mask := f.begin(nonce, data)
	even := len(plain) / pieceSize * pieceSize
	if even > 0 {
		f.width.sealPieces(&f.schedule, &m, &out[0], &plain[0], even/pieceSize)
	}
	f.crypt(m, out[even:len(plain)], plain[even:])
	f.hash(&m, out[even:len(plain)])
	tag := f.tag(&m, mask, len(data), len(plain))
	copy(out[len(plain):], tag[:])
	return whole
}

var errOpen = errors.New("gcm: message authentication failed")

// Open is as cipher.AEAD has it.
func (f *fast) Open(dst, nonce, sealed, data []byte) ([]byte, error) {
	size := len(sealed) - TagSize
	if size < 0 || uint64(size) > maxPlain {
		return nil, errOpen
	}
	whole := slices.Grow(dst, size)[:len(dst)+size]
	out := whole[len(dst):]
	checkOverlap(out, sealed)
	if !f.open(out, nonce, sealed, data) {
		clear(out) // nobody may use what is not authentic
		return nil, errOpen
	}
	return whole, nil
}

// openInPlace is as OpenInPlace has it.
func (f *fast) openInPlace(nonce, sealed []byte) ([]byte, error) {
	size := len(sealed) - TagSize
	if size < 0 || uint64(size) > maxPlain {
		return nil, errOpen
	}
	plain := sealed[:size]
	if !f.open(plain, nonce, sealed, nil) {
		f.encrypt(plain, nonce) // which undoes it
		return nil, errOpen
	}
	return plain, nil
}

// open decrypts to out, and tells whether that is authentic.
func (f *fast) open(out, nonce, sealed, data []byte) bool {
	size := len(out)
	m, mask := f.begin(nonce, data)
	even := size / pieceSize * pieceSize
	if even > 0 {
		f.width.openPieces(&f.schedule, &m, &out[0], &sealed[0], even/pieceSize)
	}
	f.hash(&m, sealed[even:size])
	f.crypt(m, out[even:], sealed[even:size])
	tag := f.tag(&m, mask, len(data), size)
	return subtle.ConstantTimeCompare(tag[:], sealed[size:]) == 1
}

// encrypt encrypts in place, or decrypts, and makes no tag.
func (f *fast) encrypt(text, nonce []byte) {
	m, _ := f.begin(nonce, nil)
	even := len(text) / pieceSize * pieceSize
	if even > 0 {
		f.width.sealPieces(&f.schedule, &m, &text[0], &text[0], even/pieceSize)
	}
	f.crypt(m, text[even:], text[even:])
}

// crypt encrypts or decrypts less than a piece.
func (f *fast) crypt(m message, out, in []byte) {
	if len(in) == 0 {
		return
	}
	var stream [pieceSize]byte
	f.width.sealPieces(&f.schedule, &m, &stream[0], &stream[0], 1)
	subtle.XORBytes(out, in, stream[:])
}

// hash takes bytes into the hash, filled up with zeros to whole blocks.
func (f *fast) hash(m *message, data []byte) {
	for len(data) >= blockSize {
		count := min(len(data)/blockSize, together)
		f.width.hashBlocks(&f.schedule, m, &data[0], count)
		data = data[count*blockSize:]
	}
	if len(data) > 0 {
		var last [blockSize]byte
		copy(last[:], data)
		f.width.hashBlocks(&f.schedule, m, &last[0], 1)
	}
}

// tag ends the message.
func (f *fast) tag(m *message, mask [TagSize]byte, data, text int) (tag [TagSize]byte) {
	var lengths [blockSize]byte // in bits
	binary.BigEndian.PutUint64(lengths[:8], uint64(data)*8)
	binary.BigEndian.PutUint64(lengths[8:], uint64(text)*8)
	f.width.hashBlocks(&f.schedule, m, &lengths[0], 1)
	hash := reverse(m.hash)
	subtle.XORBytes(tag[:], hash[:], mask[:])
	return tag
}

func reverse(b [blockSize]byte) [blockSize]byte {
	slices.Reverse(b[:])
	return b
}

// checkOverlap panics if bytes would be written before they are read.
func checkOverlap(out, in []byte) {
	if len(out) == 0 || len(in) == 0 || &out[0] == &in[0] {
		return
	}
	a, b := uintptr(unsafe.Pointer(&out[0])), uintptr(unsafe.Pointer(&in[0]))
	if a < b+uintptr(len(in)) && b < a+uintptr(len(out)) {
		panic("gcm: input and output overlap, but not from their beginning")
	}
}
