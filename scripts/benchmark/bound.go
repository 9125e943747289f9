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

// bounds measures the bound of a scheme in all places.
func (b *bench) bounds(ctx context.Context, scheme string) ([]results.PlaceBound, error) {
	if !b.o.measures("transfers") {
		return make([]results.PlaceBound, len(b.places)), nil
	}
	b.tell("%s: the bound", scheme)
	args := []string{"speed", "--scheme", scheme, "-o", "json"}
	for _, p := range b.places {
		args = append(args, "--dir", p.dir)
	}
	command := exec.CommandContext(ctx, filepath.Join(b.bin, "uplink"), args...)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("uplink speed: %w", err)
	}
	var bound results.Bound
	if err := json.Unmarshal(out, &bound); err != nil {
		return nil, fmt.Errorf("uplink speed: %w", err)
	}
	if len(bound.Places) != len(b.places) {
		return nil, fmt.Errorf("uplink speed measured %d places of %d", len(bound.Places), len(b.places))
	}
	for i, p := range b.places {
		bound.Places[i].Place = p.Name
	}
	b.report.Bounds = append(b.report.Bounds, bound)
	return bound.Places, nil
}

func parseScheme(text string) (erasure.Scheme, error) {
	s, err := erasure.ParseScheme(text)
	if err != nil {
		return s, fmt.Errorf("-schemes: %w", err)
	}
	return s, nil
}
