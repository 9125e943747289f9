package main

import (
	"context"
	"errors"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// batch does many pieces of work, some at a time. One that fails is reported
// and the others go on, unless the failure would meet them, too.
type batch struct {
	ctx    context.Context // of the work; ends at a fatal failure
	group  *errgroup.Group
	show   *display
	doing  string // past participle, for the summary
	writes bool   // it needs storage nodes that take shards
	mu     sync.Mutex
	report failures
	fatal  error
	cancel context.CancelCauseFunc
}

// newBatch begins a batch with so many workers.
func newBatch(ctx context.Context, workers int, show *display, doing string) *batch {
	b := &batch{show: show, doing: doing, group: new(errgroup.Group)}
	b.ctx, b.cancel = context.WithCancelCause(ctx)
	b.group.SetLimit(workers)
	return b
}

// run does one piece of work when a worker is free, or returns the error that
// ended the batch.
func (b *batch) run(what string, work func(ctx context.Context) error) error {
	if err := b.ctx.Err(); err != nil {
		return err
	}
	b.count()
	b.group.Go(func() error {
		if err := work(b.ctx); err != nil {
			b.fail(what, err)
		}
		return nil
	})
	return nil
}

func (b *batch) count() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.report.total++
}

// fail takes note of work that failed.
func (b *batch) fail(what string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return // it was stopped, it did not fail
	}
	if fatal(err, b.writes) {
		if b.fatal == nil {
			b.fatal = err
			b.cancel(err)
		}
		return
	}
	b.report.add(err)
	text := err.Error()
	if !strings.Contains(text, what) {
		text = what + ": " + text
	}
	b.show.note("%s", printable(text))
}

// refuse counts work that could not even be begun.
func (b *batch) refuse(what string, err error) {
	b.count()
	b.fail(what, err)
}

// wait waits for the work and joins its errors with that of the search for it.
func (b *batch) wait(search error) error {
	_ = b.group.Wait() // the work reports through fail
	defer b.cancel(nil)
	switch {
	case b.fatal != nil:
		return b.fatal
	case search != nil:
		return search
	case b.ctx.Err() != nil:
		return context.Cause(b.ctx)
	case b.report.failed > 0:
		report := b.report
		report.doing = b.doing
		return &report
	}
	return nil
}
