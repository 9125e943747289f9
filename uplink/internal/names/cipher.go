package names

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tink-crypto/tink-go/v2/daead/subtle"

	"github.com/cairnstorage/cairn/uplink/internal/keys"
)

// Errors of decryption.
var (
	// ErrFrame: the bytes are not an encrypted key; the satellite is wrong.
	ErrFrame = errors.New("names: malformed encrypted key")
	// ErrKey: the bytes do not decrypt; they were made under another root key.
	ErrKey = errors.New("names: encrypted under another key")
)

// overhead is what AES-SIV adds to a component, in bytes.
const overhead = 16

// maxLevels bounds the cache of derived levels of one bucket.
const maxLevels = 1024

// Bucket encrypts and decrypts the object keys of one bucket. It remembers the
// keys of the levels it met last and is safe for concurrent use.
type Bucket struct {
	root keys.Path
	last atomic.Pointer[opened]

	mu     sync.Mutex
	levels map[string]*level // by plaintext path with its slash; "" is the root
}

// opened is the directory that was decrypted last. Lists are in the order of
// encrypted bytes, so the next name is mostly in the same one.
type opened struct {
	sealed string
	plain  string // ends in a slash
	level  *level
}

// level is one directory of a bucket.
type level struct {
	path keys.Path
	siv  *subtle.AESSIV
}

// NewBucket returns the cipher for the names in the bucket with this key.
func NewBucket(key keys.Path) *Bucket {
	return &Bucket{root: key, levels: make(map[string]*level)}
}

// Encrypt encrypts a whole object key, or returns an error that wraps ErrName.
func (b *Bucket) Encrypt(key string) ([]byte, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	return b.encrypt(key, true)
}

// EncryptDir encrypts the components of prefix that are whole, those closed by
// a slash, and returns what is left of prefix after the last slash. Without a
// slash the result is empty: the top of the bucket.
func (b *Bucket) EncryptDir(prefix string) (dir []byte, rest string, err error) {
	if err := CheckPrefix(prefix); err != nil {
		return nil, "", err
	}
	cut := strings.LastIndexByte(prefix, '/') + 1
	dir, err = b.encrypt(prefix[:cut], false)
	return dir, prefix[cut:], err
}

// encrypt encrypts all components of path that a slash closes, and with last
// the one after them, too.
func (b *Bucket) encrypt(path string, last bool) ([]byte, error) {
	out := make([]byte, 0, len(path)+(strings.Count(path, "/")+1)*(overhead+2))
	for start := 0; ; {
		end := strings.IndexByte(path[start:], '/')
		if end < 0 && !last {
			return out, nil
		}
		component := path[start:]
		if end >= 0 {
			component = component[:end]
		}
		sealed, err := b.level(path[:start]).siv.EncryptDeterministically([]byte(component), nil)
		if err != nil {
			return nil, fmt.Errorf("names: encrypt a component: %w", err)
		}
		out = binary.AppendUvarint(out, uint64(len(sealed)))
		out = append(out, sealed...)
		if end < 0 {
			return out, nil
		}
		start += end + 1
	}
}

// Decrypt returns the object key that was encrypted to sealed.
func (b *Bucket) Decrypt(sealed []byte) (string, error) {
	path, err := b.DecryptDir(sealed)
	if err != nil {
		return "", err
	}
	return path[:len(path)-1], nil
}

// DecryptDir is Decrypt for the components of a prefix: the result ends in a
// slash.
func (b *Bucket) DecryptDir(sealed []byte) (string, error) {
	if len(sealed) == 0 || len(sealed) > MaxEncrypted {
		return "", fmt.Errorf("%w: %d bytes", ErrFrame, len(sealed))
	}
	dir := b.last.Load()
	if dir == nil || len(dir.sealed) >= len(sealed) || string(sealed[:len(dir.sealed)]) != dir.sealed {
		dir = &opened{level: b.level("")}
	}
	for rest := sealed[len(dir.sealed):]; ; {
		component, after, err := cut(rest)
		if err != nil {
			return "", err
		}
		plain, err := dir.level.siv.DecryptDeterministically(component, nil)
		if err != nil {
			return "", ErrKey
		}
		if bytes.IndexByte(plain, '/') >= 0 {
			return "", fmt.Errorf("%w: slash within a component", ErrFrame)
		}
		path := dir.plain + string(plain) + "/"
		if len(after) == 0 {
			return path, checkDecrypted(path)
		}
		dir = &opened{string(sealed[:len(sealed)-len(after)]), path, b.level(path)}
		b.last.Store(dir)
		rest = after
	}
}

// checkDecrypted checks what came out. A satellite cannot forge a component,
// but holders of the root key may have written what is not allowed.
func checkDecrypted(path string) error {
	if err := CheckPrefix(path[:len(path)-1]); err != nil {
		return fmt.Errorf("%w: %w", ErrFrame, err)
	}
	return nil
}

// Metadata returns the key that seals the secret of the object with this key.
func (b *Bucket) Metadata(key string) [keys.Size]byte {
	dir := strings.LastIndexByte(key, '/') + 1
	return b.level(key[:dir]).path.Component(key[dir:]).Metadata()
}

// level returns the keys of the directory path, which is empty or ends in a
// slash.
func (b *Bucket) level(path string) *level {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.levelLocked(path)
}

func (b *Bucket) levelLocked(path string) *level {
	if l := b.levels[path]; l != nil {
		return l
	}
	key := b.root
	if path != "" {
		up := strings.LastIndexByte(path[:len(path)-1], '/') + 1
		key = b.levelLocked(path[:up]).path.Component(path[up : len(path)-1])
	}
	name := key.Name()
	siv, err := subtle.NewAESSIV(name[:])
	if err != nil {
		panic("names: " + err.Error()) // only for a wrong key size
	}
	if len(b.levels) >= maxLevels {
		clear(b.levels) // rare, and each level is a few microseconds' work
	}
	l := &level{path: key, siv: siv}
	b.levels[path] = l
	return l
}

// encryptedSize is what a component of so many bytes takes in an encrypted key.
func encryptedSize(component int) int {
	sealed := component + overhead
	if sealed < 0x80 {
		return 1 + sealed
	}
	return 2 + sealed
}

// cut splits the first component off an encrypted key.
func cut(sealed []byte) (component, rest []byte, err error) {
	size, n := binary.Uvarint(sealed)
	switch {
	case n < 1 || n > 2 || n == 2 && size < 0x80:
		return nil, nil, fmt.Errorf("%w: length of a component", ErrFrame)
	case size < overhead:
		return nil, nil, fmt.Errorf("%w: component of %d bytes", ErrFrame, size)
	case size > uint64(len(sealed)-n):
		return nil, nil, fmt.Errorf("%w: cut off", ErrFrame)
	}
	return sealed[n : n+int(size)], sealed[n+int(size):], nil
}
