package main

import (
	"context"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/proto/pb"
)

// groupOut is a placement group as json.
type groupOut struct {
	Group    uint32    `json:"group"`
	Epoch    uint64    `json:"epoch"`
	Scheme   string    `json:"scheme"`
	Health   string    `json:"health"`
	Online   uint32    `json:"online"`
	Head     uint64    `json:"head"`
	Segments uint64    `json:"segments"`
	Bytes    uint64    `json:"bytes"`
	Found    *foundOut `json:"found"` // null before the first look
	Nodes    []string  `json:"nodes"`
	Slots    []slotOut `json:"slots"`
}

// foundOut is how a group was found at the last look.
type foundOut struct {
	Present    uint32 `json:"present"`
	Lowest     uint32 `json:"lowest_coverage"`
	Missing    uint64 `json:"missing"`
	Endangered uint64 `json:"endangered"`
	Unreadable uint64 `json:"unreadable"`
	Lost       uint64 `json:"lost"`
	Left       uint64 `json:"healing_left_bytes"`
}

type slotOut struct {
	Slot      int    `json:"slot"`
	Node      string `json:"node"`
	Holder    string `json:"holder"`
	Claimed   uint64 `json:"claimed"`
	Missing   uint64 `json:"missing"`
	Successor string `json:"successor,omitempty"`
	Waiting   string `json:"waiting,omitempty"`
}

func newGroupOut(g *pb.GroupInfo) groupOut {
	out := groupOut{
		Group: g.Group, Epoch: g.Epoch, Scheme: g.Scheme, Health: g.Health, Online: g.Online,
		Head: g.Head, Segments: g.Segments, Bytes: g.Bytes,
	}
	if f := g.Found; f != nil {
		out.Found = &foundOut{f.Present, f.Lowest, f.Missing, f.Endangered, f.Unreadable, f.Lost, f.Left}
	}
	for _, id := range g.Nodes {
		out.Nodes = append(out.Nodes, nodeID(id))
	}
	for i, s := range g.Slots {
		slot := slotOut{Slot: i, Node: out.Nodes[i], Holder: s.Holder, Claimed: s.Claimed, Missing: s.Missing, Waiting: s.Waiting}
		if len(s.Successor) > 0 {
			slot.Successor = nodeID(s.Successor)
		}
		out.Slots = append(out.Slots, slot)
	}
	return out
}

func (a *app) groupList() *cobra.Command {
	return &cobra.Command{
		Use:   "ls --dir DIR",
		Short: "List placement groups",
		Long: `List placement groups: how healthy they are; how many holders have what the fewest
have, of those that are online; how many shards these lack, and how much that is
to heal. Below a group stand the slots that are to change hands.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := []groupOut{}
			err := a.ask(cmd.Context(), func(ctx context.Context, c pb.AdminClient) error {
				m, err := c.ListGroups(ctx, &pb.ListGroupsRequest{})
				for _, g := range m.GetGroups() {
					list = append(list, newGroupOut(g))
				}
				return err
			})
			if err != nil {
				return err
			}
			return a.show(list, func(w io.Writer) { printGroups(w, list) })
		},
	}
}

func printGroups(w io.Writer, list []groupOut) {
	fmt.Fprintln(w, "GROUP\tEPOCH\tSCHEME\tHEALTH\tLOWEST\tONLINE\tMISSING\tTO HEAL\tSEGMENTS\tBYTES\tJOURNAL")
	for _, g := range list {
		lowest, missing, left := "-", "-", "-"
		if f := g.Found; f != nil {
			lowest, missing, left = fmt.Sprint(f.Lowest), fmt.Sprint(f.Missing), humanize.IBytes(f.Left)
		}
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%s\t%d/%d\t%s\t%s\t%d\t%s\t%d\n", g.Group, g.Epoch, g.Scheme, g.Health,
			lowest, g.Online, len(g.Nodes), missing, left, g.Segments, humanize.IBytes(g.Bytes), g.Head)
		for _, s := range g.Slots {
			if s.Successor != "" {
				fmt.Fprintf(w, "  slot %d goes from %s to %s\n", s.Slot, s.Node, s.Successor)
			}
			if s.Waiting != "" {
				fmt.Fprintf(w, "  slot %d of %s waits for another holder: %s\n", s.Slot, s.Node, s.Waiting)
			}
		}
	}
}
