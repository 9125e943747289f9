package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstorage/cairn/deploy/procnet"
	"github.com/cairnstorage/cairn/uplink"
)

const objectCount = 200

// Objects is one operation on many small objects through one open project.
type Objects struct {
	Operation string  `json:"operation"`
	Size      int     `json:"size"`
	Parallel  int     `json:"parallel"`
	Count     int     `json:"count"`
	Rate      float64 `json:"per_s"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	CPU       float64 `json:"cpu_ms_each"` // of all processes
}

func measureObjects(ctx context.Context, network *procnet.Network) ([]Objects, error) {
	project, err := uplink.Open(ctx, network.Grant)
	if err != nil {
		return nil, err
	}
	defer project.Close()
	var results []Objects
	for _, size := range []int{4 << 10, 64 << 10} {
		data := make([]byte, size)
		rand.Read(data)
		for _, parallel := range []int{1, 8} {
			key := func(i int) string { return fmt.Sprintf("small/%d/%d/%d", size, parallel, i) }
			put, err := measureEach(network, "put", size, parallel, func(i int) error {
				return putObject(ctx, project, key(i), data)
			})
			if err != nil {
				return nil, err
			}
			get, err := measureEach(network, "get", size, parallel, func(i int) error {
				return getObject(ctx, project, key(i), size)
			})
			if err != nil {
				return nil, err
			}
			results = append(results, put, get)
		}
	}
	return results, nil
}

// measureEach runs the operation objectCount times, parallel at once.
func measureEach(network *procnet.Network, operation string, size, parallel int, do func(i int) error) (Objects, error) {
	took := make([]time.Duration, objectCount)
	cpu := networkCPU(network) + ownCPU()
	start := time.Now()
	var group errgroup.Group
	group.SetLimit(parallel)
	for i := range objectCount {
		group.Go(func() error {
			begin := time.Now()
			defer func() { took[i] = time.Since(begin) }()
			return do(i)
		})
	}
	if err := group.Wait(); err != nil {
		return Objects{}, fmt.Errorf("%s of %d bytes: %w", operation, size, err)
	}
	wall := time.Since(start)
	cpu = networkCPU(network) + ownCPU() - cpu
	slices.Sort(took)
	return Objects{
		Operation: operation, Size: size, Parallel: parallel, Count: objectCount,
		Rate: objectCount / wall.Seconds(),
		P50:  milliseconds(took[objectCount/2]),
		P99:  milliseconds(took[objectCount*99/100]),
		CPU:  milliseconds(cpu) / objectCount,
	}, nil
}

func putObject(ctx context.Context, project *uplink.Project, key string, data []byte) error {
	upload, err := project.Upload(ctx, "bench", key, uplink.UploadOptions{Size: int64(len(data))})
	if err != nil {
		return err
	}
	if _, err := upload.Write(data); err != nil {
		upload.Abort()
		return err
	}
	_, err = upload.Commit(ctx)
	return err
}

func getObject(ctx context.Context, project *uplink.Project, key string, size int) error {
	download, err := project.Download(ctx, "bench", key, uplink.DownloadOptions{})
	if err != nil {
		return err
	}
	defer download.Close()
	n, err := io.Copy(io.Discard, download)
	if err == nil && n != int64(size) {
		err = fmt.Errorf("read %d bytes of %d", n, size)
	}
	return err
}

// Listing is a recursive list of many keys by a command of its own.
type Listing struct {
	Keys    int     `json:"keys"`
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"keys_per_s"`
	RSS     int64   `json:"uplink_peak_rss"`
	PutRate float64 `json:"put_per_s"` // while they were made, 16 at once
}

func measureListing(ctx context.Context, network *procnet.Network, keys int) (Listing, error) {
	listing := Listing{Keys: keys}
	project, err := uplink.Open(ctx, network.Grant)
	if err != nil {
		return listing, err
	}
	defer project.Close()
	start := time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i := range keys {
		group.Go(func() error {
			return putObject(groupCtx, project, fmt.Sprintf("list/%03d/%05d", i/1000, i), []byte("x"))
		})
	}
	if err := group.Wait(); err != nil {
		return listing, err
	}
	listing.PutRate = float64(keys) / time.Since(start).Seconds()

	var costs []cost
	for range 3 {
		spent, err := costOf(network, network.Uplink(ctx, "ls", "-r", "cairn://bench/list/"))
		if err != nil {
			return listing, err
		}
		costs = append(costs, spent)
	}
	slices.SortFunc(costs, func(a, b cost) int { return int(a.wall - b.wall) })
	listing.Seconds = costs[1].wall.Seconds()
	listing.Rate = float64(keys) / listing.Seconds
	listing.RSS = costs[1].rss
	return listing, nil
}

func ownCPU() time.Duration {
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
