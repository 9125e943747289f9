// Command storagenode runs a storage node and looks after its data.
// `storagenode help` describes it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cairnstorage/cairn/proto/daemon"
	"github.com/cairnstorage/cairn/proto/pages"
)

const (
	// heap is what the heap of a daemon takes under load, in bytes.
	heap = 64 << 20
	// lateness is how late threads may be woken. A shard of a small object is so
	// little work that most of what woke a node was the runtime itself.
	lateness = 10 * time.Millisecond
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "run" {
		daemon.Unhurried(lateness)
		daemon.SpareProcessor()
		pages.Prepare(heap)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
