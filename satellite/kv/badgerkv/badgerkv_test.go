package badgerkv_test

import (
	"io"
	"log/slog"
	"testing"

	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/badgerkv"
	"github.com/cairnstorage/cairn/satellite/kv/kvtest"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// plenty is a file system that never fills.
func plenty(string) (free, total int64, err error) { return 1 << 40, 1 << 40, nil }

// config is that of small stores with small files.
func config(dir string) badgerkv.Config {
	return badgerkv.Config{Dir: dir, Free: plenty, Logger: quiet, LogSegment: 64 << 10, MemTable: 4 << 20}
}

func open(t testing.TB, dir string) *badgerkv.Store {
	t.Helper()
	s, err := badgerkv.Open(config(dir))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kv.Store { return open(t, t.TempDir()) })
}

// TestModelReopened runs the model over stores that are closed and opened
// again.
func TestModelReopened(t *testing.T) {
	dir := t.TempDir()
	m := kvtest.NewModel(2)
	for range 12 {
		s := open(t, dir)
		m.Check(t, s)
		for range 40 {
			m.Step(t, s)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
