package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/cairnstorage/cairn/deploy/procnet"
	"github.com/cairnstorage/cairn/proto/pb"
)

// Sizes of the files of a tree, in bytes.
const (
	leastFile = 4 << 10
	mostFile  = 64 << 10
)

// Files is a tree of small files, one direction of it; the median of its rounds.
type Files struct {
	Direction string  `json:"direction"`
	Count     int     `json:"count"`
	Bytes     int64   `json:"bytes"`
	Rate      float64 `json:"files_per_s"`
	Slowest   float64 `json:"slowest_files_per_s"`
	CPU       float64 `json:"cpu_ms_each"` // of all processes
	RSS       int64   `json:"uplink_peak_rss"`
	// Stored is the ciphertext that nodes hold data shards of, over the bytes of
	// the files: what is stored beyond n/k.
	Stored float64 `json:"stored,omitempty"`
}

// measureFiles copies a tree up, down and away again by commands of their own.
func measureFiles(ctx context.Context, network *procnet.Network, dir string, count, rounds int) ([]Files, error) {
	source, back := filepath.Join(dir, "files"), filepath.Join(dir, "files-back")
	bytes, err := makeFiles(source, count)
	if err != nil {
		return nil, err
	}
	const target = "cairn://bench/files"
	up := Files{Direction: "up", Count: count, Bytes: bytes}
	down := Files{Direction: "down", Count: count, Bytes: bytes}
	remove := Files{Direction: "rm", Count: count, Bytes: bytes}
	var ups, downs, removes []cost
	for range rounds {
		before, err := storedBytes(ctx, network)
		if err != nil {
			return nil, err
		}
		spent, err := costOf(network, network.Uplink(ctx, "-q", "cp", "-r", source, target))
		if err != nil {
			return nil, err
		}
		ups = append(ups, spent)
		after, err := storedBytes(ctx, network)
		if err != nil {
			return nil, err
		}
		up.Stored = float64(after-before) / float64(bytes)
		if spent, err = costOf(network, network.Uplink(ctx, "-q", "cp", "-r", target, back)); err != nil {
			return nil, err
		}
		downs = append(downs, spent)
		if out, err := exec.CommandContext(ctx, "diff", "-rq", source, back).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("what was downloaded differs: %s", out)
		}
		if err := os.RemoveAll(back); err != nil {
			return nil, err
		}
		if spent, err = costOf(network, network.Uplink(ctx, "-q", "rm", "-r", target)); err != nil {
			return nil, err
		}
		removes = append(removes, spent)
	}
	up.summarise(ups)
	down.summarise(downs)
	remove.summarise(removes)
	return []Files{up, down, remove}, nil
}

func (f *Files) summarise(costs []cost) {
	slices.SortFunc(costs, func(a, b cost) int { return int(a.wall - b.wall) })
	rate := func(c cost) float64 { return float64(f.Count) / c.wall.Seconds() }
	median := costs[len(costs)/2]
	f.Rate, f.Slowest = rate(median), rate(costs[len(costs)-1])
	f.CPU = milliseconds(median.cpu) / float64(f.Count)
	for _, c := range costs {
		f.RSS = max(f.RSS, c.rss)
	}
}

// makeFiles makes files of random content and size, a hundred to a directory,
// and returns their bytes.
func makeFiles(dir string, count int) (bytes int64, err error) {
	random := rand.NewChaCha8([32]byte{1})
	sizes := rand.New(random)
	data := make([]byte, mostFile)
	for i := range count {
		path := filepath.Join(dir, fmt.Sprintf("%03d", i/100), fmt.Sprintf("file-%05d", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return 0, err
		}
		content := data[:leastFile+sizes.IntN(mostFile-leastFile+1)]
		random.Read(content)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return 0, err
		}
		bytes += int64(len(content))
	}
	return bytes, nil
}

// storedBytes is the ciphertext of all that is stored.
func storedBytes(ctx context.Context, network *procnet.Network) (stored int64, err error) {
	err = network.Admin(ctx, func(c pb.AdminClient) error {
		res, err := c.ListGroups(ctx, &pb.ListGroupsRequest{})
		for _, g := range res.GetGroups() {
			stored += int64(g.Bytes)
		}
		return err
	})
	return stored, err
}
