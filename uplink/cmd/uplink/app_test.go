package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gopkg.in/macaroon.v2"

	"github.com/cairnstorage/cairn/proto/grant"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/uplink"
)

// world is what a command run by a test sees.
type world struct {
	t   *testing.T
	env map[string]string
	in  string

	reader io.Reader // instead of in
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{t: t, env: map[string]string{"CAIRN_CONFIG_DIR": filepath.Join(t.TempDir(), "config")}}
}

type result struct {
	code     int
	out, err string
}

func (w *world) run(args ...string) result { return w.runIn(w.t.Context(), args...) }

func (w *world) runIn(ctx context.Context, args ...string) result {
	w.t.Helper()
	var out, errs bytes.Buffer
	in := w.reader
	if in == nil {
		in = strings.NewReader(w.in)
	}
	a := &app{
		in: in, out: &out, err: &errs,
		getenv:   func(name string) string { return w.env[name] },
		password: func(string) (string, bool, error) { return "", false, nil },
	}
	code := a.run(ctx, args)
	return result{code, out.String(), errs.String()}
}

// want runs a command and checks its exit code; what it prints comes back.
func (w *world) want(code int, args ...string) result {
	w.t.Helper()
	r := w.run(args...)
	if r.code != code {
		w.t.Errorf("uplink %s: exit code %d instead of %d\n%s%s", strings.Join(args, " "), r.code, code, r.out, r.err)
	}
	if (code != exitOK) != strings.HasPrefix(lastError(r.err), "uplink: ") && code != exitOK {
		w.t.Errorf("uplink %s: said %q", strings.Join(args, " "), r.err)
	}
	return r
}

func lastError(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if !strings.HasPrefix(lines[i], " ") {
			return lines[i]
		}
	}
	return ""
}

// testGrant makes a grant that is whole, for a satellite that does not exist.
func testGrant(t *testing.T, n byte) string {
	t.Helper()
	key, err := macaroon.New([]byte("secret"), bytes.Repeat([]byte{n}, 32), "", macaroon.V2)
	if err != nil {
		t.Fatal(err)
	}
	if err := key.AddFirstPartyCaveat([]byte("only on Sundays")); err != nil {
		t.Fatal(err)
	}
	data, err := key.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	id := ident.FromSeed([32]byte{n}).ID()
	return grant.Grant{Satellite: "/ip4/127.0.0.1/tcp/1/p2p/" + id.String(), APIKey: data, RootKey: [32]byte{n}}.String()
}

func TestUsage(t *testing.T) {
	w := newWorld(t)
	w.env["CAIRN_ACCESS"] = testGrant(t, 1)
	for _, line := range []string{
		"nonsense", "access nonsense", "ls --nonsense", "ls a b", "ls file", "ls s3://bucket", "ls -o yaml", "ls cairn://B",
		"mb", "mb cairn://bucket/key", "mb cairn://", "rb", "stat", "stat cairn://", "cat", "cat file", "cat --range x cairn://bucket/key",
		"cp", "cp a", "cp a b", "cp cairn://bucket a", "cp --parallel 0 a cairn://bucket", "cp --range 0-1 a cairn://bucket",
		"cp --range 5 cairn://bucket/key -", "cp --metadata x a cairn://bucket", "cp --metadata a=b cairn://bucket/key a",
		"mv - cairn://bucket/key", "mv cairn://bucket/key -", "rm", "rm cairn://", "rm cairn://bucket", "rm file",
		"du file", "access import", "access use", "access rm", "access import ../x", "access import -- -x",
		"speed --scheme 1/2",
	} {
		if r := w.want(exitUsage, strings.Fields(line)...); r.out != "" {
			t.Errorf("%s: printed %q", line, r.out)
		}
	}
	for _, line := range []string{"", "help", "help cp", "cp --help", "access", "access --help"} {
		if r := w.want(exitOK, strings.Fields(line)...); !strings.Contains(r.out, "Usage:") {
			t.Errorf("%q: printed %q", line, r.out)
		}
	}
}

func TestAccess(t *testing.T) {
	w := newWorld(t)
	first, second := testGrant(t, 1), testGrant(t, 2)
	w.want(exitUsage, "ls") // nothing to use
	w.want(exitOK, "access", "ls")
	w.in = first + "\n"
	w.want(exitOK, "access", "import", "home")
	w.in = ""
	w.want(exitOK, "access", "import", "work", second)
	w.want(exitOK, "access", "import", "work", second) // again
	w.want(exitUsage, "access", "import", "work", first)
	w.want(exitOK, "access", "import", "--force", "work", first)
	w.want(exitOK, "access", "import", "--force", "work", second)

	if r := w.want(exitOK, "access", "ls"); !strings.Contains(r.out, "* work") || !strings.Contains(r.out, "  home") {
		t.Errorf("listed %q", r.out)
	}
	var list []accessJSON
	r := w.want(exitOK, "access", "ls", "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &list); err != nil || len(list) != 2 || list[0].Name != "home" || !list[1].Current {
		t.Errorf("listed %+v, %v", list, err)
	}
	for _, secret := range []string{first, second} {
		if strings.Contains(r.out, secret) {
			t.Error("a grant is shown")
		}
	}
	w.want(exitOK, "access", "use", "home")
	if r := w.want(exitOK, "access", "inspect"); !strings.Contains(r.out, "only on Sundays") || !strings.Contains(r.out, strings.Repeat("01", 16)) {
		t.Errorf("inspected %q", r.out)
	}
	if r := w.want(exitOK, "access", "inspect", "work"); !strings.Contains(r.out, strings.Repeat("02", 16)) {
		t.Errorf("inspected %q", r.out)
	}
	w.want(exitOK, "access", "inspect", second)
	w.want(exitNotFound, "access", "inspect", "nothing")
	w.want(exitNotFound, "access", "use", "nothing")
	w.want(exitNotFound, "access", "rm", "nothing")
	w.want(exitNotFound, "ls", "--access", "nothing")
	w.want(exitOK, "access", "rm", "home")
	w.want(exitUsage, "ls") // the one in use is gone
	w.env["CAIRN_ACCESS"] = "work"
	w.want(exitOK, "access", "inspect")
	w.env["CAIRN_ACCESS"] = "gone"
	w.want(exitNotFound, "access", "inspect")
}

func TestAccessRefuses(t *testing.T) {
	w := newWorld(t)
	whole := testGrant(t, 1)
	for _, text := range []string{"", "hello", whole[:len(whole)-1], whole[:20], strings.Replace(whole, "cairn1", "cairn2", 1), whole + "x"} {
		w.in = text
		w.want(exitUsage, "access", "import", "x")
		if text != "" {
			w.env["CAIRN_ACCESS"] = whole[:len(whole)-3]
			w.want(exitUsage, "ls")
		}
	}
	if _, err := os.Stat(w.env["CAIRN_CONFIG_DIR"]); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory was made for nothing: %v", err)
	}
}

func TestStoreFile(t *testing.T) {
	w := newWorld(t)
	w.want(exitOK, "access", "import", "x", testGrant(t, 1))
	dir := w.env["CAIRN_CONFIG_DIR"]
	path := filepath.Join(dir, "access.json")
	for name, mode := range map[string]fs.FileMode{dir: 0o700, path: 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
	write(t, path, "{")
	if r := w.want(exitFailure, "access", "ls"); !strings.Contains(r.err, path) {
		t.Errorf("said %q", r.err)
	}
	write(t, path, `{"version": 2}`)
	w.want(exitFailure, "access", "import", "y", testGrant(t, 1))
	w.env = map[string]string{"HOME": dir}
	w.want(exitOK, "access", "import", "y", testGrant(t, 1))
	if _, err := os.Stat(filepath.Join(dir, ".config", "cairn", "access.json")); err != nil {
		t.Error(err)
	}
	w.env = map[string]string{"HOME": "/nonexistent", "XDG_CONFIG_HOME": filepath.Join(dir, "xdg")}
	w.want(exitOK, "access", "import", "y", testGrant(t, 1))
	w.env = map[string]string{}
	w.want(exitFailure, "access", "ls")
}

// Imports at the same time lose nothing.
func TestStoreConcurrent(t *testing.T) {
	w := newWorld(t)
	text := testGrant(t, 1)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if r := w.run("access", "import", fmt.Sprint("name", i), text); r.code != exitOK {
				t.Errorf("%+v", r)
			}
		})
	}
	wg.Wait()
	var list []accessJSON
	r := w.want(exitOK, "access", "ls", "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &list); err != nil || len(list) != 16 {
		t.Errorf("%d are kept, %v", len(list), err)
	}
	if got := files(t, w.env["CAIRN_CONFIG_DIR"]); len(got) != 2 {
		t.Errorf("there is %v", got)
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, exitOK},
		{errors.New("something"), exitFailure},
		{usagef("x"), exitUsage},
		{fmt.Errorf("x: %w", uplink.ErrName), exitUsage},
		{fmt.Errorf("x: %w", grant.ErrDamaged), exitUsage},
		{fmt.Errorf("x: %w", uplink.ErrBucketNotFound), exitNotFound},
		{fmt.Errorf("x: %w", uplink.ErrObjectNotFound), exitNotFound},
		{fmt.Errorf("x: %w", fs.ErrNotExist), exitNotFound},
		{fmt.Errorf("x: %w", errAccessNotFound), exitNotFound},
		{fmt.Errorf("x: %w", uplink.ErrWrongKey), exitDenied},
		{fmt.Errorf("x: %w", uplink.ErrDenied), exitDenied},
		{fmt.Errorf("x: %w", uplink.ErrTooFewNodes), exitUnavailable},
		{fmt.Errorf("x: %w", uplink.ErrSatelliteUnreachable), exitUnavailable},
		{fmt.Errorf("x: %w", uplink.ErrBucketNotEmpty), exitFailure},
		{&failures{failed: 1, total: 2, code: exitNotFound}, exitNotFound},
	} {
		if got := judge(c.err); got.code != c.want {
			t.Errorf("%v: %d, want %d", c.err, got.code, c.want)
		}
	}
}

func TestBatch(t *testing.T) {
	w := newWorld(t)
	var out, errs bytes.Buffer
	a := &app{out: &out, err: &errs, getenv: func(name string) string { return w.env[name] }}
	run := func(fail ...error) (int, error) {
		b := newBatch(t.Context(), 1, a.newDisplay(showing{}), "copied")
		b.writes = true
		ran := 0
		var err error
		for _, f := range fail {
			if err = b.run("it", func(context.Context) error { ran++; return f }); err != nil {
				break
			}
		}
		return ran, b.wait(err)
	}
	missing := fmt.Errorf("x: %w", fs.ErrNotExist)
	if ran, err := run(nil, nil); err != nil || ran != 2 {
		t.Errorf("%v, %d ran", err, ran)
	}
	if ran, err := run(nil, missing, nil, missing); judge(err).code != exitNotFound || ran != 4 || err.Error() != "2 of 4 were not copied" {
		t.Errorf("%v, %d ran", err, ran)
	}
	if _, err := run(missing, errors.New("other")); judge(err).code != exitFailure {
		t.Errorf("%v", err)
	}
	if _, err := run(nil, uplink.ErrName); judge(err).code != exitFailure { // something was done
		t.Errorf("%v", err)
	}
	ran, err := run(nil, uplink.ErrTooFewNodes, nil, nil, nil, nil)
	if !errors.Is(err, uplink.ErrTooFewNodes) || ran > 3 {
		t.Errorf("%v, %d ran", err, ran)
	}
}

func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{"": "", "añb": "añb", "a\x1b[2Jb": `a\u001b[2Jb`, "a\nb": `a\u000ab`, "\u202e": `\u202e`} {
		if got := printable(s); got != want {
			t.Errorf("%q: got %q", s, got)
		}
	}
}

// What cannot be printed is a failure.
func TestOutputFails(t *testing.T) {
	w := newWorld(t)
	w.want(exitOK, "access", "import", "name", testGrant(t, 1))
	for _, line := range []string{"access ls", "access ls -o json", "access inspect", "help", "--version"} {
		var errs bytes.Buffer
		a := &app{out: fullWriter{}, err: &errs, getenv: func(name string) string { return w.env[name] }}
		if code := a.run(t.Context(), strings.Fields(line)); code != exitFailure || !strings.Contains(errs.String(), "no space") {
			t.Errorf("%s: exit code %d, said %q", line, code, errs.String())
		}
	}
}

type fullWriter struct{}

func (fullWriter) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestJSONList(t *testing.T) {
	for n := range 4 {
		var out bytes.Buffer
		list := newJSONList(&out)
		for i := range n {
			size := int64(i)
			if err := list.add(event{Action: "copy", Size: &size}); err != nil {
				t.Fatal(err)
			}
		}
		if err := list.end(); err != nil {
			t.Fatal(err)
		}
		var got []event
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got) != n || got == nil {
			t.Errorf("%d: %v, %v", n, got, err)
		}
	}
}
