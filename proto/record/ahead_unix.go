//go:build unix

package record

import (
	"os"
	"syscall"
)

// tryWrite writes what the connection takes at once. It does so by the package that
// reads go through, too, which lets the race detector see what a peer in the same
// process waited for.
func (c *Conn) tryWrite(p []byte) (n int, err error) {
	if c.control == nil {
		return 0, nil
	}
	var failed error
	err = c.control.Write(func(fd uintptr) bool {
		for {
			if n, failed = syscall.Write(int(fd), p); failed != syscall.EINTR {
				return true
			}
		}
	})
	switch {
	case err != nil:
		return 0, err
	case failed == syscall.EAGAIN:
		return 0, nil
	case failed != nil:
		return 0, os.NewSyscallError("write", failed)
	}
	return n, nil
}
