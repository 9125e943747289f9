package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/uplink/internal/bound"
)

// speedJSON is the bound as -o json shows it: what a transfer takes by where
// nodes keep their shards.
type speedJSON struct {
	Scheme string      `json:"scheme"`
	Cores  int         `json:"cores"`
	Places []placeJSON `json:"places"`
}

type placeJSON struct {
	Dir      string   `json:"dir"`
	Upload   workJSON `json:"upload"`
	Download workJSON `json:"download"`
	Degraded workJSON `json:"degraded"`
}

// workJSON has rates of user data in MB (10⁶ bytes) per second and costs in
// seconds of a processor per GiB of user data.
type workJSON struct {
	Parts []partJSON `json:"parts"`
	CPU   float64    `json:"cpu_s_per_gib"`
	Disk  float64    `json:"disk_mb_s,omitempty"`
	Limit float64    `json:"limit_mb_s"`
	// What one program comes to that does all parts, and nothing else; not known
	// with shards lost.
	TogetherCPU  float64 `json:"together_cpu_s_per_gib,omitempty"`
	TogetherRate float64 `json:"together_mb_s,omitempty"`
}

type partJSON struct {
	Name string  `json:"name"`
	CPU  float64 `json:"cpu_s_per_gib"`
	Rate float64 `json:"alone_mb_s"` // with nothing else to do
}

func (a *app) speed() *cobra.Command {
	var (
		scheme string
		dirs   []string
		paced  bool
		farEnd bool
	)
	command := &cobra.Command{
		Use:   "speed",
		Short: "Measure what this machine could do at best",
		Long: `Measures what each step of an upload or a download costs when both ends are on
this machine: sealing, coding and hashing, moving bytes over libp2p to and from
processes of its own, as many as there would be nodes, hashing and writing them
there with fsync, reading, decoding, opening. No transfer can be faster than all
processors are at the sum of these, or than the disk is at writing. Each is
measured several times; medians count.

"Together" is what one bare program comes to that does all of these and nothing
else: steps that share caches and memory cost more than each alone.

With --paced all is measured once whenever a line comes on standard input, and
what it has come to so far is shown each time: so that something else can be
measured in turn, on a machine that is not always as fast.`,
		Args: args(0, 0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			prepareForMuch()
			if farEnd {
				return bound.Serve(a.in, a.out, dirs)
			}
			parsed, err := erasure.ParseScheme(scheme)
			if err != nil {
				return usagef("--scheme: %w", err)
			}
			if len(dirs) == 0 {
				dirs = []string{os.TempDir()}
			}
			return a.measureSpeed(parsed, dirs, paced)
		},
	}
	command.Flags().StringVar(&scheme, "scheme", "4/6/8/10", "required/repair below/success/total shards")
	command.Flags().StringArrayVar(&dirs, "dir", nil, "`directory` of the disk that nodes would write to (repeatable; default that of temporary files)")
	command.Flags().BoolVar(&paced, "paced", false, "measure once for each line of standard input, until that ends")
	command.Flags().BoolVar(&farEnd, "far-end", false, "be a process that bytes are moved to and from")
	_ = command.Flags().MarkHidden("far-end")
	return command
}

const (
	// speedRounds is how often everything is measured, unless somebody sets the pace.
	speedRounds = 5
	// speedTogether is how much goes through all steps together in a round, in bytes.
	speedTogether = 256 << 20
)

// measureSpeed measures and shows the bound, once or at the pace of standard input.
func (a *app) measureSpeed(scheme erasure.Scheme, dirs []string, paced bool) (err error) {
	cores := runtime.NumCPU()
	meter, err := bound.NewMeter(bound.Config{
		Scheme: scheme, Cores: cores, Duration: 300 * time.Millisecond, Together: speedTogether,
		Spawn: func() (string, func(), error) { return spawnFarEnd(dirs) }, Dirs: dirs,
	})
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	defer func() { err = errors.Join(err, meter.Close()) }()
	if !paced {
		return a.measureRounds(meter, speedRounds, scheme, cores)
	}
	lines := bufio.NewScanner(a.in)
	for lines.Scan() {
		if err := a.measureRounds(meter, 1, scheme, cores); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (a *app) measureRounds(meter *bound.Meter, rounds int, scheme erasure.Scheme, cores int) error {
	for range rounds {
		if err := meter.Round(); err != nil {
			return fmt.Errorf("measure: %w", err)
		}
	}
	return a.showSpeed(scheme, cores, meter.Places())
}

// spawnFarEnd starts this program again as a far end, which keeps what it gets in
// these directories and ends when its standard input does.
func spawnFarEnd(dirs []string) (string, func(), error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	process := exec.Command(self, "speed", "--far-end")
	for _, dir := range dirs {
		process.Args = append(process.Args, "--dir", dir)
	}
	process.Stderr = os.Stderr
	in, err := process.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := process.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := process.Start(); err != nil {
		return "", nil, err
	}
	end := func() {
		in.Close()
		_ = process.Wait() // it has nothing to say
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		end()
		return "", nil, err
	}
	return strings.TrimSpace(address), end, nil
}

func (a *app) showSpeed(scheme erasure.Scheme, cores int, places []bound.Place) error {
	out := speedJSON{Scheme: scheme.String(), Cores: cores}
	for _, p := range places {
		out.Places = append(out.Places, placeJSON{
			Dir:    p.Dir,
			Upload: toWorkJSON(p.Upload, cores), Download: toWorkJSON(p.Download, cores), Degraded: toWorkJSON(p.Degraded, cores),
		})
	}
	if a.json() {
		return a.printJSON(out)
	}
	for _, p := range out.Places {
		fmt.Fprintf(a.out, "nodes in %s\n", p.Dir)
		a.showWork("upload", p.Upload)
		a.showWork("download", p.Download)
		a.showWork("download with shards lost", p.Degraded)
	}
	return nil
}

func (a *app) showWork(name string, w workJSON) {
	fmt.Fprintf(a.out, "  %s: %.0f MB/s", name, w.Limit)
	if w.Disk > 0 {
		fmt.Fprintf(a.out, ", the disk %.0f MB/s", w.Disk)
	}
	fmt.Fprintf(a.out, "; %.2f CPU s/GiB\n", w.CPU)
	for _, p := range w.Parts {
		fmt.Fprintf(a.out, "    %-16s %6.2f CPU s/GiB, alone %6.0f MB/s\n", p.Name, p.CPU, p.Rate)
	}
	if w.TogetherRate > 0 {
		fmt.Fprintf(a.out, "    all together     %6.2f CPU s/GiB       %6.0f MB/s\n", w.TogetherCPU, w.TogetherRate)
	}
}

func toWorkJSON(w bound.Work, cores int) workJSON {
	out := workJSON{CPU: w.CPU() * (1 << 30), Disk: w.Disk / 1e6, Limit: w.Limit(cores) / 1e6,
		TogetherCPU: w.Together.CPU * (1 << 30), TogetherRate: w.Together.Rate / 1e6}
	for _, p := range w.Parts {
		out.Parts = append(out.Parts, partJSON{Name: p.Name, CPU: p.CPU * (1 << 30), Rate: p.Rate / 1e6})
	}
	return out
}
