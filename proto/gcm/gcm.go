// Package gcm is AES-GCM (NIST SP 800-38D) with nonces of 96 bits and tags of 128:
// that of the standard library, or, on processors that do four blocks with one
// instruction, a routine of our own that is two to four times as fast for
// messages of some KiB.
package gcm

import (
	"crypto/aes"
	"crypto/cipher"
	"sync"
)

const (
	// NonceSize and TagSize are the sizes of nonces and tags, in bytes.
	NonceSize = 12
	TagSize   = 16
)

// New returns the AEAD with a key of 16 or 32 bytes. It is safe for concurrent
// use. Making one takes microseconds, so keys that are used once are better off
// with the standard library.
func New(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if wide && (len(key) == 16 || len(key) == 32) {
		return newFast(key, block), nil
	}
	return cipher.NewGCM(block)
}

// OpenInPlace decrypts what was sealed with no additional data where it is. If it
// is not authentic it stays as it was, whereas Open in place would have cleared it.
func OpenInPlace(aead cipher.AEAD, nonce, sealed []byte) ([]byte, error) {
	if f, ok := aead.(interface {
		openInPlace(nonce, sealed []byte) ([]byte, error)
	}); ok {
		return f.openInPlace(nonce, sealed)
	}
	kept := copies.Get().(*[]byte)
	defer copies.Put(kept)
	*kept = append((*kept)[:0], sealed...)
	plain, err := aead.Open(sealed[:0], nonce, sealed, nil)
	if err != nil {
		copy(sealed, *kept)
	}
	return plain, err
}

// copies has room for what the standard library opens in place.
var copies = sync.Pool{New: func() any { return new([]byte) }}
