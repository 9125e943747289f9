package main

import (
	"context"
	"fmt"
	"io"
	"strings"
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
	State     string    `json:"state"`
	Reason    string    `json:"reason"`
	Since     time.Time `json:"since"`
	Addresses []string  `json:"addresses"`
	Capacity  uint64    `json:"capacity_bytes"`
	Used      uint64    `json:"used_bytes"`
	Free      uint64    `json:"free_bytes"`
	TakesData bool      `json:"takes_data"`
	Impaired  bool      `json:"impaired"`
	Groups    uint32    `json:"groups"`
	Behind    uint64    `json:"behind"`
	Missing   uint64    `json:"missing"`
	Proved    uint64    `json:"challenges_proved"`
	Failed    uint64    `json:"challenges_failed"`
	Suspicion float64   `json:"suspicion"`
	Presence  float64   `json:"presence"`
	Version   string    `json:"version"`
	Operator  string    `json:"operator"`
	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"`
}

func newNodeOut(n *pb.NodeInfo) nodeOut {
	return nodeOut{
		ID: nodeID(n.Id), Online: n.Online,
		State: stateName(n.State), Reason: n.Reason, Since: time.Unix(n.Since, 0).UTC(),
		Addresses: n.Addresses, Capacity: n.Capacity, Used: n.Used, Free: n.Free,
		TakesData: n.TakesData, Impaired: n.Impaired,
		Groups: n.Groups, Behind: n.Behind, Missing: n.Missing,
		Proved: n.Proved, Failed: n.Failed, Suspicion: n.Suspicion, Presence: n.Presence,
		Version: n.Version, Operator: n.Operator,
		FirstSeen: time.Unix(n.FirstSeen, 0).UTC(), LastSeen: time.Unix(n.LastSeen, 0).UTC(),
	}
}

// stateName is the state of a node as people write it.
func stateName(s pb.NodeState) string {
	if s == pb.NodeState_NODE_STATE_UNSPECIFIED {
		return "unknown"
	}
	return strings.ToLower(strings.TrimPrefix(s.String(), "NODE_STATE_"))
}

func (a *app) nodeList() *cobra.Command {
	return &cobra.Command{
		Use:   "ls --dir DIR",
		Short: "List storage nodes",
		Long: `List storage nodes: their state, and why; whether they are there now; how many
slots of placement groups they hold, how many journal entries they have not
followed yet and how many shards they lack; how many challenges they proved and
failed, how far that has gone towards disqualification, and how much of the time
they were there of late.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := []nodeOut{}
			err := a.ask(cmd.Context(), func(ctx context.Context, c pb.AdminClient) error {
				m, err := c.ListNodes(ctx, &pb.ListNodesRequest{})
				for _, n := range m.GetNodes() {
					list = append(list, newNodeOut(n))
				}
				return err
			})
			if err != nil {
				return err
			}
			return a.show(list, func(w io.Writer) { printNodes(w, list) })
		},
	}
}

func printNodes(w io.Writer, list []nodeOut) {
	fmt.Fprintln(w, "ID\tSTATE\tONLINE\tUSED\tFREE\tGROUPS\tBEHIND\tMISSING\tPROVED\tFAILED\tSUSPICION\tPRESENCE\tLAST SEEN\tREASON")
	for _, n := range list {
		online := "no"
		switch {
		case n.Online && n.Impaired:
			online = "impaired"
		case n.Online:
			online = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%.0f%%\t%.0f%%\t%s\t%s\n", n.ID, n.State, online,
			humanize.IBytes(n.Used), humanize.IBytes(n.Free), n.Groups, n.Behind, n.Missing,
			n.Proved, n.Failed, 100*n.Suspicion, 100*n.Presence, n.LastSeen.Format(time.DateTime), n.Reason)
	}
}

func nodeID(raw []byte) string {
	id, err := ident.IDFromBytes(raw)
	if err != nil {
		return fmt.Sprintf("%x", raw)
	}
	return id.String()
}

func (a *app) nodeReinstate() *cobra.Command {
	return &cobra.Command{
		Use:   "reinstate ID --dir DIR",
		Short: "Take a disqualified storage node back, as a new one",
		Long: `Take a storage node back that was disqualified. Its score begins anew, and it is
vetted anew; the slots that it had are held by others by now.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.aboutNode(cmd.Context(), args[0], func(ctx context.Context, c pb.AdminClient, id []byte) error {
				_, err := c.ReinstateNode(ctx, &pb.ReinstateNodeRequest{Id: id})
				return err
			})
		},
	}
}

func (a *app) nodeDisqualify() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "disqualify ID --reason TEXT --dir DIR",
		Short: "Have what a storage node holds count no more",
		Long: `Have what a storage node holds count no more. Other nodes get its slots and make
the shards again. The node is told the reason.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.aboutNode(cmd.Context(), args[0], func(ctx context.Context, c pb.AdminClient, id []byte) error {
				_, err := c.DisqualifyNode(ctx, &pb.DisqualifyNodeRequest{Id: id, Reason: reason})
				return err
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the node's operator and others")
	_ = cmd.MarkFlagRequired("reason")
	return cmd
}

// aboutNode asks the running satellite something about one node.
func (a *app) aboutNode(ctx context.Context, text string, fn func(context.Context, pb.AdminClient, []byte) error) error {
	id, err := ident.ParseID(text)
	if err != nil {
		return err
	}
	return a.ask(ctx, func(ctx context.Context, c pb.AdminClient) error { return fn(ctx, c, id[:]) })
}
