package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/cairnstorage/cairn/scripts/benchmark/results"
)

// removedWithin bounds the wait for nodes that delete: they hear of it within a
// check-in.
const removedWithin = 2 * time.Minute

// large is the object of a size that stays, to be read again.
func large(size int64) string { return fmt.Sprintf("large-%d", size>>20) }

// measureTransfers uploads and downloads every size. Reading goes to nowhere:
// the disk of who reads is not what is measured.
func (r *rig) measureTransfers(ctx context.Context) error {
	for _, size := range r.o.sizes {
		r.say("upload and download of %d MiB", size>>20)
		source := filepath.Join(r.dir, "source")
		if err := randomFile(source, size); err != nil {
			return err
		}
		if err := r.store(ctx, "warm", 32<<20); err != nil {
			return err
		}
		var ups, downs []cost
		for round := range r.o.rounds {
			if round > 0 {
				if err := r.remove(ctx, large(size)); err != nil {
					return err
				}
			}
			if err := r.bound.round(); err != nil {
				return err
			}
			up, err := costOf(r.network, r.network.Uplink(ctx, "-q", "cp", source, url(large(size))), r.stored(size))
			if err != nil {
				return err
			}
			down, err := costOf(r.network, r.network.Uplink(ctx, "cat", url(large(size))), 0)
			if err != nil {
				return err
			}
			ups, downs = append(ups, up), append(downs, down)
		}
		if err := r.verify(ctx, source, large(size)); err != nil {
			return err
		}
		r.addTransfer("upload", size, ups)
		r.addTransfer("download", size, downs)
		if size != r.o.sizes[len(r.o.sizes)-1] {
			continue // the largest is read again when nodes are gone
		}
		if err := os.Rename(source, source+".last"); err != nil {
			return err
		}
	}
	return nil
}

// remove removes an object and waits until all nodes have given its shards back, so
// that an upload is that of a new object, and no download has nodes delete.
func (r *rig) remove(ctx context.Context, key string) error {
	if _, err := r.network.RunUplink(ctx, "-q", "rm", url(key)); err != nil {
		return err
	}
	heads, err := journalHeads(ctx, r.network)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, removedWithin, errors.New("nodes did not delete what was removed"))
	defer cancel()
	for i := range r.network.Nodes {
		for {
			info, err := r.network.NodeInfo(ctx, i)
			if err != nil {
				return errors.Join(context.Cause(ctx), err)
			}
			if follows(info, heads) {
				break
			}
			if !pause(ctx, 20*time.Millisecond) {
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// stored is what nodes store of so many bytes of user data.
func (r *rig) stored(bytes int64) int64 {
	return bytes * int64(r.scheme.Total) / int64(r.scheme.Required)
}

func (r *rig) addTransfer(direction string, size int64, costs []cost) {
	t := results.Transfer{Scheme: r.scheme.String(), Place: r.place.Name, Direction: direction, Bytes: size}
	rate := func(c cost) float64 { return float64(size) / 1e6 / c.wall.Seconds() }
	middle, slowest := median(costs)
	t.Rate, t.Slowest = rate(middle), rate(slowest)
	t.CPU = middle.cpu.Seconds()
	t.CPUPerGiB = t.CPU * (1 << 30) / float64(size)
	t.Others = middle.others.Seconds() / middle.wall.Seconds() / float64(runtime.NumCPU())
	for _, c := range costs {
		t.UplinkRSS = max(t.UplinkRSS, c.rss)
	}
	for _, node := range r.network.Nodes {
		t.NodeRSS = max(t.NodeRSS, node.Usage().PeakRSS)
	}
	t.Satellite = r.network.Satellite.Usage().PeakRSS
	r.report.Transfers = append(r.report.Transfers, t)
}

// verify compares an object with the file it was made from.
func (r *rig) verify(ctx context.Context, source, key string) error {
	compare := exec.CommandContext(ctx, "cmp", "-", source)
	get := r.network.Uplink(ctx, "cat", url(key))
	var complaint bytes.Buffer
	get.Stderr, compare.Stdout, compare.Stderr = os.Stderr, &complaint, &complaint
	pipe, err := get.StdoutPipe()
	if err != nil {
		return err
	}
	compare.Stdin = pipe
	if err := get.Start(); err != nil {
		return err
	}
	wrong := compare.Run()
	if err := get.Wait(); err != nil && wrong == nil {
		return fmt.Errorf("%v: %w", get.Args, err)
	}
	if wrong != nil {
		return fmt.Errorf("what was downloaded differs: %w: %s", wrong, complaint.Bytes())
	}
	return nil
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
