package uplink

import (
	"crypto/rand"
	"io"
	"log/slog"
	"time"

	"github.com/cairnstorage/cairn/proto/transport"
)

// Option changes how a Project works.
type Option func(*config)

type config struct {
	logger *slog.Logger
	now    func() time.Time
	rand   io.Reader
	host   *transport.Host
}

func newConfig(options []Option) config {
	c := config{
		logger: slog.New(slog.DiscardHandler),
		now:    time.Now,
		rand:   rand.Reader,
	}
	for _, option := range options {
		option(&c)
	}
	return c
}

// WithLogger has the project log to logger what its callers may want to know:
// nodes that failed and were worked around. The default is silence.
func WithLogger(logger *slog.Logger) Option { return func(c *config) { c.logger = logger } }

// WithClock replaces time.Now.
func WithClock(now func() time.Time) Option { return func(c *config) { c.now = now } }

// WithRand replaces the cryptographic random source for keys, nonces and ids.
func WithRand(random io.Reader) Option { return func(c *config) { c.rand = random } }

// WithHost has the project use a network host that the caller owns and shares
// between several projects. The default is one of its own with a fresh identity.
func WithHost(host *transport.Host) Option { return func(c *config) { c.host = host } }
