package main

import (
	"errors"
	"strings"
	"testing"
)

func at(t *testing.T, arg string) location {
	t.Helper()
	l, err := parseLocation(arg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestTarget(t *testing.T) {
	for _, c := range []struct {
		from, to string
		isDir    bool
		want     string // empty: refused
	}{
		{"dir/file", "cairn://bucket", false, "cairn://bucket/file"},
		{"dir/file", "cairn://bucket/", false, "cairn://bucket/file"},
		{"dir/file", "cairn://bucket/key", false, "cairn://bucket/key"},
		{"dir/file", "cairn://bucket/pre/", false, "cairn://bucket/pre/file"},
		{"-", "cairn://bucket/key", false, "cairn://bucket/key"},
		{"-", "cairn://bucket/pre/", false, ""},
		{"..", "cairn://bucket/pre/", false, ""},
		{"cairn://bucket/a/b", "file", false, "file"},
		{"cairn://bucket/a/b", "dir", true, "dir/b"},
		{"cairn://bucket/a/b", "dir/", false, "dir/b"},
		{"cairn://bucket/a/b", ".", true, "b"},
		{"cairn://bucket/a/b", "/", true, "/b"},
		{"cairn://bucket/a/b", "-", false, "-"},
		{"cairn://bucket/a/..", "dir", true, ""},
		{"cairn://bucket/a/b", "cairn://other", false, "cairn://other/b"},
		{"cairn://bucket/a/b", "cairn://other/x", false, "cairn://other/x"},
		{"cairn://bucket/a/b", "cairn://other/x/", false, "cairn://other/x/b"},
	} {
		got, err := target(at(t, c.from), at(t, c.to), c.isDir)
		switch {
		case c.want == "" && !errors.As(err, new(usageError)):
			t.Errorf("%s to %s: got %s, %v", c.from, c.to, got, err)
		case c.want != "" && (err != nil || got.String() != c.want):
			t.Errorf("%s to %s: got %s, %v; want %s", c.from, c.to, got, err, c.want)
		}
	}
}

func TestJoin(t *testing.T) {
	for _, c := range []struct{ to, rel, want string }{
		{"cairn://bucket", "a/b", "cairn://bucket/a/b"},
		{"cairn://bucket/tree", "a/b", "cairn://bucket/tree/a/b"},
		{"cairn://bucket/tree/", "a/b", "cairn://bucket/tree/a/b"},
		{"dir", "a/b", "dir/a/b"},
		{"dir/", "a/b", "dir/a/b"},
		{"/", "a/b", "/a/b"},
		{".", "a/b", "a/b"},
	} {
		if got := at(t, c.to).join(c.rel).String(); got != c.want {
			t.Errorf("%s in %s: got %s, want %s", c.rel, c.to, got, c.want)
		}
	}
}

func TestCheckCopy(t *testing.T) {
	for _, c := range []struct {
		args      string // the last is the target
		recursive bool
		want      direction // -1: refused
	}{
		{"file cairn://bucket/key", false, upload},
		{"file file2 cairn://bucket/pre/", false, upload},
		{"- cairn://bucket/key", false, upload},
		{"dir cairn://bucket", true, upload},
		{"cairn://bucket/key file", false, download},
		{"cairn://bucket/key -", false, download},
		{"cairn://bucket dir", true, download},
		{"cairn://bucket/pre/ dir", true, download},
		{"cairn://bucket/key cairn://bucket/key2", false, serverSide},
		{"cairn://bucket/pre/ cairn://other", true, serverSide},
		{"file file2", false, -1},
		{"- -", false, -1},
		{"- file cairn://bucket/pre/", false, -1},
		{"- cairn://bucket/pre/", true, -1},
		{"file cairn://bucket/key cairn://bucket/pre/", false, -1},
		{"file cairn://", false, -1},
		{"cairn:// dir", true, -1},
		{"cairn://bucket dir", false, -1},
		{"cairn://bucket/pre/ dir", false, -1},
		{"cairn://bucket/pre/ -", true, -1},
		{"cairn://bucket/a cairn://bucket/b -", false, -1},
	} {
		var places []location
		for arg := range strings.FieldsSeq(c.args) {
			places = append(places, at(t, arg))
		}
		last := len(places) - 1
		got, err := checkCopy(places[:last], places[last], c.recursive)
		switch {
		case c.want < 0 && !errors.As(err, new(usageError)):
			t.Errorf("%s: got %v, %v", c.args, got, err)
		case c.want >= 0 && (err != nil || got != c.want):
			t.Errorf("%s: got %v, %v", c.args, got, err)
		}
	}
}

func TestCheckLocalName(t *testing.T) {
	for _, rel := range []string{"a", "a/b", "...", "a b", "-", "\n", "é", "..a/b..", strings.Repeat("x", 255)} {
		if err := checkLocalName(rel); err != nil {
			t.Errorf("%q: %v", rel, err)
		}
	}
	for _, rel := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "./a", "../a", "a/..", "a/../b", "a/./b", "a\x00b", strings.Repeat("x", 256),
	} {
		if err := checkLocalName(rel); err == nil {
			t.Errorf("%q was accepted", rel)
		}
	}
}

func TestParseMetadata(t *testing.T) {
	got, err := parseMetadata([]string{"a=b", "c=", "d=e=f"})
	if err != nil || len(got) != 3 || got["a"] != "b" || got["c"] != "" || got["d"] != "e=f" {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "a", "=b"} {
		if _, err := parseMetadata([]string{bad}); !errors.As(err, new(usageError)) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
