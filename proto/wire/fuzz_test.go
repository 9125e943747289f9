package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// FuzzReader reads hostile streams. Whatever happens, the error is a bad frame
// or the end; what was accepted is the same once it is written and read again.
func FuzzReader(f *testing.F) {
	f.Add(stream(f))
	f.Add(header(TypeData, MaxData))
	f.Add(append(header(TypeGet, 2), 0xff, 0xff))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		once, err := drain(bytes.NewReader(raw), 1000)
		if err != io.EOF && !errors.Is(err, ErrFrame) {
			t.Fatalf("unforeseen error %v", err)
		}
		twice, err := drain(bytes.NewReader(once), 77)
		if err != io.EOF || !bytes.Equal(once, twice) {
			t.Fatalf("accepted frames read differently: %v", err)
		}
		_, slow := drain(&oneByte{raw}, 1000)
		_, fast := drain(bytes.NewReader(raw), 1000)
		if slow.Error() != fast.Error() {
			t.Fatalf("%v byte by byte, %v at once", slow, fast)
		}
	})
}

// oneByte gives one byte at each Read.
type oneByte struct{ rest []byte }

func (o *oneByte) Read(p []byte) (int, error) {
	if len(o.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(1, len(p))], o.rest)
	o.rest = o.rest[n:]
	return n, nil
}
