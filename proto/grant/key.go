package grant

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/argon2"
)

// SaltSize is the bytes of a project's salt.
const SaltSize = 16

// Argon2id parameters: changing one changes every root key.
const (
	argonTime    = 3
	argonMemory  = 64 << 10 // KiB
	argonThreads = 4
)

// RootKey derives a project's root key from its passphrase. It takes 64 MiB
// and about a tenth of a second, so that guessing is dear. The salt has
// SaltSize bytes.
func RootKey(passphrase, salt []byte) [32]byte {
	if len(salt) != SaltSize {
		panic(fmt.Sprintf("grant: salt of %d bytes", len(salt)))
	}
	return [32]byte(argon2.IDKey(passphrase, salt, argonTime, argonMemory, argonThreads, 32))
}

// KeyCheck is what a satellite keeps of a root key, so that a wrong passphrase
// is noticed when a grant is made. The root key cannot be found from it other
// than by guessing the passphrase.
func KeyCheck(root [32]byte) [16]byte {
	key, err := hkdf.Key(sha256.New, root[:], nil, "cairn/v1/check", 16)
	if err != nil {
		panic("grant: " + err.Error()) // only for lengths out of range
	}
	return [16]byte(key)
}
