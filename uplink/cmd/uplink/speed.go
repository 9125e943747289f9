package main

import (
	"bufio"
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

// speedJSON is the bound as -o json shows it, in MB (10⁶ bytes) per second.
type speedJSON struct {
	Scheme   string  `json:"scheme"`
	Upload   float64 `json:"upload_mb_s"`
	Download float64 `json:"download_mb_s"`
	Encode   float64 `json:"seal_code_hash_mb_s"`
	Decode   float64 `json:"open_decode_mb_s"`
	Send     float64 `json:"send_mb_s"`
	Fetch    float64 `json:"fetch_mb_s"`
}

func (a *app) speed() *cobra.Command {
	var (
		scheme string
		farEnd bool
	)
	command := &cobra.Command{
		Use:   "speed",
		Short: "Measure what this machine could do at best",
		Long: `Measures, without a network or a disk, how fast this machine seals, codes and
hashes, opens and decodes, and moves bytes over libp2p to and from processes of
its own, as many as there would be nodes; and from these the rates that no upload
or download can exceed when both ends are here.`,
		Args: args(0, 0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			if farEnd {
				return bound.Serve(a.in, a.out)
			}
			parsed, err := erasure.ParseScheme(scheme)
			if err != nil {
				return usagef("--scheme: %w", err)
			}
			rates, err := bound.Measure(parsed, runtime.NumCPU(), 2*time.Second, spawnFarEnd)
			if err != nil {
				return fmt.Errorf("measure: %w", err)
			}
			return a.showSpeed(parsed, rates)
		},
	}
	command.Flags().StringVar(&scheme, "scheme", "4/6/8/10", "required/repair below/success/total shards")
	command.Flags().BoolVar(&farEnd, "far-end", false, "be a process that bytes are moved to and from")
	_ = command.Flags().MarkHidden("far-end")
	return command
}

// spawnFarEnd starts this program again as a far end, which ends when its
// standard input does.
func spawnFarEnd() (string, func(), error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	process := exec.Command(self, "speed", "--far-end")
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

func (a *app) showSpeed(scheme erasure.Scheme, rates bound.Rates) error {
	s := speedJSON{
		Scheme:   scheme.String(),
		Upload:   rates.Upload(scheme) / 1e6,
		Download: rates.Download() / 1e6,
		Encode:   rates.Encode / 1e6,
		Decode:   rates.Decode / 1e6,
		Send:     rates.Send / 1e6,
		Fetch:    rates.Fetch / 1e6,
	}
	if a.json() {
		return a.printJSON(s)
	}
	fmt.Fprintf(a.out, "seal, code, hash %8.0f MB/s\nopen, decode     %8.0f MB/s\nsend             %8.0f MB/s\nfetch            %8.0f MB/s\nupload           %8.0f MB/s\ndownload         %8.0f MB/s\n",
		s.Encode, s.Decode, s.Send, s.Fetch, s.Upload, s.Download)
	return nil
}
