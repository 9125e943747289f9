// Package names holds the rules of bucket names and object keys and encrypts
// object keys: component by component with a deterministic cipher under a key
// of the level, so that a satellite can list by prefix and read nothing.
package names

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"
)

// Limits of names, in bytes.
const (
	MinBucket    = 3
	MaxBucket    = 63
	MaxKey       = 1024 // an object key
	MaxEncrypted = 4096 // an object key once encrypted
)

// ErrName is wrapped by every error about a name that breaks the rules.
var ErrName = errors.New("invalid name")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrName, fmt.Sprintf(format, args...))
}

// CheckBucket reports why name cannot name a bucket. The rules are those of
// S3, so that every bucket can be served by its protocol and as a host name.
func CheckBucket(name string) error {
	switch {
	case name == "":
		return invalid("a bucket name is missing")
	case len(name) < MinBucket || len(name) > MaxBucket:
		return invalid("bucket %q: a bucket name has %d to %d characters", name, MinBucket, MaxBucket)
	}
	for i := range len(name) {
		c := name[i]
		if !isAlnum(c) && c != '-' && c != '.' {
			return invalid("bucket %q: only lower-case letters a-z, digits, dots and hyphens are allowed", name)
		}
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return invalid("bucket %q: the name and each part between dots begin and end with a letter or digit", name)
		}
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return invalid("bucket %q: a bucket name cannot look like an IP address", name)
	}
	return nil
}

func isAlnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// CheckKey reports why key cannot name an object.
func CheckKey(key string) error {
	if key == "" {
		return invalid("an object key is missing")
	}
	return CheckPrefix(key)
}

// CheckPrefix reports why no object key can begin with prefix.
func CheckPrefix(prefix string) error {
	switch {
	case len(prefix) > MaxKey:
		return invalid("an object key has at most %d bytes, this one has %d", MaxKey, len(prefix))
	case !utf8.ValidString(prefix):
		return invalid("object key %q is not valid UTF-8", prefix)
	case strings.IndexByte(prefix, 0) >= 0:
		return invalid("object key %q holds a NUL character", prefix)
	}
	size := 0
	for component := range strings.SplitSeq(prefix, "/") {
		size += encryptedSize(len(component))
	}
	if size > MaxEncrypted {
		return invalid("an object key with %d levels is too deep: %d bytes once encrypted, at most %d are allowed; use fewer slashes",
			strings.Count(prefix, "/")+1, size, MaxEncrypted)
	}
	return nil
}
