package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/cairnstorage/cairn/deploy/procnet"
)

// Bound is the best this machine could do for a scheme: the work on the bytes
// alone plus the bare cost of moving them over libp2p, with no disk.
type Bound struct {
	Scheme   string  `json:"scheme"`
	Upload   float64 `json:"upload_mb_s"`
	Download float64 `json:"download_mb_s"`
	Encode   float64 `json:"seal_code_hash_mb_s"`
	Decode   float64 `json:"open_decode_mb_s"`
	Send     float64 `json:"send_mb_s"`  // bytes on the wire, to a process for each slot
	Fetch    float64 `json:"fetch_mb_s"` // bytes on the wire, from one for each data slot
}

// measureBound has the uplink binary measure itself, for only it has the
// sealing code.
func measureBound(ctx context.Context, bin, scheme string) (Bound, error) {
	var bound Bound
	command := exec.CommandContext(ctx, filepath.Join(bin, "uplink"), "speed", "--scheme", scheme, "-o", "json")
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return bound, fmt.Errorf("uplink speed: %w", err)
	}
	return bound, json.Unmarshal(out, &bound)
}

// Transfer is one direction of a large object, the median of its rounds.
type Transfer struct {
	Scheme    string  `json:"scheme"`
	Direction string  `json:"direction"`
	Bytes     int64   `json:"bytes"`
	Rate      float64 `json:"mb_s"`
	Slowest   float64 `json:"slowest_mb_s"`
	OfBound   float64 `json:"of_bound"` // ratio to the bound's rate
	CPU       float64 `json:"cpu_s"`    // of all processes, per transfer
	CPUPerGiB float64 `json:"cpu_s_per_gib"`
	UplinkRSS int64   `json:"uplink_peak_rss"`
	NodeRSS   int64   `json:"node_peak_rss"` // of the largest node
	Satellite int64   `json:"satellite_peak_rss"`
}

func measureTransfers(ctx context.Context, network *procnet.Network, bound Bound, dir string, size int64, rounds int) ([]Transfer, error) {
	source, back := filepath.Join(dir, "source"), filepath.Join(dir, "back")
	if err := randomFile(source, size); err != nil {
		return nil, err
	}
	up := Transfer{Scheme: bound.Scheme, Direction: "upload", Bytes: size}
	down := Transfer{Scheme: bound.Scheme, Direction: "download", Bytes: size}
	var upCosts, downCosts []cost
	// The first round warms the page cache and is not counted.
	for round := range rounds + 1 {
		target := fmt.Sprintf("cairn://bench/large-%d", round)
		upCost, err := costOf(network, network.Uplink(ctx, "cp", source, target))
		if err != nil {
			return nil, err
		}
		// To nowhere: the disk of who reads is not what is measured.
		downCost, err := costOf(network, network.Uplink(ctx, "cat", target))
		if err != nil {
			return nil, err
		}
		if _, err := network.RunUplink(ctx, "cp", target, back); err != nil {
			return nil, err
		}
		if err := same(source, back); err != nil {
			return nil, err
		}
		if _, err := network.RunUplink(ctx, "rm", target); err != nil {
			return nil, err
		}
		if round > 0 {
			upCosts, downCosts = append(upCosts, upCost), append(downCosts, downCost)
		}
	}
	up.summarise(network, upCosts, bound.Upload)
	down.summarise(network, downCosts, bound.Download)
	return []Transfer{up, down}, nil
}

// cost is what one command took, its own process and the network's.
type cost struct {
	wall, cpu time.Duration
	rss       int64
}

func costOf(network *procnet.Network, command *exec.Cmd) (cost, error) {
	command.Stderr = os.Stderr // and standard output is the null device
	before := networkCPU(network)
	start := time.Now()
	err := command.Run()
	spent := cost{wall: time.Since(start)}
	if err != nil {
		return spent, fmt.Errorf("%v: %w", command.Args, err)
	}
	state := command.ProcessState
	spent.cpu = networkCPU(network) - before + state.UserTime() + state.SystemTime()
	spent.rss = state.SysUsage().(*syscall.Rusage).Maxrss << 10
	return spent, nil
}

func networkCPU(network *procnet.Network) time.Duration {
	sum := network.Satellite.Usage().CPU
	for _, node := range network.Nodes {
		sum += node.Usage().CPU
	}
	return sum
}

func (t *Transfer) summarise(network *procnet.Network, costs []cost, bound float64) {
	slices.SortFunc(costs, func(a, b cost) int { return int(a.wall - b.wall) })
	rate := func(c cost) float64 { return float64(t.Bytes) / 1e6 / c.wall.Seconds() }
	median := costs[len(costs)/2]
	t.Rate, t.Slowest = rate(median), rate(costs[len(costs)-1])
	t.OfBound = t.Rate / bound
	t.CPU = median.cpu.Seconds()
	t.CPUPerGiB = t.CPU * (1 << 30) / float64(t.Bytes)
	for _, c := range costs {
		t.UplinkRSS = max(t.UplinkRSS, c.rss)
	}
	for _, node := range network.Nodes {
		t.NodeRSS = max(t.NodeRSS, node.Usage().PeakRSS)
	}
	t.Satellite = network.Satellite.Usage().PeakRSS
}

func randomFile(path string, size int64) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.CopyN(file, rand.Reader, size)
	return err
}

func same(a, b string) error {
	if out, err := exec.Command("cmp", a, b).CombinedOutput(); err != nil {
		return fmt.Errorf("what was downloaded differs: %s", out)
	}
	return nil
}
