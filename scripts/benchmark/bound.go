package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/scripts/benchmark/results"
)

// boundOf measures the bound of a scheme in one place. It is measured for each
// right before what is held against it, for a machine that others use has other
// minutes later on.
func (b *bench) boundOf(ctx context.Context, scheme string, p place) (results.PlaceBound, error) {
	if !b.o.measures("transfers") {
		return results.PlaceBound{}, nil
	}
	b.tell("%s on %s: the bound", scheme, p.Name)
	command := exec.CommandContext(ctx, filepath.Join(b.bin, "uplink"), "speed", "--scheme", scheme, "--dir", p.dir, "-o", "json")
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return results.PlaceBound{}, fmt.Errorf("uplink speed: %w", err)
	}
	var bound results.Bound
	if err := json.Unmarshal(out, &bound); err != nil {
		return results.PlaceBound{}, fmt.Errorf("uplink speed: %w", err)
	}
	if len(bound.Places) != 1 {
		return results.PlaceBound{}, fmt.Errorf("uplink speed measured %d places instead of one", len(bound.Places))
	}
	bound.Places[0].Place = p.Name
	b.report.AddBound(bound)
	return bound.Places[0], nil
}

func parseScheme(text string) (erasure.Scheme, error) {
	s, err := erasure.ParseScheme(text)
	if err != nil {
		return s, fmt.Errorf("-schemes: %w", err)
	}
	return s, nil
}
