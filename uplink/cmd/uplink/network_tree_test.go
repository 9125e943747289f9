package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cairnstorage/cairn/uplink"
)

// makeTree writes a small tree and returns its files' contents by path.
func makeTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	tree := map[string]string{"empty": "", "a": "1", "dir/b": "22", "dir/sub/c": strings.Repeat("3", 70_000), "dir/ü": "4", "x y/z": "5"}
	for path, content := range tree {
		write(t, filepath.Join(dir, path), content)
	}
	return tree
}

func checkTree(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	got := make(map[string]string)
	for _, path := range files(t, dir) {
		data, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		got[path] = string(data)
	}
	if !maps.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", dir, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

func testTrees(t *testing.T, w *world, bucket string) {
	dir := t.TempDir()
	from := filepath.Join(dir, "from")
	tree := makeTree(t, from)
	if err := os.Symlink("a", filepath.Join(from, "link")); err != nil {
		t.Fatal(err)
	}
	for i, to := range []string{bucket, bucket + "/tree", bucket + "/deep/tree/"} {
		r := w.want(exitOK, "cp", "-r", from, to)
		if !strings.Contains(r.err, "link: skipped") || strings.Count(r.out, "\n") != len(tree) {
			t.Errorf("said %q and %q", r.out, r.err)
		}
		if i == 0 {
			back := filepath.Join(dir, "all")
			w.want(exitOK, "cp", "-r", to, back)
			checkTree(t, back, tree)
		}
	}
	for i, url := range []string{"/tree", "/tree/", "/deep/tree"} {
		back := filepath.Join(dir, "back", fmt.Sprint(i))
		w.want(exitOK, "cp", "-r", bucket+url, back)
		checkTree(t, back, tree)
		w.want(exitOK, "cp", "-r", bucket+url, back+"/") // again, over it
		checkTree(t, back, tree)
	}
	part := filepath.Join(dir, "part")
	w.want(exitOK, "cp", "-r", bucket+"/tree/dir", part)
	checkTree(t, part, map[string]string{"b": tree["dir/b"], "sub/c": tree["dir/sub/c"], "ü": tree["dir/ü"]})
	several := filepath.Join(dir, "several")
	w.want(exitOK, "cp", "-r", filepath.Join(from, "dir"), filepath.Join(from, "a"), bucket+"/several")
	w.want(exitOK, "cp", "-r", bucket+"/several/dir", bucket+"/several/a", several)
	checkTree(t, several, map[string]string{"a": "1", "dir/b": tree["dir/b"], "dir/sub/c": tree["dir/sub/c"], "dir/ü": tree["dir/ü"]})
	w.want(exitUsage, "cp", "-r", filepath.Join(from, "a"), "..", bucket+"/several")
	one := filepath.Join(dir, "one")
	w.want(exitOK, "cp", "-r", bucket+"/tree/a", one) // no directory, but an object
	checkTree(t, one, map[string]string{"a": "1"})
	w.want(exitNotFound, "cp", "-r", bucket+"/nothing", filepath.Join(dir, "none"))
	w.want(exitNotFound, "cp", "-r", bucket+"/nothing/", filepath.Join(dir, "none"))
	w.want(exitNotFound, "cp", "-r", filepath.Join(dir, "nothing"), bucket)
	if r := w.want(exitOK, "du", bucket+"/tree/"); !strings.HasPrefix(r.out, "6 objects, 70005 bytes") {
		t.Errorf("du: %q", r.out)
	}
}

func testServerSide(t *testing.T, w *world, bucket string) {
	dir := t.TempDir()
	tree := makeTree(t, dir)
	w.want(exitOK, "cp", "-r", dir, bucket+"/tree/")
	w.want(exitOK, "cp", bucket+"/tree/dir/sub/c", bucket+"/c2")
	if r := w.want(exitOK, "cat", bucket+"/c2"); r.out != tree["dir/sub/c"] {
		t.Errorf("%d bytes", len(r.out))
	}
	w.want(exitOK, "rm", bucket+"/tree/dir/sub/c") // the copy does not need its source
	if r := w.want(exitOK, "cat", bucket+"/c2"); r.out != tree["dir/sub/c"] {
		t.Errorf("%d bytes", len(r.out))
	}
	w.want(exitOK, "cp", bucket+"/c2", bucket+"/tree/dir/sub/c")
	w.want(exitOK, "cp", "-r", bucket+"/tree", bucket+"/tree/inner") // into itself
	back := filepath.Join(dir, "back")
	w.want(exitOK, "cp", "-r", bucket+"/tree/inner/", back)
	checkTree(t, back, tree)
	w.want(exitNotFound, "cp", bucket+"/nothing", bucket+"/x")
	w.want(exitNotFound, "cp", bucket+"/c2", "cairn://nowhere/x")
}

func testMove(t *testing.T, w *world, bucket string) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	write(t, file, "content")
	w.want(exitOK, "mv", file, bucket)
	w.want(exitOK, "mv", bucket+"/file", bucket+"/dir/moved")
	w.want(exitNotFound, "stat", bucket+"/file")
	w.want(exitOK, "mv", bucket+"/dir/moved", bucket+"/dir/moved") // to itself
	w.want(exitOK, "mv", "-r", bucket+"/dir", bucket+"/dir2/")
	w.want(exitNotFound, "ls", bucket+"/dir/")
	w.want(exitOK, "cp", bucket+"/dir2/moved", bucket+"/dir3/sub/moved")
	w.want(exitOK, "mv", "-r", bucket+"/dir3", filepath.Join(dir, "tree"))
	w.want(exitNotFound, "ls", bucket+"/dir3/")
	w.want(exitOK, "mv", bucket+"/dir2/moved", dir)
	w.want(exitNotFound, "stat", bucket+"/dir2/moved")
	checkTree(t, dir, map[string]string{"moved": "content", "tree/sub/moved": "content"})
	w.want(exitNotFound, "mv", bucket+"/nothing", dir)
	w.want(exitUsage, "mv", os.DevNull, bucket+"/null")
	w.in = "x"
	w.want(exitOK, "cp", "-", bucket+"/key")
	w.want(exitFailure, "mv", bucket+"/key", os.DevNull)
	w.want(exitOK, "stat", bucket+"/key")
	testMoveReplaced(t, w, bucket)
}

// What a move has not copied stays.
func testMoveReplaced(t *testing.T, w *world, bucket string) {
	p, err := uplink.Open(t.Context(), w.env["CAIRN_ACCESS"])
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	from, err := parseObject(bucket + "/replaced")
	if err != nil {
		t.Fatal(err)
	}
	w.in = "old"
	w.want(exitOK, "cp", "-", from.String())
	read, err := p.Stat(t.Context(), from.bucket, from.key)
	if err != nil {
		t.Fatal(err)
	}
	w.in = "new"
	w.want(exitOK, "cp", "-", from.String())
	if err := deleteRead(t.Context(), p, from, read); err == nil || !strings.Contains(err.Error(), "left in place") {
		t.Errorf("got %v", err)
	}
	if r := w.want(exitOK, "cat", from.String()); r.out != "new" {
		t.Errorf("there is %q", r.out)
	}
}
