// Command localnet runs a whole Cairn network in one process, to try it or to
// develop on: it prints an access grant and runs until Ctrl-C.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cairnstorage/cairn/deploy/localnet/network"
	"github.com/cairnstorage/cairn/proto/erasure"
)

const project = "local"

func main() {
	dir := flag.String("dir", "", "keep the network in this `directory`, and go on with what it holds")
	nodes := flag.Int("nodes", 10, "storage nodes")
	scheme := flag.String("scheme", "", "required/repair below/success/total shards (default 4/6/8/10, less for fewer nodes)")
	verbose := flag.Bool("v", false, "log what the parties do")
	flag.Parse()
	if *dir == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "usage: localnet --dir DIR [--nodes 10] [--scheme 4/6/8/10] [-v]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *dir, *nodes, *scheme, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "localnet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, nodes int, scheme string, verbose bool) error {
	c := network.Config{Dir: dir, Nodes: nodes}
	if scheme != "" {
		parsed, err := erasure.ParseScheme(scheme)
		if err != nil {
			return err
		}
		c.Scheme = parsed
	}
	if verbose {
		c.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	n, err := network.Start(ctx, c)
	if err != nil {
		return err
	}
	grant, err := grantOf(ctx, n, dir)
	if err != nil {
		return errors.Join(err, n.Close())
	}
	fmt.Fprintf(os.Stderr, "One satellite and %d nodes run in %s until Ctrl-C. To use them:\n  export CAIRN_ACCESS=<the line below>\n  uplink mb cairn://test\n", nodes, dir)
	fmt.Println(grant)
	<-ctx.Done()
	return n.Close()
}

// grantOf returns the grant that an earlier run left, or makes one. It stands
// in a file because only its maker knows the passphrase.
func grantOf(ctx context.Context, n *network.Network, dir string) (string, error) {
	path := filepath.Join(dir, "grant")
	if kept, err := os.ReadFile(path); err == nil {
		return strings.TrimSpace(string(kept)), nil
	}
	made, err := n.Grant(ctx, project, "a local network has no secrets")
	if err != nil {
		return "", err
	}
	return made, os.WriteFile(path, []byte(made+"\n"), 0o600)
}
