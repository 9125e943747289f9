package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstorage/cairn/scripts/benchmark/results"
	"github.com/cairnstorage/cairn/uplink"
)

const (
	// million is how many names a long run lists, too.
	million = 1_000_000
	// makers is how many clients make names, and toldEvery how often it is said.
	makers    = 4
	toldEvery = 100_000
)

func (r *rig) measureListing(ctx context.Context) error {
	counts := []int{r.o.keys}
	if r.o.long {
		counts = append(counts, million)
	}
	for i, count := range counts {
		r.say("list of %d names", count)
		prefix := fmt.Sprintf("list-%d", i)
		made, err := r.makeNames(ctx, prefix, count)
		if err != nil {
			return err
		}
		for _, order := range []string{"by name", "unsorted"} {
			args := []string{"ls", "-r", url(prefix, "")}
			if order == "unsorted" {
				args = append(args, "--unsorted")
			}
			var costs []cost
			for range 3 {
				spent, err := costOf(r.network, r.network.Uplink(ctx, args...), 0)
				if err != nil {
					return err
				}
				costs = append(costs, spent)
			}
			middle, _ := median(costs)
			r.report.Listings = append(r.report.Listings, results.Listing{
				Place: r.place.Name, Keys: count, Order: order, Seconds: middle.wall.Seconds(),
				Rate: float64(count) / middle.wall.Seconds(), RSS: middle.rss, PutRate: made,
			})
		}
	}
	return nil
}

// makeNames makes so many tiny objects, a thousand below a prefix, and returns
// how many a second. They are packed: what is measured is the list.
func (r *rig) makeNames(ctx context.Context, prefix string, count int) (float64, error) {
	projects, done, err := r.open(ctx, makers)
	if err != nil {
		return 0, err
	}
	defer done()
	m := startMeter(r.network)
	var made atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for w, project := range projects {
		group.Go(func() error {
			packer := project.NewPacker(ctx)
			for i := w; i < count; i += makers {
				key := fmt.Sprintf("%s/%04d/%06d", prefix, i/1000, i)
				if err := packer.Add(bucket, key, strings.NewReader("x"), uplink.UploadOptions{Size: 1}, nil); err != nil {
					return errors.Join(err, packer.Flush())
				}
				if n := made.Add(1); n%toldEvery == 0 {
					r.say("%d names made", n)
				}
			}
			return packer.Flush()
		})
	}
	err = group.Wait()
	return float64(count) / m.read().wall.Seconds(), err
}
