package record

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// Errors of a Conn. Each ends it: the records after cannot be told apart.
var (
	ErrForged  = errors.New("a record was changed on its way")
	ErrSize    = errors.New("a record has a size that none has")
	ErrRefused = errors.New("the peer refused the handshake")
)

// Secrets are those of both directions, as one party sees them.
type Secrets struct{ Send, Receive Secret }

// A Conn is one end of a connection. Like any net.Conn it may be used from many
// goroutines at once. An error ends the direction it struck, a passed deadline that
// of writing alone: reading can go on where it was.
type Conn struct {
	net.Conn // what carries the records

	sending sync.Mutex
	out     half
	control syscall.RawConn // of the connection, where it has one

	receiving sync.Mutex
	in        half
	raw       *bufio.Reader
	header    [headerSize]byte
	sealed    []byte  // of the record that is being received; nil: none is
	arrived   int     // bytes of sealed
	plain     []byte  // received and not yet read
	buffer    *[]byte // has sealed or plain; nil: small is enough
	small     [smallRecord]byte
}

const (
	smallRecord = 512  // what is received without a buffer of a pool
	readBuffer  = 2048 // bytes of small records that are received by one read
)

// New takes over a connection on which both parties have said all else they had
// to say.
func New(raw net.Conn, c Cipher, secrets Secrets) (*Conn, error) {
	out, err := newHalf(c, secrets.Send)
	if err != nil {
		return nil, err
	}
	in, err := newHalf(c, secrets.Receive)
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: raw, control: controlOf(raw), out: out, in: in, raw: bufio.NewReaderSize(raw, readBuffer)}, nil
}

// Write is io.Writer. What MaxPlain allows is sent by one write.
func (c *Conn) Write(p []byte) (written int, err error) {
	c.sending.Lock()
	defer c.sending.Unlock()
	if len(p) == 0 || c.out.failed != nil {
		return 0, c.out.failed
	}
	buffer := takeBuffer(min(len(p), MaxPlain) + 2*(headerSize+tagSize))
	defer giveBuffer(buffer)
	for written < len(p) && c.out.failed == nil {
		plain := p[written:min(len(p), written+MaxPlain)]
		if c.out.failed = c.send((*buffer)[:0], plain); c.out.failed == nil {
			written += len(plain)
		}
	}
	return written, c.out.failed
}

// send sends plaintext as one record or, if it is large, as two: the header of a
// message first, so that the peer, who reads that to learn where to put the
// rest, can open the rest right there. They are sealed where there is room.
func (c *Conn) send(room, plain []byte) error {
	lead := min(len(plain), leadPlain)
	sealed, err := c.sealMessage(room, plain[:lead], plain[lead:])
	if err != nil {
		return err
	}
	_, err = c.Conn.Write(sealed)
	return err
}

// Read is io.Reader. It returns io.EOF when the peer has closed the connection
// after a whole record.
func (c *Conn) Read(p []byte) (n int, err error) {
	c.receiving.Lock()
	defer c.receiving.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if len(c.plain) == 0 {
		if c.in.failed != nil {
			return 0, c.in.failed
		}
		n, err = c.receive(p)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			c.in.failed = err
			c.release()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	n = copy(p, c.plain)
	c.plain = c.plain[n:]
	if len(c.plain) == 0 {
		c.release()
	}
	return n, nil
}

// receive takes in the next record, or the rest of it. It puts the plaintext where it
// is wanted, if it fits there, and keeps it else.
func (c *Conn) receive(wanted []byte) (int, error) {
	if c.sealed == nil {
		header, err := c.raw.Peek(headerSize)
		if err != nil {
			return 0, cutOff(err, len(header))
		}
		copy(c.header[:], header)
		size, err := sealedSize(header)
		if err != nil {
			return 0, err
		}
		_, _ = c.raw.Discard(headerSize) // it is there
		c.sealed, c.arrived = c.space(size), 0
	}
	n, err := io.ReadFull(c.raw, c.sealed[c.arrived:])
	if c.arrived += n; err != nil {
		return 0, cutOff(err, 1)
	}
	sealed := c.sealed
	c.sealed = nil
	if len(sealed)-tagSize <= len(wanted) {
		plain, err := c.in.open(wanted[:0], c.header[:], sealed)
		c.release()
		return len(plain), err
	}
	c.plain, err = c.in.open(sealed[:0], c.header[:], sealed)
	return 0, err
}

// cutOff is what an error means after so many bytes of a record.
func cutOff(err error, bytes int) error {
	if err == io.EOF && bytes > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (c *Conn) space(size int) []byte {
	if size <= len(c.small) {
		return c.small[:size]
	}
	c.buffer = takeBuffer(size)
	return (*c.buffer)[:size]
}

// release gives back the buffer of a record that was read.
func (c *Conn) release() {
	c.sealed, c.plain = nil, nil
	if c.buffer != nil {
		giveBuffer(c.buffer)
		c.buffer = nil
	}
}
