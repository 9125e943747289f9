package mux

import (
	"encoding/binary"
	"fmt"
)

// What a frame is for.
type kind uint8

const (
	data   kind = iota // length bytes of a stream follow
	update             // the peer may send length bytes more; with reset, length is why
	ping               // length comes back with acknowledged
	goAway             // length is why there will be no further streams
	kinds
)

// What a frame says about its stream beside.
type flags uint16

const (
	opened       flags = 1 << iota // SYN: the stream is new, or the ping a question
	acknowledged                   // ACK: the stream is accepted, or the ping an answer
	finished                       // FIN: no data will follow
	reset                          // RST: the stream is gone
)

const (
	version    = 0
	headerSize = 12
)

// A header begins each frame.
type header struct {
	kind   kind
	flags  flags
	stream uint32 // 0: the session
	length uint32
}

// append appends the encoded header.
func (h header) append(b []byte) []byte {
	b = append(b, version, byte(h.kind))
	b = binary.BigEndian.AppendUint16(b, uint16(h.flags))
	b = binary.BigEndian.AppendUint32(b, h.stream)
	return binary.BigEndian.AppendUint32(b, h.length)
}

// parseHeader is the inverse of append. Errors: ErrProtocol.
func parseHeader(b *[headerSize]byte) (header, error) {
	h := header{
		kind:   kind(b[1]),
		flags:  flags(binary.BigEndian.Uint16(b[2:])),
		stream: binary.BigEndian.Uint32(b[4:]),
		length: binary.BigEndian.Uint32(b[8:]),
	}
	if b[0] != version || h.kind >= kinds {
		return h, fmt.Errorf("%w: version %d, frame of kind %d", ErrProtocol, b[0], h.kind)
	}
	return h, nil
}
