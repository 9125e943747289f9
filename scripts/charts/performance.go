package main

import (
	"fmt"
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/cairnstorage/cairn/scripts/benchmark/results"
)

// performance are the pictures of docs/performance.md that there is something to
// see in.
func performance(r *results.Report) map[string]func() (*plot.Plot, error) {
	charts := make(map[string]func() (*plot.Plot, error))
	if len(r.Transfers) > 0 {
		charts["performance-transfers.svg"] = func() (*plot.Plot, error) { return transfers(r) }
		charts["performance-peers.svg"] = func() (*plot.Plot, error) { return peers(r) }
	}
	if len(r.Shaped) > 0 {
		charts["performance-shaped.svg"] = func() (*plot.Plot, error) { return shaped(r) }
	}
	return charts
}

// series are bars of one colour, one in each group; what is not known is 0.
type series struct {
	name   string
	color  color.Color
	values []float64
}

// transfers shows the largest objects of every scheme beside their bound.
func transfers(r *results.Report) (*plot.Plot, error) {
	p := newPlot("Large objects", "scheme and direction", "MB/s")
	bound := series{"bound, disk", color.Gray{200}, nil}
	disk, tmpfs := series{"nodes on a disk", blue, nil}, series{"nodes on tmpfs", orange, nil}
	var groups []string
	for _, t := range largest(r.Transfers) {
		label := short(t.Scheme) + " " + map[string]string{"upload": "up", "download": "down"}[t.Direction]
		if t.Direction != "upload" && t.Direction != "download" {
			label = short(t.Scheme) + " n−k gone"
		}
		i := slices.Index(groups, label)
		if i < 0 {
			i = len(groups)
			groups = append(groups, label)
			for _, s := range []*series{&bound, &disk, &tmpfs} {
				s.values = append(s.values, 0)
			}
		}
		if t.Place == results.OnDisk {
			disk.values[i] = t.Rate
			if t.OfBound > 0 {
				bound.values[i] = t.Rate / t.OfBound
			}
		} else {
			tmpfs.values[i] = t.Rate
		}
	}
	return p, bars(p, groups, bound, disk, tmpfs)
}

// largest are the transfers of the largest size there is.
func largest(all []results.Transfer) (some []results.Transfer) {
	var most int64
	for _, t := range all {
		most = max(most, t.Bytes)
	}
	for _, t := range all {
		if t.Bytes == most {
			some = append(some, t)
		}
	}
	return some
}

// short is a scheme by the numbers that matter to a reader: k/n.
func short(scheme string) string {
	first, last := 0, 0
	for i, r := range scheme {
		if r == '/' {
			if first == 0 {
				first = i
			}
			last = i
		}
	}
	return scheme[:first] + scheme[last:]
}

// peers shows what other networks do on such a machine.
func peers(r *results.Report) (*plot.Plot, error) {
	p := newPlot("256 MiB, ten nodes, any four of which suffice", "", "MB/s")
	up, down := series{"upload", blue, nil}, series{"download", orange, nil}
	groups := []string{"Cairn"}
	cairn := map[string]float64{}
	for _, t := range r.Transfers {
		if t.Scheme == "4/6/8/10" && t.Place == results.OnDisk && t.Bytes == 256<<20 {
			cairn[t.Direction] = t.Rate
		}
	}
	up.values, down.values = append(up.values, cairn["upload"]), append(down.values, cairn["download"])
	for _, peer := range results.Peers {
		groups = append(groups, peer.Name)
		up.values, down.values = append(up.values, peer.Upload), append(down.values, peer.Download)
	}
	return p, bars(p, groups, up, down)
}

// shaped shows how much of what lines carry is made use of.
func shaped(r *results.Report) (*plot.Plot, error) {
	first := r.Shaped[0]
	p := newPlot(fmt.Sprintf("Lines of %.0f Mbit/s and %.0f ms", first.Line, first.RTT), "lines of the nodes", "% of the capacity")
	up, down := series{"upload", blue, nil}, series{"download", orange, nil}
	var groups []string
	place := r.Shaped[len(r.Shaped)-1].Place // of what there is, where a disk counts least
	for _, s := range r.Shaped {
		if s.Place != place {
			continue
		}
		i := slices.Index(groups, s.Lines)
		if i < 0 {
			i = len(groups)
			groups = append(groups, s.Lines)
			up.values, down.values = append(up.values, 0), append(down.values, 0)
		}
		if s.Direction == "upload" {
			up.values[i] = 100 * s.Share
		} else {
			down.values[i] = 100 * s.Share
		}
	}
	p.Y.Max = 100
	return p, bars(p, groups, up, down)
}

// bars draws groups of bars side by side.
func bars(p *plot.Plot, groups []string, all ...series) error {
	width := vg.Points(480 / float64(len(groups)*(len(all)+1)))
	for i, s := range all {
		chart, err := plotter.NewBarChart(plotter.Values(s.values), width)
		if err != nil {
			return err
		}
		chart.Color, chart.LineStyle.Width = s.color, 0
		chart.Offset = width * vg.Length(float64(i)-float64(len(all)-1)/2)
		p.Add(chart)
		p.Legend.Add(s.name, chart)
	}
	p.NominalX(groups...)
	if len(groups) > 5 {
		p.X.Tick.Label.Font.Size = 9
	}
	p.Y.Min = 0
	return nil
}
