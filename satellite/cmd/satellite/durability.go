package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/durability"
)

// given is what the operator says instead of what was measured.
type given struct {
	failureRate float64
	detect      time.Duration
	rebuild     time.Duration
	healRate    string
}

func (a *app) durability() *cobra.Command {
	var g given
	cmd := &cobra.Command{
		Use:   "durability --dir DIR",
		Short: "Estimate how likely the network is to lose data, and to what",
		Long: `Estimate how likely the network is to lose data within a year, from how often its
nodes fail and how fast it repairs, as far as that was measured; what was not is
assumed, and said to be. docs/durability.md has the model and what it leaves out.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var reports []durability.Report
			err := a.ask(cmd.Context(), func(ctx context.Context, c pb.AdminClient) error {
				m, err := c.Durability(ctx, &pb.DurabilityRequest{})
				if err != nil {
					return err
				}
				reports, err = g.estimate(m)
				return err
			})
			if err != nil {
				return err
			}
			return a.show(reports, func(w io.Writer) {
				for i := range reports {
					if i > 0 {
						fmt.Fprintln(w)
					}
					printDurability(w, &reports[i])
				}
			})
		},
	}
	f := cmd.Flags()
	f.Float64Var(&g.failureRate, "failure-rate", 0, "failures of a node for good, per year (default: as measured)")
	f.DurationVar(&g.detect, "detect", 0, "time from a failure to a new holder (default: --offline-grace of the satellite)")
	f.DurationVar(&g.rebuild, "rebuild", 0, "time for a new holder to make all its shards (default: as measured)")
	f.StringVar(&g.healRate, "heal-rate", "", "what a new holder receives a second, such as 10MB (default: as measured)")
	return cmd
}

// estimate estimates for each scheme in use.
func (g *given) estimate(m *pb.DurabilityResponse) ([]durability.Report, error) {
	reports := []durability.Report{}
	for _, u := range m.Schemes {
		in, err := g.inputs(m, u)
		if err != nil {
			return nil, err
		}
		r, err := durability.Estimate(in)
		if err != nil {
			return nil, err
		}
		reports = append(reports, r)
	}
	if len(reports) == 0 {
		return nil, fmt.Errorf("there are no placement groups yet: durability depends on how nodes are grouped")
	}
	return reports, nil
}

// inputs is what was measured of a scheme, unless the operator says otherwise.
func (g *given) inputs(m *pb.DurabilityResponse, u *pb.SchemeUse) (durability.Inputs, error) {
	scheme, err := erasure.ParseScheme(u.Scheme)
	if err != nil {
		return durability.Inputs{}, err
	}
	in := durability.Inputs{
		Scheme: scheme, Nodes: int(u.Nodes), Groups: int(u.Groups), Segments: int64(u.Segments), SlotBytes: int64(u.SlotBytes),
		ShortShare: u.ShortShare,
		Observed: durability.Observed{
			NodeYears: float64(m.NodeHours) / hoursPerYear, Failures: int64(m.Failures),
		},
		FailureRate: g.failureRate,
		Detect:      time.Duration(m.Grace * float64(time.Second)),
		Rebuild:     g.rebuild,
	}
	if g.detect > 0 {
		in.Detect = g.detect
	}
	switch {
	case g.healRate != "":
		rate, err := humanize.ParseBytes(g.healRate)
		if err != nil || rate == 0 {
			return in, fmt.Errorf("--heal-rate %q is no size such as 10MB", g.healRate)
		}
		in.HealRate = int64(rate)
	case m.RebuildSeconds > 0 && m.RebuildMegabytes >= minMeasured:
		// A new holder receives Required shards for each that it makes.
		in.HealRate = int64(float64(m.RebuildMegabytes) * 1e6 * float64(scheme.Required) / float64(m.RebuildSeconds))
	}
	return in, nil
}

const (
	hoursPerYear = 8766
	// minMeasured is how many megabytes must have been rebuilt for their pace to
	// tell anything.
	minMeasured = 1000
)

func printDurability(w io.Writer, r *durability.Report) {
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("scheme", "%s, %d nodes in %d groups, %d segments", r.Scheme, r.Nodes, r.Groups, r.Segments)
	row("a node fails", "%.3g times a year (%s; below %.3g with 95 %%)", r.FailureRate.PerYear, r.FailureRate.Source, r.FailureRate.High)
	row("noticed after", "%v", seconds(r.DetectSeconds))
	row("rebuilt in", "%v more", seconds(r.RebuildSeconds))
	row("independent failures", "%s a year for a group, %s for the network", nines(r.Independent.Whole.Group), nines(r.Independent.Whole.Network))
	row("", "%s and %s with as few shards as an upload may leave", nines(r.Independent.Short.Group), nines(r.Independent.Short.Network))
	for _, s := range r.Shocks {
		row(fmt.Sprintf("%.3g %% gone at once", 100*s.Share), "%s that nothing is lost, once in %.3g years; %s with a set of nodes for each segment",
			nines(s.Whole.Network), 1/s.PerYear, nines(s.Random))
	}
	row("withstands", "%.1f %% of the nodes gone at once, with six nines", 100*r.Withstands)
	row("a segment", "%s a year", nines(r.Segment))
	row("the network", "%s a year that nothing is lost", nines(r.Network))
	row("dominated by", "%s", r.DominatedBy)
	for _, assumption := range r.Assumptions {
		row("assumed", "%s", assumption)
	}
}

// nines is a chance as people quote it.
func nines(c durability.Chance) string { return fmt.Sprintf("%.1f nines", c.Nines) }

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Second)
}
