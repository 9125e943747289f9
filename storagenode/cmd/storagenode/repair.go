package main

import (
	"context"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/storagenode"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// An inspection is Fsck or a rebuild.
type inspection func(ctx context.Context, dir string, found func(shardstore.Damage)) (shardstore.Report, error)

func newFsckCommand() *cobra.Command {
	return newInspectCommand("fsck", "Check every shard of a node that does not run; nothing is changed", shardstore.Fsck,
		func(damages int) error {
			if damages > 0 {
				return fmt.Errorf("%w in %d places", errDamage, damages)
			}
			return nil
		})
}

func newRebuildCommand() *cobra.Command {
	free := false
	rebuild := func(ctx context.Context, dir string, found func(shardstore.Damage)) (shardstore.Report, error) {
		if free {
			return shardstore.RebuildAndFree(ctx, dir, found)
		}
		return shardstore.RebuildIndex(ctx, dir, found)
	}
	cmd := newInspectCommand("rebuild-index", "Make the index of a node that does not run again from its volumes", rebuild,
		func(int) error { return nil })
	cmd.Flags().BoolVar(&free, "free-damaged", false, "free the space of damaged and unfinished shards, for good")
	return cmd
}

// newInspectCommand is a command that inspects all data directories of a node
// and judges what it found.
func newInspectCommand(use, short string, inspect inspection, judge func(damages int) error) *cobra.Command {
	var dir string
	var data []string
	cmd := newCommand(use, short, func(cmd *cobra.Command) error {
		if err := needDir(dir); err != nil {
			return err
		}
		unlock, paths, err := storagenode.LockData(dir)
		if err != nil {
			return err
		}
		defer unlock()
		if len(data) > 0 {
			paths = data
		}
		if len(paths) == 0 {
			return fmt.Errorf("%s is not the directory of a node that has run; if it is one, name its data directories with --data", dir)
		}
		damages := 0
		for _, path := range paths {
			n, err := inspectDir(cmd.Context(), cmd.OutOrStdout(), path, inspect)
			if err != nil {
				return err
			}
			damages += n
		}
		return judge(damages)
	})
	addDir(cmd, &dir)
	cmd.Flags().StringArrayVar(&data, "data", nil, "data `directory`; may be repeated (default: all that the node has used)")
	return cmd
}

func inspectDir(ctx context.Context, out io.Writer, path string, inspect inspection) (damages int, err error) {
	report, err := inspect(ctx, path, func(d shardstore.Damage) { fmt.Fprintf(out, "%s: %s\n", path, d) })
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	fmt.Fprintf(out, "%s: %d volumes, %d sound shards (%s), %d of them live, %d damages", path,
		report.Volumes, report.Shards, humanize.IBytes(uint64(report.Bytes)), report.Live, report.Damages)
	if report.Pending > 0 {
		fmt.Fprintf(out, ", %d records left by an unclean stop for the next start", report.Pending)
	}
	fmt.Fprintln(out)
	return report.Damages, nil
}
