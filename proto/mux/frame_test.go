package mux

import (
	"encoding/hex"
	"errors"
	"testing"
)

// TestFrames has frames as the specification of yamux has them.
func TestFrames(t *testing.T) {
	for _, test := range []struct {
		name string
		h    header
		want string // version, type, flags, stream, length
	}{
		{"a stream begins", header{update, opened, 1, 0}, "00 01 0001 00000001 00000000"},
		{"with data", header{data, opened, 3, 5}, "00 00 0001 00000003 00000005"},
		{"is accepted", header{update, acknowledged, 2, 1 << 20}, "00 01 0002 00000002 00100000"},
		{"ends", header{update, finished, 0x01020304, 0}, "00 01 0004 01020304 00000000"},
		{"is reset", header{update, reset, 1<<32 - 1, 0xcafe}, "00 01 0008 ffffffff 0000cafe"},
		{"a ping", header{ping, opened, 0, 0xdeadbeef}, "00 02 0001 00000000 deadbeef"},
		{"its answer", header{ping, acknowledged, 0, 0xdeadbeef}, "00 02 0002 00000000 deadbeef"},
		{"the session ends", header{goAway, 0, 0, 2}, "00 03 0000 00000000 00000002"},
		{"all flags", header{data, opened | acknowledged | finished | reset, 7, 1<<32 - 1}, "00 00 000f 00000007 ffffffff"},
	} {
		want := unhex(t, test.want)
		if got := test.h.append([]byte("before")); string(got) != "before"+string(want) {
			t.Errorf("%s: %x", test.name, got)
		}
		if got, err := parseHeader((*[headerSize]byte)(want)); got != test.h || err != nil {
			t.Errorf("%s: %v, %v", test.name, got, err)
		}
	}
}

func unhex(t *testing.T, text string) (b []byte) {
	t.Helper()
	for _, c := range text {
		if c != ' ' {
			b = append(b, byte(c))
		}
	}
	b, err := hex.DecodeString(string(b))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestOtherFrames is every version and kind: but a few are refused.
func TestOtherFrames(t *testing.T) {
	for v := range 256 {
		for k := range 256 {
			raw := [headerSize]byte{byte(v), byte(k)}
			_, err := parseHeader(&raw)
			if good := v == 0 && k <= 3; good && err != nil || !good && !errors.Is(err, ErrProtocol) {
				t.Fatalf("version %d, kind %d: %v", v, k, err)
			}
		}
	}
}

// FuzzHeader has what is parsed be what is encoded.
func FuzzHeader(f *testing.F) {
	f.Add(header{ping, opened, 0, 1}.append(nil))
	f.Add(header{data, 0xffff, 1, 1 << 31}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerSize {
			return
		}
		raw := [headerSize]byte(b)
		h, err := parseHeader(&raw)
		if err == nil && string(h.append(nil)) != string(raw[:]) {
			t.Errorf("%x became %x", raw, h.append(nil))
		}
	})
}
