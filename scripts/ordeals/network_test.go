package main

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairnstorage/cairn/deploy/procnet"
)

// TestOrdeals puts small networks through the ordeals that judge what they see,
// rather than measure it. What a network of processes needs of a machine varies
// too much for tests that run with each change.
func TestOrdeals(t *testing.T) {
	if os.Getenv("CAIRN_LONG") == "" {
		t.Skip("takes minutes; set CAIRN_LONG")
	}
	bin := filepath.Join(t.TempDir(), "bin")
	if err := procnet.Build(t.Context(), bin, procnet.Liar); err != nil {
		t.Fatal(err)
	}
	for _, options := range []string{
		"flips --objects 8 --every 1021",
		"churn --nodes 9 --scheme 3/4/5/6 --size 32 --kill 2 --offline-grace 3s",
		"exit --nodes 8 --scheme 3/4/5/6 --size 32",
		"kills --nodes 8 --scheme 3/4/6/8 --rounds 10 --satellite 4 --wipe 3 --bound 32",
		"packs --nodes 8 --scheme 3/4/6/8 --rounds 10 --satellite 4 --bound 16",
		"liars --honest 12 --liars 8 --scheme 4/6/8/12 --size 64",
	} {
		name, rest, _ := strings.Cut(options, " ")
		t.Run(name, func(t *testing.T) { undergo(t, name, bin, strings.Fields(rest)) })
	}
}

// undergo runs an ordeal with options, in a network of its own.
func undergo(t *testing.T, name, bin string, options []string) {
	for _, k := range kinds() {
		if k.name != name {
			continue
		}
		o, f := k.new(), flag.NewFlagSet(name, flag.ContinueOnError)
		o.flags(f)
		if err := f.Parse(options); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), k.within)
		defer cancel()
		report, err := k.run(ctx, o, "", bin, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := report.print(t.Output(), "text"); err != nil {
			t.Fatal(err)
		}
		if !report.Passed {
			t.Fail()
		}
		return
	}
	t.Fatalf("there is no ordeal %s", name)
}
