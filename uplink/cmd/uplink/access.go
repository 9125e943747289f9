package main

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"gopkg.in/macaroon.v2"
)

func (a *app) accessCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "access",
		Short: "Keep access grants under names",
		Long: `Access grants are kept in $CAIRN_CONFIG_DIR, or else in cairn in the user's
configuration directory, readable by the user alone. A grant is a secret: who
has it can read and change the data.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.accessImport(), a.accessLs(), a.accessUse(), a.accessInspect(), a.accessRm())
	return cmd
}

func (a *app) accessImport() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "import NAME [GRANT]",
		Short: "Keep a grant under a name and use it from now on",
		Long: `Keeps a grant under a name and makes it the one in use. Without GRANT, or with
-, it is read from standard input, which keeps it out of the shell's history.`,
		Args: args(1, 2, "a name and perhaps a grant"),
		RunE: func(_ *cobra.Command, args []string) error {
			text := "-"
			if len(args) == 2 {
				text = args[1]
			}
			return a.importAccess(args[0], text, force)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace a grant kept under this name")
	return cmd
}

func (a *app) importAccess(name, text string, force bool) error {
	if err := checkAccessName(name); err != nil {
		return err
	}
	var err error
	if text == "-" {
		if text, err = a.readGrant(); err != nil {
			return err
		}
	}
	g, err := parseGrant(text)
	if err != nil {
		return err
	}
	s, err := newStore(a.getenv)
	if err != nil {
		return err
	}
	err = s.update(func(kept *accesses) error {
		if old, found := kept.Grants[name]; found && old != g.String() && !force {
			return usagef("another grant is kept under the name %q: choose a different name, or replace it with --force", name)
		}
		kept.Grants[name] = g.String()
		kept.Current = name
		return nil
	})
	if err != nil {
		return err
	}
	a.say("access %s is in use; it is kept in %s", name, s.file())
	return a.showAccess(name, g.String(), true)
}

// showAccess prints the grant that a command was about as JSON, if asked for.
func (a *app) showAccess(name, text string, current bool) error {
	if !a.json() {
		return nil
	}
	row := describeGrant(text)
	row.Name, row.Current = name, current
	return a.printJSON(row)
}

// readGrant reads one line from the terminal or from standard input.
func (a *app) readGrant() (string, error) {
	line, ok, err := a.password("Access grant: ")
	if err != nil {
		return "", fmt.Errorf("read the access grant: %w", err)
	}
	if ok {
		return line, nil
	}
	line, err = bufio.NewReader(io.LimitReader(a.in, 1<<16)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the access grant: %w", err)
	}
	return strings.TrimSpace(line), nil
}

// accessJSON is a kept grant as -o json shows it, without its secrets.
type accessJSON struct {
	Name      string `json:"name,omitempty"`
	Current   bool   `json:"current"`
	Satellite string `json:"satellite"`
	Project   string `json:"project,omitempty"` // id, hexadecimal
	// Caveats are what the API key does not allow.
	Caveats []string `json:"caveats,omitempty"`
}

// projectIDSize is how many bytes at the front of an API key's id name the
// project.
const projectIDSize = 16

func (a *app) accessLs() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the grants that are kept",
		Args:  args(0, 0, "no arguments"),
		RunE:  func(*cobra.Command, []string) error { return a.listAccesses() },
	}
}

func (a *app) listAccesses() error {
	s, err := newStore(a.getenv)
	if err != nil {
		return err
	}
	kept, err := s.load()
	if err != nil {
		return err
	}
	list := make([]accessJSON, 0, len(kept.Grants))
	for _, name := range slices.Sorted(maps.Keys(kept.Grants)) {
		row := describeGrant(kept.Grants[name])
		row.Name, row.Current = name, name == kept.Current
		list = append(list, row)
	}
	if a.json() {
		return a.printJSON(list)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, row := range list {
		mark := " "
		if row.Current {
			mark = "*"
		}
		fmt.Fprintf(w, "%s %s\t%s\n", mark, row.Name, row.Satellite)
	}
	return w.Flush()
}

// describeGrant shows what of a grant is no secret.
func describeGrant(text string) accessJSON {
	g, err := parseGrant(text)
	if err != nil {
		return accessJSON{Satellite: err.Error()}
	}
	row := accessJSON{Satellite: g.Satellite}
	var key macaroon.Macaroon
	if err := key.UnmarshalBinary(g.APIKey); err != nil || len(key.Id()) < projectIDSize {
		row.Project = "unreadable: the API key in the grant is malformed"
		return row
	}
	row.Project = hex.EncodeToString(key.Id()[:projectIDSize])
	for _, caveat := range key.Caveats() {
		row.Caveats = append(row.Caveats, printable(string(caveat.Id)))
	}
	return row
}

func (a *app) accessUse() *cobra.Command {
	return &cobra.Command{
		Use:   "use NAME",
		Short: "Use a kept grant from now on",
		Args:  args(1, 1, "one name"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.changeAccess(args[0], func(kept *accesses) { kept.Current = args[0] })
		},
	}
}

func (a *app) accessRm() *cobra.Command {
	return &cobra.Command{
		Use:   "rm NAME",
		Short: "Forget a kept grant",
		Args:  args(1, 1, "one name"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.changeAccess(args[0], func(kept *accesses) {
				delete(kept.Grants, args[0])
				if kept.Current == args[0] {
					kept.Current = ""
				}
			})
		},
	}
}

func (a *app) changeAccess(name string, change func(*accesses)) error {
	s, err := newStore(a.getenv)
	if err != nil {
		return err
	}
	text, current := "", false
	err = s.update(func(kept *accesses) error {
		var found bool
		if text, found = kept.Grants[name]; !found {
			return fmt.Errorf("%w: %q", errAccessNotFound, clip(name))
		}
		change(kept)
		current = kept.Current == name
		return nil
	})
	if err != nil {
		return err
	}
	return a.showAccess(name, text, current)
}

func (a *app) accessInspect() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect [NAME|GRANT]",
		Short: "Show what a grant says, without its secrets",
		Long:  "Shows what a grant says, without its secrets; without an argument the one in use.",
		Args:  args(0, 1, "at most one name or grant"),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				a.access = args[0]
			}
			return a.inspectAccess()
		},
	}
}

func (a *app) inspectAccess() error {
	text, err := a.grant()
	if err != nil {
		return err
	}
	if _, err := parseGrant(text); err != nil {
		return err
	}
	row := describeGrant(text)
	row.Current = a.access == ""
	if a.json() {
		return a.printJSON(row)
	}
	fmt.Fprintf(a.out, "satellite  %s\nproject    %s\n", row.Satellite, row.Project)
	for _, caveat := range row.Caveats {
		fmt.Fprintf(a.out, "caveat     %s\n", caveat)
	}
	return nil
}
