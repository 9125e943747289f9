package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// commandMemory is more than any command takes for itself, in bytes.
	commandMemory = 512 << 20
	// spared is what stays free whatever is asked for, so that nothing that
	// nodes have just stored is driven out of memory.
	spared = 1 << 30
)

// haveMemory makes sure that so many bytes of memory can be had at no more than
// the kernel's own price, beside what a command takes for itself. A virtual machine
// hands memory back that it has not used for a while, and to get a page of it again
// takes some 10 µs: five times as long as writing it to a file. Whoever runs after
// such a while would pay for that, and the next would not.
func haveMemory(bytes int64) error {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return fmt.Errorf("free memory: %w", err)
	}
	free := int64(info.Freeram) * int64(info.Unit)
	if bytes = min(bytes+commandMemory, free-spared); bytes <= 0 {
		return nil
	}
	memory, err := unix.Mmap(-1, 0, int(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("take memory: %w", err)
	}
	_ = unix.Madvise(memory, unix.MADV_HUGEPAGE) // fewer faults, where that is known
	for at := 0; at < len(memory); at += unix.Getpagesize() {
		memory[at] = 1
	}
	return unix.Munmap(memory)
}
