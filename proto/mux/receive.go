package mux

import (
	"errors"
	"fmt"
	"io"
)

// Why sessions end, as yamux has it.
const wrongProtocol = 1

// receive takes in frames until the connection ends. It does not wait for something
// to be sent, or two parties could wait for each other, unless the peer asks for far
// more than it takes (see answer).
func (s *Session) receive() {
	defer close(s.received)
	err := s.receiveAll()
	if errors.Is(err, ErrProtocol) {
		s.settle(header{goAway, 0, 0, wrongProtocol})
	}
	s.fail(err)
}

func (s *Session) receiveAll() error {
	var raw [headerSize]byte
	for {
		if _, err := io.ReadFull(s.conn, raw[:]); err != nil {
			return err
		}
		h, err := parseHeader(&raw)
		if err != nil {
			return err
		}
		s.alive.Store(true)
		if h.kind != ping && !s.active.Load() {
			s.active.Store(true)
		}
		if err := s.take(h); err != nil {
			return err
		}
	}
}

// take takes in a frame.
func (s *Session) take(h header) error {
	switch h.kind {
	case ping:
		if h.flags&opened != 0 {
			s.answer(header{ping, acknowledged, 0, h.length})
		}
		return nil
	case goAway:
		return &GoAwayError{Remote: true, Code: h.length}
	}
	if h.flags&opened != 0 {
		if err := s.takeStream(h.stream); err != nil {
			return err
		}
	}
	st := s.lookup(h.stream)
	if st == nil { // it was reset here, or closed
		return s.skip(h)
	}
	if h.flags&acknowledged != 0 {
		st.acknowledge()
	}
	switch {
	case h.flags&reset != 0:
		why := &StreamError{Remote: true}
		if h.kind == update {
			why.Code = h.length
		}
		st.end(why)
		s.remove(st)
		return s.skip(h)
	case h.kind == update:
		st.credited(h.length)
	default:
		if err := s.takeData(st, h.length); err != nil {
			return err
		}
	}
	if h.flags&finished != 0 && st.finished() {
		s.remove(st)
	}
	return nil
}

// takeStream takes in a stream that the peer opens, or refuses it.
func (s *Session) takeStream(id uint32) error {
	s.mu.Lock()
	wrong := id == 0 || id%2 == s.next%2 || s.streams[id] != nil
	s.mu.Unlock()
	if wrong {
		return fmt.Errorf("%w: the peer opened stream %d", ErrProtocol, id)
	}
	refusal := header{update, reset, id, 0}
	release, err := s.config.Reserve()
	if err != nil {
		s.answer(refusal)
		return nil
	}
	st := newStream(s, id, release)
	st.allowed = LeastWindow
	s.mu.Lock()
	err = s.err
	if err == nil {
		s.streams[id] = st
	}
	s.mu.Unlock()
	if err != nil {
		release()
		return err
	}
	select {
	case s.accepted <- st:
	default:
		st.end(&StreamError{})
		s.remove(st)
		s.answer(refusal)
	}
	return nil
}

// takeData takes in what follows a header.
func (s *Session) takeData(st *Stream, size uint32) error {
	if !st.use(size) {
		return fmt.Errorf("%w: on stream %d came more than its window", ErrProtocol, st.id)
	}
	for size > 0 {
		n := int(min(size, maxPiece))
		memory := takePiece(n)
		if _, err := io.ReadFull(s.conn, (*memory)[:n]); err != nil {
			givePiece(memory)
			return unexpected(err)
		}
		st.deliver(memory, n)
		size -= uint32(n)
		s.alive.Store(true) // other implementations send frames that take long
	}
	return nil
}

// skip passes over the data of a frame.
func (s *Session) skip(h header) error {
	if h.kind != data || h.length == 0 {
		return nil
	}
	_, err := io.CopyN(io.Discard, s.conn, int64(h.length))
	return unexpected(err)
}

// unexpected is an error in the middle of a frame.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
