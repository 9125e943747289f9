// Command satellite runs a Cairn satellite and administers a running one.
// `satellite help` describes it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cairnstorage/cairn/proto/daemon"
	"github.com/cairnstorage/cairn/proto/pages"
)

const (
	// heap is what the heap of a daemon takes under load, in bytes.
	heap = 128 << 20
	// lateness is how late threads may be woken. It is little because threads here
	// wait for the disk for several reasons at a time, and all others wait for
	// the runtime to notice.
	lateness = time.Millisecond
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "run" {
		daemon.Unhurried(lateness)
		daemon.SpareProcessor()
		pages.Prepare(heap)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv, readSecret: readSecret}
	root := a.command()
	root.SetArgs(os.Args[1:])
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "satellite:", err)
		os.Exit(1)
	}
}
