package main

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Listing is a recursive list of many names by a command of its own.
type Listing struct {
	Place   string  `json:"place"`
	Keys    int     `json:"keys"`
	Order   string  `json:"order"` // "by name", or "unsorted": as pages come
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"keys_per_s"`
	RSS     int64   `json:"uplink_peak_rss"`
	PutRate float64 `json:"put_per_s"` // while they were made, by 8 clients with 4 at once each
}

// million is how many names a long run lists, too.
const million = 1_000_000

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
				spent, err := costOf(r.network, r.network.Uplink(ctx, args...))
				if err != nil {
					return err
				}
				costs = append(costs, spent)
			}
			middle, _ := median(costs)
			r.report.Listings = append(r.report.Listings, Listing{
				Place: r.place.Name, Keys: count, Order: order, Seconds: middle.wall.Seconds(),
				Rate: float64(count) / middle.wall.Seconds(), RSS: middle.rss, PutRate: made,
			})
		}
	}
	return nil
}

// makeNames makes so many tiny objects, a thousand below a prefix, and returns
// how many a second.
func (r *rig) makeNames(ctx context.Context, prefix string, count int) (float64, error) {
	projects, done, err := r.open(ctx, clients)
	if err != nil {
		return 0, err
	}
	defer done()
	m := startMeter(r.network)
	group, ctx := errgroup.WithContext(ctx)
	const writers = 4 * clients
	for w := range writers {
		group.Go(func() error {
			for i := w; i < count; i += writers {
				key := fmt.Sprintf("%s/%04d/%06d", prefix, i/1000, i)
				if err := putFrom(ctx, projects[w%clients], key, 1, strings.NewReader("x")); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = group.Wait()
	return float64(count) / m.read().wall.Seconds(), err
}
