package procnet_test

import (
	"strings"
	"testing"

	"github.com/cairnstorage/cairn/deploy/procnet"
)

// TestStartFails: a network of which something ends at once says what, and why.
func TestStartFails(t *testing.T) {
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		satellite []string
		second    []string
		want      []string
	}{
		"a node":        {second: []string{"--nonsense"}, want: []string{"node01 has ended", "nonsense"}},
		"the satellite": {satellite: []string{"--nonsense"}, want: []string{"satellite has ended", "nonsense"}},
	} {
		t.Run(name, func(t *testing.T) {
			network, err := procnet.Start(t.Context(), procnet.Config{
				Bin: bin, Dir: t.TempDir(), Nodes: 2, Scheme: "1/1/2/2", Args: c.satellite,
				NodeArgs: func(i int) []string { return [][]string{nil, c.second}[i] },
			})
			if err == nil {
				network.Close()
				t.Fatal("it has started")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q says nothing of %q", err, part)
				}
			}
		})
	}
}
