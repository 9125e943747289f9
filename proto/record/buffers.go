package record

import "sync"

// buffers hold records while they are sealed, sent, received and read: by size,
// so that the many small ones need no memory that is made for large ones.
var buffers = [...]struct {
	size int
	pool sync.Pool // of *[]byte
}{{size: largePlain + 2*(headerSize+tagSize)}, {size: 64 << 10}, {size: maxBuffer}}

// takeBuffer returns a buffer for so many bytes, up to maxBuffer.
func takeBuffer(size int) *[]byte {
	for i := range buffers {
		class := &buffers[i]
		if size > class.size {
			continue
		}
		if b, ok := class.pool.Get().(*[]byte); ok {
			return b
		}
		b := make([]byte, class.size)
		return &b
	}
	panic("record: no record is so large")
}

// giveBuffer gives back what takeBuffer returned.
func giveBuffer(b *[]byte) {
	for i := range buffers {
		if buffers[i].size == len(*b) {
			buffers[i].pool.Put(b)
		}
	}
}
