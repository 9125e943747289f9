package merkle

import (
	"crypto/sha256"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cairnstorage/cairn/proto/internal/golden"
)

// Nothing beside the leaves is touched: here nobody may.
func TestNothingBeside(t *testing.T) {
	page := unix.Getpagesize()
	all, err := unix.Mmap(-1, 0, 2*page+2*SubtreeSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(all) })
	data := all[page : len(all)-page]
	copy(data, golden.Bytes("beside", len(data)))
	for _, beside := range [][]byte{all[:page], all[len(all)-page:]} {
		if err := unix.Mprotect(beside, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	withEach(t, func(t *testing.T) {
		for _, part := range [][]byte{data, data[:SubtreeSize], data[SubtreeSize:], data[len(data)-LeafSize:], data[:LeafSize+1]} {
			hashes := make([]Hash, LeafCount(int64(len(part))))
			hashLeaves(hashes, part)
			for i, leaf := range cutLeaves(part) {
				if want := sha256.Sum256(concat([]byte{leafPrefix}, leaf)); hashes[i] != want {
					t.Errorf("leaf %d of %d bytes", i, len(part))
				}
			}
		}
	})
}
