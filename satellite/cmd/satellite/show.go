package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
)

// nodeOut is a storage node as json.
type nodeOut struct {
	ID        string    `json:"id"`
	Online    bool      `json:"online"`
	Addresses []string  `json:"addresses"`
	Capacity  uint64    `json:"capacity_bytes"`
	Used      uint64    `json:"used_bytes"`
	Free      uint64    `json:"free_bytes"`
	Groups    uint32    `json:"groups"`
	Behind    uint64    `json:"behind"`
	Version   string    `json:"version"`
	Operator  string    `json:"operator"`
	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"`
}

func (a *app) nodeList() *cobra.Command {
	return &cobra.Command{
		Use:   "ls --dir DIR",
		Short: "List storage nodes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := []nodeOut{}
			err := a.ask(cmd.Context(), func(ctx context.Context, c pb.AdminClient) error {
				m, err := c.ListNodes(ctx, &pb.ListNodesRequest{})
				for _, n := range m.GetNodes() {
					list = append(list, nodeOut{
						ID: nodeID(n.Id), Online: n.Online, Addresses: n.Addresses,
						Capacity: n.Capacity, Used: n.Used, Free: n.Free, Groups: n.Groups, Behind: n.Behind,
						Version: n.Version, Operator: n.Operator,
						FirstSeen: time.Unix(n.FirstSeen, 0).UTC(), LastSeen: time.Unix(n.LastSeen, 0).UTC(),
					})
				}
				return err
			})
			if err != nil {
				return err
			}
			return a.show(list, func(w io.Writer) {
				fmt.Fprintln(w, "ID\tSTATE\tUSED\tFREE\tGROUPS\tBEHIND\tLAST SEEN")
				for _, n := range list {
					state := "offline"
					if n.Online {
						state = "online"
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%s\n", n.ID, state,
						humanize.IBytes(n.Used), humanize.IBytes(n.Free), n.Groups, n.Behind, n.LastSeen.Format(time.DateTime))
				}
			})
		},
	}
}

func nodeID(raw []byte) string {
	id, err := ident.IDFromBytes(raw)
	if err != nil {
		return fmt.Sprintf("%x", raw)
	}
	return id.String()
}

// groupOut is a placement group as json.
type groupOut struct {
	Group    uint32   `json:"group"`
	Epoch    uint64   `json:"epoch"`
	Scheme   string   `json:"scheme"`
	Online   uint32   `json:"online"`
	Head     uint64   `json:"head"`
	Segments uint64   `json:"segments"`
	Bytes    uint64   `json:"bytes"`
	Nodes    []string `json:"nodes"`
}

func (a *app) groupList() *cobra.Command {
	return &cobra.Command{
		Use:   "ls --dir DIR",
		Short: "List placement groups",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := []groupOut{}
			err := a.ask(cmd.Context(), func(ctx context.Context, c pb.AdminClient) error {
				m, err := c.ListGroups(ctx, &pb.ListGroupsRequest{})
				for _, g := range m.GetGroups() {
					out := groupOut{
						Group: g.Group, Epoch: g.Epoch, Scheme: g.Scheme, Online: g.Online,
						Head: g.Head, Segments: g.Segments, Bytes: g.Bytes,
					}
					for _, id := range g.Nodes {
						out.Nodes = append(out.Nodes, nodeID(id))
					}
					list = append(list, out)
				}
				return err
			})
			if err != nil {
				return err
			}
			return a.show(list, func(w io.Writer) {
				fmt.Fprintln(w, "GROUP\tEPOCH\tSCHEME\tONLINE\tSEGMENTS\tBYTES\tJOURNAL")
				for _, g := range list {
					fmt.Fprintf(w, "%d\t%d\t%s\t%d/%d\t%d\t%s\t%d\n", g.Group, g.Epoch, g.Scheme,
						g.Online, len(g.Nodes), g.Segments, humanize.IBytes(g.Bytes), g.Head)
				}
			})
		},
	}
}

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
	Projects       uint64    `json:"projects"`
	Objects        uint64    `json:"objects"`
	Segments       uint64    `json:"segments"`
	Bytes          uint64    `json:"bytes"`
	Trouble        string    `json:"trouble"`
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
			out := statusOut{
				Address: m.Address, Version: m.Version, Started: time.Unix(m.Started, 0).UTC(), Scheme: m.Scheme,
				Nodes: m.Nodes, NodesOnline: m.NodesOnline, Groups: m.Groups, GroupsWritable: m.GroupsWritable,
				Projects: m.Projects, Objects: m.Objects, Segments: m.Segments, Bytes: m.Bytes, Trouble: m.Trouble,
			}
			return a.show(out, func(w io.Writer) { a.printStatus(w, &out) })
		},
	}
}

func (a *app) printStatus(w io.Writer, s *statusOut) {
	fmt.Fprintf(w, "address\t%s\n", s.Address)
	fmt.Fprintf(w, "version\t%s\n", s.Version)
	fmt.Fprintf(w, "started\t%s\n", s.Started.Format(time.DateTime))
	fmt.Fprintf(w, "nodes\t%d, %d online\n", s.Nodes, s.NodesOnline)
	fmt.Fprintf(w, "groups\t%d, %d writable; new ones %s\n", s.Groups, s.GroupsWritable, s.Scheme)
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
