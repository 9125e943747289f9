package main

import (
	"context"
	"fmt"
	"io"
)

// wholeReader reads from a file and fails at its end if that comes too early.
type wholeReader struct {
	r    io.Reader
	left int64 // bytes expected
}

func (w *wholeReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.left -= int64(n)
	if err == io.EOF && w.left > 0 {
		err = fmt.Errorf("the file became shorter while it was read: %d bytes are missing", w.left)
	}
	return n, err
}

// contextReader reads from r until ctx ends, though a read from a terminal or
// pipe cannot be interrupted: it is left behind. A copy a read is the price.
type contextReader struct {
	ctx    context.Context
	r      io.Reader
	filled chan chunk
	empty  chan []byte
	rest   []byte // of buffer, not handed on yet
	buffer []byte
	err    error
}

type chunk struct {
	data []byte
	err  error
}

const readAhead = 256 << 10

func (c *contextReader) Read(p []byte) (int, error) {
	if c.filled == nil {
		c.start()
	}
	for len(c.rest) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		if c.buffer != nil {
			c.empty <- c.buffer
			c.buffer = nil
		}
		select {
		case next := <-c.filled:
			c.buffer, c.rest, c.err = next.data[:cap(next.data)], next.data, next.err
		case <-c.ctx.Done():
			return 0, c.ctx.Err()
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// start reads ahead with two buffers that go round.
func (c *contextReader) start() {
	c.filled, c.empty = make(chan chunk, 2), make(chan []byte, 2)
	for range cap(c.empty) {
		c.empty <- make([]byte, readAhead)
	}
	go func() {
		for {
			select {
			case buffer := <-c.empty:
				n, err := c.r.Read(buffer)
				c.filled <- chunk{buffer[:n], err}
				if err != nil {
					return
				}
			case <-c.ctx.Done():
				return
			}
		}
	}()
}
