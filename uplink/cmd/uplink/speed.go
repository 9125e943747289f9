package main

import (
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/uplink/internal/bound"
)

// speedJSON is the bound as -o json shows it, in MB (10⁶ bytes) per second.
type speedJSON struct {
	Scheme    string  `json:"scheme"`
	Upload    float64 `json:"upload_mb_s"`
	Download  float64 `json:"download_mb_s"`
	Encode    float64 `json:"seal_code_hash_mb_s"`
	Decode    float64 `json:"open_decode_mb_s"`
	Transport float64 `json:"transport_mb_s"`
}

func (a *app) speed() *cobra.Command {
	var scheme string
	command := &cobra.Command{
		Use:   "speed",
		Short: "Measure what this machine could do at best",
		Long: `Measures, without a network or a disk, how fast this machine seals, codes and
hashes, opens and decodes, and moves bytes over libp2p to itself; and from these
the rates that no upload or download can exceed when both ends are here.`,
		Args: args(0, 0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			parsed, err := erasure.ParseScheme(scheme)
			if err != nil {
				return usagef("--scheme: %w", err)
			}
			rates, err := bound.Measure(parsed, runtime.NumCPU(), 2*time.Second)
			if err != nil {
				return fmt.Errorf("measure: %w", err)
			}
			return a.showSpeed(parsed, rates)
		},
	}
	command.Flags().StringVar(&scheme, "scheme", "4/6/8/10", "required/repair below/success/total shards")
	return command
}

func (a *app) showSpeed(scheme erasure.Scheme, rates bound.Rates) error {
	s := speedJSON{
		Scheme:    scheme.String(),
		Upload:    rates.Upload(scheme) / 1e6,
		Download:  rates.Download() / 1e6,
		Encode:    rates.Encode / 1e6,
		Decode:    rates.Decode / 1e6,
		Transport: rates.Transport / 1e6,
	}
	if a.json() {
		return a.printJSON(s)
	}
	fmt.Fprintf(a.out, "seal, code, hash %8.0f MB/s\nopen, decode     %8.0f MB/s\ntransport        %8.0f MB/s\nupload           %8.0f MB/s\ndownload         %8.0f MB/s\n",
		s.Encode, s.Decode, s.Transport, s.Upload, s.Download)
	return nil
}
