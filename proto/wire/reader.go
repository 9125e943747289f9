package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"
)

// Reader takes frames from a stream. It reads no byte beyond the frame it is
// at. It is for one goroutine at a time.
type Reader struct {
	src    io.Reader
	header Header
	left   int    // payload bytes not yet read
	err    error  // the first there was; no frame can be found after it
	raw    []byte // header and control payloads; grows to MaxControl at most
}

// NewReader returns a Reader of src, which it does not buffer.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, raw: make([]byte, HeaderSize, 512)}
}

// Next reads the header of the next frame. It returns io.EOF when the stream
// ended between frames, and an error wrapping ErrFrame when what came is cut
// off, of an unknown type or out of bounds; errors of the stream come wrapped.
// It finds no frame after an error, nor after one whose payload was not read to
// its end, as that of a frame out of place.
func (r *Reader) Next() (Header, error) {
	if r.err == nil && r.left > 0 {
		r.err = badFrame("%s was left unread", r.header.Type)
	}
	h := Header{}
	if r.err == nil {
		h, r.err = r.next()
	}
	if r.err != nil {
		h = Header{} // no payload may be read after an error
	}
	r.header, r.left = h, h.Length
	return h, r.err
}

func (r *Reader) next() (Header, error) {
	raw := r.raw[:HeaderSize]
	if n, err := io.ReadFull(r.src, raw); err != nil {
		if n == 0 && errors.Is(err, io.EOF) {
			return Header{}, io.EOF
		}
		return Header{}, cut(err, "header")
	}
	length := binary.BigEndian.Uint32(raw[1:])
	h := Header{Type: Type(raw[0]), Length: int(min(length, 1<<31-1))}
	return h, h.check()
}

// Remaining is how many payload bytes of the current frame are yet to be read.
func (r *Reader) Remaining() int { return r.left }

// ReadControl reads the payload of the current frame into m, whose type must
// be the one that Next announced. The error wraps ErrFrame when the payload is
// cut off or no such message.
func (r *Reader) ReadControl(m proto.Message) error {
	if t := typeOf(m); t == 0 || t != r.header.Type || r.left != r.header.Length {
		panic(fmt.Sprintf("wire: ReadControl of %T at a frame of %s", m, r.header.Type))
	}
	r.raw = slices.Grow(r.raw[:0], r.left)
	payload := r.raw[:r.left]
	if _, err := io.ReadFull(r.src, payload); err != nil {
		r.err = cut(err, r.header.Type.String())
		return r.err
	}
	r.left = 0
	// Unknown fields are for newer versions; they are dropped, not kept.
	err := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(payload, m)
	if err != nil {
		r.err = badFrame("%s cannot be parsed", r.header.Type)
	}
	return r.err
}

// ReadData reads payload of the current data frame straight into the given
// buffer: as much as fits, or all that remains of the frame. It returns fewer
// bytes only with an error, which wraps ErrFrame when the payload is cut off.
func (r *Reader) ReadData(into []byte) (int, error) {
	if r.header.Type != TypeData {
		panic(fmt.Sprintf("wire: ReadData at a frame of %s", r.header.Type))
	}
	n, err := io.ReadFull(r.src, into[:min(len(into), r.left)])
	r.left -= n
	if err != nil {
		r.err = cut(err, "Data")
	}
	return n, r.err
}

// cut tells a stream that ended inside a frame from one that failed.
func cut(err error, where string) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", badFrame("%s is cut off", where), io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("read %s: %w", where, err)
}
