package record

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/cairnstorage/cairn/proto/internal/golden"
)

var ciphers = []Cipher{AES128GCM, AES256GCM, ChaCha20Poly1305}

func secret(label string) (s Secret) {
	copy(s[:], golden.Bytes(label, len(s)))
	return s
}

func newTestHalf(t testing.TB, c Cipher, rekey uint64) *half {
	t.Helper()
	h, err := newHalf(c, secret("record"))
	if err != nil {
		t.Fatal(err)
	}
	h.rekey = rekey
	return &h
}

func TestGolden(t *testing.T) {
	type vector struct {
		Cipher  Cipher   `json:"cipher"` // 0 AES-128-GCM, 1 AES-256-GCM, 2 ChaCha20-Poly1305
		Secret  string   `json:"secret"`
		Next    string   `json:"next_secret"`
		Plain   []string `json:"plain"`
		Records []string `json:"records"` // in order; the last is under the next secret
	}
	var vectors []vector
	for _, c := range ciphers {
		h := newTestHalf(t, c, 2)
		v := vector{Cipher: c, Secret: hex.EncodeToString(h.secret[:])}
		for i, size := range []int{1, 12, 40} {
			plain := golden.Bytes(fmt.Sprint("plain", i), size)
			record, err := h.seal(nil, plain)
			if err != nil {
				t.Fatal(err)
			}
			v.Plain = append(v.Plain, hex.EncodeToString(plain))
			v.Records = append(v.Records, hex.EncodeToString(record))
		}
		v.Next = hex.EncodeToString(h.secret[:])
		vectors = append(vectors, v)
	}
	golden.Check(t, "record.json", vectors)
}

// TestOpen opens what was sealed, across changes of the secret.
func TestOpen(t *testing.T) {
	for _, c := range ciphers {
		out, in := newTestHalf(t, c, 3), newTestHalf(t, c, 3)
		used := make(map[string]bool)
		for i := range 20 {
			plain := golden.Bytes("plain", 1+i*100)
			record, err := out.seal(nil, plain)
			if err != nil {
				t.Fatal(err)
			}
			used[string(out.secret[:])] = true
			got, err := in.open(nil, record[:headerSize], record[headerSize:])
			if err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("cipher %d, record %d: %x, %v", c, i, got, err)
			}
		}
		if len(used) != 7 {
			t.Errorf("cipher %d: 20 records, 3 of each secret, used %d secrets", c, len(used))
		}
	}
}

// TestForged flips every bit of a record.
func TestForged(t *testing.T) {
	for _, c := range ciphers {
		record, err := newTestHalf(t, c, 1).seal(nil, []byte("attack at dawn"))
		if err != nil {
			t.Fatal(err)
		}
		for bit := range 8 * len(record) {
			forged := bytes.Clone(record)
			forged[bit/8] ^= 1 << (bit % 8)
			plain, err := newTestHalf(t, c, 1).open(nil, forged[:headerSize], forged[headerSize:])
			if !errors.Is(err, ErrForged) || len(plain) > 0 {
				t.Fatalf("cipher %d, bit %d: %q, %v", c, bit, plain, err)
			}
		}
	}
}

// TestOrder sees to it that a record counts in its place alone.
func TestOrder(t *testing.T) {
	out, in := newTestHalf(t, AES128GCM, 2), newTestHalf(t, AES128GCM, 2)
	var records [][]byte
	for range 5 {
		record, err := out.seal(nil, []byte("the same"))
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, record)
	}
	for place := range records {
		for which, record := range records {
			h := *in
			_, err := h.open(nil, record[:headerSize], record[headerSize:])
			if (err == nil) != (which == place) {
				t.Errorf("record %d in place %d: %v", which, place, err)
			}
		}
		if _, err := in.open(nil, records[place][:headerSize], records[place][headerSize:]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSealedSize(t *testing.T) {
	for _, test := range []struct {
		header string
		size   int
		err    error
	}{
		{"00000000", 0, ErrSize},
		{"00000010", 0, ErrSize}, // no plaintext
		{"00000011", 17, nil},
		{"00040050", MaxPlain + tagSize, nil},
		{"00040051", 0, ErrSize},
		{"ffffffff", 0, ErrSize},
		{"17030300", 0, ErrRefused},
	} {
		header, _ := hex.DecodeString(test.header)
		size, err := sealedSize(header)
		if size != test.size || !errors.Is(err, test.err) {
			t.Errorf("%s: %d, %v; want %d, %v", test.header, size, err, test.size, test.err)
		}
	}
}
