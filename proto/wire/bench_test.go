package wire

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/cairnstorage/cairn/proto/pb"
)

// BenchmarkData moves data frames through memory.
func BenchmarkData(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, MaxData} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			var loop bytes.Buffer
			loop.Grow(2 * (HeaderSize + size))
			w, r := NewWriter(&loop), NewReader(&loop)
			frame, into := dataFrame(size, 1), make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if err := w.WriteData(frame); err != nil {
					b.Fatal(err)
				}
				if _, err := r.Next(); err != nil {
					b.Fatal(err)
				}
				if _, err := r.ReadData(into); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkControl writes and reads a request.
func BenchmarkControl(b *testing.B) {
	var loop bytes.Buffer
	w, r := NewWriter(&loop), NewReader(&loop)
	get := &pb.Get{Segment: make([]byte, 16), Offset: 1 << 20, Length: 65536}
	var got pb.Get
	b.ReportAllocs()
	for b.Loop() {
		if err := w.WriteControl(TypeGet, get); err != nil {
			b.Fatal(err)
		}
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
		if err := r.ReadControl(&got); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFraming is the cost of headers alone.
func BenchmarkFraming(b *testing.B) {
	w := NewWriter(io.Discard)
	frame := dataFrame(64<<10, 1)
	b.ReportAllocs()
	for b.Loop() {
		if err := w.WriteData(frame); err != nil {
			b.Fatal(err)
		}
	}
}
