package mux

import "fmt"

// Why sessions end, as yamux has it.
const wrongProtocol = 1

// arrivedHeader takes note of so many bytes of a header, and takes in the frame when
// it is whole. It does not wait for something to be sent, or two parties could wait for
// each other, unless the peer asks for far more than it takes (see answer).
func (s *Session) arrivedHeader(bytes int) error {
	in := &s.receiver.in
	if in.filled += bytes; in.filled < headerSize {
		return nil
	}
	in.filled = 0
	h, err := parseHeader(&in.raw)
	if err != nil {
		return err
	}
	if h.kind != ping && !s.active.Load() {
		s.active.Store(true)
	}
	return s.take(h)
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
		s.awaitData(nil, h)
		return nil
	}
	if h.flags&acknowledged != 0 {
		st.acknowledge()
	}
	s.receiver.in.tell(st)
	switch {
	case h.flags&reset != 0:
		why := &StreamError{Remote: true}
		if h.kind == update {
			why.Code = h.length
		}
		st.end(why)
		s.remove(st)
		s.awaitData(nil, h)
	case h.kind == update:
		st.credited(h.length)
		s.frameEnds(st, h)
	case !st.use(h.length):
		return fmt.Errorf("%w: on stream %d came more than its window", ErrProtocol, st.id)
	default:
		s.awaitData(st, h)
	}
	return nil
}

// awaitData has the data of a frame received, if it has some, for a stream or to be
// dropped.
func (s *Session) awaitData(st *Stream, h header) {
	if h.kind != data {
		return
	}
	in := &s.receiver.in
	in.to, in.header, in.left = st, h, h.length
	if in.left == 0 {
		s.endFrame()
	}
}

// endFrame takes note that all data of a frame has come.
func (s *Session) endFrame() {
	in := &s.receiver.in
	if in.to != nil {
		s.frameEnds(in.to, in.header)
		in.to = nil
	}
}

// frameEnds takes note of the end of what comes on a stream, if that is what a frame says.
func (s *Session) frameEnds(st *Stream, h header) {
	if h.flags&finished != 0 && st.finished() {
		s.remove(st)
	}
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
