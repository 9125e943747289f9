package seal

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/uplink/internal/keys"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// The vectors were made by another implementation.
func TestGolden(t *testing.T) {
	var v struct {
		Content, Segment hexBytes
		Position         uint64
		Chunks           []struct {
			Index         uint64
			Plain, Sealed hexBytes
		}
		Large struct {
			Index  uint64
			Sealed hexBytes `json:"sealed_sha256"`
		}
		Inline []struct{ Plain, Sealed hexBytes }
		Secret struct{ Key, Nonce, Plain, Sealed hexBytes }
	}
	data, err := os.ReadFile("testdata/seal.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	content := keys.Content(v.Content)
	s := NewSegment(content, [16]byte(v.Segment), v.Position)
	for _, c := range v.Chunks {
		if got := s.Seal(nil, c.Plain, c.Index); !bytes.Equal(got, c.Sealed) {
			t.Errorf("chunk %d: got %x, want %x", c.Index, got, c.Sealed)
		}
		if got, err := s.Open(nil, c.Sealed, c.Index); err != nil || !bytes.Equal(got, c.Plain) {
			t.Errorf("chunk %d: opens to %x, %v", c.Index, got, err)
		}
	}
	plain := []byte(strings.Repeat("cairn chunk ", ChunkPlain/12))
	if sum := sha256.Sum256(s.Seal(nil, plain, v.Large.Index)); !bytes.Equal(sum[:], v.Large.Sealed) {
		t.Errorf("full chunk: got hash %x", sum)
	}
	for _, i := range v.Inline {
		if got, err := Inline(content, i.Plain); err != nil || !bytes.Equal(got, i.Sealed) {
			t.Errorf("inline: got %x, %v", got, err)
		}
		if got, err := OpenInline(content, i.Sealed); err != nil || !bytes.Equal(got, i.Plain) {
			t.Errorf("inline: opens to %x, %v", got, err)
		}
	}
	secret := new(pb.ObjectSecret)
	if err := proto.Unmarshal(v.Secret.Plain, secret); err != nil {
		t.Fatal(err)
	}
	got, err := Secret([32]byte(v.Secret.Key), secret, bytes.NewReader(v.Secret.Nonce))
	if err != nil || !bytes.Equal(got, v.Secret.Sealed) {
		t.Errorf("secret: got %x, %v, want %x", got, err, v.Secret.Sealed)
	}
	opened, err := OpenSecret([32]byte(v.Secret.Key), v.Secret.Sealed)
	if err != nil || !proto.Equal(opened, secret) {
		t.Errorf("secret: opens to %v, %v", opened, err)
	}
}

// A chunk opens at its own place in its own segment and object, unchanged, and
// nowhere else.
func TestChunkIsBound(t *testing.T) {
	content, id := keys.Content{1}, [16]byte{2}
	s := NewSegment(content, id, 3)
	plain := []byte("some plaintext of a chunk")
	sealed := s.Seal(nil, plain, 4)
	refused := func(what string, s *Segment, chunk []byte, index uint64) {
		t.Helper()
		if got, err := s.Open(nil, chunk, index); !errors.Is(err, ErrOpen) || got != nil {
			t.Errorf("%s: got %x, %v", what, got, err)
		}
	}
	refused("another object", NewSegment(keys.Content{9}, id, 3), sealed, 4)
	refused("another segment", NewSegment(content, [16]byte{9}, 3), sealed, 4)
	refused("another position", NewSegment(content, id, 4), sealed, 4)
	refused("another index", s, sealed, 5)
	refused("an index far away", s, sealed, 4+1<<32)
	refused("nothing", s, nil, 4)
	refused("appended", s, append(bytes.Clone(sealed), 0), 4)
	for n := range sealed {
		refused("cut off", s, sealed[:n], 4)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		refused(fmt.Sprintf("byte %d changed", i), s, changed, 4)
	}
}

func TestInPlace(t *testing.T) {
	s := NewSegment(keys.Content{1}, [16]byte{2}, 0)
	plain := make([]byte, ChunkPlain)
	rand.Read(plain)
	chunk := make([]byte, erasure.ChunkSize)
	copy(chunk, plain)
	sealed := s.Seal(chunk[:0], chunk[:ChunkPlain], 7)
	if &sealed[0] != &chunk[0] || len(sealed) != erasure.ChunkSize {
		t.Fatalf("sealed elsewhere, %d bytes", len(sealed))
	}
	before := bytes.Clone(sealed)
	if _, err := s.OpenInPlace(sealed, 8); !errors.Is(err, ErrOpen) || !bytes.Equal(sealed, before) {
		t.Errorf("with another index: %v, unchanged: %v", err, bytes.Equal(sealed, before))
	}
	opened, err := s.OpenInPlace(sealed, 7)
	if err != nil || &opened[0] != &chunk[0] || !bytes.Equal(opened, plain) {
		t.Errorf("opened %d bytes, %v", len(opened), err)
	}
	if s.CloseInPlace(sealed, 7); !bytes.Equal(sealed, before) {
		t.Error("closed, it is another chunk than before")
	}
}

func TestInlineLimits(t *testing.T) {
	c := keys.Content{5}
	for _, n := range []int{0, 1, MaxInline - 1, MaxInline} {
		plain := make([]byte, n)
		rand.Read(plain)
		sealed, err := Inline(c, plain)
		if err != nil || len(sealed) != n+Overhead {
			t.Fatalf("%d bytes: sealed to %d, %v", n, len(sealed), err)
		}
		if got, err := OpenInline(c, sealed); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: opened %d, %v", n, len(got), err)
		}
		if _, err := OpenInline(keys.Content{6}, sealed); !errors.Is(err, ErrOpen) {
			t.Errorf("another key: %v", err)
		}
		if _, err := OpenInline(c, sealed[:len(sealed)-1]); !errors.Is(err, ErrOpen) {
			t.Errorf("cut off: %v", err)
		}
	}
	if _, err := Inline(c, make([]byte, MaxInline+1)); err == nil {
		t.Error("an inline object too large was sealed")
	}
	if _, err := OpenInline(c, make([]byte, MaxInline+Overhead+1)); !errors.Is(err, ErrOpen) {
		t.Errorf("an inline object too large: %v", err)
	}
}

func TestSecret(t *testing.T) {
	key := [keys.Size]byte{1}
	for _, secret := range []*pb.ObjectSecret{
		{ContentKey: make([]byte, keys.Size)},
		{ContentKey: make([]byte, keys.Size), Size: 1 << 60, Modified: -1, Metadata: map[string]string{"": "", "a": "b", "ключ": "значение"}},
	} {
		sealed, err := Secret(key, secret, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := OpenSecret(key, sealed); err != nil || !proto.Equal(got, secret) {
			t.Errorf("got %v, %v", got, err)
		}
		if _, err := OpenSecret([keys.Size]byte{2}, sealed); !errors.Is(err, ErrOpen) {
			t.Errorf("another name's key: %v", err)
		}
		for i := range sealed {
			changed := bytes.Clone(sealed)
			changed[i] ^= 0x10
			if _, err := OpenSecret(key, changed); !errors.Is(err, ErrOpen) {
				t.Errorf("byte %d changed: %v", i, err)
			}
		}
		again, _ := Secret(key, secret, rand.Reader)
		if bytes.Equal(again, sealed) {
			t.Error("two secrets share a nonce")
		}
	}
}

func TestSecretRefuses(t *testing.T) {
	key := [keys.Size]byte{1}
	large := &pb.ObjectSecret{ContentKey: make([]byte, keys.Size), Metadata: map[string]string{"a": strings.Repeat("x", MaxSecret)}}
	if _, err := Secret(key, large, rand.Reader); err == nil {
		t.Error("metadata too large was sealed")
	}
	if _, err := Secret(key, &pb.ObjectSecret{}, bytes.NewReader(nil)); err == nil {
		t.Error("a secret was sealed without a nonce")
	}
	invalid := &pb.ObjectSecret{Metadata: map[string]string{"a": "\xff"}}
	if _, err := Secret(key, invalid, rand.Reader); err == nil {
		t.Error("metadata that is not UTF-8 was sealed")
	}
	for _, n := range []int{0, 1, nonceSize + Overhead - 1, nonceSize + Overhead, MaxSecret + 1} {
		if _, err := OpenSecret(key, make([]byte, n)); !errors.Is(err, ErrOpen) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for what, plain := range map[string][]byte{"garbage": {0xff}, "no content key": {}, "short content key": {0x0a, 1, 1}} {
		sealed := newGCM(key).Seal(make([]byte, nonceSize), make([]byte, nonceSize), plain, nil)
		if got, err := OpenSecret(key, sealed); err == nil {
			t.Errorf("%s: opened to %v", what, got)
		}
	}
}

func FuzzOpenSecret(f *testing.F) {
	key := [keys.Size]byte{1}
	f.Add([]byte{})
	f.Add([]byte{0x0a, 1, 1})
	f.Add(append([]byte{0x0a, keys.Size}, make([]byte, keys.Size)...))
	f.Fuzz(func(t *testing.T, plain []byte) { // what a holder of the key may have sealed
		sealed := newGCM(key).Seal(make([]byte, nonceSize), make([]byte, nonceSize), plain, nil)
		secret, err := OpenSecret(key, sealed)
		if err == nil && len(secret.ContentKey) != keys.Size {
			t.Errorf("content key of %d bytes", len(secret.ContentKey))
		}
		if secret, err := OpenSecret(key, plain); err == nil {
			t.Errorf("%x opened to %v", plain, secret)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	s := NewSegment(keys.Content{}, [16]byte{}, 0)
	chunk := make([]byte, erasure.ChunkSize)
	b.SetBytes(erasure.ChunkSize)
	b.ReportAllocs()
	for b.Loop() {
		s.Seal(chunk[:0], chunk[:ChunkPlain], 1)
	}
}

func BenchmarkOpen(b *testing.B) {
	s := NewSegment(keys.Content{}, [16]byte{}, 0)
	sealed := s.Seal(nil, make([]byte, ChunkPlain), 1)
	plain := make([]byte, 0, ChunkPlain)
	b.SetBytes(erasure.ChunkSize)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Open(plain, sealed, 1); err != nil {
			b.Fatal(err)
		}
	}
}
