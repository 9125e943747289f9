// Package pages has memory of the Go heap backed by huge pages.
//
// The first touch of each page of a process is a fault, and each address that a
// processor has forgotten about is looked up in the page tables. Both are cheap on
// bare hardware. In a virtual machine, and more so in one that is inside another,
// a fault takes up to 11 µs, so that touching fresh memory in pages of 4 KiB costs
// more than encrypting, coding and hashing what goes through it. Linux gives huge
// pages to all who ask, but the Go runtime does not ask.
package pages

import "runtime"

// Huge is the size of a huge page on most processors, in bytes.
const Huge = 2 << 20

// Prepare lets so many bytes by which the heap grows next be huge pages, where
// the operating system has them. They are taken when they are first touched, not
// before, and are collected and returned as any memory of the heap is. It costs a
// collection, so the time for it is when there is little to collect.
func Prepare(bytes int) {
	if advise(make([]byte, bytes)) {
		runtime.GC() // what was advised is free, and is what the heap uses next
	}
}
