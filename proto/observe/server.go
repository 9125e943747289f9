package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// Bounds of what those who scrape may take.
const (
	maxConns    = 64
	maxScrapes  = 4 // at a time
	readTimeout = 10 * time.Second
	// writeTimeout is for an answer. Profiles that run for longer are given more.
	writeTimeout = 30 * time.Second
	idleTimeout  = 2 * time.Minute
	maxHeader    = 16 << 10
	// goodbye is how long answers may take once the daemon stops.
	goodbye = 2 * time.Second
)

// Config says where a daemon is watched.
type Config struct {
	Address  string // host:port to listen on; port 0 is any; empty: nowhere
	Profiles bool   // serve /debug/pprof as well
	Logger   *slog.Logger
}

// A Server serves metrics at /metrics and, if asked, profiles below /debug/pprof.
// A nil Server is that of a daemon which is not watched.
type Server struct {
	c        Config
	listener net.Listener
}

// Listen begins to listen, and returns nil when there is no address to listen
// on. Run or Close ends it.
func Listen(c Config) (*Server, error) {
	if c.Address == "" {
		if c.Profiles {
			return nil, errors.New("profiles are served beside the metrics, and no address is given for these")
		}
		return nil, nil
	}
	listener, err := net.Listen("tcp", c.Address)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return &Server{c: c, listener: listener}, nil
}

// Address is the host:port listened on, or "".
func (s *Server) Address() string {
	if s == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Close ends listening, for a Server that is not run.
func (s *Server) Close() error {
	if s == nil {
		return nil
	}
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// Run serves what is collected until ctx is done. That it cannot go on is
// logged: a daemon works on unwatched.
func (s *Server) Run(ctx context.Context, all []*Collector) {
	if s == nil {
		return
	}
	defer s.Close()
	metrics, err := NewRegistry(all)
	if err != nil {
		s.c.Logger.Error("no metrics are served", "error", err)
		return
	}
	server := &http.Server{
		Handler:           s.handler(metrics),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.c.Logger.Handler(), slog.LevelDebug), // of what peers do wrong
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
		defer cancel()
		if server.Shutdown(soon) != nil {
			_ = server.Close()
		}
	})
	s.announce()
	err = server.Serve(netutil.LimitListener(s.listener, maxConns))
	if !stop() { // stopping has begun
		<-ended
		return
	}
	_ = server.Close()
	s.c.Logger.Error("metrics are not served any more", "error", err)
}

// announce logs where the daemon can be watched, and warns if strangers can.
func (s *Server) announce() {
	s.c.Logger.Info("metrics are served", "url", "http://"+s.Address()+"/metrics", "profiles", s.c.Profiles)
	at, ok := s.listener.Addr().(*net.TCPAddr)
	if s.c.Profiles && (!ok || !at.IP.IsLoopback()) {
		s.c.Logger.Warn("profiles are served to whoever reaches this address: they show what the process is at and making them slows it down; let only 127.0.0.1 have them, or a network you trust",
			"address", s.Address())
	}
}

// handler answers everything that is served.
func (s *Server) handler(metrics prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		ErrorLog:            scrapeLog{s.c.Logger},
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
		Timeout:             writeTimeout - goodbye,
	}))
	if s.c.Profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// scrapeLog has what goes wrong in a scrape logged.
type scrapeLog struct{ log *slog.Logger }

// Println implements promhttp.Logger.
func (l scrapeLog) Println(v ...any) {
	l.log.Warn("some metrics cannot be read", "error", fmt.Sprint(v...))
}
