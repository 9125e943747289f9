//go:build unix

package record

import (
	"os"

	"golang.org/x/sys/unix"
)

// tryWrite writes what the connection takes at once.
func (c *Conn) tryWrite(p []byte) (n int, err error) {
	if c.control == nil {
		return 0, nil
	}
	var failed error
	err = c.control.Write(func(fd uintptr) bool {
		for {
			if n, failed = unix.Write(int(fd), p); failed != unix.EINTR {
				return true
			}
		}
	})
	switch {
	case err != nil:
		return 0, err
	case failed == unix.EAGAIN:
		return 0, nil
	case failed != nil:
		return 0, os.NewSyscallError("write", failed)
	}
	return n, nil
}
