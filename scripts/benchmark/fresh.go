package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// commandMemory is more than any command takes for itself, in bytes.
	commandMemory = 512 << 20
	// spared is what stays free whatever is asked for, so that nothing that
	// nodes have just stored is driven out of memory.
	spared = 1 << 30
	// hugePage is the least that is handed over, in bytes.
	hugePage = 2 << 20
)

// A reserve is memory that can be had at no more than the kernel's own price. A
// virtual machine hands memory back that has lain free for two seconds, and to get
// a page of it again takes some 10 µs: five times as long as writing it to a file.
// Whoever runs after such a while would pay for that, and the next would not. So
// the reserve is in use, and is given up piece by piece as others take memory.
type reserve struct {
	all     []byte
	rest    []byte // of all, from its beginning, what is not given up
	level   int64  // what is free at the beginning, in bytes
	ended   chan struct{}
	stopped chan struct{}
}

// reserveMemory makes ready what a command takes for itself, and so many bytes
// beside. Who asks for it closes it. It has half as much again, for a third more is
// given up than others take: what is on its way to them in the processors' own lists
// is not free any more, and not theirs yet.
func reserveMemory(bytes int64) (*reserve, error) {
	r, err := takeMemory(bytes + bytes/2 + commandMemory)
	if err != nil {
		return nil, err
	}
	err = r.give(commandMemory)
	if err == nil {
		r.level, err = freeMemory()
	}
	go r.follow()
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// takeMemory touches so many bytes, or as many as there are.
func takeMemory(bytes int64) (*reserve, error) {
	free, err := freeMemory()
	if err != nil {
		return nil, err
	}
	r := &reserve{ended: make(chan struct{}), stopped: make(chan struct{})}
	if bytes = min(bytes, free-spared) / hugePage * hugePage; bytes <= 0 {
		return r, nil
	}
	if r.all, err = unix.Mmap(-1, 0, int(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE); err != nil {
		return nil, fmt.Errorf("take memory: %w", err)
	}
	_ = unix.Madvise(r.all, unix.MADV_HUGEPAGE) // fewer faults, where that is known
	for at := 0; at < len(r.all); at += unix.Getpagesize() {
		r.all[at] = 1
	}
	r.rest = r.all
	return r, nil
}

// follow gives up as much as others take, until nothing is left.
func (r *reserve) follow() {
	defer close(r.stopped)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for len(r.rest) > 0 {
		select {
		case <-r.ended:
			return
		case <-tick.C:
			if free, err := freeMemory(); err == nil && free < r.level {
				_ = r.give(r.level - free) // or at the end
			}
		}
	}
}

// give gives up so many bytes, if there are as many.
func (r *reserve) give(bytes int64) error {
	keep := max(0, int64(len(r.rest))-(bytes+hugePage-1)/hugePage*hugePage)
	given := r.rest[keep:]
	if r.rest = r.rest[:keep]; len(given) == 0 {
		return nil
	}
	if err := unix.Madvise(given, unix.MADV_DONTNEED); err != nil {
		return fmt.Errorf("give memory back: %w", err)
	}
	return nil
}

func (r *reserve) close() error {
	close(r.ended)
	<-r.stopped
	if len(r.all) == 0 {
		return nil
	}
	return unix.Munmap(r.all)
}

// freeMemory is what nobody uses, in bytes.
func freeMemory() (int64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, fmt.Errorf("free memory: %w", err)
	}
	return int64(info.Freeram) * int64(info.Unit), nil
}
