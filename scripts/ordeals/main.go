// Command ordeals puts networks of real processes through what must not hurt
// them, and measures what it costs: nodes killed and wiped, liars, slow nodes,
// flipped bytes. Each ordeal starts a network of its own on this machine, exits
// 0 only if all that must hold holds, and takes no longer than it says.
// scripts/ordeal starts it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// An ordeal is one of them, with its options as its fields.
type ordeal interface {
	// flags declares the options, with the defaults of a run at full size.
	flags(f *flag.FlagSet)
	// run does it. What must hold and does not goes into the lab's report; an
	// error means that it could not be done.
	run(ctx context.Context, l *lab) error
}

// kind is an ordeal as the command line knows it.
type kind struct {
	name   string
	about  string
	within time.Duration // the time that it may take
	new    func() ordeal
}

func kinds() []kind {
	return []kind{
		{"churn", "kill and wipe nodes at once; the network has to be whole again by itself", 20 * time.Minute, func() ordeal { return new(churn) }},
		{"liars", "turn a third of the nodes into liars; they have to be found out", 30 * time.Minute, func() ordeal { return new(liars) }},
		{"audit", "measure what audits cost", 10 * time.Minute, func() ordeal { return new(auditCost) }},
		{"exit", "have a node exit; redundancy may never be lower than before", 20 * time.Minute, func() ordeal { return new(leave) }},
		{"flips", "flip bytes in a node's volumes; one scrub has to find them all", 12 * time.Hour, func() ordeal { return new(flips) }},
		{"slow", "upload steadily with slow nodes; what they miss must not double the traffic", 10 * time.Minute, func() ordeal { return new(slow) }},
		{"kills", "kill processes again and again under load; nothing acknowledged may be lost", 6 * time.Hour, func() ordeal { return new(kills) }},
		{"packs", "kill processes while small files are packed, copied, deleted and repacked", time.Hour, func() ordeal { return new(packs) }},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(command(ctx, os.Args[1:]))
}

func command(ctx context.Context, args []string) int {
	if len(args) > 0 {
		for _, k := range kinds() {
			if k.name == args[0] {
				return k.command(ctx, args[1:])
			}
		}
	}
	var usage strings.Builder
	for _, k := range kinds() {
		fmt.Fprintf(&usage, "  %-7s %s\n", k.name, k.about)
	}
	fmt.Fprintf(os.Stderr, "usage: scripts/ordeal NAME [options]; NAME -h lists them\n%s", usage.String())
	return 2
}

func (k kind) command(ctx context.Context, args []string) int {
	f := flag.NewFlagSet("ordeal "+k.name, flag.ExitOnError)
	format := f.String("o", "text", "output: text or json")
	dir := f.String("dir", "", "keep the network below this `directory`, to choose the disk (default: a temporary directory)")
	keep := f.Bool("keep", false, "leave what the processes wrote, also when all is well")
	within := f.Duration("within", k.within, "give up after this time")
	o := k.new()
	o.flags(f)
	f.Parse(args)
	if f.NArg() > 0 || *format != "text" && *format != "json" {
		f.Usage()
		return 2
	}
	ctx, cancel := context.WithTimeoutCause(ctx, *within, fmt.Errorf("not done within %v", *within))
	defer cancel()
	report, err := k.run(ctx, o, *dir, "", *keep)
	if err == nil {
		err = report.print(os.Stdout, *format)
	}
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "ordeal:", err)
		return 1
	case !report.Passed:
		return 1
	}
	return 0
}

// run does an ordeal in a fresh directory below dir, with the binaries in bin if
// they are built. The error is about the directory.
func (k kind) run(ctx context.Context, o ordeal, dir, bin string, keep bool) (*Report, error) {
	dir, err := os.MkdirTemp(dir, "cairn-"+k.name+".")
	if err != nil {
		return nil, err
	}
	l := &lab{dir: dir, bin: bin, keep: keep, report: newReport(k.name)}
	err = o.run(ctx, l)
	l.report.end(err)
	if err := l.close(); err != nil {
		l.report.end(err)
	}
	return l.report, nil
}
