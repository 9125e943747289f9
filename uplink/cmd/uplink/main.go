// Command uplink copies files into and out of a Cairn network and manages what
// is there. `uplink help` describes it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"
)

// grace is how long an interrupted command may take to undo what it began.
const grace = 10 * time.Second

func main() {
	tendGarbage()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, func() {
		stop() // a second signal ends the process at once
		time.AfterFunc(grace, func() {
			fmt.Fprintln(os.Stderr, "uplink: interrupted, and what was begun could not be undone in time; the satellite drops it later")
			os.Exit(exitInterrupted)
		})
	})
	a := &app{
		in:       os.Stdin,
		out:      os.Stdout,
		err:      os.Stderr,
		bars:     isTerminal(os.Stderr),
		terminal: isTerminal(os.Stdout),
		getenv:   os.Getenv,
		password: readPassword,
	}
	os.Exit(a.run(ctx, os.Args[1:]))
}

// isTerminal tells a terminal that has a size to draw in.
func isTerminal(f *os.File) bool {
	width, height, err := term.GetSize(int(f.Fd()))
	return err == nil && width > 0 && height > 0
}

// readPassword reads a line from the terminal without showing it; ok is false
// when standard input is none.
func readPassword(prompt string) (line string, ok bool, err error) {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return "", false, nil
	}
	fmt.Fprint(os.Stderr, prompt)
	defer fmt.Fprintln(os.Stderr)
	data, err := term.ReadPassword(fd)
	return string(data), true, err
}
