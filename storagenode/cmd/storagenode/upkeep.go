package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/storagenode"
)

// healing is how the making of lost shards goes.
type healing struct {
	Shards  uint64 `json:"shards"` // made since the start
	Written uint64 `json:"written_bytes"`
	Read    uint64 `json:"read_bytes"`
	Failed  uint64 `json:"failed"`
	Bad     uint64 `json:"bad_segments"` // encoded wrong by their uplinks
	Active  uint64 `json:"active"`
	Left    uint64 `json:"left_bytes"`
	Rate    uint64 `json:"bytes_per_second"`
	Seconds uint64 `json:"seconds_left"` // 0: not known
}

func newHealing(m *pb.Healing) healing {
	return healing{
		m.GetShards(), m.GetWritten(), m.GetRead(), m.GetFailed(), m.GetBad(), m.GetActive(),
		m.GetLeft(), m.GetRate(), m.GetSeconds(),
	}
}

func (h *healing) print(w io.Writer) {
	fmt.Fprintf(w, "healing\t%d shards made (%s of %s read)", h.Shards, humanize.IBytes(h.Written), humanize.IBytes(h.Read))
	if h.Left > 0 {
		fmt.Fprintf(w, "; %s to make, %s/s", humanize.IBytes(h.Left), humanize.IBytes(h.Rate))
	}
	if h.Seconds > 0 {
		fmt.Fprintf(w, ", %v left", time.Duration(h.Seconds)*time.Second)
	}
	if h.Failed > 0 {
		fmt.Fprintf(w, "; %d attempts failed", h.Failed)
	}
	if h.Bad > 0 {
		fmt.Fprintf(w, "; %d segments were encoded wrong by their uplinks", h.Bad)
	}
	fmt.Fprintln(w)
}

// scrubbing is how the reading of all shards goes.
type scrubbing struct {
	Shards     uint64     `json:"shards"` // read since the start
	Bytes      uint64     `json:"bytes"`
	Damaged    uint64     `json:"damaged"`
	Unreadable uint64     `json:"unreadable"`
	Began      *time.Time `json:"began"`    // of the pass under way; null: none is
	Finished   *time.Time `json:"finished"` // of the last pass; null: there was none
}

func newScrubbing(m *pb.Scrubbing) scrubbing {
	return scrubbing{
		m.GetShards(), m.GetBytes(), m.GetDamaged(), m.GetUnreadable(), timeOrNil(m.GetBegan()), timeOrNil(m.GetFinished()),
	}
}

func timeOrNil(unix int64) *time.Time {
	if unix == 0 {
		return nil
	}
	t := time.Unix(unix, 0).UTC()
	return &t
}

func (s *scrubbing) print(w io.Writer) {
	fmt.Fprintf(w, "scrubbing\t%d shards read, %d found damaged", s.Shards, s.Damaged)
	if s.Unreadable > 0 {
		fmt.Fprintf(w, "; a disk failed %d times", s.Unreadable)
	}
	if s.Finished != nil {
		fmt.Fprintf(w, "; all were read last on %s", s.Finished.Format(time.RFC3339))
	}
	fmt.Fprintln(w)
}

func newScrubCommand() *cobra.Command {
	var dir, output string
	cmd := newCommand("scrub", "Have the running node read all its shards now; what is damaged is made again", func(cmd *cobra.Command) error {
		if err := needDir(dir); err != nil {
			return err
		}
		if output != "" && output != "json" {
			return usageError{fmt.Errorf("--output %q is not json", output)}
		}
		res, err := storagenode.AskScrub(cmd.Context(), dir)
		if err != nil {
			return err
		}
		s := newScrubbing(res)
		if output == "json" {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(s)
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		s.print(w)
		return w.Flush()
	})
	addDir(cmd, &dir)
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or a text to read")
	return cmd
}
