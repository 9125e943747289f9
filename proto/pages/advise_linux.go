package pages

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// advise asks for huge pages in what is on such pages entirely, and tells whether
// there will be any.
func advise(b []byte) bool {
	start := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) % Huge)
	size := (len(b) - start) / Huge * Huge
	return size > 0 && unix.Madvise(b[start:start+size], unix.MADV_HUGEPAGE) == nil
}
