// Command liar runs a storage node that misbehaves, against a network that is
// there to be tested: see package liar.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/cairnstorage/cairn/deploy/liar"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/transport"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "liar:", err)
		os.Exit(1)
	}
}

func run() error {
	var f liar.Faults
	key := flag.String("key", "", "file of its identity, made if missing (required)")
	satellite := flag.String("satellite", "", "address of the satellite, or a file that holds it (required)")
	flag.BoolVar(&f.WrongBytes, "wrong-bytes", false, "answer gets with wrong bytes")
	flag.BoolVar(&f.FalseProof, "false-proof", false, "make proofs up")
	flag.Float64Var(&f.Forget, "forget", 0, "share of the shards to drop, 0 to 1")
	flag.BoolVar(&f.Claim, "claim", false, "claim everything, held or not")
	flag.BoolVar(&f.Silent, "silent", false, "never answer")
	turn := flag.Bool("turn", false, "be honest until a SIGUSR1")
	flag.Parse()
	turned := make(chan os.Signal, 1)
	signal.Notify(turned, syscall.SIGUSR1) // before anything, since it would end the process
	if *key == "" || *satellite == "" {
		return fmt.Errorf("--key and --satellite are required")
	}
	if raw, err := os.ReadFile(*satellite); err == nil {
		*satellite = string(raw)
	}
	address, err := transport.ParseAddress(*satellite)
	if err != nil {
		return err
	}
	id, _, err := ident.LoadOrCreate(*key)
	if err != nil {
		return err
	}
	l, err := liar.New(liar.Config{Key: id, Satellite: address, Logger: slog.Default()})
	if err != nil {
		return err
	}
	if !*turn {
		l.Behave(f)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Println(l.ID())
	go func() {
		<-turned
		l.Behave(f)
	}()
	return l.Run(ctx)
}
