package gcm

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/cairnstorage/cairn/proto/internal/golden"
)

// standard is the AEAD of the standard library.
func standard(t testing.TB, key []byte) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

func fresh(t testing.TB, key []byte) cipher.AEAD {
	t.Helper()
	aead, err := New(key)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

// sizes are those around which something else is done, and some between.
func sizes() (all []int) {
	for size := range 1100 {
		all = append(all, size)
	}
	for _, at := range []int{4096, 8192, 65536, 1 << 18} {
		for by := -17; by <= 17; by++ {
			all = append(all, at+by)
		}
	}
	return all
}

// TestAgrees: what is sealed is what the standard library makes of it, bit by
// bit, and opens.
func TestAgrees(t *testing.T) {
	for _, keySize := range []int{16, 32} {
		for _, size := range sizes() {
			key, nonce := golden.Bytes(fmt.Sprint("key", size), keySize), golden.Bytes(fmt.Sprint("nonce", size), NonceSize)
			plain, data := golden.Bytes("plain", size), golden.Bytes("data", size*7%600)
			aead := fresh(t, key)
			want := standard(t, key).Seal([]byte("before"), nonce, plain, data)
			got := aead.Seal([]byte("before"), nonce, plain, data)
			if !bytes.Equal(got, want) {
				t.Fatalf("key of %d bytes: %d bytes are sealed otherwise than by the standard library", keySize, size)
			}
			opened, err := aead.Open([]byte("before"), nonce, got[6:], data)
			if err != nil || !bytes.Equal(opened, append([]byte("before"), plain...)) {
				t.Fatalf("key of %d bytes: %d bytes do not open: %v", keySize, size, err)
			}
		}
	}
}

// TestInPlace: a message may be sealed and opened where it lies.
func TestInPlace(t *testing.T) {
	aead, nonce := fresh(t, golden.Bytes("key", 32)), golden.Bytes("nonce", NonceSize)
	for _, size := range []int{0, 1, 15, 16, 511, 512, 513, 5000, 65536} {
		plain := golden.Bytes("plain", size)
		room := append(bytes.Clone(plain), make([]byte, TagSize)...)
		sealed := aead.Seal(room[:0], nonce, room[:size], nil)
		if want := aead.Seal(nil, nonce, plain, nil); !bytes.Equal(sealed, want) {
			t.Fatalf("%d bytes are sealed otherwise in place", size)
		}
		opened, err := aead.Open(sealed[:0], nonce, sealed, nil)
		if err != nil || !bytes.Equal(opened, plain) {
			t.Fatalf("%d bytes do not open in place: %v", size, err)
		}
	}
}

// TestOpenInPlace: so is it for the standard library's and ours, and what is forged
// stays as it is.
func TestOpenInPlace(t *testing.T) {
	key, nonce := golden.Bytes("key", 32), golden.Bytes("nonce", NonceSize)
	for name, aead := range map[string]cipher.AEAD{"ours": fresh(t, key), "standard": standard(t, key)} {
		for _, size := range []int{0, 1, 15, 16, 511, 512, 513, 5000, 65536} {
			plain := golden.Bytes("plain", size)
			sealed := aead.Seal(nil, nonce, plain, nil)
			for _, at := range []int{0, size / 2, size, size + TagSize - 1} {
				sealed[at] ^= 4
				before := bytes.Clone(sealed)
				if _, err := OpenInPlace(aead, nonce, sealed); err == nil || !bytes.Equal(sealed, before) {
					t.Fatalf("%s: %d bytes with byte %d changed: %v, or they are others now", name, size, at, err)
				}
				sealed[at] ^= 4
			}
			opened, err := OpenInPlace(aead, nonce, sealed)
			if err != nil || !bytes.Equal(opened, plain) || size > 0 && &opened[0] != &sealed[0] {
				t.Fatalf("%s: %d bytes do not open in place: %v", name, size, err)
			}
		}
		for short := range TagSize {
			if _, err := OpenInPlace(aead, nonce, make([]byte, short)); err == nil {
				t.Fatalf("%s: %d bytes open", name, short)
			}
		}
	}
}

// TestForged: a message with one bit changed, anywhere, does not open, and
// nothing of it comes out.
func TestForged(t *testing.T) {
	aead, nonce, data := fresh(t, golden.Bytes("key", 16)), golden.Bytes("nonce", NonceSize), golden.Bytes("data", 5)
	for _, size := range []int{0, 1, 16, 100, 512, 1040} {
		sealed := aead.Seal(nil, nonce, golden.Bytes("plain", size), data)
		for bit := range 8 * len(sealed) {
			sealed[bit/8] ^= 1 << (bit % 8)
			out := make([]byte, 0, size)
			if _, err := aead.Open(out, nonce, sealed, data); err == nil {
				t.Fatalf("%d bytes open with bit %d changed", size, bit)
			}
			if !bytes.Equal(out[:size], make([]byte, size)) {
				t.Fatalf("%d bytes with bit %d changed: something came out", size, bit)
			}
			sealed[bit/8] ^= 1 << (bit % 8)
		}
		for short := range len(sealed) {
			if _, err := aead.Open(nil, nonce, sealed[:short], data); err == nil {
				t.Fatalf("%d bytes of a message of %d open", short, len(sealed))
			}
		}
		if _, err := aead.Open(nil, nonce, sealed, data[:4]); err == nil {
			t.Fatalf("%d bytes open with other data", size)
		}
	}
}

// Case 16 of the vectors that GCM was proposed with: McGrew and Viega, "The
// Galois/Counter Mode of Operation", appendix B.
func TestKnownAnswer(t *testing.T) {
	from := func(text string) []byte {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	key := from("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")
	plain := from("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72" +
		"1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39")
	data, nonce := from("feedfacedeadbeeffeedfacedeadbeefabaddad2"), from("cafebabefacedbaddecaf888")
	want := from("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa" +
		"8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662" + "76fc6ece0f4e1768cddf8853bb2d551b")
	if got := fresh(t, key).Seal(nil, nonce, plain, data); !bytes.Equal(got, want) {
		t.Errorf("sealed\n%x, want\n%x", got, want)
	}
}

func TestMisuse(t *testing.T) {
	for _, size := range []int{0, 15, 17, 31, 33} {
		if _, err := New(make([]byte, size)); err == nil {
			t.Errorf("a key of %d bytes is taken", size)
		}
	}
	aead, room := fresh(t, make([]byte, 16)), make([]byte, 200)
	for name, misuse := range map[string]func(){
		"a nonce of 11 bytes":           func() { aead.Seal(nil, make([]byte, 11), nil, nil) },
		"output that begins in input":   func() { aead.Seal(room[1:1], make([]byte, 12), room[:100], nil) },
		"input that begins in output":   func() { aead.Seal(room[:0], make([]byte, 12), room[1:100], nil) },
		"opening into the sealed bytes": func() { aead.Open(room[1:1], make([]byte, 12), room[:100], nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			misuse()
		}()
	}
}

// FuzzAgrees holds the AEAD against that of the standard library.
func FuzzAgrees(f *testing.F) {
	f.Add(make([]byte, 32), make([]byte, 12), []byte("plain"), []byte("data"))
	f.Add(make([]byte, 16), make([]byte, 12), make([]byte, 1600), []byte{})
	f.Fuzz(func(t *testing.T, key, nonce, text, data []byte) {
		if len(key) != 16 && len(key) != 32 || len(nonce) != NonceSize {
			return
		}
		fast, slow := fresh(t, key), standard(t, key)
		sealed := slow.Seal(nil, nonce, text, data)
		if got := fast.Seal(nil, nonce, text, data); !bytes.Equal(got, sealed) {
			t.Fatalf("sealed\n%x, want\n%x", got, sealed)
		}
		if opened, err := fast.Open(nil, nonce, sealed, data); err != nil || !bytes.Equal(opened, text) {
			t.Fatalf("opened %x: %v", opened, err)
		}
		_, err := fast.Open(nil, nonce, text, data)
		if _, want := slow.Open(nil, nonce, text, data); (err == nil) != (want == nil) {
			t.Fatalf("a forgery: %v, want %v", err, want)
		}
	})
}

func BenchmarkAEAD(b *testing.B) {
	for _, keySize := range []int{16, 32} {
		for _, size := range []int{64, 1 << 10, 16 << 10, 64 << 10, 256 << 10} {
			key, nonce, text := make([]byte, keySize), make([]byte, NonceSize), make([]byte, size)
			out := make([]byte, 0, size+TagSize)
			for name, aead := range map[string]cipher.AEAD{"ours": fresh(b, key), "standard": standard(b, key)} {
				sealed := aead.Seal(nil, nonce, text, nil)
				b.Run(fmt.Sprintf("seal/key=%d/bytes=%d/%s", keySize, size, name), func(b *testing.B) {
					b.SetBytes(int64(size))
					for b.Loop() {
						aead.Seal(out, nonce, text, nil)
					}
				})
				b.Run(fmt.Sprintf("open/key=%d/bytes=%d/%s", keySize, size, name), func(b *testing.B) {
					b.SetBytes(int64(size))
					for b.Loop() {
						if _, err := aead.Open(out, nonce, sealed, nil); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}

func BenchmarkNew(b *testing.B) {
	key := make([]byte, 32)
	for b.Loop() {
		fresh(b, key)
	}
}
