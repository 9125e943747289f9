package transport

import (
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/cairnstorage/cairn/proto/ident"
)

// A Stream is a two-way flow of bytes to an authenticated peer. One goroutine may
// read while another writes; Reset may be called from anywhere.
//
// A Stream loses patience with a peer that holds up a Read or a Write: for each
// direction there is a budget of waiting time, at first and at most the idle
// time, that waiting uses up and that bytes moved fill again at MinRate. So
// a silent peer ends in ErrStalled after the idle time, and one that drips
// does, too, while one that is merely slow does not.
type Stream struct {
	raw      network.Stream
	rw       io.ReadWriteCloser // raw, or the lazy negotiation of an outgoing stream around it
	remote   ident.ID
	protocol string

	in, out budget
	wait    time.Duration // until the first byte of the next message, once
}

// Remote is the peer at the other end.
func (s *Stream) Remote() ident.ID { return s.remote }

// SetIdle sets the patience with the peer, for both directions; 0 is endless.
// It must not run beside a Read or Write.
func (s *Stream) SetIdle(d time.Duration) {
	s.in.reset(d)
	s.out.reset(d)
}

// SetReadIdle is SetIdle for Read alone. With 0 the read deadline is the
// caller's to set.
func (s *Stream) SetReadIdle(d time.Duration) { s.in.reset(d) }

// NextMessage tells that a message was read whole and the peer owes nothing: the
// next Read may wait for as long as given, and patience is as at first after it.
// It must not run beside a Read.
func (s *Stream) NextMessage(wait time.Duration) {
	s.wait = wait
	s.in.reset(s.in.idle)
}

// Read is io.Reader. It returns io.EOF once the peer has closed its side.
func (s *Stream) Read(p []byte) (int, error) {
	if s.in.idle == 0 {
		n, err := s.rw.Read(p)
		return n, s.explain(err)
	}
	allowed := s.in.left
	if s.wait > 0 {
		allowed = s.wait
	}
	start := time.Now()
	if s.in.move(start.Add(allowed)) {
		s.raw.SetReadDeadline(s.in.deadline)
	}
	n, err := s.rw.Read(p)
	if s.wait == 0 {
		s.in.charge(time.Since(start), n)
	} else if n > 0 {
		s.wait = 0
	}
	return n, s.explain(err)
}

// Write is io.Writer.
func (s *Stream) Write(p []byte) (int, error) {
	written := 0
	for {
		n, err := s.writeOnce(p[written:])
		written += n
		// A large write may take longer than the idle time: what the peer took
		// of it meanwhile gives it more.
		slow := err != nil && n > 0 && s.out.left > 0 && isTimeout(err)
		if !slow {
			return written, s.explain(err)
		}
	}
}

func (s *Stream) writeOnce(p []byte) (int, error) {
	if s.out.idle == 0 {
		return s.rw.Write(p)
	}
	start := time.Now()
	if s.out.move(start.Add(s.out.left)) {
		s.raw.SetWriteDeadline(s.out.deadline)
	}
	n, err := s.rw.Write(p)
	s.out.charge(time.Since(start), n)
	return n, err
}

// CloseWrite tells the peer that nothing more will come; reading goes on.
func (s *Stream) CloseWrite() error {
	if lazy, ok := s.rw.(interface{ Flush() error }); ok {
		_ = lazy.Flush() // a failure shows at the next Read
	}
	return s.explain(s.raw.CloseWrite())
}

// Close ends the stream both ways; what was written still reaches the peer.
func (s *Stream) Close() error {
	// The negotiation of an outgoing stream may have to be read to its end.
	s.raw.SetReadDeadline(time.Now().Add(closeTimeout))
	return s.explain(s.rw.Close())
}

const closeTimeout = 5 * time.Second

// Reset cuts the stream: reads and writes at both ends fail with ErrReset.
func (s *Stream) Reset() { s.raw.Reset() }

// Refuse ends the stream after a last word: what was written still reaches the
// peer, while its own writes fail at once.
func (s *Stream) Refuse() {
	s.raw.CloseWrite()
	if s.raw.Conn().ConnState().Transport == "quic-v1" || s.raw.Conn().ConnState().Transport == "quic" {
		s.raw.CloseRead() // QUIC tells the peer to stop; Reset would take back what was written
		s.raw.Close()
		return
	}
	s.raw.Reset() // yamux delivers what came before
}

// SetDeadline sets when reads and writes fail with ErrStalled, for streams
// whose idle time is 0.
func (s *Stream) SetDeadline(t time.Time) error { return s.raw.SetDeadline(t) }

// SetReadDeadline is SetDeadline for reads alone; it may run beside a Read.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.raw.SetReadDeadline(t) }

// SetWriteDeadline is SetDeadline for writes alone; it may run beside a Write.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.raw.SetWriteDeadline(t) }

// A budget is how much longer one direction may keep its user waiting.
type budget struct {
	idle     time.Duration
	left     time.Duration
	deadline time.Time // the one set on the raw stream
}

func (b *budget) reset(idle time.Duration) { b.idle, b.left = idle, idle }

// charge takes the time waited from the budget and fills it up for n bytes moved.
func (b *budget) charge(waited time.Duration, n int) {
	b.left = min(b.idle, b.left-waited+worth(n))
}

// move reports whether the raw stream needs another deadline than it has. Small
// differences are let be: setting one costs a timer.
func (b *budget) move(to time.Time) bool {
	if difference := to.Sub(b.deadline); difference.Abs() <= b.idle/16 {
		return false
	}
	b.deadline = to
	return true
}

// worth is how long n bytes may take.
func worth(n int) time.Duration { return time.Duration(n) * (time.Second / MinRate) }
