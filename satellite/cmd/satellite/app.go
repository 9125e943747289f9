package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// patience bounds a request to the running satellite.
const patience = 30 * time.Second

// app is the command line with all that it touches.
type app struct {
	in         io.Reader
	out, err   io.Writer
	getenv     func(string) string
	readSecret func(prompt string) (line string, ok bool, err error) // !ok: no terminal

	dir    string
	output string // "text" or "json"
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "satellite",
		Short:         "Run and administer a Cairn satellite",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			if a.dir == "" {
				return errors.New("which satellite? Give its directory with --dir DIR")
			}
			return nil
		},
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.PersistentFlags().StringVar(&a.dir, "dir", "", "directory of the satellite")
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "text", "output: text or json")
	root.CompletionOptions.DisableDefaultCmd = true

	project := family("project", "Projects and their access grants", a.projectCreate(), a.projectGrant(), a.projectList())
	node := family("node", "Storage nodes", a.nodeList(), a.nodeEvidence(), a.nodeReinstate(), a.nodeDisqualify())
	group := family("group", "Placement groups", a.groupList())
	root.AddCommand(a.run(), project, node, group, a.evidence(), a.verify(), a.status(), a.durability(), a.acceptLoss())
	return root
}

func (a *app) checkOutput() error {
	if a.output != "text" && a.output != "json" {
		return fmt.Errorf("-o %s: use text or json", a.output)
	}
	return nil
}

// family is a command that only has others below it.
func family(name, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: name, Short: short,
		Args: cobra.NoArgs, // else a mistyped command would print help and succeed
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// ask has fn talk to the running satellite.
func (a *app) ask(ctx context.Context, fn func(context.Context, pb.AdminClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client, done, err := satellite.DialAdmin(ctx, a.dir)
	if err != nil {
		return err
	}
	return errors.Join(satclient.FromStatus(fn(ctx, client)), done())
}

// show prints v as json, or has text print it.
func (a *app) show(v any, text func(w io.Writer)) error {
	if a.output == "json" {
		e := json.NewEncoder(a.out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(v)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	text(w)
	return w.Flush()
}

// version is that of the module, or of the source it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return "development"
}
