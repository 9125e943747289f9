package main

import (
	"context"
	"syscall"
	"time"

	"github.com/cairnstorage/cairn/deploy/procnet"
)

// stall stops a process for most of the time until ctx is done: a node that is
// starved of its processor or its disk.
func stall(ctx context.Context, p *procnet.Process, stopped, going time.Duration) {
	defer p.Signal(syscall.SIGCONT)
	for ctx.Err() == nil {
		p.Signal(syscall.SIGSTOP)
		pause(ctx, stopped)
		p.Signal(syscall.SIGCONT)
		pause(ctx, going)
	}
}

// pause returns when d is over or ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
