package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/scripts/benchmark/results"
)

// A bound measures that of one scheme in one place, round by round, in turn with
// what is held against it: a machine that others use is not as fast in one second
// as in the next. Only the uplink has what it takes, so a process of it does.
type bound struct {
	command *exec.Cmd
	pace    io.WriteCloser
	said    *json.Decoder
	newest  results.Bound // of all rounds so far
}

// startBound gets ready to measure. Who asks for it closes it.
func (b *bench) startBound(ctx context.Context, scheme string, p place) (*bound, error) {
	b.tell("%s on %s: getting ready for the bound", scheme, p.Name)
	m := &bound{command: exec.CommandContext(ctx, filepath.Join(b.bin, "uplink"), "speed", "--paced", "--scheme", scheme, "--dir", p.dir, "-o", "json")}
	m.command.Stderr = os.Stderr
	out, err := m.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	m.said = json.NewDecoder(out)
	if m.pace, err = m.command.StdinPipe(); err != nil {
		return nil, err
	}
	if err := m.command.Start(); err != nil {
		return nil, fmt.Errorf("uplink speed: %w", err)
	}
	return m, nil
}

// round measures every part once.
func (m *bound) round() error {
	if _, err := io.WriteString(m.pace, "\n"); err != nil {
		return fmt.Errorf("uplink speed: %w", err)
	}
	var said results.Bound
	if err := m.said.Decode(&said); err != nil {
		return fmt.Errorf("uplink speed: %w", err)
	}
	if len(said.Places) != 1 {
		return fmt.Errorf("uplink speed measured %d places instead of one", len(said.Places))
	}
	m.newest = said
	return nil
}

// close ends the process and waits until it has cleaned up.
func (m *bound) close() error {
	err := m.pace.Close()
	if err := m.command.Wait(); err != nil {
		return fmt.Errorf("uplink speed: %w", err)
	}
	return err
}

// settle reports the bound, with all rounds that there are going to be, and what of
// it the transfers in its place have reached.
func (r *rig) settle() {
	if len(r.bound.newest.Places) == 0 {
		return // not even a first round came off
	}
	of := &r.bound.newest.Places[0]
	of.Place = r.place.Name
	r.report.AddBound(r.bound.newest)
	for i := range r.report.Transfers {
		if t := &r.report.Transfers[i]; t.Scheme == r.scheme.String() && t.Place == of.Place {
			t.Hold(*of)
		}
	}
}

func parseScheme(text string) (erasure.Scheme, error) {
	s, err := erasure.ParseScheme(text)
	if err != nil {
		return s, fmt.Errorf("-schemes: %w", err)
	}
	return s, nil
}
