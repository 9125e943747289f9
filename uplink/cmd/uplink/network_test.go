package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/deploy/localnet/network"
	"github.com/cairnstorage/cairn/proto/grant"
)

// TestNetwork runs the commands against a whole network in this process.
func TestNetwork(t *testing.T) {
	n, err := network.Start(t.Context(), network.Config{Dir: t.TempDir(), Nodes: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	access, err := n.Grant(t.Context(), "test", "correct horse battery staple")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, *world, string)
	}{
		{"Buckets", testBuckets}, {"Files", testFiles}, {"Ranges", testRanges}, {"Metadata", testMetadata},
		{"Trees", testTrees}, {"ServerSide", testServerSide}, {"Move", testMove}, {"Remove", testRemove},
		{"UnsafeNames", testUnsafeNames}, {"NothingLeft", testNothingLeft}, {"Interrupt", testInterrupt},
		{"Packs", testPacks}, {"WrongKey", testWrongKey}, {"DryRun", testDryRun}, {"JSON", testJSON},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.env["CAIRN_ACCESS"] = access
			bucket := "cairn://" + strings.ToLower(test.name)
			w.want(exitOK, "mb", bucket)
			test.run(t, w, bucket)
		})
	}
	t.Run("NodesDown", func(t *testing.T) {
		w := newWorld(t)
		w.env["CAIRN_ACCESS"] = access
		testNodesDown(t, w, n)
	})
}

func testBuckets(t *testing.T, w *world, bucket string) {
	if r := w.want(exitFailure, "mb", bucket); !strings.Contains(r.err, "exists") {
		t.Errorf("said %q", r.err)
	}
	if r := w.want(exitOK, "ls"); !strings.Contains(r.out, bucket) {
		t.Errorf("listed %q", r.out)
	}
	w.want(exitOK, "ls", bucket)
	w.want(exitOK, "stat", bucket)
	w.in = "x"
	w.want(exitOK, "cp", "-", bucket+"/key")
	if r := w.want(exitFailure, "rb", bucket); !strings.Contains(r.err, "--force") {
		t.Errorf("said %q", r.err)
	}
	w.want(exitOK, "rb", "--force", bucket)
	for _, line := range []string{"ls", "rb", "rm -r", "stat", "du"} {
		if r := w.want(exitNotFound, append(strings.Fields(line), bucket)...); !strings.Contains(r.err, "bucket not found") {
			t.Errorf("%s said %q", line, r.err)
		}
	}
	w.want(exitNotFound, "cp", "-", bucket+"/key")
}

func testFiles(t *testing.T, w *world, bucket string) {
	dir := t.TempDir()
	random := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{0, 1, 4096, 4097, 65520, 300_000, 5 << 20} {
		content := make([]byte, size)
		random.Read(content)
		from, back := filepath.Join(dir, fmt.Sprint(size)), filepath.Join(dir, "back", fmt.Sprint(size))
		write(t, from, string(content))
		modified := time.Unix(1_600_000_000+int64(size), 5_000_000)
		if err := os.Chtimes(from, modified, modified); err != nil {
			t.Fatal(err)
		}
		w.want(exitOK, "cp", from, bucket)
		w.want(exitOK, "cp", fmt.Sprintf("%s/%d", bucket, size), back)
		w.in = string(content)
		w.want(exitOK, "cp", "-", fmt.Sprintf("%s/std/%d", bucket, size))
		for _, path := range []string{from, back} {
			info, err := os.Stat(path)
			if err != nil || !info.ModTime().Equal(modified) {
				t.Errorf("%s: modified %v, %v", path, info.ModTime(), err)
			}
		}
		if got, err := os.ReadFile(back); err != nil || string(got) != string(content) {
			t.Errorf("%d bytes: came back as %d, %v", size, len(got), err)
		}
		for _, args := range [][]string{{"cp", bucket + "/std/" + fmt.Sprint(size), "-"}, {"cat", bucket + "/" + fmt.Sprint(size)}} {
			if r := w.want(exitOK, args...); r.out != string(content) {
				t.Errorf("%v printed %d bytes of %d", args, len(r.out), size)
			}
		}
	}
	into := filepath.Join(dir, "into")
	if err := os.Mkdir(into, 0o777); err != nil {
		t.Fatal(err)
	}
	w.want(exitOK, "cp", bucket+"/0", bucket+"/1", bucket+"/4096", into)
	w.want(exitOK, "cp", "--parallel", "1", bucket+"/std/1", bucket+"/std/0", filepath.Join(dir, "made")+"/")
	if got := files(t, into); !slices.Equal(got, []string{"0", "1", "4096"}) {
		t.Errorf("there is %v", got)
	}
	if got := files(t, filepath.Join(dir, "made")); !slices.Equal(got, []string{"0", "1"}) {
		t.Errorf("there is %v", got)
	}
}

func testRanges(t *testing.T, w *world, bucket string) {
	content := strings.Repeat("0123456789", 50_000)
	w.in = content
	w.want(exitOK, "cp", "-", bucket+"/key")
	for text, want := range map[string]string{
		"0-0": content[:1], "5-14": content[5:15], "65515-65525": content[65515:65526], "499999-": "9",
		"-3": "789", "0-": content, "400000-999999": content[400_000:], "-0": "",
	} {
		if r := w.want(exitOK, "cat", "--range", text, bucket+"/key"); r.out != want {
			t.Errorf("%s: %d bytes instead of %d", text, len(r.out), len(want))
		}
		if r := w.want(exitOK, "cp", "--range="+text, bucket+"/key", "-"); r.out != want {
			t.Errorf("%s: %d bytes instead of %d", text, len(r.out), len(want))
		}
	}
	if r := w.want(exitFailure, "cat", "--range", "500000-", bucket+"/key"); !strings.Contains(r.err, bucket+"/key") {
		t.Errorf("said %q", r.err)
	}
	w.want(exitNotFound, "cat", "--range", "1-2", bucket+"/nothing")
}

func testMetadata(t *testing.T, w *world, bucket string) {
	w.in = "content"
	w.want(exitOK, "cp", "--metadata", "colour=blue", "--metadata", "note=a=b c", "-", bucket+"/key")
	stat := func(url string) objectJSON {
		t.Helper()
		var o objectJSON
		if err := json.Unmarshal([]byte(w.want(exitOK, "stat", "-o", "json", url).out), &o); err != nil {
			t.Fatal(err)
		}
		return o
	}
	want := map[string]string{"colour": "blue", "note": "a=b c"}
	if o := stat(bucket + "/key"); !maps.Equal(o.Metadata, want) || *o.Size != 7 || o.Key != "key" {
		t.Errorf("got %+v", o)
	}
	w.want(exitOK, "cp", bucket+"/key", bucket+"/copy")
	if o := stat(bucket + "/copy"); !maps.Equal(o.Metadata, want) {
		t.Errorf("copied: %+v", o)
	}
	w.want(exitOK, "cp", "--metadata", "new=yes", bucket+"/key", bucket+"/key")
	if o := stat(bucket + "/key"); !maps.Equal(o.Metadata, map[string]string{"new": "yes"}) {
		t.Errorf("replaced: %+v", o)
	}
	if r := w.want(exitOK, "ls", "-o", "json", "--metadata", bucket+"/copy"); !strings.Contains(r.out, "a=b c") {
		t.Errorf("listed %s", r.out)
	}
	w.want(exitFailure, "cp", "--metadata", "big="+strings.Repeat("x", 9000), "-", bucket+"/big")
	w.want(exitNotFound, "stat", bucket+"/big")
}

func testRemove(t *testing.T, w *world, bucket string) {
	w.in = "x"
	for _, key := range []string{"a", "a/b", "a/c/d", "ab", "e"} {
		w.want(exitOK, "cp", "-", bucket+"/"+key)
	}
	keys := func() string {
		var list []objectJSON
		if err := json.Unmarshal([]byte(w.want(exitOK, "ls", "-r", "-o", "json", bucket).out), &list); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, o := range list {
			names = append(names, o.Key)
		}
		return strings.Join(names, " ")
	}
	w.want(exitNotFound, "rm", bucket+"/a/")
	w.want(exitNotFound, "rm", bucket+"/nothing")
	w.want(exitOK, "rm", "-f", bucket+"/nothing")
	if r := w.want(exitNotFound, "rm", bucket+"/nothing", bucket+"/a", bucket+"/none"); !strings.Contains(r.err, "2 of 3 were not deleted") {
		t.Errorf("said %q", r.err)
	}
	if got := keys(); got != "a/b a/c/d ab e" {
		t.Errorf("left %s", got)
	}
	w.want(exitOK, "rm", "-r", bucket+"/a")
	if got := keys(); got != "ab e" {
		t.Errorf("left %s", got)
	}
	w.want(exitOK, "rm", "-r", bucket+"/e")
	w.want(exitNotFound, "rm", "-r", bucket+"/e")
	w.want(exitOK, "rm", "-r", bucket)
	w.want(exitOK, "rm", "-r", bucket)
	if got := keys(); got != "" {
		t.Errorf("left %s", got)
	}
}

// Keys that are no file names, or would lead elsewhere, are not written; the
// others are.
func testUnsafeNames(t *testing.T, w *world, bucket string) {
	dir := t.TempDir()
	w.in = "x"
	for _, key := range []string{"t/../../evil", "t//evil", "t/./evil", "t/..", "t/good", "t/dir"} {
		w.want(exitOK, "cp", "-", bucket+"/"+key)
	}
	target := filepath.Join(dir, "a", "b")
	r := w.want(exitFailure, "cp", "-r", bucket+"/t", target)
	if !strings.Contains(r.err, "would lead out") {
		t.Errorf("said %q", r.err)
	}
	if got := files(t, dir); !slices.Equal(got, []string{"a/b/dir", "a/b/good"}) {
		t.Errorf("there is %v", got)
	}
}

// A download that fails leaves nothing, and what was there.
func testNothingLeft(t *testing.T, w *world, bucket string) {
	dir := t.TempDir()
	old := filepath.Join(dir, "old")
	write(t, old, "old")
	w.want(exitNotFound, "cp", bucket+"/nothing", old)
	w.want(exitNotFound, "cp", bucket+"/nothing", filepath.Join(dir, "new", "file"))
	w.in = "x"
	w.want(exitOK, "cp", "-", bucket+"/key")
	for _, below := range []string{filepath.Join(old, "below"), filepath.Join(old, "below", "this"), old + "/"} {
		if r := w.want(exitFailure, "cp", bucket+"/key", below); !strings.Contains(r.err, "not a directory") {
			t.Errorf("%s: said %q", below, r.err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "sub", "key"), 0o777); err != nil {
		t.Fatal(err)
	}
	w.want(exitFailure, "cp", bucket+"/key", filepath.Join(dir, "sub")) // sub/key is a directory
	w.want(exitUsage, "cp", dir, bucket)
	w.want(exitNotFound, "cp", filepath.Join(dir, "nothing"), bucket)
	checkTree(t, dir, map[string]string{"old": "old"})
}

// An upload that is interrupted leaves no object, though standard input never
// ends.
func testInterrupt(t *testing.T, w *world, bucket string) {
	ctx, cancel := context.WithCancel(t.Context())
	in, feed := io.Pipe()
	defer feed.Close()
	go func() {
		feed.Write(make([]byte, 3<<20))
		cancel()
	}()
	w.reader = in
	if r := w.runIn(ctx, "cp", "-", bucket+"/key"); r.code != exitInterrupted {
		t.Errorf("%+v", r)
	}
	w.want(exitNotFound, "stat", bucket+"/key")
	dir := t.TempDir()
	w.reader, w.in = nil, "x"
	w.want(exitOK, "cp", "-", bucket+"/key")
	if r := w.runIn(ctx, "cp", bucket+"/key", filepath.Join(dir, "file")); r.code != exitInterrupted {
		t.Errorf("%+v", r)
	}
	checkTree(t, dir, nil)
}

func testWrongKey(t *testing.T, w *world, bucket string) {
	w.in = "x"
	w.want(exitOK, "cp", "-", bucket+"/key")
	g, err := grant.Parse(w.env["CAIRN_ACCESS"])
	if err != nil {
		t.Fatal(err)
	}
	other := g
	other.RootKey[0]++
	w.env["CAIRN_ACCESS"] = other.String()
	if r := w.want(exitDenied, "ls", bucket); !strings.Contains(r.err, "passphrase") || r.out != "" {
		t.Errorf("said %q, printed %q", r.err, r.out)
	}
	w.want(exitNotFound, "cat", bucket+"/key") // under this key it has another name
	testMixedKeys(t, w, bucket)
	forged := g
	forged.APIKey = slices.Clone(g.APIKey)
	forged.APIKey[len(forged.APIKey)-1]++
	w.env["CAIRN_ACCESS"] = forged.String()
	for _, line := range []string{"ls", "mb cairn://forged", "cat " + bucket + "/key"} {
		if r := w.want(exitDenied, strings.Fields(line)...); r.out != "" {
			t.Errorf("%s printed %q", line, r.out)
		}
	}
}

// Objects of two passphrases in one bucket: each grant does what it can with its
// own.
func testMixedKeys(t *testing.T, w *world, bucket string) {
	w.in = "xyz"
	for _, key := range []string{"key", "a/b", "a/c"} {
		w.want(exitOK, "cp", "-", bucket+"/"+key)
	}
	if r := w.want(exitDenied, "ls", "-r", bucket); strings.Count(r.out, "\n") != 3 || !strings.Contains(r.err, "1 of 4 names") {
		t.Errorf("said %q, printed %q", r.err, r.out)
	}
	if r := w.want(exitDenied, "ls", "-o", "json", bucket); !json.Valid([]byte(r.out)) {
		t.Errorf("printed %q", r.out)
	}
	for _, url := range []string{bucket, ""} {
		if r := w.want(exitDenied, strings.Fields("du "+url)...); !strings.Contains(r.out, "3 objects, 9 bytes") && url != "" || r.out == "" {
			t.Errorf("printed %q", r.out)
		}
	}
	w.want(exitOK, "ls", bucket+"/a/")
	dir := t.TempDir()
	w.want(exitDenied, "cp", "-r", bucket, dir)
	checkTree(t, dir, map[string]string{"key": "xyz", "a/b": "xyz", "a/c": "xyz"})
	w.want(exitDenied, "cp", "-r", bucket, bucket+"/copy/")
	if r := w.want(exitOK, "du", bucket+"/copy/"); !strings.Contains(r.out, "3 objects") {
		t.Errorf("printed %q", r.out)
	}
	w.want(exitDenied, "rm", "-r", bucket)
	if r := w.want(exitDenied, "ls", bucket); !strings.Contains(r.err, "1 of 1 names") {
		t.Errorf("said %q", r.err)
	}
}

func testDryRun(t *testing.T, w *world, bucket string) {
	dir := t.TempDir()
	makeTree(t, dir)
	if r := w.want(exitOK, "cp", "-r", "--dry-run", dir, bucket); strings.Count(r.out, "would copy") != 6 {
		t.Errorf("said %q", r.out)
	}
	if r := w.want(exitOK, "ls", "-r", bucket); r.out != "" {
		t.Errorf("there is %q", r.out)
	}
	w.want(exitOK, "cp", "-r", dir, bucket)
	to := filepath.Join(dir, "to")
	for _, args := range [][]string{
		{"cp", "-r", bucket, to}, {"cp", bucket + "/a", to}, {"mv", bucket + "/a", bucket + "/b"},
		{"mv", filepath.Join(dir, "a"), bucket + "/b"}, {"rm", "-r", bucket}, {"rm", bucket + "/a"},
	} {
		if r := w.want(exitOK, append(args, "--dry-run")...); !strings.Contains(r.out, "would ") {
			t.Errorf("%v said %q", args, r.out)
		}
	}
	w.want(exitNotFound, "cp", "--dry-run", bucket+"/nothing", to)
	if _, err := os.Stat(to); !os.IsNotExist(err) {
		t.Errorf("the target exists: %v", err)
	}
	if r := w.want(exitOK, "ls", "-r", bucket); strings.Count(r.out, "\n") != 6 {
		t.Errorf("there is %q", r.out)
	}
}

func testJSON(t *testing.T, w *world, bucket string) {
	dir := t.TempDir()
	makeTree(t, dir)
	array := func(args ...string) (list []map[string]any) {
		t.Helper()
		r := w.want(exitOK, append(args, "-o", "json")...)
		if err := json.Unmarshal([]byte(r.out), &list); err != nil || list == nil {
			t.Errorf("%v: %v in %s", args, err, r.out)
		}
		return list
	}
	if list := array("ls", bucket); len(list) != 0 {
		t.Errorf("listed %v", list)
	}
	if list := array("cp", "-r", dir, bucket); len(list) != 6 || list[0]["action"] != "copy" {
		t.Errorf("copied %v", list)
	}
	if list := array("ls", bucket); len(list) != 4 || list[1]["prefix"] != "dir/" || list[0]["size"] != 1.0 {
		t.Errorf("listed %v", list)
	}
	if list := array("ls", "-r", bucket); len(list) != 6 || list[1]["key"] != "dir/b" {
		t.Errorf("listed %v", list)
	}
	if list := array("ls"); len(list) == 0 || list[0]["bucket"] == "" {
		t.Errorf("listed %v", list)
	}
	var u usage
	if err := json.Unmarshal([]byte(w.want(exitOK, "du", bucket, "-o", "json").out), &u); err != nil || u != (usage{6, 70_005}) {
		t.Errorf("%+v, %v", u, err)
	}
	if list := array("rm", "-r", bucket); len(list) != 6 {
		t.Errorf("removed %v", list)
	}
	if list := array("mb", "cairn://json-1", "cairn://json-2"); len(list) != 2 || list[1]["bucket"] != "json-2" || list[1]["created"] == "" {
		t.Errorf("made %v", list)
	}
	if r := w.want(exitFailure, "mb", "-o", "json", "cairn://json-3", "cairn://json-1"); !json.Valid([]byte(r.out)) {
		t.Errorf("printed %q", r.out)
	}
	if list := array("rb", "cairn://json-1", "cairn://json-2", "cairn://json-3"); len(list) != 3 || list[0]["source"] != "cairn://json-1" {
		t.Errorf("removed %v", list)
	}
}

// With too few nodes for either, both ways say so and leave nothing.
func testNodesDown(t *testing.T, w *world, n *network.Network) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	write(t, file, strings.Repeat("x", 100_000))
	w.want(exitOK, "mb", "cairn://down")
	w.want(exitOK, "cp", file, "cairn://down/key")
	for i := range 7 {
		if err := n.StopNode(i); err != nil {
			t.Fatal(err)
		}
	}
	if r := w.want(exitUnavailable, "cp", file, "cairn://down/new"); !strings.Contains(r.err, "nodes") {
		t.Errorf("said %q", r.err)
	}
	if r := w.want(exitUnavailable, "cp", "cairn://down/key", filepath.Join(dir, "back")); !strings.Contains(r.err, "nodes") {
		t.Errorf("said %q", r.err)
	}
	w.want(exitNotFound, "stat", "cairn://down/new")
	checkTree(t, dir, map[string]string{"file": strings.Repeat("x", 100_000)})
	if err := n.StartNode(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
}
