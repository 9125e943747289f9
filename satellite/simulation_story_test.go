package satellite

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/satellite/kv"
)

const (
	toldLines = 60 // of a story, when it ends badly
	mostWrong = 5  // violations, after which a simulation ends
)

// story is what happens in a network. Two runs of one seed have the same.
type story struct {
	w      *network
	hash   hash.Hash
	last   []string // the last lines
	wrongs int
}

func (s *story) open(w *network) { s.w, s.hash = w, sha256.New() }

// tell adds a line.
func (s *story) tell(format string, args ...any) {
	line := fmt.Sprintf("%7.2f  ", s.w.age().Hours()/24) + fmt.Sprintf(format, args...)
	fmt.Fprintln(s.hash, line)
	if *aloud {
		s.w.t.Log(line)
	}
	if s.last = append(s.last, line); len(s.last) >= 2*toldLines {
		s.last = slices.Clone(s.last[toldLines:])
	}
}

// fail tells that something is as it must not be.
func (s *story) fail(format string, args ...any) {
	s.w.t.Helper()
	s.tell("WRONG: "+format, args...)
	s.w.t.Errorf("seed %d, day %.2f: "+format, append([]any{s.w.seed, s.w.age().Hours() / 24}, args...)...)
	if s.wrongs++; s.wrongs == mostWrong {
		s.w.t.Log("giving up")
	}
}

func (s *story) wrong() bool { return s.wrongs >= mostWrong }

// age is for how long the network has been there.
func (w *network) age() time.Duration { return w.time.Sub(simBegin) }

// close prints what led to a bad end, and how to see it again.
func (s *story) close() {
	if s.wrongs == 0 {
		return
	}
	s.w.t.Logf("what came before:\n%s", strings.Join(s.last, "\n"))
	s.w.t.Logf("again: go test ./satellite -run '%s' -seed %d", s.w.t.Name(), s.w.seed)
}

// sum stands for all that happened, and for all that the satellite holds.
func (s *story) sum(t testing.TB) string {
	t.Helper()
	must(t, s.w.kv.View(s.w.ctx, func(r kv.Reader) error {
		for pair, err := range r.Scan(nil, nil) {
			if err != nil {
				return err
			}
			s.hash.Write(binary.BigEndian.AppendUint32(nil, uint32(len(pair.Key))))
			s.hash.Write(pair.Key)
			s.hash.Write(binary.BigEndian.AppendUint32(nil, uint32(len(pair.Value))))
			s.hash.Write(pair.Value)
		}
		return nil
	}))
	return fmt.Sprintf("%x", s.hash.Sum(nil))
}

// logger is the satellite's: what it logs belongs to the story aloud.
func (s *story) logger() *slog.Logger {
	if !*aloud {
		return noLog
	}
	return slog.New(slog.NewTextHandler(s.w.t.Output(), nil))
}

// figures are what was counted.
type figures struct {
	counts map[string]int
	leasts map[string]int
	mosts  map[string]int
	longs  map[string]time.Duration // the longest
}

// count counts one more of something.
func (f *figures) count(what string) { f.add(what, 1) }

func (f *figures) add(what string, n int) {
	put(&f.counts, what, f.counts[what]+n)
}

// least notes the least there was of something, and most the most.
func (f *figures) least(what string, n int) {
	if least, ok := f.leasts[what]; !ok || n < least {
		put(&f.leasts, what, n)
	}
}

func (f *figures) most(what string, n int) { put(&f.mosts, what, max(f.mosts[what], n)) }

// took notes how long something took.
func (f *figures) took(what string, d time.Duration) { put(&f.longs, what, max(f.longs[what], d)) }

// put sets an element of a map, which it makes if there is none.
func put[V any](m *map[string]V, what string, v V) {
	if *m == nil {
		*m = make(map[string]V)
	}
	(*m)[what] = v
}

// String lists all figures.
func (f *figures) String() string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(f.counts)) {
		fmt.Fprintf(&b, "%10d  %s\n", f.counts[what], what)
	}
	for _, what := range slices.Sorted(maps.Keys(f.leasts)) {
		fmt.Fprintf(&b, "%10d  least: %s\n", f.leasts[what], what)
	}
	for _, what := range slices.Sorted(maps.Keys(f.mosts)) {
		fmt.Fprintf(&b, "%10d  most: %s\n", f.mosts[what], what)
	}
	for _, what := range slices.Sorted(maps.Keys(f.longs)) {
		fmt.Fprintf(&b, "%10s  longest: %s\n", f.longs[what].Round(time.Minute), what)
	}
	return b.String()
}
