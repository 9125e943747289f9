package names

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/cairnstorage/cairn/uplink/internal/keys"
)

// testBucket is the cipher of the bucket "photos" under the root key 00 01 … 1f.
func testBucket() *Bucket {
	var root [keys.Size]byte
	for i := range root {
		root[i] = byte(i)
	}
	return NewBucket(keys.Bucket(root, "photos"))
}

// The vectors were made by another implementation.
func TestGolden(t *testing.T) {
	var v struct {
		Names []struct {
			Key, Encrypted string
			MetadataKey    string `json:"metadata_key"`
		}
	}
	data, err := os.ReadFile("testdata/names.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	b := testBucket()
	for _, want := range v.Names {
		sealed, err := b.Encrypt(want.Key)
		if err != nil {
			t.Errorf("%q: %v", want.Key, err)
			continue
		}
		if hex.EncodeToString(sealed) != want.Encrypted {
			t.Errorf("%q: got %x, want %s", want.Key, sealed, want.Encrypted)
		}
		if key := b.Metadata(want.Key); hex.EncodeToString(key[:]) != want.MetadataKey {
			t.Errorf("%q: metadata key %x, want %s", want.Key, key, want.MetadataKey)
		}
		if got, err := testBucket().Decrypt(sealed); err != nil || got != want.Key {
			t.Errorf("%q came back as %q, %v", want.Key, got, err)
		}
	}
}

func TestCheckBucket(t *testing.T) {
	good := []string{
		"abc", "a-b", "a.b", "1.2.3", "123", "a--b", "my.bucket.2026",
		strings.Repeat("a", MaxBucket), "256.1.1.1.1", "xn--bcher-kva",
	}
	bad := []string{
		"", "a", "ab", strings.Repeat("a", MaxBucket+1), "Abc", "a_b", "abc/", "a b", "äbc", "ab\x00",
		"-abc", "abc-", ".abc", "abc.", "a..b", "a.-b", "a-.b", "192.168.0.1", "1.2.3.4",
	}
	for _, name := range good {
		if err := CheckBucket(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range bad {
		if err := CheckBucket(name); !errors.Is(err, ErrName) {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

func TestCheckKey(t *testing.T) {
	good := []string{
		"a", "/", "//", "a/", "/a", ".", "..", "a/../b", " ", "\n", "é", "日本", "a\\b", "\u200b",
		strings.Repeat("x", MaxKey), strings.Repeat("x", MaxKey-2) + "é",
		strings.Repeat("/", 239), // 240 levels of 17 bytes
	}
	bad := []string{
		"", "\x00", "a\x00b", "\xff", "a/\xc3", strings.Repeat("x", MaxKey+1), strings.Repeat("x", MaxKey-1) + "é",
		strings.Repeat("/", 240), strings.Repeat("/", MaxKey),
	}
	for _, key := range good {
		if err := CheckKey(key); err != nil {
			t.Errorf("%.20q (%d bytes): %v", key, len(key), err)
		}
		sealed, err := testBucket().Encrypt(key)
		if err != nil || len(sealed) > MaxEncrypted {
			t.Errorf("%.20q: %d bytes, %v", key, len(sealed), err)
		}
		if got, err := testBucket().Decrypt(sealed); got != key || err != nil {
			t.Errorf("%.20q came back as %.20q, %v", key, got, err)
		}
	}
	for _, key := range bad {
		if err := CheckKey(key); !errors.Is(err, ErrName) {
			t.Errorf("%.20q: got %v", key, err)
		}
		if _, err := testBucket().Encrypt(key); !errors.Is(err, ErrName) {
			t.Errorf("encrypt %.20q: got %v", key, err)
		}
	}
}

// The size that CheckKey counts with is the one that Encrypt makes, around the
// length where the length itself takes two bytes.
func TestEncryptedSize(t *testing.T) {
	b := testBucket()
	for _, n := range []int{1, 2, 15, 16, 110, 111, 112, 113, 1023, MaxKey} {
		sealed, err := b.Encrypt(strings.Repeat("x", n))
		if err != nil || len(sealed) != encryptedSize(n) {
			t.Errorf("%d bytes: encrypted to %d, counted %d, %v", n, len(sealed), encryptedSize(n), err)
		}
	}
}

// A directory's encryption is where those of all keys below it begin, and of
// no others.
func TestPrefix(t *testing.T) {
	b := testBucket()
	keys := []string{"a", "a/", "a/b", "a/b/c", "a//c", "ab", "ab/c", "/a/b", "b/a/b"}
	for _, prefix := range []string{"", "a/", "a/b", "a/b/", "a//", "/", "ab/x", "nothing/"} {
		dir, rest, err := b.EncryptDir(prefix)
		if err != nil {
			t.Fatal(err)
		}
		plain := strings.TrimSuffix(prefix, rest)
		if plain != "" && !strings.HasSuffix(plain, "/") || strings.Contains(rest, "/") {
			t.Errorf("%q: cut into %q and %q", prefix, plain, rest)
		}
		if len(dir) > 0 {
			if got, err := b.DecryptDir(dir); err != nil || got != plain {
				t.Errorf("%q: directory came back as %q, %v", prefix, got, err)
			}
		}
		for _, key := range keys {
			sealed, err := b.Encrypt(key)
			if err != nil {
				t.Fatal(err)
			}
			below := bytes.HasPrefix(sealed, dir) && len(sealed) > len(dir)
			if want := strings.HasPrefix(key, plain); below != want {
				t.Errorf("%q below %q: got %v, want %v", key, plain, below, want)
			}
		}
	}
	if _, _, err := b.EncryptDir("a\x00/"); !errors.Is(err, ErrName) {
		t.Errorf("a prefix with NUL: %v", err)
	}
}

// The same name is encrypted differently in each place.
func TestPlaceMatters(t *testing.T) {
	seen := make(map[string]string)
	for _, bucket := range []string{"one", "two"} {
		b := NewBucket(keys.Bucket([keys.Size]byte{}, bucket))
		for _, key := range []string{"x", "x/x", "x/x/x", "y/x"} {
			sealed, err := b.Encrypt(key)
			if err != nil {
				t.Fatal(err)
			}
			last := string(sealed[len(sealed)-17:])
			if other, found := seen[last]; found {
				t.Errorf("%s of %s ends like %s", key, bucket, other)
			}
			seen[last] = bucket + " " + key
		}
	}
}

func TestDecryptRefuses(t *testing.T) {
	b := testBucket()
	sealed, err := b.Encrypt("a/bc")
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed { // any flipped bit
		for bit := range 8 {
			changed := bytes.Clone(sealed)
			changed[i] ^= 1 << bit
			if key, err := b.Decrypt(changed); !errors.Is(err, ErrKey) && !errors.Is(err, ErrFrame) {
				t.Fatalf("byte %d bit %d changed: got %q, %v", i, bit, key, err)
			}
		}
	}
	for n := range sealed { // any truncation but at the border
		key, err := b.Decrypt(sealed[:n])
		if border := n == 18; (err == nil) != border {
			t.Errorf("cut to %d: got %q, %v", n, key, err)
		}
	}
	other := NewBucket(keys.Bucket([keys.Size]byte{9}, "photos"))
	if _, err := other.Decrypt(sealed); !errors.Is(err, ErrKey) {
		t.Errorf("another root key: %v", err)
	}
	second := sealed[18:] // a component of one level is no name in another
	if _, err := b.Decrypt(second); !errors.Is(err, ErrKey) {
		t.Errorf("moved component: %v", err)
	}
}

// What decrypts but breaks the rules was written by somebody who has the key;
// it must not pass for a name.
func TestDecryptRefusesForgery(t *testing.T) {
	b := testBucket()
	forge := func(component string) []byte {
		sealed, err := b.level("").siv.EncryptDeterministically([]byte(component), nil)
		if err != nil {
			t.Fatal(err)
		}
		return append(binary.AppendUvarint(nil, uint64(len(sealed))), sealed...)
	}
	for _, component := range []string{"a/b", "/", "a\x00", "\xff", strings.Repeat("x", MaxKey+1)} {
		if key, err := b.Decrypt(forge(component)); !errors.Is(err, ErrFrame) {
			t.Errorf("%.10q: got %.10q, %v", component, key, err)
		}
	}
	long := forge("ok")
	padded := append([]byte{long[0] | 0x80, 0}, long[1:]...) // the length in two bytes for one
	for what, sealed := range map[string][]byte{
		"nothing": nil, "padded length": padded, "length 0": {0}, "length only": {17}, "endless length": {0x80, 0x80, 0x80},
		"too long": make([]byte, MaxEncrypted+1),
	} {
		if _, err := b.Decrypt(sealed); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// More levels than are remembered, from several goroutines.
func TestConcurrent(t *testing.T) {
	b := testBucket()
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range maxLevels {
				key := fmt.Sprintf("%d/%d/x", worker, i)
				sealed, err := b.Encrypt(key)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := b.Decrypt(sealed); err != nil || got != key {
					t.Errorf("%s came back as %q, %v", key, got, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if len(b.levels) > maxLevels {
		t.Errorf("%d levels are remembered", len(b.levels))
	}
}

// FuzzDecrypt: what decrypts encrypts to the very same bytes.
func FuzzDecrypt(f *testing.F) {
	b := testBucket()
	for _, key := range []string{"a", "a/b", "//", strings.Repeat("x", 200)} {
		sealed, err := b.Encrypt(key)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(sealed)
		f.Add(sealed[1:])
	}
	f.Fuzz(func(t *testing.T, sealed []byte) {
		key, err := b.Decrypt(sealed)
		if err != nil {
			if !errors.Is(err, ErrKey) && !errors.Is(err, ErrFrame) {
				t.Errorf("unexpected error %v", err)
			}
			return
		}
		again, err := b.encrypt(key, true)
		if err != nil || !bytes.Equal(again, sealed) {
			t.Errorf("%x decrypts to %q, which encrypts to %x, %v", sealed, key, again, err)
		}
	})
}

// FuzzKey: every key that is allowed comes back.
func FuzzKey(f *testing.F) {
	for _, key := range []string{"a", "a/b", "//", "é", "\xff", "\x00", strings.Repeat("/", 300)} {
		f.Add(key)
	}
	b := testBucket()
	f.Fuzz(func(t *testing.T, key string) {
		sealed, err := b.Encrypt(key)
		if err != nil {
			if !errors.Is(err, ErrName) {
				t.Errorf("unexpected error %v", err)
			}
			return
		}
		if !utf8.ValidString(key) || len(sealed) > MaxEncrypted {
			t.Errorf("%q was encrypted to %d bytes", key, len(sealed))
		}
		if got, err := b.Decrypt(sealed); err != nil || got != key {
			t.Errorf("%q came back as %q, %v", key, got, err)
		}
	})
}

func BenchmarkEncrypt(b *testing.B) {
	bucket := testBucket()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bucket.Encrypt("list/001/00001"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecrypt(b *testing.B) {
	bucket := testBucket()
	sealed, err := bucket.Encrypt("list/001/00001")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bucket.Decrypt(sealed); err != nil {
			b.Fatal(err)
		}
	}
}
