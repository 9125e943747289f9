package mux

import (
	"cmp"
	"net"
	"slices"
	"time"
)

// farewellTime is how long a peer may take to be told that a session is over.
const farewellTime = 200 * time.Millisecond

// An aheadWriter sends a message, whose header and body lie apart, as far as that
// can be done without waiting. If rest is not nil it sends what is left, and has to
// return before anything else is written. Neither head nor body is needed then.
type aheadWriter interface {
	WriteAhead(head, body []byte) (rest func() error, err error)
}

func writerOf(conn net.Conn) aheadWriter {
	if w, ok := conn.(aheadWriter); ok {
		return w
	}
	return copying{conn}
}

// copying is for connections of other kinds.
type copying struct{ conn net.Conn }

func (w copying) WriteAhead(head, body []byte) (rest func() error, err error) {
	message := slices.Concat(head, body)
	return func() error {
		_, err := w.conn.Write(message)
		return err
	}, nil
}

// send sends data of a stream as a frame of its own.
func (s *Session) send(st *Stream, p []byte) error {
	for {
		if err := st.awaitTurn(); err != nil {
			return err
		}
		head, all := s.takePending()
		// Asked only now: that the stream has ended is pending after it has.
		if st.outError() != nil || !all {
			s.flush(head)
			continue // that the stream begins may be among the rest
		}
		s.head = header{data, 0, st.id, uint32(len(p))}.append(head)
		lead := min(len(p), s.config.Lead)
		s.head = append(s.head, p[:lead]...)
		done, err := s.write(s.head, p[lead:])
		if done {
			s.release()
		}
		if err != nil {
			err = cmp.Or(st.outError(), err) // which says why the session is over
		}
		return err
	}
}

// control sends a frame without data, or leaves it to who is writing.
func (s *Session) control(h header) {
	s.mu.Lock()
	s.pending = h.append(s.pending)
	s.mu.Unlock()
	select {
	case s.turn <- struct{}{}:
		s.flushPending()
	default: // whose turn it is comes by once more
	}
}

// answer is control for what the peer has asked for, and waits if it asks for far
// too much, unless who receives is called. What this side has pending does not count
// for that: two parties with much to say would wait for each other.
func (s *Session) answer(h header) {
	s.mu.Lock()
	for len(s.answers) >= maxAnswers*headerSize && s.err == nil && !s.receiver.called.Load() {
		s.drained.Wait()
	}
	s.answers = h.append(s.answers)
	s.mu.Unlock()
	select {
	case s.turn <- struct{}{}:
		go s.flushPending()
	default:
	}
}

// flushPending ends a turn with what is pending.
func (s *Session) flushPending() {
	head, _ := s.takePending()
	s.flush(head)
}

// flush ends a turn with control frames, if there are any.
func (s *Session) flush(head []byte) {
	if done, _ := s.write(head, nil); done {
		s.release()
	}
}

// release ends a turn. What has become pending meanwhile is sent in another.
func (s *Session) release() {
	for {
		<-s.turn
		s.mu.Lock()
		more := len(s.pending)+len(s.answers) > 0 && s.err == nil
		s.mu.Unlock()
		if !more {
			return
		}
		select {
		case s.turn <- struct{}{}:
		default:
			return
		}
		head, _ := s.takePending()
		if done, _ := s.write(head, nil); !done {
			return
		}
	}
}

// takePending is what is to be sent before anything else, or as much of it as is
// sent at a time. It stays as it is until the turn ends. All tells that nothing but
// answers is left, which no stream depends on.
func (s *Session) takePending() (head []byte, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.head = s.head[:0]
	for _, from := range [...]*[]byte{&s.pending, &s.answers} {
		n := min(len(*from), maxPending*headerSize-len(s.head))
		s.head = append(s.head, (*from)[:n]...)
		*from = append((*from)[:0], (*from)[n:]...)
	}
	s.drained.Broadcast()
	return s.head, len(s.pending) == 0
}

// write writes a message, whose turn it is. If it is not done on return, another
// goroutine goes on and ends the turn. What was pending may have been sent by
// somebody else: nothing is no message. An error has ended the session.
func (s *Session) write(head, body []byte) (done bool, err error) {
	if len(head) == 0 {
		return true, nil
	}
	rest, err := s.out.WriteAhead(head, body)
	if err != nil {
		s.broken(err)
	}
	if rest == nil || err != nil {
		return true, err
	}
	go func() {
		if err := s.finish(rest, s.config.WriteTimeout); err != nil {
			s.broken(err)
		}
		s.release()
	}()
	return false, nil
}

// finish sends the rest of a message.
func (s *Session) finish(rest func() error, timeout time.Duration) error {
	defer s.conn.SetWriteDeadline(time.Time{})
	if err := s.conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		s.conn.Close() // and rest, which has to be called, does not wait
	}
	return rest()
}

// broken ends a session that cannot be written to. What the peer has said before,
// perhaps why, is heard first.
func (s *Session) broken(err error) {
	notify(s.receiver.idle)
	timer := time.NewTimer(farewellTime)
	defer timer.Stop()
	select {
	case <-s.received:
	case <-timer.C:
	}
	s.fail(err)
}

// settle has what is under way sent, and last words, if the peer takes them at once.
func (s *Session) settle(last ...header) {
	timer := time.NewTimer(farewellTime)
	defer timer.Stop()
	select {
	case s.turn <- struct{}{}:
	case <-timer.C:
		return
	case <-s.over:
		return
	}
	head, _ := s.takePending()
	for _, h := range last {
		head = h.append(head)
	}
	if len(head) > 0 {
		if rest, err := s.out.WriteAhead(head, nil); err == nil && rest != nil {
			_ = s.finish(rest, farewellTime) // the session ends in any case
		}
	}
	<-s.turn
}
