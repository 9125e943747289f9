// Package golden checks what the tests of proto compute against the vectors in
// proto/testdata, which other implementations can check themselves against too.
package golden

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden vectors anew instead of checking against them")

// Check compares got, as JSON, with the vectors in proto/testdata/name. The
// calling test runs in a package directly below proto.
func Check(t *testing.T, name string, got any) {
	t.Helper()
	text, err := json.MarshalIndent(got, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	path := filepath.Join("..", "testdata", name)
	if *update {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, want) {
		t.Errorf("%s: computed vectors differ from the file; a format changed:\n%s", name, text)
	}
}

// Bytes is size bytes that look random and are the same everywhere: block i of
// 32 bytes is SHA-256(label ‖ i as u64be).
func Bytes(label string, size int) []byte {
	data := make([]byte, 0, size+sha256.Size)
	for i := uint64(0); len(data) < size; i++ {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(label), i))
		data = append(data, sum[:]...)
	}
	return data[:size]
}
