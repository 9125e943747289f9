package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/cairnstorage/cairn/deploy/procnet"
)

// cost is what something took, of its own process and the network's.
type cost struct {
	wall, cpu time.Duration
	rss       int64         // of the command
	others    time.Duration // of processors, for what is none of this
}

// costOf runs a command that has so many bytes stored. Its standard output goes
// nowhere unless it is set.
func costOf(network *procnet.Network, command *exec.Cmd, stored int64) (spent cost, err error) {
	memory, err := reserveMemory(stored)
	if err != nil {
		return cost{}, err
	}
	defer func() { err = errors.Join(err, memory.close()) }()
	command.Stderr = os.Stderr
	m := startMeter(network)
	if err := command.Start(); err != nil {
		return cost{}, err
	}
	ended := make(chan struct{})
	peak := make(chan int64)
	go func() { peak <- watchPeak(command.Process.Pid, ended) }()
	err = command.Wait()
	spent = m.read()
	close(ended)
	spent.rss = <-peak
	if err != nil {
		return spent, fmt.Errorf("%v: %w", command.Args, err)
	}
	state := command.ProcessState
	own := state.UserTime() + state.SystemTime()
	spent.cpu += own
	spent.others = max(0, spent.others-own)
	return spent, nil
}

// watchPeak looks at a process until it has ended, and returns the most memory
// that it had by then. The kernel's own figure is no good: it begins with the
// memory of who started the process.
func watchPeak(pid int, ended <-chan struct{}) (peak int64) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		peak = max(peak, procnet.UsageOf(pid).PeakRSS)
		select {
		case <-tick.C:
		case <-ended:
			return peak
		}
	}
}

// meter measures what a network, and this process, spend from one moment on.
type meter struct {
	network   *procnet.Network
	start     time.Time
	cpu, busy time.Duration
}

func startMeter(network *procnet.Network) meter {
	return meter{network: network, busy: busyCPU(), cpu: networkCPU(network) + ownCPU(), start: time.Now()}
}

func (m meter) read() cost {
	c := cost{wall: time.Since(m.start), cpu: networkCPU(m.network) + ownCPU() - m.cpu}
	c.others = max(0, busyCPU()-m.busy-c.cpu)
	return c
}

func networkCPU(network *procnet.Network) time.Duration {
	if network == nil {
		return 0
	}
	sum := network.Satellite.Usage().CPU
	for _, node := range network.Nodes {
		sum += node.Usage().CPU
	}
	return sum
}

func ownCPU() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// childrenCPU is what all processes that this one started and that ended took.
func childrenCPU() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// forgetPeak has ownPeakRSS begin anew with what there is now; see proc(5).
func forgetPeak() error { return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// ownPeakRSS is the most memory that this process has had since.
func ownPeakRSS() int64 { return procnet.UsageOf(os.Getpid()).PeakRSS }

// busyCPU is what all processors have done so far, for whomever; see proc(5).
func busyCPU() time.Duration {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	var ticks int64
	for i, field := range bytes.Fields(line) {
		if i >= 1 && i <= 8 && i != 4 && i != 5 { // neither idle nor waiting for a disk
			n, _ := strconv.ParseInt(string(field), 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / 100
}

// median is the cost whose wall time is in the middle, or the mean of the two
// that are.
func median(costs []cost) (middle, slowest cost) {
	slices.SortFunc(costs, func(a, b cost) int { return cmp.Compare(a.wall, b.wall) })
	n := len(costs)
	a, b := costs[(n-1)/2], costs[n/2]
	return cost{
		wall: (a.wall + b.wall) / 2, cpu: (a.cpu + b.cpu) / 2, rss: max(a.rss, b.rss), others: (a.others + b.others) / 2,
	}, costs[n-1]
}

// percentile is the value that this share of all are not above.
func percentile(took []time.Duration, share float64) float64 {
	slices.Sort(took)
	return milliseconds(took[min(len(took)-1, int(share*float64(len(took))))])
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
