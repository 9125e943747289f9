package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// verifyOut is the outcome of a verification as json.
type verifyOut struct {
	Slots       uint32          `json:"slots"`
	Shards      uint64          `json:"shards"`
	Staged      uint64          `json:"staged"`
	Lacking     uint64          `json:"lacking"`
	Leaves      uint64          `json:"leaves_proved"`
	Differences []differenceOut `json:"differences"`
}

type differenceOut struct {
	Kind    string `json:"kind"`
	Node    string `json:"node"`
	Group   uint32 `json:"group"`
	Slot    uint32 `json:"slot"`
	Segment string `json:"segment,omitempty"`
	Entry   uint64 `json:"entry,omitempty"`
	Detail  string `json:"detail"`
}

func (a *app) verify() *cobra.Command {
	var prove string
	cmd := &cobra.Command{
		Use:   "verify --dir DIR",
		Short: "Compare the metadata with what storage nodes hold",
		Long: `Compare the metadata with what storage nodes claim and hold, in either direction: that
all live segments a node claims are there, under the right roots, and that nothing is
there that should have been deleted. With --prove nodes have to prove it, too: 'all' is
a leaf of every shard, drawn at random; a number is that of the shards in each slot all
of whose leaves are proved.

The network moves on meanwhile, so a difference counts only when it was there at every
look, the last of them several check-ins later. The command fails unless there is none.
What nodes say themselves that they lack is no difference; it is healed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			request, err := verifyRequest(prove)
			if err != nil {
				return err
			}
			out, err := a.verifyWith(cmd.Context(), request)
			if err != nil {
				return err
			}
			if err := a.show(out, func(w io.Writer) { printVerify(w, out) }); err != nil {
				return err
			}
			if n := len(out.Differences); n > 0 {
				return fmt.Errorf("the metadata and the nodes differ: %d differences", n)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&prove, "prove", "", "what nodes have to prove: all, or a number of shards in each slot")
	return cmd
}

func verifyRequest(prove string) (*pb.VerifyRequest, error) {
	switch prove {
	case "":
		return &pb.VerifyRequest{}, nil
	case "all":
		return &pb.VerifyRequest{ProveEach: true}, nil
	}
	n, err := strconv.ParseUint(prove, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("--prove %s: use all, or the number of shards in each slot", prove)
	}
	return &pb.VerifyRequest{ProveShards: uint32(n)}, nil
}

// verifyWith follows a verification to its end.
func (a *app) verifyWith(ctx context.Context, request *pb.VerifyRequest) (*verifyOut, error) {
	client, done, err := satellite.DialAdmin(ctx, a.dir)
	if err != nil {
		return nil, err
	}
	defer done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := client.Verify(ctx, request)
	if err != nil {
		return nil, satclient.FromStatus(err)
	}
	for {
		e, err := events.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil, errors.New("the satellite ended without an outcome")
		case err != nil:
			return nil, satclient.FromStatus(err)
		case e.Done:
			return newVerifyOut(e), nil
		case a.output == "text":
			fmt.Fprintf(a.err, "look %d: %d of %d slots, %d shards, %d leaves proved, %d in doubt\n",
				e.Looks, e.SlotsDone, e.Slots, e.Shards, e.Leaves, e.Doubts)
		}
	}
}

func newVerifyOut(e *pb.VerifyEvent) *verifyOut {
	out := &verifyOut{
		Slots: e.Slots, Shards: e.Shards, Staged: e.Staged, Lacking: e.Lacking, Leaves: e.Leaves,
		Differences: []differenceOut{},
	}
	for _, d := range e.Differences {
		kind := strings.ToLower(strings.TrimPrefix(d.Kind.String(), "DIFFERENCE_KIND_"))
		o := differenceOut{Kind: kind, Node: nodeID(d.Node), Group: d.Group, Slot: d.Slot, Entry: d.Seq, Detail: d.Detail}
		if id, err := order.SegmentIDFromBytes(d.Segment); err == nil {
			o.Segment = id.String()
		}
		out.Differences = append(out.Differences, o)
	}
	return out
}

func printVerify(w io.Writer, out *verifyOut) {
	fmt.Fprintf(w, "slots\t%d\n", out.Slots)
	fmt.Fprintf(w, "shards\t%d of live segments, %d staged\n", out.Shards, out.Staged)
	fmt.Fprintf(w, "lacking\t%d, by the word of the nodes\n", out.Lacking)
	fmt.Fprintf(w, "proved\t%d leaves\n", out.Leaves)
	fmt.Fprintf(w, "differences\t%d\n", len(out.Differences))
	if len(out.Differences) == 0 {
		return
	}
	fmt.Fprintln(w, "\nKIND\tGROUP\tSLOT\tNODE\tENTRY\tSEGMENT\tDETAIL")
	for _, d := range out.Differences {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%d\t%s\t%s\n", d.Kind, d.Group, d.Slot, d.Node, d.Entry, d.Segment, d.Detail)
	}
}
