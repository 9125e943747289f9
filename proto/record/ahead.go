package record

import (
	"net"
	"syscall"
)

// WriteAhead sends a message, whose header and body lie apart, as far as that can
// be done without waiting. They have at most MaxHeader and MaxPlain bytes. If rest
// is not nil it sends what is left: it has to be called, and nothing else can be
// written before it returns. Neither header nor body is needed then.
func (c *Conn) WriteAhead(header, body []byte) (rest func() error, err error) {
	c.sending.Lock()
	if len(header)+len(body) == 0 { // no record has nothing
		defer c.sending.Unlock()
		return nil, c.out.failed
	}
	buffer := takeBuffer(len(header) + len(body) + 2*(headerSize+tagSize))
	sealed, err := c.sealMessage((*buffer)[:0], header, body)
	sent := 0
	if err == nil {
		sent, err = c.tryWrite(sealed)
	}
	end := func(err error) error {
		c.out.failed = err
		giveBuffer(buffer)
		c.sending.Unlock()
		return err
	}
	if err != nil || sent == len(sealed) {
		return nil, end(err)
	}
	return func() error {
		_, err := c.Conn.Write(sealed[sent:])
		return end(err)
	}, nil
}

// sealMessage makes one record of a small message, two of a large one: see send.
func (c *Conn) sealMessage(room, header, body []byte) (_ []byte, err error) {
	if c.out.failed != nil {
		return nil, c.out.failed
	}
	size := len(header) + len(body)
	if size <= largePlain || len(header) == 0 || len(body) == 0 {
		plain := room[headerSize : headerSize+size] // where it is sealed
		copy(plain[copy(plain, header):], body)
		return c.out.seal(room, plain)
	}
	if room, err = c.out.seal(room, header); err != nil {
		return nil, err
	}
	return c.out.seal(room, body)
}

// controlOf is how a connection is written to without waiting, if it can be.
func controlOf(conn net.Conn) syscall.RawConn {
	if c, ok := conn.(syscall.Conn); ok {
		if control, err := c.SyscallConn(); err == nil {
			return control
		}
	}
	return nil
}
