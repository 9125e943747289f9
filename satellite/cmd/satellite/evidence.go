package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/proto/evidence"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
)

func (a *app) evidence() *cobra.Command {
	cmd := family("evidence", "Evidence against storage nodes", a.evidenceCheck())
	// A file can be checked by anybody, with no satellite at hand.
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error { return a.checkOutput() }
	return cmd
}

// findingOut is who is guilty of what, as json.
type findingOut struct {
	Node      string    `json:"node"`
	Guilt     string    `json:"guilt"`
	Satellite string    `json:"satellite"`
	Group     uint32    `json:"group"`
	Slot      int       `json:"slot"`
	Entry     uint64    `json:"entry"`
	Segment   string    `json:"segment"`
	Root      string    `json:"root"`
	Leaf      int       `json:"leaf"`
	Answer    string    `json:"answer"`
	Asked     time.Time `json:"asked"`
	Answered  time.Time `json:"answered"`
	// Claimed is when the node claimed to hold the shard, if that is the point.
	Claimed *time.Time `json:"claimed,omitempty"`
	File    string     `json:"file,omitempty"` // that was written
}

func (a *app) evidenceCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Tell what a file of evidence convicts a storage node of",
		Long: `Tell what a file of evidence convicts a storage node of. Only the node's own
signatures count, so nobody else has to be believed. The command fails when the file
proves nothing, and says why.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := checkEvidence(args[0])
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			out := newFindingOut(f)
			return a.show(out, func(w io.Writer) { printFinding(w, &out) })
		},
	}
}

func newFindingOut(f *evidence.Finding) findingOut {
	c := &f.Challenge
	out := findingOut{
		Node: f.Node.String(), Guilt: f.Guilt.String(), Satellite: f.Satellite.String(),
		Group: c.Group, Slot: c.Slot, Entry: c.Seq, Segment: c.Segment.String(), Root: c.Root.String(), Leaf: c.Leaf,
		Answer: f.Status.String(), Asked: f.Asked, Answered: f.Answered,
	}
	if f.Claim != nil {
		out.Claimed = &f.Claim.Issued
	}
	return out
}

func checkEvidence(path string) (*evidence.Finding, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, evidence.MaxFile+1))
	if err != nil {
		return nil, err
	}
	return openEvidence(content)
}

func openEvidence(content []byte) (*evidence.Finding, error) {
	e, err := evidence.Parse(content)
	if err != nil {
		return nil, err
	}
	return e.Check()
}

func printFinding(w io.Writer, f *findingOut) {
	fmt.Fprintf(w, "node\t%s\n", f.Node)
	fmt.Fprintf(w, "guilt\t%s\n", f.Guilt)
	fmt.Fprintf(w, "asked\t%s, by satellite %s\n", f.Asked.Format(time.DateTime), f.Satellite)
	fmt.Fprintf(w, "for\tleaf %d of its shard, in slot %d of group %d\n", f.Leaf, f.Slot, f.Group)
	fmt.Fprintf(w, "segment\t%s, entry %d, root %s\n", f.Segment, f.Entry, f.Root)
	fmt.Fprintf(w, "answered\t%s: %s\n", f.Answered.Format(time.DateTime), f.Answer)
	if f.Claimed != nil {
		fmt.Fprintf(w, "claimed\t%s\n", f.Claimed.Format(time.DateTime))
	}
}

func (a *app) nodeEvidence() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "evidence ID --dir DIR",
		Short: "List the evidence against a storage node",
		Long: `List the evidence that is kept against a storage node: the newest of its answers to
audits that convict it. With --out it is written to files, which anybody can check
with 'satellite evidence check FILE'.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := ident.ParseID(args[0])
			if err != nil {
				return err
			}
			var files [][]byte
			err = a.ask(cmd.Context(), func(ctx context.Context, c pb.AdminClient) error {
				m, err := c.NodeEvidence(ctx, &pb.NodeEvidenceRequest{Node: id[:]})
				files = m.GetFiles()
				return err
			})
			if err != nil {
				return err
			}
			list, err := findings(files, dir)
			if err != nil {
				return err
			}
			return a.show(list, func(w io.Writer) { printFindings(w, list) })
		},
	}
	cmd.Flags().StringVar(&dir, "out", "", "directory to write the evidence to, a file each")
	return cmd
}

// findings says what files of evidence are about, and writes them to a
// directory, if there is one.
func findings(files [][]byte, dir string) ([]findingOut, error) {
	list := make([]findingOut, 0, len(files))
	for i, content := range files {
		f, err := openEvidence(content)
		if err != nil {
			return nil, err
		}
		out := newFindingOut(f)
		if dir != "" {
			out.File = filepath.Join(dir, fmt.Sprintf("%s-%d-%d.evidence", out.Node, f.Asked.Unix(), i))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return nil, err
			}
			if err := os.WriteFile(out.File, content, 0o644); err != nil {
				return nil, err
			}
		}
		list = append(list, out)
	}
	return list, nil
}

func printFindings(w io.Writer, list []findingOut) {
	fmt.Fprintln(w, "ASKED\tGUILT\tGROUP\tSLOT\tENTRY\tSEGMENT\tFILE")
	for _, f := range list {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%s\n", f.Asked.Format(time.DateTime), f.Guilt, f.Group, f.Slot, f.Entry, f.Segment, f.File)
	}
}
