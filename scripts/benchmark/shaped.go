package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"

	"github.com/cairnstorage/cairn/deploy/procnet"
	"github.com/cairnstorage/cairn/deploy/relay"
	"github.com/cairnstorage/cairn/scripts/benchmark/results"
)

// shapedScheme is measured unless schemes are given.
const shapedScheme = "10/14/16/20"

func (b *bench) measureShaped(ctx context.Context) error {
	scheme := shapedScheme
	if len(b.o.schemes) == 1 {
		scheme = b.o.schemes[0]
	}
	line := relay.Line{Rate: int64(b.o.line * 1e6 / 8), Delay: b.o.rtt / 2}
	for _, p := range b.places {
		err := b.attempt(ctx, scheme+" over lines on "+p.Name, func() error {
			lines := &lines{line: line}
			defer lines.close()
			return b.withShapedNetwork(ctx, p, scheme, lines, func(r *rig) error { return r.measureLines(ctx, lines) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// measureLines moves the largest size while all lines are alike, while that of
// one node is slow, while a node is stalled, and both.
func (r *rig) measureLines(ctx context.Context, l *lines) error {
	size := r.o.sizes[len(r.o.sizes)-1]
	source := filepath.Join(r.dir, "source")
	if err := randomFile(source, size); err != nil {
		return err
	}
	defer os.Remove(source)
	if _, err := costOf(r.network, r.network.Uplink(ctx, "-q", "cp", source, url("kept")), r.stored(size)); err != nil {
		return err
	}
	holders, err := slotHolders(ctx, r.network)
	if err != nil {
		return err
	}
	slow, stalled := slices.Index(r.network.Nodes, holders[0]), holders[1] // both have data shards
	alike := make(map[string]float64)
	for _, state := range []struct {
		name          string
		slow, stalled bool
	}{
		{results.AllAlike, false, false}, {"one at a tenth", true, false}, {"one stalled", false, true}, {"both", true, true},
	} {
		r.say("upload and download of %d MiB, lines: %s", size>>20, state.name)
		rate := l.line.Rate
		if state.slow {
			rate /= 10
		}
		l.relays[1+slow].SetRate(rate) // the first is the satellite's
		signal := syscall.SIGCONT
		if state.stalled {
			signal = syscall.SIGSTOP
		}
		stalled.Signal(signal)
		if err := r.moveOver(ctx, l, state.name, source, size, alike); err != nil {
			stalled.Signal(syscall.SIGCONT)
			return err
		}
	}
	stalled.Signal(syscall.SIGCONT)
	return nil
}

// moveOver uploads and downloads over lines as they are.
func (r *rig) moveOver(ctx context.Context, l *lines, name, source string, size int64, alike map[string]float64) error {
	up, down := moving{direction: "upload"}, moving{direction: "download"}
	for range r.o.rounds {
		if err := up.once(l, r.network, r.network.Uplink(ctx, "-q", "cp", source, url("written")), r.stored(size)); err != nil {
			return err
		}
		if err := down.once(l, r.network, r.network.Uplink(ctx, "cat", url("kept")), 0); err != nil {
			return err
		}
	}
	if err := r.verify(ctx, source, "written"); err != nil {
		return err
	}
	for _, m := range []moving{up, down} {
		if err := r.addShaped(l, name, size, m, alike); err != nil {
			return err
		}
	}
	return nil
}

// moving is one direction, again and again.
type moving struct {
	direction string
	costs     []cost
	bytes     int64 // over the lines of nodes, in this direction and all rounds
}

func (m *moving) once(l *lines, network *procnet.Network, command *exec.Cmd, stored int64) error {
	before := l.carried(m.direction)
	spent, err := costOf(network, command, stored)
	m.costs = append(m.costs, spent)
	m.bytes += l.carried(m.direction) - before
	return err
}

// carried is what the lines of all nodes have carried so far in a direction.
func (l *lines) carried(direction string) (sum int64) {
	for _, r := range l.relays[1:] { // the first is the satellite's
		to, from := r.Moved()
		if direction == "upload" {
			sum += to
		} else {
			sum += from
		}
	}
	return sum
}

func (r *rig) addShaped(l *lines, name string, size int64, m moving, alike map[string]float64) error {
	rounds := len(m.costs)
	middle, _ := median(m.costs)
	seconds := middle.wall.Seconds()
	if _, ok := alike[m.direction]; !ok {
		alike[m.direction] = seconds
	}
	needed := float64(size)
	if m.direction == "upload" {
		needed *= float64(r.scheme.Total) / float64(r.scheme.Required)
	}
	row := results.Shaped{
		Scheme: r.scheme.String(), Place: r.place.Name, Line: r.o.line, RTT: milliseconds(r.o.rtt),
		Lines: name, Direction: m.direction, Bytes: size, Seconds: seconds,
		Rate: float64(size) / 1e6 / seconds, Capacity: float64(l.line.Rate) * float64(r.scheme.Required) / 1e6,
		Change: seconds/alike[m.direction] - 1, Carried: float64(m.bytes) / float64(rounds) / needed,
		Cores: middle.cpu.Seconds() / seconds, Others: middle.others.Seconds() / seconds / float64(runtime.NumCPU()),
	}
	row.Share = row.Rate / row.Capacity
	r.report.Shaped = append(r.report.Shaped, row)
	return nil
}
