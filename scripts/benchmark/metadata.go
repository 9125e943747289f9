package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/cairnstorage/cairn/deploy/procnet"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/badgerkv"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/scripts/benchmark/results"
)

func (b *bench) measureMetadata(ctx context.Context) error {
	p := b.places[0]
	return b.withNetwork(ctx, p, procnet.Config{Scheme: b.o.schemes[0]}, func(r *rig) error {
		row := results.Metadata{Place: p.Name, Objects: b.o.fill}
		seats, err := r.findSeats(ctx)
		if err != nil {
			return err
		}
		if err := r.network.Close(); err != nil {
			return err
		}
		r.say("loading %d objects into the metadata store", row.Objects)
		if err := r.load(ctx, &row, seats); err != nil {
			return err
		}
		r.say("restarting the satellite on them")
		begun := time.Now()
		if err := r.network.Satellite.Start(); err != nil {
			return err
		}
		if err := r.network.AwaitSatellite(ctx); err != nil {
			return err
		}
		row.Restart = time.Since(begun).Seconds()
		row.RSS = r.network.Satellite.Usage().RSS
		r.say("listing them")
		if err := r.listPages(ctx, &row); err != nil {
			return err
		}
		row.ListRSS = r.network.Satellite.Usage().PeakRSS
		r.report.Metadata = append(r.report.Metadata, row)
		return nil
	})
}

// load fills the store of the satellite, which does not run.
func (r *rig) load(ctx context.Context, row *results.Metadata, s *seats) error {
	if err := forgetPeak(); err != nil {
		return err
	}
	dir := filepath.Join(r.dir, "satellite", "metadata")
	engine, err := badgerkv.Open(badgerkv.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	before, err := logicalBytes(ctx, engine)
	if err == nil {
		err = r.fill(ctx, row, engine, s)
	}
	var after int64
	if err == nil {
		after, err = logicalBytes(ctx, engine)
	}
	if err := errors.Join(err, engine.Close()); err != nil {
		return err
	}
	row.Logical = float64(after-before) / float64(row.Objects)
	row.LoadRSS = ownPeakRSS()
	size, err := treeSize(dir)
	row.OnDisk = float64(size) / float64(row.Objects)
	return err
}

func (r *rig) fill(ctx context.Context, row *results.Metadata, engine kv.Store, s *seats) error {
	identity, err := ident.Load(filepath.Join(r.dir, "satellite", "identity.key"))
	if err != nil {
		return err
	}
	store, err := meta.Open(ctx, engine, meta.Config{Satellite: identity.ID()})
	if err != nil {
		return err
	}
	projects, err := store.Projects(ctx)
	if err != nil || len(projects) == 0 {
		return fmt.Errorf("the satellite has no project: %w", err)
	}
	row.KeyBytes = len(sealedName(objectName(0)))
	var next, told atomic.Int64
	begun := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for range 128 { // wait for one fsync together
		group.Go(func() error {
			for i := int(next.Add(1)) - 1; i < row.Objects; i = int(next.Add(1)) - 1 {
				if _, err := store.Commit(ctx, s.record(projects[0].Number, i)); err != nil {
					return err
				}
				if done := told.Add(1); done%(10*toldEvery) == 0 {
					r.say("%d objects loaded after %v", done, time.Since(begun).Round(time.Second))
				}
			}
			return nil
		})
	}
	err = group.Wait()
	row.Load = float64(row.Objects) / time.Since(begun).Seconds()
	return err
}

// record is what a commit writes once its receipts are verified.
func (s *seats) record(project meta.ProjectNumber, i int) meta.CommitRequest {
	var id order.SegmentID
	var root merkle.Hash
	binary.BigEndian.PutUint64(id[8:], uint64(i)+1)
	binary.BigEndian.PutUint64(id[:], uint64(i)*0x9e3779b97f4a7c15) // spreads them as random ids are
	binary.BigEndian.PutUint64(root[:], uint64(i)*0xc2b2ae3d27d4eb4f)
	held := make([]byte, (s.group.Scheme.Total+7)/8)
	for slot := range s.group.Scheme.Total {
		held[slot/8] |= 1 << (slot % 8)
	}
	return meta.CommitRequest{
		Project: project, Bucket: bucket, Key: sealedName(objectName(i)), Size: commitSize, SealedMetadata: make([]byte, commitMetadata),
		Segments: []meta.NewSegment{{
			ID: id, Group: s.group.ID, Epoch: s.group.Epoch, Root: root, Held: held,
			Size: roundUp(commitSize+32, int64(s.group.Scheme.Required)*64),
		}},
		Extents: []meta.Extent{{Segment: id, Length: commitSize}},
	}
}

func objectName(i int) string { return fmt.Sprintf("IMG_%08d.jpg", i) }

// listPages lists the bucket page by page for a while.
func (r *rig) listPages(ctx context.Context, row *results.Metadata) error {
	callers, done, err := r.callers(1)
	if err != nil {
		return err
	}
	defer done()
	begun := time.Now()
	req := &pb.ListObjectsRequest{Bucket: bucket, Limit: meta.MaxList, Recursive: true, WithMetadata: true}
	for more := true; more && time.Since(begun) < time.Minute; {
		var page *pb.ListObjectsResponse
		if page, err = callers[0].ListObjects(ctx, req); err != nil {
			return fmt.Errorf("list: %w", err)
		}
		row.Listed += len(page.Items)
		if more = page.More; more {
			req.After = page.Next
		}
	}
	row.List = float64(row.Listed) / time.Since(begun).Seconds()
	return nil
}

// logicalBytes is the size of all keys and values.
func logicalBytes(ctx context.Context, engine kv.Store) (sum int64, err error) {
	err = engine.View(ctx, func(r kv.Reader) error {
		for pair, err := range r.Scan([]byte{0}, nil) {
			if err != nil {
				return err
			}
			sum += int64(len(pair.Key) + len(pair.Value))
		}
		return nil
	})
	return sum, err
}

// treeSize is what the files below a directory take up.
func treeSize(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		var info unix.Stat_t
		if err := unix.Stat(path, &info); err != nil {
			return err
		}
		sum += info.Blocks * 512
		return nil
	})
	return sum, err
}
