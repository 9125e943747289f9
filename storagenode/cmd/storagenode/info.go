package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/storagenode"
)

// nodeInfo is what `storagenode info -o json` prints.
type nodeInfo struct {
	ID          ident.ID    `json:"id"`
	Addresses   []string    `json:"addresses"`
	Version     string      `json:"version"`
	Started     time.Time   `json:"started"`
	Satellite   string      `json:"satellite"`
	LastCheckIn *time.Time  `json:"last_check_in"` // null: none has succeeded
	Trouble     string      `json:"trouble"`
	Capacity    uint64      `json:"capacity_bytes"`
	Used        uint64      `json:"used_bytes"`
	Free        uint64      `json:"free_bytes"`
	Shards      uint64      `json:"shards"`
	Staged      uint64      `json:"staged"`
	Missing     uint64      `json:"missing"`   // live shards that are not held
	Standing    *standing   `json:"standing"`  // null: the satellite has not told
	Departure   string      `json:"departure"` // file with the satellite's word that the node may go
	Healing     healing     `json:"healing"`
	Scrubbing   scrubbing   `json:"scrubbing"`
	Data        []dataInfo  `json:"data"`
	Groups      []groupInfo `json:"groups"`
}

// standing is how the satellite sees the node.
type standing struct {
	State     string    `json:"state"`
	Reason    string    `json:"reason"`
	Since     time.Time `json:"since"`
	Proved    uint64    `json:"audits_proved"`
	Failed    uint64    `json:"audits_failed"`
	Suspicion float64   `json:"suspicion"` // 0 … 1; at 1 the node is disqualified
	Presence  float64   `json:"presence"`  // 0 … 1
	Full      bool      `json:"full"`      // no new data until it has healed
	Slots     uint32    `json:"slots"`
	Leaving   uint32    `json:"leaving"` // slots still to be handed over
}

type dataInfo struct {
	Path    string `json:"path"`
	Used    uint64 `json:"used_bytes"`
	Free    uint64 `json:"free_bytes"`
	Shards  uint64 `json:"shards"`
	Trouble string `json:"trouble"`
}

type groupInfo struct {
	Group     uint32 `json:"group"`
	Epoch     uint64 `json:"epoch"`
	Slot      uint32 `json:"slot"`
	Successor bool   `json:"successor"` // the slot is yet to be taken over
	Cursor    uint64 `json:"cursor"`
	Head      uint64 `json:"head"`
	Missing   uint64 `json:"missing"`
}

func newInfoCommand() *cobra.Command {
	var dir, output string
	cmd := newCommand("info", "Show how the running node is", func(cmd *cobra.Command) error {
		if err := needDir(dir); err != nil {
			return err
		}
		if output != "" && output != "json" {
			return usageError{fmt.Errorf("--output %q is not json", output)}
		}
		res, err := storagenode.AskInfo(cmd.Context(), dir)
		if err != nil {
			return err
		}
		info, err := newInfo(res)
		if err != nil {
			return err
		}
		if output == "json" {
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(info)
		}
		return info.print(cmd.OutOrStdout())
	})
	addDir(cmd, &dir)
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or a text to read")
	return cmd
}

func newInfo(res *pb.InfoResponse) (*nodeInfo, error) {
	id, err := ident.IDFromBytes(res.Id)
	if err != nil {
		return nil, err
	}
	info := &nodeInfo{
		ID: id, Addresses: res.Addresses, Version: res.Version, Started: time.Unix(res.Started, 0).UTC(),
		Satellite: res.Satellite, Trouble: res.Trouble,
		Capacity: res.Capacity, Used: res.Used, Free: res.Free, Shards: res.Shards, Staged: res.Staged,
		Missing: res.Missing, Standing: newStanding(res.Standing), Departure: res.Departure,
		Healing: newHealing(res.Healing), Scrubbing: newScrubbing(res.Scrubbing),
		Data: []dataInfo{}, Groups: []groupInfo{},
	}
	if res.LastCheckIn != 0 {
		at := time.Unix(res.LastCheckIn, 0).UTC()
		info.LastCheckIn = &at
	}
	for _, d := range res.Data {
		info.Data = append(info.Data, dataInfo{d.Path, d.Used, d.Free, d.Shards, d.Trouble})
	}
	for _, g := range res.Groups {
		info.Groups = append(info.Groups, groupInfo{g.Group, g.Epoch, g.Slot, g.Successor, g.Cursor, g.Head, g.Missing})
	}
	return info, nil
}

func newStanding(s *pb.Standing) *standing {
	if s == nil {
		return nil
	}
	return &standing{
		State: stateName(s.State), Reason: s.Reason, Since: time.Unix(s.Since, 0).UTC(),
		Proved: s.Proved, Failed: s.Failed, Suspicion: s.Suspicion, Presence: s.Presence, Full: s.Full,
		Slots: s.Slots, Leaving: s.Leaving,
	}
}

// stateName is "online" for NODE_STATE_ONLINE.
func stateName(s pb.NodeState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "NODE_STATE_"))
}

func (i *nodeInfo) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "node\t%s\n", i.ID)
	for _, a := range i.Addresses {
		fmt.Fprintf(w, "address\t%s\n", a)
	}
	fmt.Fprintf(w, "version\t%s\n", i.Version)
	fmt.Fprintf(w, "started\t%s\n", i.Started.Format(time.RFC3339))
	fmt.Fprintf(w, "satellite\t%s\n", i.Satellite)
	checkIn := "none yet"
	if i.LastCheckIn != nil {
		checkIn = i.LastCheckIn.Format(time.RFC3339)
	}
	fmt.Fprintf(w, "last check-in\t%s\n", checkIn)
	if i.Standing != nil {
		i.Standing.print(w)
	}
	if i.Departure != "" {
		fmt.Fprintf(w, "departure\tsigned by the satellite, in %s: the node may be stopped and its directory removed\n", i.Departure)
	}
	fmt.Fprintf(w, "space\t%s used, %s free of %s\n", humanize.IBytes(i.Used), humanize.IBytes(i.Free), humanize.IBytes(i.Capacity))
	fmt.Fprintf(w, "shards\t%d, of which %d staged; %d missing\n", i.Shards, i.Staged, i.Missing)
	i.Healing.print(w)
	i.Scrubbing.print(w)
	for _, d := range i.Data {
		fmt.Fprintf(w, "data\t%s: %d shards, %s used, %s free\n", d.Path, d.Shards, humanize.IBytes(d.Used), humanize.IBytes(d.Free))
	}
	for _, g := range i.Groups {
		to := ""
		if g.Successor {
			to = " to be taken over"
		}
		fmt.Fprintf(w, "group\t%d: slot %d%s, epoch %d, journal followed to %d of %d, %d missing\n",
			g.Group, g.Slot, to, g.Epoch, g.Cursor, max(g.Cursor, g.Head), g.Missing)
	}
	if i.Trouble != "" {
		fmt.Fprintf(w, "trouble\t%s\n", i.Trouble)
	}
	return w.Flush()
}

func (s *standing) print(w io.Writer) {
	fmt.Fprintf(w, "standing\t%s since %s", s.State, s.Since.Format(time.RFC3339))
	if s.Reason != "" {
		fmt.Fprintf(w, ": %s", s.Reason)
	}
	fmt.Fprintln(w)
	if s.Full {
		fmt.Fprintf(w, "\tno new data until what was lost is healed\n")
	}
	fmt.Fprintf(w, "audits\t%d proved, %d failed, %.0f %% of the way to disqualification\n", s.Proved, s.Failed, 100*s.Suspicion)
	fmt.Fprintf(w, "presence\t%.2f %%\n", 100*s.Presence)
	fmt.Fprintf(w, "slots\t%d", s.Slots)
	if s.Leaving > 0 {
		fmt.Fprintf(w, ", %d still to be handed over", s.Leaving)
	}
	fmt.Fprintln(w)
}
