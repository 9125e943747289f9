package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/cairnstorage/cairn/proto/erasure"
)

// Bound is the best this machine could do for a scheme, with its parts, by
// where nodes keep their shards. `uplink speed` measures it, for only the
// uplink has the sealing code.
type Bound struct {
	Scheme string       `json:"scheme"`
	Cores  int          `json:"cores"`
	Places []PlaceBound `json:"places"`
}

// PlaceBound is what transfers to and from nodes in one place take at least.
type PlaceBound struct {
	Place    string `json:"place"`
	Dir      string `json:"dir"`
	Upload   Work   `json:"upload"`
	Download Work   `json:"download"`
	Degraded Work   `json:"degraded"` // with as many data shards lost as can be
}

// Work is what a byte takes in one direction. Limit is all processors at the sum
// of the parts, or the disk's own rate if that is lower. Bare is the same for
// what the uplink does and the transport alone, without what nodes do to bytes
// and without a disk.
type Work struct {
	Parts []Part  `json:"parts"`
	CPU   float64 `json:"cpu_s_per_gib"`
	Disk  float64 `json:"disk_mb_s,omitempty"`
	Limit float64 `json:"limit_mb_s"`
	Bare  float64 `json:"bare_limit_mb_s"`
}

// Part is one step.
type Part struct {
	Name  string  `json:"name"`
	CPU   float64 `json:"cpu_s_per_gib"`
	Alone float64 `json:"alone_mb_s"` // by the clock, with nothing else to do
}

// bounds measures the bound of a scheme in all places.
func (b *bench) bounds(ctx context.Context, scheme string) ([]PlaceBound, error) {
	if !b.o.measures("transfers") {
		return make([]PlaceBound, len(b.places)), nil
	}
	progress("%s: the bound", scheme)
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
	var bound Bound
	if err := json.Unmarshal(out, &bound); err != nil {
		return nil, fmt.Errorf("uplink speed: %w", err)
	}
	if len(bound.Places) != len(b.places) {
		return nil, fmt.Errorf("uplink speed measured %d places of %d", len(bound.Places), len(b.places))
	}
	for i, p := range b.places {
		bound.Places[i].Place, bound.Places[i].Dir = p.Name, p.Dir
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
