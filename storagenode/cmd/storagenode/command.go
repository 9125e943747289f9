package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/proto/observe"
	"github.com/cairnstorage/cairn/storagenode"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // what was asked could not be done
	exitUsage  = 2 // the command line is wrong
	exitDamage = 3 // fsck has found damage
)

var errDamage = errors.New("damage was found")

// usageError marks errors of the command line.
type usageError struct{ error }

// run runs one command and returns its exit code.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(errOut, "storagenode: %v\nTry: storagenode help\n", err)
		return exitUsage
	}
	fmt.Fprintf(errOut, "storagenode: %v\n", err)
	if errors.Is(err, errDamage) {
		return exitDamage
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "storagenode",
		Short:         "Keep shards for a Cairn network",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          func(_ *cobra.Command, args []string) error { return noArgs(args) },
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newRunCommand(), newInfoCommand(), newScrubCommand(), newExitCommand(), newFsckCommand(), newRebuildCommand())
	return root
}

func noArgs(args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unknown command or argument %q", args[0])}
	}
	return nil
}

// version is that of the module, or of the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}

// newCommand is a subcommand that takes flags and no arguments.
func newCommand(use, short string, f func(*cobra.Command) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  func(_ *cobra.Command, args []string) error { return noArgs(args) },
		RunE:  func(cmd *cobra.Command, _ []string) error { return f(cmd) },
	}
}

// addDir adds the flag that every command has.
func addDir(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "dir", "", "directory of the node (required)")
}

func needDir(dir string) error {
	if dir == "" {
		return usageError{errors.New("--dir is required")}
	}
	return nil
}

func newRunCommand() *cobra.Command {
	var c storagenode.Config
	var capacity, reserve, healRate, format, level string
	cmd := newCommand("run", "Run a storage node until a signal stops it", func(cmd *cobra.Command) error {
		if err := needDir(c.Dir); err != nil {
			return err
		}
		if c.Satellite == "" {
			return usageError{errors.New("--satellite is required: an address ending in /p2p/ID, or a file with one")}
		}
		var err error
		if c.Capacity, err = parseSize("capacity", capacity); err != nil {
			return err
		}
		if c.Reserve, err = parseSize("reserve", reserve); err != nil {
			return err
		}
		if c.HealRate, err = parseSize("heal-rate", healRate); err != nil {
			return err
		}
		if c.Logger, err = observe.NewLogger(cmd.ErrOrStderr(), format, level); err != nil {
			return usageError{err}
		}
		if c.Profiles && c.Metrics == "" {
			return usageError{errors.New("--pprof serves profiles beside the metrics: give --metrics, too")}
		}
		c.Version = version()
		node, err := storagenode.New(c)
		if err != nil {
			return err
		}
		for _, address := range node.Addresses() {
			fmt.Fprintln(cmd.OutOrStdout(), address)
		}
		return node.Run(cmd.Context())
	})
	addDir(cmd, &c.Dir)
	f := cmd.Flags()
	f.StringVar(&c.Satellite, "satellite", "", "address of the satellite, ending in /p2p/ID, or a file with it (required)")
	f.StringArrayVar(&c.Listen, "listen", nil, "`multiaddr` to listen at; may be repeated (default /ip4/0.0.0.0/tcp/0; a port 0 is chosen once and kept)")
	f.StringArrayVar(&c.Announce, "announce", nil, "`multiaddr` to be reached at, when it is not one listened at; may be repeated")
	f.BoolVar(&c.QUIC, "quic", false, "speak QUIC as well; --listen says where")
	f.StringArrayVar(&c.Data, "data", nil, "`directory` for shards, one per disk; may be repeated (default DIR/data)")
	f.StringArrayVar(&c.Replaced, "replaced", nil, "data `directory` whose disk was replaced, or is not to be used any more: what it held is lost for good")
	f.StringVar(&capacity, "capacity", "", "most that shards may take up in all, such as 500GB (default: what the disks have)")
	f.StringVar(&reserve, "reserve", "", "what to leave free on each disk (default 5 %, at least 64MiB, at most 1GiB)")
	f.StringVar(&healRate, "heal-rate", "", "what to read a second, while idle, to make shards again that are not urgent (default 4MiB)")
	f.DurationVar(&c.Scrub, "scrub", 0, "time in which all shards are read once, to find damage (default 720h)")
	f.StringVar(&c.Operator, "operator", "", "who runs this node, as told to the satellite")
	f.StringVar(&c.Metrics, "metrics", "", "`host:port` to serve metrics for Prometheus at, such as 127.0.0.1:9091 (default nowhere)")
	f.BoolVar(&c.Profiles, "pprof", false, "serve profiles, too, at /debug/pprof beside the metrics")
	f.StringVar(&format, "log-format", "text", "text or json")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return cmd
}

func parseSize(flag, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n == 0 || n > 1<<60 {
		return 0, usageError{fmt.Errorf("--%s %q is no size such as 500GB or 20GiB", flag, text)}
	}
	return int64(n), nil
}
