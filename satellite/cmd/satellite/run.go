package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/observe"
	"github.com/cairnstorage/cairn/satellite"
)

func (a *app) run() *cobra.Command {
	var c satellite.Config
	var scheme, addressFile, logFormat, logLevel string
	cmd := &cobra.Command{
		Use:   "run --dir DIR",
		Short: "Run a satellite until it is interrupted",
		Long: `Run a satellite until it is interrupted. It prints its address, which storage
nodes need, and writes it to DIR/address. Everything it keeps is in DIR; back up
DIR/identity.key, without which no node or uplink would know it again.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if scheme != "" {
				if c.Scheme, err = erasure.ParseScheme(scheme); err != nil {
					return fmt.Errorf("--scheme: %w", err)
				}
			}
			if err := checkKeeping(&c); err != nil {
				return err
			}
			if c.Logger, err = observe.NewLogger(a.err, logFormat, logLevel); err != nil {
				return err
			}
			if c.Profiles && c.Metrics == "" {
				return errors.New("--pprof serves profiles beside the metrics: give --metrics, too")
			}
			c.Dir, c.Version = a.dir, version()
			return a.serve(cmd.Context(), c, addressFile)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&c.Listen, "listen", nil, "multiaddr to listen on, such as /ip4/0.0.0.0/tcp/7777 (repeatable)")
	f.StringArrayVar(&c.Announce, "announce", nil, "multiaddr to tell others instead, such as /dns4/example.org/tcp/7777 (repeatable)")
	f.StringVar(&scheme, "scheme", "", "shards of a segment in new placement groups: required/repair-below/success/total\n(default that of the newest group, or "+satellite.DefaultScheme.String()+")")
	f.BoolVar(&c.Distinct, "distinct", false, "keep nodes of one subnet or operator out of one placement group")
	f.BoolVar(&c.QUIC, "quic", false, "listen on and dial QUIC, too")
	f.StringVar(&addressFile, "address-file", "", "another file to write the address to")
	f.StringVar(&c.Metrics, "metrics", "", "`host:port` to serve metrics for Prometheus at, such as 127.0.0.1:9090 (default nowhere)")
	f.BoolVar(&c.Profiles, "pprof", false, "serve profiles, too, at /debug/pprof beside the metrics")
	f.StringVar(&logFormat, "log-format", "text", "text or json")
	f.StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	keepingFlags(cmd, &c)
	return cmd
}

// keepingFlags are about how the network is kept whole.
func keepingFlags(cmd *cobra.Command, c *satellite.Config) {
	f := cmd.Flags()
	f.DurationVar(&c.OfflineGrace, "offline-grace", 4*time.Hour, "how long a node may be away before others get its slots")
	f.IntVar(&c.Vetting, "vetting", 100, "challenges that a new node must prove before it is relied upon; 0 in a network\nwhose nodes know each other")
	f.DurationVar(&c.Tombstones, "tombstones", satellite.DefaultTombstones, "how long journals keep what was deleted, for nodes that are away")
	f.DurationVar(&c.AuditInterval, "audit-interval", satellite.DefaultAuditInterval, "how often a node is audited, in the mean")
	f.IntVar(&c.AuditBatch, "audit-batch", satellite.DefaultAuditBatch, fmt.Sprintf("challenges of one audit, at most %d; with the defaults a node that has lost 1 %%\nof its data is found out within three days with 99 %%", satellite.MaxAuditBatch))
}

func checkKeeping(c *satellite.Config) error {
	if c.OfflineGrace <= 0 || c.Vetting < 0 {
		return errors.New("--offline-grace must be above 0, and --vetting not below")
	}
	if c.AuditInterval <= 0 || c.AuditBatch < 1 || c.Tombstones <= 0 {
		return errors.New("--audit-interval, --audit-batch and --tombstones must be above 0")
	}
	if c.Vetting == 0 {
		c.Vetting = -1 // Config takes 0 for the default
	}
	return nil
}

// serve runs a satellite. Once its address is printed, connections are taken.
func (a *app) serve(ctx context.Context, c satellite.Config, addressFile string) error {
	s, err := satellite.New(ctx, c)
	if err != nil {
		return err
	}
	c.Logger.Info("satellite", "address", s.Address(), "dir", c.Dir)
	if addressFile != "" {
		if err := os.WriteFile(addressFile, []byte(s.Address()+"\n"), 0o644); err != nil {
			_ = s.Close()
			return fmt.Errorf("--address-file: %w", err)
		}
	}
	fmt.Fprintln(a.out, s.Address())
	return s.Run(ctx)
}
