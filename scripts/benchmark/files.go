package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"

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
	Place     string  `json:"place"`
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
func (r *rig) measureFiles(ctx context.Context) error {
	r.say("copies of %d files", r.o.files)
	source, back := filepath.Join(r.dir, "files"), filepath.Join(r.dir, "files-back")
	bytes, err := makeFiles(source, r.o.files)
	if err != nil {
		return err
	}
	tree := url("files")
	up := Files{Place: r.place.Name, Direction: "up", Count: r.o.files, Bytes: bytes}
	down, remove := up, up
	down.Direction, remove.Direction = "down", "rm"
	var ups, downs, removes []cost
	for range byLength(r.o.long, 1, r.o.rounds) {
		before, err := storedBytes(ctx, r.network)
		if err != nil {
			return err
		}
		spent, err := costOf(r.network, r.network.Uplink(ctx, "-q", "cp", "-r", source, tree))
		if err != nil {
			return err
		}
		ups = append(ups, spent)
		after, err := storedBytes(ctx, r.network)
		if err != nil {
			return err
		}
		up.Stored = float64(after-before) / float64(bytes)
		if spent, err = costOf(r.network, r.network.Uplink(ctx, "-q", "cp", "-r", tree, back)); err != nil {
			return err
		}
		downs = append(downs, spent)
		if out, err := exec.CommandContext(ctx, "diff", "-rq", source, back).CombinedOutput(); err != nil {
			return fmt.Errorf("what was downloaded differs: %s", out)
		}
		if err := os.RemoveAll(back); err != nil {
			return err
		}
		if spent, err = costOf(r.network, r.network.Uplink(ctx, "-q", "rm", "-r", tree)); err != nil {
			return err
		}
		removes = append(removes, spent)
	}
	up.summarise(ups)
	down.summarise(downs)
	remove.summarise(removes)
	r.report.Files = append(r.report.Files, up, down, remove)
	return nil
}

func (f *Files) summarise(costs []cost) {
	rate := func(c cost) float64 { return float64(f.Count) / c.wall.Seconds() }
	middle, slowest := median(costs)
	f.Rate, f.Slowest = rate(middle), rate(slowest)
	f.CPU = milliseconds(middle.cpu) / float64(f.Count)
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
