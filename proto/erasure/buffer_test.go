package erasure

import (
	"testing"
	"unsafe"
)

// TestNewBuffer sees where buffers begin: each at a line, and at one of its own.
func TestNewBuffer(t *testing.T) {
	for _, head := range []int{0, 1, 5, MaxHead} {
		lines := make(map[uintptr]int)
		for i := range staggers {
			b := NewBuffer(i, head, 4*ChunkSize)
			if len(b) != head+4*ChunkSize {
				t.Fatalf("buffer %d with %d before it has %d bytes", i, head, len(b))
			}
			at := uintptr(unsafe.Pointer(&b[head])) % 4096
			if at%cacheLine != 0 {
				t.Errorf("buffer %d with %d before it begins at byte %d of a page", i, head, at)
			}
			if lines[at]++; lines[at] > 1 {
				t.Errorf("%d buffers begin at byte %d of a page", lines[at], at)
			}
		}
	}
	for _, bad := range [][2]int{{-1, 0}, {0, -1}, {0, MaxHead + 1}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("there is a buffer %d with %d before it", bad[0], bad[1])
				}
			}()
			NewBuffer(bad[0], bad[1], ChunkSize)
		}()
	}
}
