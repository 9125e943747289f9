package wire

import (
	"encoding/binary"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"
)

// Writer puts frames on a stream, each with one Write. It is for one goroutine
// at a time.
type Writer struct {
	dst   io.Writer
	queue []byte // frames not yet written
}

// NewWriter returns a Writer to dst, which it does not buffer beyond what
// Queue was given.
func NewWriter(dst io.Writer) *Writer { return &Writer{dst: dst} }

// WriteControl writes a control frame, after any that are queued and in one
// Write with them. The type must be the one that carries m.
func (w *Writer) WriteControl(t Type, m proto.Message) error {
	if err := w.Queue(t, m); err != nil {
		return err
	}
	return w.Flush()
}

// Queue keeps a control frame to be written together with the next one, or
// before the next data. What is queued is bounded: once it exceeds MaxControl
// it is written.
func (w *Writer) Queue(t Type, m proto.Message) error {
	if typeOf(m) != t || t == 0 {
		panic(fmt.Sprintf("wire: %T in a frame of %s", m, t))
	}
	start := len(w.queue)
	w.queue = append(w.queue, byte(t), 0, 0, 0, 0)
	queue, err := proto.MarshalOptions{}.MarshalAppend(w.queue, m)
	if err != nil {
		w.queue = w.queue[:start]
		return fmt.Errorf("marshal %s: %w", t, err)
	}
	w.queue = queue
	size := len(queue) - start - HeaderSize
	if size > MaxControl {
		w.queue = w.queue[:start]
		return badFrame("%s would have %d bytes, more than %d", t, size, MaxControl)
	}
	binary.BigEndian.PutUint32(queue[start+1:], uint32(size))
	if len(queue) > MaxControl {
		return w.Flush()
	}
	return nil
}

// QueueData is WriteData for data that a control frame will follow at once: if
// there is little of it, it waits for that in the queue.
func (w *Writer) QueueData(buf []byte) error {
	if len(w.queue)+len(buf) > MaxControl {
		return w.WriteData(buf)
	}
	putDataHeader(buf)
	w.queue = append(w.queue, buf...)
	return nil
}

// Flush writes the frames that are queued.
func (w *Writer) Flush() error {
	if len(w.queue) == 0 {
		return nil
	}
	_, err := w.dst.Write(w.queue)
	w.queue = w.queue[:0]
	if err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}

// WriteData writes a data frame in one Write. The payload begins at
// buf[HeaderSize] and has between 1 and MaxData bytes; the header is written
// over the bytes before it.
func (w *Writer) WriteData(buf []byte) error {
	putDataHeader(buf)
	if err := w.Flush(); err != nil {
		return err
	}
	if _, err := w.dst.Write(buf); err != nil {
		return fmt.Errorf("write data: %w", err)
	}
	return nil
}

// putDataHeader writes the header of a data frame before its payload.
func putDataHeader(buf []byte) {
	size := len(buf) - HeaderSize
	if size <= 0 || size > MaxData {
		panic(fmt.Sprintf("wire: data frame of %d bytes", size))
	}
	buf[0] = byte(TypeData)
	binary.BigEndian.PutUint32(buf[1:], uint32(size))
}
