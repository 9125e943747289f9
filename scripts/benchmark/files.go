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
	"github.com/cairnstorage/cairn/scripts/benchmark/results"
)

// Sizes of the files of a tree, in bytes.
const (
	leastFile = 4 << 10
	mostFile  = 64 << 10
)

// measureFiles copies a tree up, down and away again by commands of their own.
func (r *rig) measureFiles(ctx context.Context) error {
	r.say("copies of %d files", r.o.files)
	source, back := filepath.Join(r.dir, "files"), filepath.Join(r.dir, "files-back")
	bytes, err := makeFiles(source, r.o.files)
	if err != nil {
		return err
	}
	tree := url("files")
	up := results.Files{Place: r.place.Name, Direction: "up", Count: r.o.files, Bytes: bytes}
	down, remove := up, up
	down.Direction, remove.Direction = "down", "rm"
	var ups, downs, removes []cost
	for range byLength(r.o.long, 1, r.o.rounds) {
		before, err := storedBytes(ctx, r.network)
		if err != nil {
			return err
		}
		spent, err := costOf(r.network, r.network.Uplink(ctx, "-q", "cp", "-r", source, tree), r.stored(bytes))
		if err != nil {
			return err
		}
		ups = append(ups, spent)
		after, err := storedBytes(ctx, r.network)
		if err != nil {
			return err
		}
		up.Stored = float64(after-before) / float64(bytes)
		if spent, err = costOf(r.network, r.network.Uplink(ctx, "-q", "cp", "-r", tree, back), bytes); err != nil {
			return err
		}
		downs = append(downs, spent)
		if out, err := exec.CommandContext(ctx, "diff", "-rq", source, back).CombinedOutput(); err != nil {
			return fmt.Errorf("what was downloaded differs: %s", out)
		}
		if err := os.RemoveAll(back); err != nil {
			return err
		}
		if spent, err = costOf(r.network, r.network.Uplink(ctx, "-q", "rm", "-r", tree), 0); err != nil {
			return err
		}
		removes = append(removes, spent)
	}
	summariseFiles(&up, ups)
	summariseFiles(&down, downs)
	summariseFiles(&remove, removes)
	r.report.Files = append(r.report.Files, up, down, remove)
	return nil
}

// summariseFiles fills in what copies of the tree took.
func summariseFiles(f *results.Files, costs []cost) {
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
