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

// variants are what New chooses and each of the routines that this machine has.
func variants(t testing.TB, key []byte) map[string]cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]cipher.AEAD{"ours": fresh(t, key)}
	for _, width := range widths {
		all[fmt.Sprintf("%d blocks", width)] = newFast(key, block, width)
	}
	return all
}

// around are sizes of blocks, pieces, and the least for which a routine is chosen,
// and those beside.
var around = []int{0, 1, 15, 16, 17, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 1535, 1536, 1537, 5000, 65536}

// sizes are those around which something else is done, and some between.
func sizes() (all []int) {
	for size := range 1100 {
		all = append(all, size)
	}
	for _, at := range []int{1536, 2048, 2560, 4096, 8192, 65536, 1 << 18} {
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
			want := standard(t, key).Seal([]byte("before"), nonce, plain, data)
			for name, aead := range variants(t, key) {
				got := aead.Seal([]byte("before"), nonce, plain, data)
				if !bytes.Equal(got, want) {
					t.Fatalf("%s, key of %d bytes: %d bytes are sealed otherwise than by the standard library", name, keySize, size)
				}
				opened, err := aead.Open([]byte("before"), nonce, got[6:], data)
				if err != nil || !bytes.Equal(opened, append([]byte("before"), plain...)) {
					t.Fatalf("%s, key of %d bytes: %d bytes do not open: %v", name, keySize, size, err)
				}
			}
		}
	}
}

// TestInPlace: a message may be sealed and opened where it lies.
func TestInPlace(t *testing.T) {
	key, nonce := golden.Bytes("key", 32), golden.Bytes("nonce", NonceSize)
	for name, aead := range variants(t, key) {
		for _, size := range around {
			plain := golden.Bytes("plain", size)
			room := append(bytes.Clone(plain), make([]byte, TagSize)...)
			sealed := aead.Seal(room[:0], nonce, room[:size], nil)
			if want := standard(t, key).Seal(nil, nonce, plain, nil); !bytes.Equal(sealed, want) {
				t.Fatalf("%s: %d bytes are sealed otherwise in place", name, size)
			}
			opened, err := aead.Open(sealed[:0], nonce, sealed, nil)
			if err != nil || !bytes.Equal(opened, plain) {
				t.Fatalf("%s: %d bytes do not open in place: %v", name, size, err)
			}
		}
	}
}

// TestOpenInPlace: so is it for the standard library's and ours, and what is forged
// stays as it is.
func TestOpenInPlace(t *testing.T) {
	key, nonce := golden.Bytes("key", 32), golden.Bytes("nonce", NonceSize)
	all := variants(t, key)
	all["standard"] = standard(t, key)
	for name, aead := range all {
		for _, size := range around {
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
	for name, aead := range variants(t, golden.Bytes("key", 16)) {
		for _, size := range []int{0, 1, 16, 100, 512, 1040} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) { forge(t, aead, size) })
		}
	}
}

// forge changes, cuts and moves a message of so many bytes.
func forge(t *testing.T, aead cipher.AEAD, size int) {
	nonce, data := golden.Bytes("nonce", NonceSize), golden.Bytes("data", 5)
	sealed := aead.Seal(nil, nonce, golden.Bytes("plain", size), data)
	for bit := range 8 * len(sealed) {
		sealed[bit/8] ^= 1 << (bit % 8)
		out := bytes.Repeat([]byte{1}, size)
		if _, err := aead.Open(out[:0], nonce, sealed, data); err == nil {
			t.Fatalf("it opens with bit %d changed", bit)
		}
		if !bytes.Equal(out, make([]byte, size)) {
			t.Fatalf("bit %d changed: something came out", bit)
		}
		sealed[bit/8] ^= 1 << (bit % 8)
	}
	for short := range len(sealed) {
		if _, err := aead.Open(nil, nonce, sealed[:short], data); err == nil {
			t.Fatalf("its first %d bytes open", short)
		}
	}
	if _, err := aead.Open(nil, nonce, sealed, data[:4]); err == nil {
		t.Fatal("it opens with other data")
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
	for name, aead := range variants(t, key) {
		if got := aead.Seal(nil, nonce, plain, data); !bytes.Equal(got, want) {
			t.Errorf("%s: sealed\n%x, want\n%x", name, got, want)
		}
	}
}

func TestMisuse(t *testing.T) {
	for _, size := range []int{0, 15, 17, 31, 33} {
		if _, err := New(make([]byte, size)); err == nil {
			t.Errorf("a key of %d bytes is taken", size)
		}
	}
	room := make([]byte, 4000)
	for name, aead := range variants(t, make([]byte, 16)) {
		for _, size := range []int{100, 2000} {
			for what, misuse := range map[string]func(){
				"a nonce of 11 bytes":           func() { aead.Seal(nil, make([]byte, 11), room[:size], nil) },
				"output that begins in input":   func() { aead.Seal(room[1:1], make([]byte, 12), room[:size], nil) },
				"input that begins in output":   func() { aead.Seal(room[:0], make([]byte, 12), room[1:size], nil) },
				"opening into the sealed bytes": func() { aead.Open(room[1:1], make([]byte, 12), room[:size], nil) },
			} {
				func() {
					defer func() {
						if recover() == nil {
							t.Errorf("%s, %d bytes, %s: no panic", name, size, what)
						}
					}()
					misuse()
				}()
			}
		}
	}
}

// FuzzAgrees holds the AEAD against that of the standard library.
func FuzzAgrees(f *testing.F) {
	f.Add(make([]byte, 32), make([]byte, 12), []byte("plain"), []byte("data"))
	f.Add(make([]byte, 16), make([]byte, 12), make([]byte, 1600), []byte{})
	f.Add(make([]byte, 32), make([]byte, 12), make([]byte, 2700), make([]byte, 700))
	f.Fuzz(func(t *testing.T, key, nonce, text, data []byte) {
		if len(key) != 16 && len(key) != 32 || len(nonce) != NonceSize {
			return
		}
		slow := standard(t, key)
		sealed := slow.Seal(nil, nonce, text, data)
		_, forgery := slow.Open(nil, nonce, text, data)
		for name, fast := range variants(t, key) {
			if got := fast.Seal(nil, nonce, text, data); !bytes.Equal(got, sealed) {
				t.Fatalf("%s: sealed\n%x, want\n%x", name, got, sealed)
			}
			if opened, err := fast.Open(nil, nonce, sealed, data); err != nil || !bytes.Equal(opened, text) {
				t.Fatalf("%s: opened %x: %v", name, opened, err)
			}
			if _, err := fast.Open(nil, nonce, text, data); (err == nil) != (forgery == nil) {
				t.Fatalf("%s: a forgery: %v, want %v", name, err, forgery)
			}
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

// BenchmarkFromMemory seals in place what is in memory and in no cache, as chunks are
// when their turn to be sent comes.
func BenchmarkFromMemory(b *testing.B) {
	const size = 64 << 10
	nonce := make([]byte, NonceSize)
	for name, aead := range variants(b, make([]byte, 32)) {
		b.Run(name, func(b *testing.B) {
			text := make([]byte, 256<<20)
			for at := 0; at < len(text); at += 4096 {
				text[at] = 1
			}
			b.SetBytes(size)
			at := 0
			for b.Loop() {
				piece := text[at : at+size-TagSize]
				aead.Seal(piece[:0], nonce, piece, nil)
				at = (at + size) % len(text)
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	key := make([]byte, 32)
	for b.Loop() {
		fresh(b, key)
	}
}
