package ident

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/mr-tron/base58"

	"github.com/cairnstorage/cairn/proto/internal/golden"
)

func testKey(label string) Key {
	return FromSeed([32]byte(golden.Bytes(label, 32)))
}

func TestIDText(t *testing.T) {
	for _, label := range []string{"a", "b", "c", "d"} {
		id := testKey(label).ID()
		text := id.String()
		if !strings.HasPrefix(text, "12D3Koo") || !strings.HasSuffix(text, id.Short()) || len(id.Short()) != 8 {
			t.Errorf("id %s, short %s", text, id.Short())
		}
		if got, err := ParseID(text); err != nil || got != id {
			t.Errorf("ParseID(%s) = %v, %v", text, got, err)
		}
		if got, err := IDFromBytes(id[:]); err != nil || got != id {
			t.Errorf("IDFromBytes: %v, %v", got, err)
		}
		packed, err := json.Marshal(map[ID]ID{id: id})
		if err != nil || string(packed) != `{"`+text+`":"`+text+`"}` {
			t.Errorf("json: %s, %v", packed, err)
		}
		var back map[ID]ID
		if err := json.Unmarshal(packed, &back); err != nil || back[id] != id {
			t.Errorf("json back: %v, %v", back, err)
		}
	}
}

func TestParseIDRefuses(t *testing.T) {
	text := testKey("a").ID().String()
	raw, err := base58.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	otherType := bytes.Clone(raw)
	otherType[3] = 2 // a Secp256k1 key
	for _, wrong := range []string{
		"", "1", text[1:], text[:len(text)-1], text + "1", "1" + text, " " + text, text + "\n", text[:20] + "0" + text[21:],
		strings.Repeat("1", 1000), strings.Repeat("z", 1<<20),
		base58.Encode(otherType), base58.Encode(raw[:len(raw)-1]), base58.Encode(raw[6:]),
		"QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", // an RSA key
		hex.EncodeToString(raw[6:]),
	} {
		if id, err := ParseID(wrong); !errors.Is(err, ErrID) || !id.IsZero() {
			t.Errorf("ParseID(%.80q) = %v, %v", wrong, id, err)
		}
	}
	for _, n := range []int{0, 31, 33, 64} {
		if _, err := IDFromBytes(bytes.Repeat([]byte{7}, n)); !errors.Is(err, ErrID) {
			t.Errorf("IDFromBytes of %d bytes: %v", n, err)
		}
	}
	if _, err := IDFromBytes(make([]byte, 32)); !errors.Is(err, ErrID) {
		t.Errorf("IDFromBytes of zeros: %v", err)
	}
}

func TestSignAndVerify(t *testing.T) {
	key, other := testKey("a"), testKey("b")
	body := []byte("body")
	sig := key.Sign("cairn/v1/test", body)
	if !Verify(key.ID(), "cairn/v1/test", body, sig) {
		t.Fatal("a good signature is refused")
	}
	for bit := range 8 * len(sig) {
		sig[bit/8] ^= 1 << (bit % 8)
		if Verify(key.ID(), "cairn/v1/test", body, sig) {
			t.Errorf("a signature with bit %d changed is accepted", bit)
		}
		sig[bit/8] ^= 1 << (bit % 8)
	}
	for name, accepted := range map[string]bool{
		"other signer":  Verify(other.ID(), "cairn/v1/test", body, sig),
		"no signer":     Verify(ID{}, "cairn/v1/test", body, sig),
		"other context": Verify(key.ID(), "cairn/v1/tes", append([]byte("t\x00"), body...), sig),
		"no context":    Verify(key.ID(), "", append([]byte("cairn/v1/test\x00"), body...), sig),
		"other body":    Verify(key.ID(), "cairn/v1/test", []byte("bodY"), sig),
		"no body":       Verify(key.ID(), "cairn/v1/test", nil, sig),
		"no signature":  Verify(key.ID(), "cairn/v1/test", body, nil),
		"short":         Verify(key.ID(), "cairn/v1/test", body, sig[:63]),
		"long":          Verify(key.ID(), "cairn/v1/test", body, append(sig, 0)),
	} {
		if accepted {
			t.Errorf("accepted: %s", name)
		}
	}
}

func TestContextHoldsNoZero(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a context with a zero byte, which could pass for another, was used")
		}
	}()
	testKey("a").Sign("cairn\x00v1", nil)
}

func TestGenerate(t *testing.T) {
	a, err := Generate(rand.Reader)
	if err != nil || a.IsZero() {
		t.Fatal(err)
	}
	b, err := Generate(bytes.NewReader(golden.Bytes("a", 32)))
	if err != nil || b.ID() != testKey("a").ID() || a.ID() == b.ID() {
		t.Error("Generate does not use the randomness it is given:", err)
	}
	if _, err := Generate(strings.NewReader("short")); err == nil {
		t.Error("Generate made a key of 5 bytes")
	}
	if !(Key{}).IsZero() || !bytes.Equal(b.Ed25519().Seed(), golden.Bytes("a", 32)) {
		t.Error("IsZero or Ed25519 is wrong")
	}
}

type identVector struct {
	Seed      string `json:"seed"`
	PublicKey string `json:"public_key"`
	ID        ID     `json:"id"`
	Context   string `json:"context"`
	Body      string `json:"body"`
	Signature string `json:"signature"`
}

func TestVectors(t *testing.T) {
	var vectors []identVector
	for i, context := range []string{"cairn/v1/group", "cairn/v1/limit", "cairn/v1/receipt", "cairn/v1/head"} {
		key := testKey(context)
		id := key.ID()
		body := golden.Bytes("body", 20*i)
		vectors = append(vectors, identVector{
			Seed: hex.EncodeToString(key.Ed25519().Seed()), PublicKey: hex.EncodeToString(id[:]), ID: id,
			Context: context, Body: hex.EncodeToString(body), Signature: hex.EncodeToString(key.Sign(context, body)),
		})
	}
	golden.Check(t, "ident.json", vectors)
}

func FuzzParseID(f *testing.F) {
	f.Add(testKey("a").ID().String())
	f.Add("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N")
	f.Fuzz(func(t *testing.T, text string) {
		if id, err := ParseID(text); err == nil && id.String() != text {
			t.Fatalf("%q is read as %v", text, id)
		}
	})
}
