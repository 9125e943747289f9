package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/uplink"
)

// app is the program with the world it runs in, so that tests can run it in a
// world of their own.
type app struct {
	in       io.Reader
	out, err io.Writer
	bars     bool // err is a terminal
	terminal bool // out is one
	getenv   func(string) string
	password func(prompt string) (line string, ok bool, err error)
	options  []uplink.Option // of every project it opens

	access  string // --access
	output  string // -o
	profile string // --cpuprofile
	quiet   bool   // -q
	begun   bool   // the command line was understood

	stopProfile func()
}

const rootHelp = `uplink copies files into and out of a Cairn network and manages what is there.

What it may use is said by an access grant: one kept with 'uplink access
import', or the environment variable CAIRN_ACCESS (a grant, or the name of one
that is kept), or --access. Buckets and objects are written cairn://BUCKET/KEY.

Exit codes: 0 done; 1 failed; 2 wrong usage, nothing was done; 3 no such bucket,
object, file or access; 4 denied, or encrypted with another passphrase; 5 the
satellite is unreachable or refuses, or too few storage nodes are online; 130
interrupted.`

// run runs one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	out := &checkedWriter{w: a.out}
	a.out = out
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	a.stopProfile = func() {}
	err := root.ExecuteContext(ctx)
	a.stopProfile()
	if err == nil {
		err = out.err
	}
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		fmt.Fprintln(a.err, "uplink: interrupted")
		return exitInterrupted
	case !a.begun && out.err == nil && !errors.As(err, new(usageError)):
		err = usageError{fmt.Errorf("%w; `uplink help` says more", err)} // cobra's own complaints
	}
	v := judge(err)
	fmt.Fprintf(a.err, "uplink: %v\n", err)
	if v.hint != "" {
		fmt.Fprintf(a.err, "        %s\n", v.hint)
	}
	return v.code
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "uplink",
		Short:         "Copies files into and out of a Cairn network",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		Version:       version(),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.access, "access", "", "access grant to use, or the name of one that is kept (default $CAIRN_ACCESS)")
	flags.StringVarP(&a.output, "output", "o", "text", "`text` or json")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "print errors only")
	flags.StringVar(&a.profile, "cpuprofile", "", "write a CPU profile to this file")
	_ = flags.MarkHidden("cpuprofile")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentPreRunE = a.begin
	root.AddCommand(a.accessCommand(), a.mb(), a.rb(), a.ls(), a.cp(), a.mv(), a.rm(), a.cat(), a.stat(), a.du(), a.repack(), a.speed())
	return root
}

// version is that of the source this was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}

// begin checks what all commands share, once the command line is understood.
func (a *app) begin(cmd *cobra.Command, _ []string) error {
	if a.output != "text" && a.output != "json" {
		return usagef("unknown output format %q: use text or json", a.output)
	}
	a.begun = true
	if a.profile == "" {
		return nil
	}
	file, err := os.Create(a.profile)
	if err != nil {
		return fmt.Errorf("write the CPU profile: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		file.Close()
		return fmt.Errorf("write the CPU profile: %w", err)
	}
	a.stopProfile = func() {
		pprof.StopCPUProfile()
		file.Close()
	}
	return nil
}

func (a *app) json() bool { return a.output == "json" }

// project opens the project of the access grant in use.
func (a *app) project(ctx context.Context) (*uplink.Project, error) {
	text, err := a.grant()
	if err != nil {
		return nil, err
	}
	return uplink.Open(ctx, text, a.options...)
}

// with runs do with an open project.
func (a *app) with(cmd *cobra.Command, do func(ctx context.Context, p *uplink.Project) error) error {
	p, err := a.project(cmd.Context())
	if err != nil {
		return err
	}
	defer p.Close()
	return do(cmd.Context(), p)
}

// grant finds the text of the access grant in use.
func (a *app) grant() (string, error) {
	value := a.access
	if value == "" {
		value = strings.TrimSpace(a.getenv("CAIRN_ACCESS"))
	}
	if isGrant(value) {
		return value, nil // without need of a configuration directory
	}
	s, err := newStore(a.getenv)
	if err != nil {
		return "", err
	}
	return s.find(value)
}

// say prints a line that is no result, unless told to be quiet or to print
// JSON.
func (a *app) say(format string, args ...any) {
	if !a.quiet && !a.json() {
		fmt.Fprintf(a.out, format+"\n", args...)
	}
}

// printJSON prints one value.
func (a *app) printJSON(value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	_, err = a.out.Write(append(data, '\n'))
	return err
}

// args wraps a check of the number of arguments with words of what they are.
func args(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, got []string) error {
		if len(got) >= least && (most < 0 || len(got) <= most) {
			return nil
		}
		return usagef("%s takes %s; `%s --help` says more", cmd.CommandPath(), what, cmd.CommandPath())
	}
}
