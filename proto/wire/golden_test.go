package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"io"
	"os"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
)

var update = flag.Bool("update", false, "write golden files anew")

const goldenFile = "../testdata/wire.json"

// vector is one frame in hexadecimal.
type vector struct {
	Type    string `json:"type"`
	Message string `json:"message,omitempty"` // for the reader
	Frame   string `json:"frame"`
}

func vectors(t *testing.T) []vector {
	var all []vector
	var buf bytes.Buffer
	w := NewWriter(&buf)
	for _, m := range samples() {
		if err := w.WriteControl(typeOf(m), m); err != nil {
			t.Fatal(err)
		}
		all = append(all, vector{
			Type:    typeOf(m).String(),
			Message: string(m.ProtoReflect().Descriptor().FullName()),
			Frame:   hex.EncodeToString(buf.Bytes()),
		})
		buf.Reset()
	}
	if err := w.WriteData(dataFrame(3, 1)); err != nil {
		t.Fatal(err)
	}
	return append(all, vector{Type: "Data", Frame: hex.EncodeToString(buf.Bytes())})
}

func TestGolden(t *testing.T) {
	now := vectors(t)
	if *update {
		text, err := json.MarshalIndent(now, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenFile, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	var golden []vector
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden) != len(now) {
		t.Fatalf("%d vectors, want %d", len(golden), len(now))
	}
	for i := range golden {
		if golden[i] != now[i] {
			t.Errorf("%s is framed differently now", now[i].Type)
		}
		raw, err := hex.DecodeString(golden[i].Frame)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := drain(bytes.NewReader(raw), 100); err != io.EOF || !bytes.Equal(got, raw) {
			t.Errorf("%s: read as %x, %v", golden[i].Type, got, err)
		}
	}
}

// TestControlSurvives makes sure that a message arrives as it was sent.
func TestControlSurvives(t *testing.T) {
	for _, m := range samples() {
		var buf bytes.Buffer
		if err := NewWriter(&buf).WriteControl(typeOf(m), m); err != nil {
			t.Fatal(err)
		}
		r := NewReader(&buf)
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		got := message(h.Type)
		if err := r.ReadControl(got); err != nil {
			t.Fatal(err)
		}
		if a, b := prototext.Format(m), prototext.Format(got); a != b {
			t.Errorf("sent %s, got %s", a, b)
		}
	}
}
