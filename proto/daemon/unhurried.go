// Package daemon is how the daemons ask to be run by the operating system.
package daemon

import (
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// marker is the environment variable that says that the program was begun anew
// already: should a kernel forget about the slack, that must not go on for ever.
const marker = "CAIRN_UNHURRIED"

// Unhurried lets the kernel wake the threads of this process later than asked for,
// by up to so much. To be called first of all: it begins the program anew, with the
// arguments, the files and the process id that it has. It does nothing where the
// operating system would not have that, or has more patience already.
//
// Beside those that work the Go runtime has a thread that looks after them, every
// 20 µs as long as there is anything to do. A daemon whose work comes in many
// small pieces wakes that thread several times for each of them. What it is late
// for is to take a processor away from who keeps it: see SpareProcessor.
func Unhurried(slack time.Duration) {
	// Threads take the slack from the one that began them, and the runtime has
	// begun some before main. What is executed keeps it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	now, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil || now >= int(slack) || os.Getenv(marker) != "" {
		return
	}
	path, err := os.Executable()
	if err != nil || unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0) != nil {
		return
	}
	_ = syscall.Exec(path, os.Args, append(os.Environ(), marker+"=1"))
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(now), 0, 0, 0)
}

// SpareProcessor has the Go runtime run on one processor more than the machine
// has, unless whoever starts the program has said on how many. A thread that waits
// for the disk keeps its processor until the runtime's own thread takes it away,
// which comes late in a process that is Unhurried.
func SpareProcessor() {
	if n, err := strconv.Atoi(os.Getenv("GOMAXPROCS")); err == nil && n > 0 {
		return
	}
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
}
