// Package record moves bytes between two parties that share secrets, in large
// sealed records. It takes over a connection after a TLS 1.3 handshake: the
// records of TLS have 16 KiB at most, and crypto/tls spends a system call on each
// of them at both ends and copies them once more than is needed.
//
// Each direction has a secret of its own, and every record is
//
//	length  4 bytes, big-endian: of what follows
//	sealed  1 to MaxPlain bytes and the AEAD's tag of 16
//
// sealed with the length as additional data. As in TLS 1.3 (RFC 8446, sections
// 5.3 and 7.1), key and IV come from the secret by HKDF-Expand, and the nonce is
// the IV combined with the number of the record. After RecordsPerSecret records
// the secret makes room for one derived from it, so that no key is used for more
// than AES-GCM bears (RFC 8446, section 5.5), and no old key can be had from a
// new secret.
//
// As in Noise, the end of the connection is not sealed: who needs to know that
// nothing is missing says so in what is sent, as the streams above do.
package record

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/cairnstorage/cairn/proto/gcm"
)

const (
	// MaxPlain is what one record carries at most, in bytes: the largest message
	// of the multiplexer above.
	MaxPlain = 256<<10 + 64

	// MaxHeader is how large a header that is sent before a body can be, in bytes.
	MaxHeader = 4 << 10

	// RecordsPerSecret is after how many records a direction goes on to the next
	// secret. Full ones are 256 GiB together.
	RecordsPerSecret = 1 << 20

	headerSize = 4
	tagSize    = 16
	nonceSize  = 12

	// What is larger than largePlain is sent in two records, the first of them
	// with as many bytes as the multiplexer's header has.
	largePlain = 4 << 10
	leadPlain  = 12

	maxBuffer = 2*(headerSize+tagSize) + MaxHeader + MaxPlain // of the records that are sent at once
)

// Secret is what both parties know of one direction, and nobody else.
type Secret [32]byte

// A Cipher is what seals records.
type Cipher int

// The ciphers of TLS 1.3.
const (
	AES128GCM Cipher = iota
	AES256GCM
	ChaCha20Poly1305
)

// aead returns the cipher with a key, and the IV, that belong to a secret.
func (c Cipher) aead(secret Secret) (cipher.AEAD, [nonceSize]byte, error) {
	size := map[Cipher]int{AES128GCM: 16, AES256GCM: 32, ChaCha20Poly1305: chacha20poly1305.KeySize}[c]
	var iv [nonceSize]byte
	copy(iv[:], expand(secret, "cairn record iv", nonceSize))
	key := expand(secret, "cairn record key", size)
	if c == ChaCha20Poly1305 {
		sealer, err := chacha20poly1305.New(key)
		return sealer, iv, err
	}
	sealer, err := gcm.New(key)
	if err != nil {
		return nil, iv, fmt.Errorf("record: cipher %d: %w", c, err)
	}
	return sealer, iv, nil
}

// next is the secret that follows one.
func (s Secret) next() (next Secret) {
	copy(next[:], expand(s, "cairn record next", len(next)))
	return next
}

// expand derives as many bytes as are asked, far fewer than HKDF could give.
func expand(secret Secret, label string, size int) []byte {
	out, err := hkdf.Expand(sha256.New, secret[:], label, size)
	if err != nil {
		panic("record: " + err.Error())
	}
	return out
}

// half is the state of one direction at one end.
type half struct {
	cipher Cipher
	secret Secret
	sealer cipher.AEAD
	iv     [nonceSize]byte
	number uint64 // of the next record under this secret
	rekey  uint64 // RecordsPerSecret, less in tests
	failed error  // ends the direction
}

func newHalf(c Cipher, secret Secret) (half, error) {
	h := half{cipher: c, secret: secret, rekey: RecordsPerSecret}
	return h, h.load()
}

// load takes the key of the secret.
func (h *half) load() (err error) {
	h.number = 0
	h.sealer, h.iv, err = h.cipher.aead(h.secret)
	return err
}

// nonce returns that of the next record, under a new key if it is time.
func (h *half) nonce() (nonce [nonceSize]byte, err error) {
	if h.number == h.rekey {
		h.secret = h.secret.next()
		if err := h.load(); err != nil {
			return nonce, err
		}
	}
	binary.BigEndian.PutUint64(nonce[nonceSize-8:], h.number)
	h.number++
	subtle.XORBytes(nonce[:], nonce[:], h.iv[:])
	return nonce, nil
}

// seal appends the record of some plaintext.
func (h *half) seal(to, plain []byte) ([]byte, error) {
	nonce, err := h.nonce()
	if err != nil {
		return nil, err
	}
	to = binary.BigEndian.AppendUint32(to, uint32(len(plain)+tagSize))
	return h.sealer.Seal(to, nonce[:], plain, to[len(to)-headerSize:]), nil
}

// open undoes seal: it appends the plaintext of a record whose header is given
// apart. It may be opened where it lies.
func (h *half) open(to, header, sealed []byte) ([]byte, error) {
	nonce, err := h.nonce()
	if err != nil {
		return nil, err
	}
	plain, err := h.sealer.Open(to, nonce[:], sealed, header)
	if err != nil {
		return nil, ErrForged
	}
	return plain, nil
}

// sealedSize reads a header.
func sealedSize(header []byte) (int, error) {
	size := binary.BigEndian.Uint32(header)
	switch {
	case header[0] == tlsAlert[0] && header[1] == tlsAlert[1]:
		return 0, ErrRefused
	case size <= tagSize || size > MaxPlain+tagSize:
		return 0, fmt.Errorf("%w: %d bytes", ErrSize, size)
	}
	return int(size), nil
}

// tlsAlert is how a TLS 1.3 record begins that is not of the handshake.
var tlsAlert = [2]byte{23, 3}
