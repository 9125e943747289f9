// Command charts draws the pictures of docs/durability.md from what package
// durability computes, and those of docs/performance.md from the runs of
// scripts/bench in docs/performance. Usage: charts DOCS_DIR
package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/satellite/durability"
	"github.com/cairnstorage/cairn/scripts/benchmark/results"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: charts DOCS_DIR")
		os.Exit(2)
	}
	if err := drawAll(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "charts:", err)
		os.Exit(1)
	}
}

func drawAll(dir string) error {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	measured, _, err := results.Load(filepath.Join(dir, "performance"))
	if err != nil {
		return err
	}
	charts := performance(measured)
	charts["durability-repair.svg"] = repair
	charts["durability-shock.svg"] = shock
	charts["durability-placement.svg"] = placement
	for name, chart := range charts {
		p, err := chart()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := save(p, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// network is that of the tables in docs/durability.md.
func network(scheme erasure.Scheme) durability.Inputs {
	return durability.Inputs{
		Scheme: scheme, Nodes: 1000, Groups: 4000 / scheme.Total, SlotBytes: 250e9,
		Segments: int64(1000e12 / (64 << 20) * float64(scheme.Required) / float64(scheme.Total)),
	}
}

// A curve is what a scheme does: solid with all shards, dashed with Success.
type curve struct {
	scheme string
	color  color.Color
	dashed bool
}

// Colours that those who see few can tell apart.
var (
	blue   = color.RGBA{0, 114, 178, 255}
	orange = color.RGBA{213, 94, 0, 255}
	green  = color.RGBA{0, 158, 115, 255}
	purple = color.RGBA{204, 121, 167, 255}
)

// repair is how the time to repair a slot bears on independent failures.
func repair() (*plot.Plot, error) {
	p := newPlot("Independent failures: a group loses data within a year",
		"mean time from a failure to the rebuilt slot", "nines (1 in 10ⁿ)")
	p.X.Scale = plot.LogScale{}
	p.X.Tick.Marker = plot.ConstantTicks{
		{Value: 6, Label: "6 hours"}, {Value: 24, Label: "1 day"}, {Value: 72, Label: "3 days"},
		{Value: 240, Label: "10 days"}, {Value: 720, Label: "30 days"}, {Value: 2160, Label: "90 days"},
	}
	p.Y.Tick.Marker = every(20, 80)
	for _, c := range []curve{
		{"20/28/32/40", blue, false}, {"20/28/32/40", blue, true},
		{"10/14/16/20", orange, false}, {"10/14/16/20", orange, true},
		{"4/6/8/10", green, false}, {"4/6/8/10", green, true},
	} {
		var points plotter.XYs
		for hours := 6.0; hours < 2161; hours *= math.Pow(360, 0.02) {
			in, err := inputs(c.scheme)
			if err != nil {
				return nil, err
			}
			in.FailureRate = durability.DefaultFailureRate
			in.Rebuild = time.Duration(hours*float64(time.Hour)) - durability.DefaultDetect
			r, err := durability.Estimate(in)
			if err != nil {
				return nil, err
			}
			loss := r.Independent.Whole
			if c.dashed {
				loss = r.Independent.Short
			}
			points = append(points, plotter.XY{X: hours, Y: loss.Group.Nines})
		}
		if err := add(p, c.label(), points, c); err != nil {
			return nil, err
		}
	}
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 6, 2160, 0, 80
	return p, nil
}

// shock is what is lost when many nodes vanish at once.
func shock() (*plot.Plot, error) {
	p := newPlot("Some of 1,000 nodes vanish at once: any group loses data",
		"nodes that vanish, % of all", "nines (1 in 10ⁿ)")
	for _, c := range []curve{
		{"29/35/80/80", purple, false},
		{"20/28/32/40", blue, false}, {"20/28/32/40", blue, true},
		{"10/14/16/20", orange, false}, {"10/14/16/20", orange, true},
		{"4/6/8/10", green, false}, {"4/6/8/10", green, true},
	} {
		shocks, err := shocks(c.scheme)
		if err != nil {
			return nil, err
		}
		var points plotter.XYs
		for _, s := range shocks {
			loss := s.Whole
			if c.dashed {
				loss = s.Short
			}
			points = append(points, plotter.XY{X: s.Share * 100, Y: loss.Network.Nines})
		}
		if err := add(p, c.label(), points, c); err != nil {
			return nil, err
		}
	}
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, 50, 0, 15
	p.X.Tick.Marker, p.Y.Tick.Marker = every(10, 50), every(3, 15)
	return p, nil
}

// placement compares placement groups with a set of nodes for each segment.
func placement() (*plot.Plot, error) {
	p := newPlot("Some of 1,000 nodes vanish at once: anything is lost",
		"nodes that vanish, % of all", "probability, %")
	for _, c := range []curve{
		{"20/28/32/40", blue, false}, {"20/28/32/40", blue, true},
		{"10/14/16/20", orange, false}, {"10/14/16/20", orange, true},
	} {
		shocks, err := shocks(c.scheme)
		if err != nil {
			return nil, err
		}
		var points plotter.XYs
		for _, s := range shocks {
			chance := s.Whole.Network
			if c.dashed {
				chance = s.Random
			}
			points = append(points, plotter.XY{X: s.Share * 100, Y: chance.Probability * 100})
		}
		label := c.scheme + ", groups"
		if c.dashed {
			label = c.scheme + ", random sets"
		}
		if err := add(p, label, points, c); err != nil {
			return nil, err
		}
	}
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, 50, 0, 100
	p.X.Tick.Marker, p.Y.Tick.Marker = every(10, 50), every(25, 100)
	return p, nil
}

func inputs(scheme string) (durability.Inputs, error) {
	s, err := erasure.ParseScheme(scheme)
	return network(s), err
}

// shocks are the losses of 0.5 % to 50 % of all nodes.
func shocks(scheme string) ([]durability.ShockReport, error) {
	in, err := inputs(scheme)
	if err != nil {
		return nil, err
	}
	for i := range 100 {
		in.Shocks = append(in.Shocks, durability.Shock{Share: float64(i+1) / 200, PerYear: 1})
	}
	r, err := durability.Estimate(in)
	return r.Shocks, err
}

func (c curve) label() string {
	s, err := erasure.ParseScheme(c.scheme)
	if err != nil {
		return c.scheme
	}
	if c.dashed {
		return fmt.Sprintf("%s, %d shards", c.scheme, s.Success)
	}
	return fmt.Sprintf("%s, %d shards", c.scheme, s.Total)
}

func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.TextStyle.Font.Size, p.Title.Padding = 15, vg.Points(10)
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font.Size, axis.Label.Padding = 13, vg.Points(6)
		axis.Tick.Label.Font.Size = 12
	}
	p.Legend.TextStyle.Font.Size = 12
	// In the margin on the right, and with the text after the line: a reader's
	// font may be wider than ours.
	p.Legend.Top, p.Legend.Left, p.Legend.XOffs = true, true, vg.Points(537)
	p.Legend.ThumbnailWidth, p.Legend.Padding = vg.Points(28), vg.Points(3)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{225}, color.Gray{225}
	p.Add(grid)
	return p
}

// every is a tick each step up to last.
func every(step, last int) plot.ConstantTicks {
	var ticks plot.ConstantTicks
	for at := 0; at <= last; at += step {
		ticks = append(ticks, plot.Tick{Value: float64(at), Label: strconv.Itoa(at)})
	}
	return ticks
}

func add(p *plot.Plot, label string, points plotter.XYs, c curve) error {
	line, err := plotter.NewLine(points)
	if err != nil {
		return err
	}
	line.LineStyle = draw.LineStyle{Color: c.color, Width: vg.Points(2)}
	if c.dashed {
		line.Dashes = []vg.Length{vg.Points(6), vg.Points(4)}
	}
	p.Add(line)
	p.Legend.Add(label, line)
	return nil
}

func save(p *plot.Plot, path string) error {
	canvas := vgsvg.New(vg.Points(800), vg.Points(400))
	p.Draw(draw.Crop(draw.New(canvas), vg.Points(8), vg.Points(-200), vg.Points(8), vg.Points(-8)))
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	// A reader may not have the font.
	text := bytes.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif"))
	return os.WriteFile(path, text, 0o644)
}
