package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/proto/pb"
)

// statusOut is the state of a satellite as json.
type statusOut struct {
	Address        string    `json:"address"`
	Version        string    `json:"version"`
	Started        time.Time `json:"started"`
	Scheme         string    `json:"scheme"`
	Nodes          uint32    `json:"nodes"`
	NodesOnline    uint32    `json:"nodes_online"`
	Groups         uint32    `json:"groups"`
	GroupsWritable uint32    `json:"groups_writable"`
	// By state, of nodes; by health, of groups.
	NodesByState   map[string]uint32 `json:"nodes_by_state"`
	GroupsByHealth map[string]uint32 `json:"groups_by_health"`
	SlotsWaiting   uint32            `json:"slots_waiting"`
	Projects       uint64            `json:"projects"`
	Objects        uint64            `json:"objects"`
	Segments       uint64            `json:"segments"`
	Bytes          uint64            `json:"bytes"`
	Endangered     uint64            `json:"segments_endangered"`
	Unreadable     uint64            `json:"segments_unreadable"`
	Lost           uint64            `json:"segments_lost"`
	Bad            uint64            `json:"segments_badly_encoded"`
	Looked         bool              `json:"health_known"`
	HealingLeft    uint64            `json:"healing_left_bytes"`
	HealingRate    uint64            `json:"healing_bytes_per_second"`
	HealingSeconds uint64            `json:"healing_seconds_left"` // 0: not known, or nothing is left
	Trouble        string            `json:"trouble"`
}

func (a *app) status() *cobra.Command {
	return &cobra.Command{
		Use:   "status --dir DIR",
		Short: "Show how the satellite is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var m *pb.StatusResponse
			err := a.ask(cmd.Context(), func(ctx context.Context, c pb.AdminClient) (err error) {
				m, err = c.Status(ctx, &pb.StatusRequest{})
				return err
			})
			if err != nil {
				return err
			}
			out := newStatusOut(m)
			return a.show(out, func(w io.Writer) { a.printStatus(w, &out) })
		},
	}
}

func newStatusOut(m *pb.StatusResponse) statusOut {
	out := statusOut{
		Address: m.Address, Version: m.Version, Started: time.Unix(m.Started, 0).UTC(), Scheme: m.Scheme,
		Nodes: m.Nodes, NodesOnline: m.NodesOnline, Groups: m.Groups, GroupsWritable: m.GroupsWritable,
		NodesByState: map[string]uint32{}, SlotsWaiting: m.SlotsWaiting,
		GroupsByHealth: map[string]uint32{
			"whole": m.GroupsWhole, "reduced": m.GroupsReduced, "endangered": m.GroupsEndangered, "unreadable": m.GroupsUnreadable,
		},
		Projects: m.Projects, Objects: m.Objects, Segments: m.Segments, Bytes: m.Bytes,
		Endangered: m.SegmentsEndangered, Unreadable: m.SegmentsUnreadable, Lost: m.SegmentsLost, Bad: m.SegmentsBad,
		Looked: m.Looked, HealingLeft: m.HealingLeft, HealingRate: m.HealingRate, HealingSeconds: m.HealingSeconds,
		Trouble: m.Trouble,
	}
	for _, n := range m.NodesByState {
		out.NodesByState[stateName(n.State)] = n.Nodes
	}
	return out
}

// counts lists those that are not 0, in the order given.
func counts(of map[string]uint32, names ...string) string {
	var list []string
	for _, name := range names {
		if n := of[name]; n > 0 {
			list = append(list, fmt.Sprintf("%d %s", n, name))
		}
	}
	return strings.Join(list, ", ")
}

func (a *app) printStatus(w io.Writer, s *statusOut) {
	fmt.Fprintf(w, "address\t%s\n", s.Address)
	fmt.Fprintf(w, "version\t%s\n", s.Version)
	fmt.Fprintf(w, "started\t%s\n", s.Started.Format(time.DateTime))
	fmt.Fprintf(w, "nodes\t%d, %d online", s.Nodes, s.NodesOnline)
	if list := counts(s.NodesByState, "online", "vetting", "suspended", "exiting", "gone", "disqualified"); list != "" {
		fmt.Fprintf(w, "; standing: %s", list)
	}
	fmt.Fprintf(w, "\ngroups\t%d, %d writable; new ones %s\n", s.Groups, s.GroupsWritable, s.Scheme)
	printHealth(w, s)
	fmt.Fprintf(w, "projects\t%d\n", s.Projects)
	fmt.Fprintf(w, "objects\t%d, %s in %d segments\n", s.Objects, humanize.IBytes(s.Bytes), s.Segments)
	if s.Trouble == "" {
		return
	}
	fmt.Fprintf(w, "TROUBLE\t%s\n", s.Trouble)
	fmt.Fprintf(w, "\tWrites are refused until you have decided. Best stop the satellite and restore a\n")
	fmt.Fprintf(w, "\tcopy of its directory that has everything. If there is none, what was written since\n")
	fmt.Fprintf(w, "\tthe present one was made is lost; to go on without it:\n")
	fmt.Fprintf(w, "\t  satellite accept-loss --dir %s\n", a.dir)
}

// printHealth tells how whole the stored data is, and how that gets on.
func printHealth(w io.Writer, s *statusOut) {
	if !s.Looked {
		fmt.Fprintf(w, "health\tnot known yet: nodes are given time to come after the start\n")
		return
	}
	if list := counts(s.GroupsByHealth, "whole", "reduced", "endangered", "unreadable"); list != "" {
		fmt.Fprintf(w, "health\tgroups: %s\n", list)
	}
	if s.Endangered > 0 {
		fmt.Fprintf(w, "\tabout %d segments are endangered, %d of them cannot be read now, %d whoever may come back\n",
			s.Endangered, s.Unreadable, s.Lost)
	}
	if s.Bad > 0 {
		fmt.Fprintf(w, "\t%d segments were encoded wrong by their uplinks\n", s.Bad)
	}
	if s.SlotsWaiting > 0 {
		fmt.Fprintf(w, "\t%d slots need another holder and get none: `satellite group ls` says why\n", s.SlotsWaiting)
	}
	if s.HealingLeft == 0 {
		return
	}
	fmt.Fprintf(w, "healing\t%s left, %s a second", humanize.IBytes(s.HealingLeft), humanize.IBytes(s.HealingRate))
	if s.HealingSeconds > 0 {
		fmt.Fprintf(w, ", about %v to go", time.Duration(s.HealingSeconds)*time.Second)
	}
	fmt.Fprintln(w)
}

func (a *app) acceptLoss() *cobra.Command {
	return &cobra.Command{
		Use:   "accept-loss --dir DIR",
		Short: "Take writes again after metadata was lost",
		Long: `Take writes again after storage nodes proved that the satellite's metadata was
rolled back. What was written since then stays lost.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd.Context(), func(ctx context.Context, c pb.AdminClient) error {
				_, err := c.AcceptLoss(ctx, &pb.AcceptLossRequest{})
				return err
			})
		},
	}
}
