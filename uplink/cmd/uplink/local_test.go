package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"
)

// files lists all that is below dir.
func files(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPartial(t *testing.T) {
	for _, durable := range []bool{false, true} {
		testPartial(t, durable)
	}
}

func testPartial(t *testing.T, durable bool) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "file")
	modified := time.Unix(1_600_000_000, 123_000_000)
	p, err := openOutput(path, durable)
	if err != nil {
		t.Fatal(err)
	}
	p.modified = modified
	if _, err := p.WriteString("content"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the target exists early: %v", err)
	}
	if err := p.keep(); err != nil {
		t.Fatal(err)
	}
	p.discard() // as a deferred call does
	data, err := os.ReadFile(path)
	if err != nil || string(data) != "content" {
		t.Errorf("got %q, %v", data, err)
	}
	if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(modified) {
		t.Errorf("modified %v, %v", info.ModTime(), err)
	}
	if got := files(t, dir); !slices.Equal(got, []string{"new/file"}) {
		t.Errorf("there is %v", got)
	}
}

// What fails leaves the old file and nothing else; what is kept has its mode.
func TestPartialReplaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	write(t, path, "old")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, keep := range []bool{false, true} {
		p, err := openOutput(path, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.WriteString("new"); err != nil {
			t.Fatal(err)
		}
		want := "old"
		if keep {
			want = "new"
			if err := p.keep(); err != nil {
				t.Fatal(err)
			}
		}
		p.discard()
		if data, err := os.ReadFile(path); err != nil || string(data) != want {
			t.Errorf("got %q, %v", data, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		if got := files(t, dir); !slices.Equal(got, []string{"file"}) {
			t.Errorf("there is %v", got)
		}
	}
}

// Errors name the target, not the file that is written as yet.
func TestPartialNames(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	p, err := openOutput(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer p.discard()
	p.Close()
	_, err = p.WriteString("content")
	if got := p.named(err); !errors.Is(got, fs.ErrClosed) || !strings.Contains(got.Error(), path) {
		t.Errorf("%v is called %v", err, got)
	}
	other := &fs.PathError{Op: "read", Path: "other", Err: fs.ErrInvalid}
	if got := p.named(other); got != error(other) {
		t.Errorf("%v is called %v", other, got)
	}
}

func TestPartialThroughLink(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "real"), "old")
	link := filepath.Join(dir, "link")
	if err := os.Symlink("real", link); err != nil {
		t.Fatal(err)
	}
	p, err := openOutput(link, false)
	if err != nil {
		t.Fatal(err)
	}
	defer p.discard()
	p.WriteString("new")
	if err := p.keep(); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(filepath.Join(dir, "real")); string(data) != "new" {
		t.Errorf("the file behind the link holds %q", data)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link became %v, %v", info.Mode(), err)
	}
}

// Within a tree no link leads out of the target directory.
func TestTreeStaysInside(t *testing.T) {
	outside, inside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(inside, "link")); err != nil {
		t.Fatal(err)
	}
	tree, err := openTree(inside, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, rel := range []string{"link/file", "link/deep/file", "../file"} {
		if p, err := tree.create(rel, 0o666); err == nil {
			p.discard()
			t.Errorf("%s was made", rel)
		}
	}
	p, err := tree.create("link", 0o666) // takes the place of the link, not of what it leads to
	if err != nil {
		t.Fatal(err)
	}
	if err := p.keep(); err != nil {
		t.Fatal(err)
	}
	if err := tree.close(); err != nil {
		t.Fatal(err)
	}
	if got := files(t, outside); len(got) != 0 {
		t.Errorf("outside there is %v", got)
	}
	if info, err := os.Lstat(filepath.Join(inside, "link")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
}

// More directories than are kept open, from several goroutines, some files
// given up half-way.
func TestTree(t *testing.T) {
	for _, durable := range []bool{false, true} {
		testTree(t, durable)
	}
}

func testTree(t *testing.T, durable bool) {
	dir := filepath.Join(t.TempDir(), "new")
	tree, err := openTree(dir, durable)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	want := make(map[string]string)
	for i := range 8 * maxOpenDirs {
		rel := fmt.Sprintf("%d/%d/file%d", i%3, i%(3*maxOpenDirs), i)
		give := i%5 == 0
		if !give {
			want[rel] = rel
		}
		wg.Go(func() {
			p, err := tree.create(rel, 0o666)
			if err != nil {
				t.Error(err)
				return
			}
			defer p.discard()
			p.WriteString(rel)
			if give {
				return
			}
			if err := p.keep(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := tree.close(); err != nil {
		t.Fatal(err)
	}
	checkTree(t, dir, want)
}

func TestOutputRefused(t *testing.T) {
	dir := t.TempDir()
	if p, err := openOutput(dir, false); err == nil {
		p.discard()
		t.Error("a directory was overwritten")
	}
	write(t, filepath.Join(dir, "file"), "")
	if p, err := openOutput(filepath.Join(dir, "file", "below"), false); err == nil {
		p.discard()
		t.Error("a file became a directory")
	}
	if got := files(t, dir); !slices.Equal(got, []string{"file"}) {
		t.Errorf("there is %v", got)
	}
}

func TestOutputDevice(t *testing.T) {
	if p, err := openOutput(os.DevNull, true); err == nil {
		p.discard()
		t.Error("a device is to keep what it is given")
	}
	p, err := openOutput(os.DevNull, false)
	if err != nil {
		t.Fatal(err)
	}
	defer p.discard()
	if _, err := p.WriteString("gone"); err != nil {
		t.Error(err)
	}
	if err := p.keep(); err != nil {
		t.Error(err)
	}
}

// A file that was written to or replaced since it was read is not removed.
func TestRemoveRead(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	long := time.Unix(1_600_000_000, 0)
	for name, test := range map[string]struct {
		path   string
		change func() error
		goes   bool
	}{
		"untouched": {path, func() error { return nil }, true},
		"gone":      {path, func() error { return os.Remove(path) }, true},
		"a link":    {link, func() error { return nil }, true},
		"longer": {path, func() error {
			return errors.Join(os.WriteFile(path, []byte("content."), 0), os.Chtimes(path, long, long))
		}, false},
		"written": {path, func() error { return os.WriteFile(path, []byte("CONTENT"), 0) }, false},
		"replaced": {path, func() error {
			return errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, []byte("content"), 0o666), os.Chtimes(path, long, long))
		}, false},
		"a link led elsewhere": {link, func() error {
			write(t, path+"2", "content")
			return errors.Join(os.Chtimes(path+"2", long, long), os.Remove(link), os.Symlink("file2", link))
		}, false},
	} {
		os.Remove(link)
		write(t, path, "content")
		if err := errors.Join(os.Chtimes(path, long, long), os.Symlink("file", link)); err != nil {
			t.Fatal(err)
		}
		read, err := os.Stat(test.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := test.change(); err != nil {
			t.Fatal(err)
		}
		if err := removeRead(test.path, read); (err == nil) != test.goes {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Lstat(test.path); errors.Is(err, fs.ErrNotExist) != test.goes {
			t.Errorf("%s: afterwards %v", name, err)
		}
	}
}

func TestWalkFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b", "a/x", "a/y/z", "empty"} {
		write(t, filepath.Join(dir, name), strings.Repeat("x", len(name)-1))
	}
	if err := os.Mkdir(filepath.Join(dir, "emptydir"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("b", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o666); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "to-dir")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, top := range []string{dir, link} {
		var found, skipped []string
		err := walkFiles(t.Context(), top, func(f localFile) error {
			found = append(found, f.rel)
			if f.size != int64(len(f.rel)-1) || f.modified.IsZero() {
				t.Errorf("%+v", f)
			}
			return nil
		}, func(path, why string) {
			skipped = append(skipped, filepath.Base(path)+" "+why)
		}, func(path string, err error) {
			t.Errorf("%s: %v", path, err)
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"a/x", "a/y/z", "b", "empty"}; !slices.Equal(found, want) {
			t.Errorf("found %v", found)
		}
		if want := []string{"link a symbolic link", "pipe a named pipe"}; !slices.Equal(skipped, want) {
			t.Errorf("skipped %v", skipped)
		}
	}
	stopped := errors.New("stop")
	err := walkFiles(t.Context(), dir, func(localFile) error { return stopped }, nil, nil)
	if !errors.Is(err, stopped) {
		t.Errorf("stopped with %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := walkFiles(ctx, dir, nil, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := walkFiles(t.Context(), filepath.Join(dir, "nothing"), nil, nil, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
}

func TestContextReader(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", readAhead/8) // two buffers
	for name, r := range map[string]io.Reader{
		"whole":          strings.NewReader(content),
		"one byte":       iotest.OneByteReader(strings.NewReader(content[:1000])),
		"data and error": iotest.DataErrReader(strings.NewReader(content)),
	} {
		got, err := io.ReadAll(&contextReader{ctx: t.Context(), r: r})
		if err != nil || !strings.HasPrefix(content, string(got)) || len(got) != len(content) && name != "one byte" {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	broken := errors.New("broken")
	if _, err := io.ReadAll(&contextReader{ctx: t.Context(), r: iotest.ErrReader(broken)}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// A read that never ends does not keep the reader from ending.
func TestContextReaderStops(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	c := &contextReader{ctx: ctx, r: r}
	go func() {
		w.Write([]byte("some"))
		cancel()
	}()
	got, err := io.ReadAll(c)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %q, %v", got, err)
	}
}
