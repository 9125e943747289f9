package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// testPacks copies small files with -r, which packs them.
func testPacks(t *testing.T, w *world, bucket string) {
	from := filepath.Join(t.TempDir(), "from")
	tree := make(map[string]string)
	for i := range 60 {
		path := fmt.Sprintf("%02d/%d", i%7, i)
		tree[path] = strings.Repeat(fmt.Sprintf("%02d", i), i*300)
		write(t, filepath.Join(from, path), tree[path])
	}
	if r := w.want(exitOK, "cp", "-r", from, bucket+"/tree"); strings.Count(r.out, "\n") != len(tree) {
		t.Errorf("said %q", r.out)
	}
	var o struct{ Segments int }
	if r := w.want(exitOK, "stat", "-o", "json", bucket+"/tree/03/59"); json.Unmarshal([]byte(r.out), &o) != nil || o.Segments != 1 {
		t.Errorf("one of them: %s", r.out)
	}
	back := filepath.Join(t.TempDir(), "back")
	w.want(exitOK, "cp", "-r", bucket+"/tree", back)
	checkTree(t, back, tree)

	repack := func(args ...string) (r repacked) {
		t.Helper()
		out := w.want(exitOK, append([]string{"repack", "-o", "json"}, args...)...).out
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return r
	}
	repack() // what other tests have left
	for i := range 6 {
		w.want(exitOK, "rm", "-r", fmt.Sprintf("%s/tree/%02d", bucket, i))
	}
	planned := repack("--dry-run")
	if planned.Sparse != 1 || planned.Moved == 0 || planned.Freed < 500_000 || !planned.DryRun {
		t.Errorf("planned: %+v", planned)
	}
	planned.DryRun = false
	if done := repack(); done != planned {
		t.Errorf("done: %+v, planned: %+v", done, planned)
	}
	if r := w.want(exitOK, "repack"); !strings.Contains(r.out, "0 packs below 50 %\nmoved 0 objects, freed 0 B\n") {
		t.Errorf("said %q", r.out)
	}
	w.want(exitUsage, "repack", "--below", "101")
	w.want(exitUsage, "repack", bucket)
	left := filepath.Join(t.TempDir(), "left")
	w.want(exitOK, "cp", "-r", bucket+"/tree", left)
	for path := range tree {
		if !strings.HasPrefix(path, "06/") {
			delete(tree, path)
		}
	}
	checkTree(t, left, tree)

	// A move takes the files it has copied; an interrupted copy leaves no half.
	w.want(exitOK, "mv", "-r", left, bucket+"/moved")
	for _, path := range files(t, left) {
		t.Errorf("%s is still there", path)
	}
	w.want(exitOK, "cp", "-r", bucket+"/moved", left)
	checkTree(t, left, tree)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := w.runIn(ctx, "cp", "-r", from, bucket+"/interrupted"); r.code != exitInterrupted {
		t.Errorf("%+v", r)
	}
	w.want(exitNotFound, "ls", bucket+"/interrupted/")
}
