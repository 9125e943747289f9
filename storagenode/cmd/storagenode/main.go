// Command storagenode runs a storage node and looks after its data.
// `storagenode help` describes it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/cairnstorage/cairn/proto/daemon"
	"github.com/cairnstorage/cairn/proto/pages"
)

// heap is what the heap of a daemon takes under load, in bytes.
const heap = 64 << 20

func main() {
	if len(os.Args) > 1 && os.Args[1] == "run" {
		daemon.Unhurried()
		pages.Prepare(heap)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
