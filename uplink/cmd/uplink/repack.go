package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/uplink"
)

const repackHelp = `Small files that are copied with -r are stored together, in packs. A pack takes
up its space until the last of its files is deleted. This moves what is left of
packs that are mostly empty to new ones, in all buckets of the project, so that
the old ones go. Objects stay as they are but for their version; those that
change meanwhile are left alone. It reads all names, and the content of what it
moves.`

func (a *app) repack() *cobra.Command {
	var below int
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "repack",
		Short: "Free the space of mostly empty packs of small files",
		Long:  repackHelp,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if below < 1 || below > 100 {
				return usagef("--below is a number of per cent from 1 to 100")
			}
			return a.with(cmd, func(ctx context.Context, p *uplink.Project) error {
				r, err := p.Repack(ctx, uplink.RepackOptions{Below: float64(below) / 100, DryRun: dryRun})
				if err != nil && r.Packs == 0 {
					return err
				}
				if showErr := a.printRepacked(r, below, dryRun); err == nil {
					err = showErr
				}
				return err
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&below, "below", 50, "empty packs of which less than this `PERCENT` is in use")
	f.BoolVar(&dryRun, "dry-run", false, "only show what would be done")
	return cmd
}

// repacked is what repack prints as JSON. Bytes are of ciphertext, before
// coding.
type repacked struct {
	Packs  int   `json:"packs"`
	Bytes  int64 `json:"bytes"`
	Used   int64 `json:"used_bytes"`
	Sparse int   `json:"sparse_packs"`
	Moved  int   `json:"moved_objects"`
	Kept   int   `json:"kept_objects"`
	Freed  int64 `json:"freed_bytes"`
	DryRun bool  `json:"dry_run,omitempty"`
}

func (a *app) printRepacked(r uplink.Repacked, below int, dryRun bool) error {
	if a.json() {
		return a.printJSON(repacked{r.Packs, r.Bytes, r.Used, r.Sparse, r.Moved, r.Kept, r.Freed, dryRun})
	}
	a.say("%s of %s with %s in use; %s below %d %%",
		count(int64(r.Packs), "pack"), bytesText(r.Bytes), bytesText(r.Used), count(int64(r.Sparse), "pack"), below)
	moved, freed := "moved", "freed"
	if dryRun {
		moved, freed = "would move", "free"
	}
	a.say("%s %s, %s %s", moved, count(int64(r.Moved), "object"), freed, bytesText(r.Freed))
	if r.Kept > 0 {
		fmt.Fprintf(a.err, "uplink: %s could not be moved\n", count(int64(r.Kept), "object"))
	}
	return nil
}
