package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstorage/cairn/scripts/benchmark/results"
	"github.com/cairnstorage/cairn/uplink"
)

// clients is how many uplinks put and get small objects at a time, each with
// connections of its own.
const clients = 8

func (r *rig) measureObjects(ctx context.Context) error {
	r.say("small objects")
	projects, done, err := r.open(ctx, clients)
	if err != nil {
		return err
	}
	defer done()
	for _, row := range []struct{ size, clients, count int }{
		{4 << 10, 1, 300}, {4 << 10, clients, byLength(r.o.long, 2000, 20_000)},
		{64 << 10, 1, 100}, {64 << 10, clients, byLength(r.o.long, 500, 5000)},
	} {
		data := make([]byte, row.size)
		rand.Read(data)
		key := func(i int) string { return fmt.Sprintf("small/%d/%d/%d", row.size, row.clients, i) }
		base := results.Objects{Place: r.place.Name, Size: row.size, Clients: row.clients, Count: row.count}
		put, err := r.measureEach(base, "put", projects[:row.clients], func(p *uplink.Project, i int) error {
			return putFrom(ctx, p, key(i), int64(row.size), bytes.NewReader(data))
		})
		if err != nil {
			return err
		}
		get, err := r.measureEach(base, "get", projects[:row.clients], func(p *uplink.Project, i int) error {
			return getObject(ctx, p, key(i), row.size)
		})
		if err != nil {
			return err
		}
		r.report.Objects = append(r.report.Objects, put, get)
	}
	return nil
}

// open opens so many projects, each with connections of its own.
func (r *rig) open(ctx context.Context, count int) (projects []*uplink.Project, done func(), err error) {
	done = func() {
		for _, p := range projects {
			p.Close()
		}
	}
	for range count {
		p, err := uplink.Open(ctx, r.network.Grant)
		if err != nil {
			done()
			return nil, nil, err
		}
		projects = append(projects, p)
		// Connections to nodes are made before anything counts.
		key := fmt.Sprintf("warm/%d", len(projects))
		if err := putFrom(ctx, p, key, 64<<10, io.LimitReader(randomBytes(), 64<<10)); err != nil {
			done()
			return nil, nil, err
		}
	}
	return projects, done, nil
}

// measureEach has every project do the operation, one after another, until all
// are done.
func (r *rig) measureEach(o results.Objects, operation string, projects []*uplink.Project, do func(p *uplink.Project, i int) error) (_ results.Objects, err error) {
	o.Operation = operation
	memory, err := reserveMemory(r.stored(int64(o.Count * o.Size)))
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, memory.close()) }()
	took := make([]time.Duration, o.Count)
	m := startMeter(r.network)
	var next atomic.Int64
	var group errgroup.Group
	for _, p := range projects {
		group.Go(func() error {
			for i := int(next.Add(1)) - 1; i < o.Count; i = int(next.Add(1)) - 1 {
				begin := time.Now()
				if err := do(p, i); err != nil {
					return err
				}
				took[i] = time.Since(begin)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return o, fmt.Errorf("%s of %d bytes: %w", operation, o.Size, err)
	}
	spent := m.read()
	o.Rate = float64(o.Count) / spent.wall.Seconds()
	o.P50, o.P99 = percentile(took, 0.5), percentile(took, 0.99)
	o.CPU = milliseconds(spent.cpu) / float64(o.Count)
	return o, nil
}

func putFrom(ctx context.Context, project *uplink.Project, key string, size int64, data io.Reader) error {
	upload, err := project.Upload(ctx, bucket, key, uplink.UploadOptions{Size: size})
	if err != nil {
		return err
	}
	if _, err := upload.ReadFrom(data); err != nil {
		upload.Abort()
		return err
	}
	_, err = upload.Commit(ctx)
	return err
}

func getObject(ctx context.Context, project *uplink.Project, key string, size int) error {
	download, err := project.Download(ctx, bucket, key, uplink.DownloadOptions{})
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

// randomBytes are endless and quickly made.
func randomBytes() io.Reader {
	var seed [32]byte
	rand.Read(seed[:])
	return mrand.NewChaCha8(seed)
}
