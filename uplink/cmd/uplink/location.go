package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cairnstorage/cairn/uplink"
)

// scheme begins every URL of a bucket or object.
const scheme = "cairn://"

// location is what an argument of cp names: a bucket or object, a local path,
// or standard input or output.
type location struct {
	remote bool
	bucket string // of a remote location; empty for cairn:// itself
	key    string // object key or prefix; empty for a bucket
	path   string // of a local location
	std    bool   // "-"
}

// String is the location as it is written on the command line.
func (l location) String() string {
	switch {
	case l.std:
		return "-"
	case !l.remote:
		return l.path
	case l.bucket == "":
		return scheme
	case l.key == "":
		return scheme + l.bucket
	}
	return scheme + l.bucket + "/" + l.key
}

// isDir tells a location that is written as a directory: a bucket, or anything
// that ends in a slash.
func (l location) isDir() bool {
	if l.remote {
		return l.key == "" || strings.HasSuffix(l.key, "/")
	}
	return !l.std && (strings.HasSuffix(l.path, "/") || strings.HasSuffix(l.path, string(os.PathSeparator)))
}

// asDir is the location with the slash that makes it a directory.
func (l location) asDir() location {
	switch {
	case l.isDir() || l.std:
	case l.remote:
		l.key += "/"
	default:
		l.path += string(os.PathSeparator)
	}
	return l
}

// base is the last name of a location, without slashes; it may be empty.
func (l location) base() string {
	if l.remote {
		key := strings.TrimRight(l.key, "/")
		return key[strings.LastIndexByte(key, '/')+1:]
	}
	if l.std || l.path == "" {
		return ""
	}
	return filepath.Base(l.path)
}

// name is what a location is called below another one, or a usage error.
func (l location) name() (string, error) {
	name := l.base()
	if l.remote && l.key == "" {
		name = l.bucket
	}
	switch {
	case l.std:
		return "", usagef("standard input has no name: give the target one")
	case name == "" || name == "." || name == ".." || name == string(os.PathSeparator):
		return "", usagef("%q has no name of its own: give the target one", l)
	}
	return name, nil
}

// join is the location rel below a directory. Rel has slashes.
func (l location) join(rel string) location {
	l = l.asDir()
	if l.remote {
		l.key += rel
		return l
	}
	l.path = filepath.Join(l.path, filepath.FromSlash(rel))
	return l
}

// parseLocation reads an argument that may be local or remote.
func parseLocation(arg string) (location, error) {
	switch {
	case arg == "":
		return location{}, usagef("an empty argument names nothing")
	case arg == "-":
		return location{std: true}, nil
	case strings.HasPrefix(arg, scheme):
		return parseURL(arg)
	}
	if name, _, found := strings.Cut(arg, "://"); found && isWord(name) {
		return location{}, usagef("%q: URLs are written cairn://BUCKET/KEY; for a local file of this name write ./%s", arg, arg)
	}
	return location{path: arg}, nil
}

// parseURL reads an argument that has to be remote.
func parseURL(arg string) (location, error) {
	rest, found := strings.CutPrefix(arg, scheme)
	if !found {
		return location{}, usagef("%q is not a URL of the form cairn://BUCKET/KEY", arg)
	}
	bucket, key, _ := strings.Cut(rest, "/")
	if bucket == "" && key != "" {
		return location{}, usagef("%q lacks the bucket; write cairn://BUCKET/KEY", arg)
	}
	if bucket != "" {
		if err := uplink.CheckBucket(bucket); err != nil {
			return location{}, usageError{err}
		}
	}
	return location{remote: true, bucket: bucket, key: key}, nil
}

// parseBucket reads an argument that has to name a bucket.
func parseBucket(arg string) (string, error) {
	if !strings.Contains(arg, "/") {
		arg = scheme + arg // a bare name can be nothing else here
	}
	l, err := parseURL(arg)
	switch {
	case err != nil:
		return "", err
	case l.bucket == "" || l.key != "":
		return "", usagef("%q does not name a bucket; write cairn://BUCKET", arg)
	}
	return l.bucket, nil
}

// parseObject reads an argument that has to name an object.
func parseObject(arg string) (location, error) {
	l, err := parseURL(arg)
	if err != nil {
		return l, err
	}
	if l.bucket == "" || l.key == "" {
		return l, usagef("%q does not name an object; write cairn://BUCKET/KEY", arg)
	}
	if err := uplink.CheckKey(l.key); err != nil {
		return l, usageError{err}
	}
	return l, nil
}

func isWord(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+") == ""
}

// byteRange is a part of an object: bytes first to last, both included, or
// with last -1 to the end; or with first -1 the final last bytes.
type byteRange struct{ first, last int64 }

var wholeRange = byteRange{0, -1}

// parseRange reads FIRST-LAST, FIRST- or -COUNT, as in HTTP.
func parseRange(arg string) (byteRange, error) {
	fail := func() (byteRange, error) {
		return byteRange{}, usagef("range %q: write FIRST-LAST, FIRST- or -COUNT in bytes, like 0-1023 for the first 1,024", arg)
	}
	first, last, found := strings.Cut(arg, "-")
	if !found || first == "" && last == "" {
		return fail()
	}
	r := byteRange{-1, -1}
	for _, part := range []struct {
		text string
		into *int64
	}{{first, &r.first}, {last, &r.last}} {
		if part.text == "" {
			continue
		}
		n, err := strconv.ParseInt(part.text, 10, 64)
		if err != nil || n < 0 {
			return fail()
		}
		*part.into = n
	}
	if r.first >= 0 && r.last >= 0 && r.last < r.first {
		return byteRange{}, usagef("range %q ends before it begins", arg)
	}
	return r, nil
}

// resolve says which bytes of an object of this size are meant: where they
// begin and how many they are.
func (r byteRange) resolve(size int64) (offset, length int64, err error) {
	switch {
	case r.first < 0:
		length = min(r.last, size)
		return size - length, length, nil
	case r == wholeRange:
		return 0, size, nil
	case r.first >= size:
		return 0, 0, fmt.Errorf("the range begins at byte %d, but the object has %d bytes", r.first, size)
	case r.last < 0:
		return r.first, size - r.first, nil
	}
	return r.first, min(r.last+1, size) - r.first, nil
}
