package storagenode

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/cairnstorage/cairn/proto/transport"
)

// TestListenAnew: a port that was free when it was chosen may be taken when the
// node listens. Then it chooses again, unless the choice is not its own.
func TestListenAnew(t *testing.T) {
	taken := fmt.Errorf("listen: %w", syscall.EADDRINUSE)
	other := errors.New("no such address")
	for name, c := range map[string]struct {
		chosen []string // time after time, the last again and again
		listen []error
		want   error
		tries  int
	}{
		"free":                    {[]string{"a"}, []error{nil}, nil, 1},
		"taken meanwhile":         {[]string{"a", "b"}, []error{taken, nil}, nil, 2},
		"taken thrice":            {[]string{"a", "b", "c", "d"}, []error{taken, taken, taken, nil}, nil, 4},
		"let go of again":         {[]string{"a", "a"}, []error{taken, nil}, nil, 2},
		"the only one":            {[]string{"a"}, []error{taken, taken, nil}, taken, 2},
		"wrong in another way":    {[]string{"a", "b"}, []error{other, nil}, other, 1},
		"nothing to choose among": {nil, nil, errNone, 0},
	} {
		tries := 0
		err := listenAnew(func() ([]string, error) {
			if c.chosen == nil {
				return nil, errNone
			}
			return []string{c.chosen[min(tries, len(c.chosen)-1)]}, nil
		}, func([]string) error {
			tries++
			return c.listen[tries-1]
		})
		if !errors.Is(err, c.want) || tries != c.tries {
			t.Errorf("%s: %v after %d tries", name, err, tries)
		}
	}
	tries := 0
	err := listenAnew(func() ([]string, error) { return []string{fmt.Sprint(tries)}, nil }, func([]string) error { tries++; return taken })
	if !errors.Is(err, taken) || tries != listenTries {
		t.Errorf("never free: %v after %d tries", err, tries)
	}
}

var errNone = errors.New("none")

// TestTakenPort has the port that a node remembers be taken: it gets another one
// and keeps that.
func TestTakenPort(t *testing.T) {
	n := &Node{config: Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}}, log: testLogger(t)}
	var err error
	n.state, err = readState(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	choose := func() string {
		t.Helper()
		addrs, err := n.listenAddresses()
		if err != nil || len(addrs) != 1 {
			t.Fatal(addrs, err)
		}
		return addrs[0]
	}
	first := choose()
	if again := choose(); again != first {
		t.Errorf("chose %s, and then %s", first, again)
	}
	host := testHost(t, transport.Config{Listen: []string{first}})
	second := choose()
	if err := host.Close(); err != nil {
		t.Fatal(err)
	}
	if again := choose(); second == first || again != second {
		t.Errorf("%s is taken; chose %s, and then %s", first, second, again)
	}
}
