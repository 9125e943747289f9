package main

import (
	"errors"
	"testing"
)

func TestParseLocation(t *testing.T) {
	for arg, want := range map[string]location{
		"-":                   {std: true},
		"./-":                 {path: "./-"},
		"a/b":                 {path: "a/b"},
		"/a/":                 {path: "/a/"},
		"./http://x":          {path: "./http://x"},
		"cairn:/bucket":       {path: "cairn:/bucket"},
		"cairn://":            {remote: true},
		"cairn://bucket":      {remote: true, bucket: "bucket"},
		"cairn://bucket/":     {remote: true, bucket: "bucket"},
		"cairn://bucket//":    {remote: true, bucket: "bucket", key: "/"},
		"cairn://bucket/a b":  {remote: true, bucket: "bucket", key: "a b"},
		"cairn://bucket/a/b/": {remote: true, bucket: "bucket", key: "a/b/"},
		"cairn://bucket/%2F?": {remote: true, bucket: "bucket", key: "%2F?"},
	} {
		if got, err := parseLocation(arg); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", arg, got, err)
		}
	}
	for _, arg := range []string{"", "s3://bucket/key", "CAIRN://bucket", "cairn:///key", "cairn://Bucket/key", "cairn://ab"} {
		if got, err := parseLocation(arg); !errors.As(err, new(usageError)) {
			t.Errorf("%q: got %+v, %v", arg, got, err)
		}
	}
}

func TestParseBucketAndObject(t *testing.T) {
	for _, arg := range []string{"bucket", "cairn://bucket", "cairn://bucket/"} {
		if got, err := parseBucket(arg); err != nil || got != "bucket" {
			t.Errorf("%q: got %q, %v", arg, got, err)
		}
	}
	for _, arg := range []string{"", "cairn://", "cairn://bucket/key", "bucket/key", "/tmp", "B"} {
		if got, err := parseBucket(arg); !errors.As(err, new(usageError)) {
			t.Errorf("%q: got %q, %v", arg, got, err)
		}
	}
	for _, arg := range []string{"", "-", "file", "cairn://", "cairn://bucket", "cairn://bucket/", "cairn://bucket/\x00"} {
		if got, err := parseObject(arg); !errors.As(err, new(usageError)) {
			t.Errorf("%q: got %q, %v", arg, got, err)
		}
	}
}

func TestLocationString(t *testing.T) {
	for _, arg := range []string{"-", "a/b", "cairn://", "cairn://bucket", "cairn://bucket/a/b/"} {
		l, err := parseLocation(arg)
		if err != nil || l.String() != arg {
			t.Errorf("%q became %q, %v", arg, l, err)
		}
	}
}

func TestRange(t *testing.T) {
	const size = 100
	for _, c := range []struct {
		arg            string
		offset, length int64
	}{
		{"0-0", 0, 1}, {"0-99", 0, 100}, {"0-1000", 0, 100}, {"5-", 5, 95}, {"99-", 99, 1}, {"10-19", 10, 10},
		{"-1", 99, 1}, {"-100", 0, 100}, {"-1000", 0, 100}, {"-0", 100, 0}, {"0-9223372036854775806", 0, 100},
	} {
		r, err := parseRange(c.arg)
		if err != nil {
			t.Errorf("%s: %v", c.arg, err)
			continue
		}
		offset, length, err := r.resolve(size)
		if err != nil || offset != c.offset || length != c.length {
			t.Errorf("%s: got %d, %d, %v", c.arg, offset, length, err)
		}
	}
	for _, arg := range []string{"", "-", "5", "a-b", "5-4", "1-2-3", "--1", " 1-2", "1-99999999999999999999"} {
		if r, err := parseRange(arg); !errors.As(err, new(usageError)) {
			t.Errorf("%q: got %+v, %v", arg, r, err)
		}
	}
	for _, arg := range []string{"100-", "100-200", "1000-"} {
		r, err := parseRange(arg)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.resolve(size); err == nil {
			t.Errorf("%s of %d bytes was accepted", arg, size)
		}
	}
	if offset, length, err := wholeRange.resolve(0); offset != 0 || length != 0 || err != nil {
		t.Errorf("all of nothing: %d, %d, %v", offset, length, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, arg := range []string{"-", "a", "cairn://b/k", "cairn://bucket/key/", "0-1", "-5"} {
		f.Add(arg)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		if r, err := parseRange(arg); err == nil {
			if offset, length, err := r.resolve(1000); err == nil && (offset < 0 || length < 0 || offset+length > 1000) {
				t.Errorf("%q of 1000 bytes: %d, %d", arg, offset, length)
			}
		}
		l, err := parseLocation(arg)
		if err != nil {
			return
		}
		if again, err := parseLocation(l.String()); err != nil || again != l {
			t.Errorf("%q: %+v became %+v, %v", arg, l, again, err)
		}
	})
}
