package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/proto/grant"
	"github.com/cairnstorage/cairn/proto/pb"
)

// projectOut is a project as json.
type projectOut struct {
	Name    string    `json:"name"`
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Objects uint64    `json:"objects"`
	Bytes   uint64    `json:"bytes"`
	Grant   string    `json:"grant,omitempty"`
}

func newProjectOut(p *pb.Project) projectOut {
	return projectOut{
		Name: p.Name, ID: hex.EncodeToString(p.Id), Created: time.UnixMilli(p.Created).UTC(),
		Objects: p.Objects, Bytes: p.Bytes,
	}
}

func (a *app) projectCreate() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "create NAME --dir DIR",
		Short: "Create a project and print an access grant for it",
		Long: `Create a project and print an access grant for it, as the last line of output.
The passphrase encrypts all that the project will hold. It is asked for, or read
from --passphrase-file or the environment variable CAIRN_PASSPHRASE; it is not
kept anywhere, and without it or a grant made with it nothing can be read.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			passphrase, err := a.passphrase(file, true)
			if err != nil {
				return err
			}
			var salt [grant.SaltSize]byte
			if _, err := rand.Read(salt[:]); err != nil {
				return err
			}
			root := grant.RootKey(passphrase, salt[:])
			check := grant.KeyCheck(root)
			var p *pb.Project
			err = a.ask(cmd.Context(), func(ctx context.Context, c pb.AdminClient) (err error) {
				p, err = c.CreateProject(ctx, &pb.CreateProjectRequest{Name: args[0], Salt: salt[:], KeyCheck: check[:]})
				return err
			})
			if err != nil {
				return err
			}
			return a.showGrant(p, root)
		},
	}
	cmd.Flags().StringVar(&file, "passphrase-file", "", "file whose first line is the passphrase")
	return cmd
}

func (a *app) projectGrant() *cobra.Command {
	var file string
	var other bool
	cmd := &cobra.Command{
		Use:   "grant NAME --dir DIR",
		Short: "Print another access grant for a project",
		Long: `Print another access grant for a project, as the last line of output. The
passphrase is that of the project; with another one the grant could not read
what others wrote, so that has to be asked for with --new-passphrase.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var p *pb.Project
			err := a.ask(cmd.Context(), func(ctx context.Context, c pb.AdminClient) (err error) {
				p, err = c.GetProject(ctx, &pb.GetProjectRequest{Name: args[0]})
				return err
			})
			if err != nil {
				return err
			}
			if len(p.Salt) != grant.SaltSize {
				return errors.New("the satellite sent a project without salt")
			}
			passphrase, err := a.passphrase(file, other)
			if err != nil {
				return err
			}
			root := grant.RootKey(passphrase, p.Salt)
			check := grant.KeyCheck(root)
			if string(check[:]) != string(p.KeyCheck) && !other {
				return fmt.Errorf("this is not the passphrase that project %s was created with; what is there could not be read (--new-passphrase makes a grant all the same)", p.Name)
			}
			return a.showGrant(p, root)
		},
	}
	cmd.Flags().StringVar(&file, "passphrase-file", "", "file whose first line is the passphrase")
	cmd.Flags().BoolVar(&other, "new-passphrase", false, "allow another passphrase than that of the project")
	return cmd
}

// showGrant prints the grant alone on standard output.
func (a *app) showGrant(p *pb.Project, root [32]byte) error {
	g := grant.Grant{Satellite: p.Satellite, APIKey: p.ApiKey, RootKey: root}
	if err := g.Validate(); err != nil {
		return err
	}
	out := newProjectOut(p)
	out.Grant = g.String()
	return a.show(out, func(w io.Writer) {
		fmt.Fprintf(a.err, "Access grant for project %s. Whoever has it can read and write the project.\n", p.Name)
		fmt.Fprintln(w, out.Grant)
	})
}

func (a *app) projectList() *cobra.Command {
	return &cobra.Command{
		Use:   "ls --dir DIR",
		Short: "List projects",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := []projectOut{}
			err := a.ask(cmd.Context(), func(ctx context.Context, c pb.AdminClient) error {
				m, err := c.ListProjects(ctx, &pb.ListProjectsRequest{})
				for _, p := range m.GetProjects() {
					list = append(list, newProjectOut(p))
				}
				return err
			})
			if err != nil {
				return err
			}
			return a.show(list, func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tOBJECTS\tBYTES\tCREATED")
				for _, p := range list {
					fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", p.Name, p.Objects, humanize.IBytes(p.Bytes), p.Created.Format(time.DateTime))
				}
			})
		},
	}
}
