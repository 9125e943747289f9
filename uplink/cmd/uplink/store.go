package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cairnstorage/cairn/proto/grant"
)

// storeVersion is the version of the file this program writes.
const storeVersion = 1

// store is the file that keeps access grants under names. Whoever reads it can
// read the data, so only its owner may.
type store struct{ dir string }

// accesses is what the file holds.
type accesses struct {
	Version int               `json:"version"`
	Current string            `json:"current,omitempty"`
	Grants  map[string]string `json:"grants"`
}

// newStore finds the directory: $CAIRN_CONFIG_DIR, or cairn in the user's
// configuration directory by the XDG rules.
func newStore(getenv func(string) string) (store, error) {
	if dir := getenv("CAIRN_CONFIG_DIR"); dir != "" {
		return store{dir}, nil
	}
	if dir := getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return store{filepath.Join(dir, "cairn")}, nil
	}
	if home := getenv("HOME"); home != "" {
		return store{filepath.Join(home, ".config", "cairn")}, nil
	}
	return store{}, errors.New("no directory for the configuration: set CAIRN_CONFIG_DIR or HOME")
}

func (s store) file() string { return filepath.Join(s.dir, "access.json") }

// load reads the file; one that does not exist is empty.
func (s store) load() (*accesses, error) {
	a := &accesses{Version: storeVersion, Grants: make(map[string]string)}
	data, err := os.ReadFile(s.file())
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the access grants: %w", err)
	}
	if err := json.Unmarshal(data, a); err != nil {
		return nil, fmt.Errorf("read the access grants: %s is damaged (%w); remove it and import the grants again", s.file(), err)
	}
	if a.Version != storeVersion {
		return nil, fmt.Errorf("read the access grants: %s has version %d, this uplink knows version %d; get a newer uplink", s.file(), a.Version, storeVersion)
	}
	if a.Grants == nil {
		a.Grants = make(map[string]string)
	}
	return a, nil
}

// update changes the file, alone among the processes that do.
func (s store) update(change func(*accesses) error) (err error) {
	defer func() {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
			err = fmt.Errorf("%w; set CAIRN_CONFIG_DIR to a directory that can be written", err)
		}
	}()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("keep the access grants: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(s.dir, "access.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("keep the access grants: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("keep the access grants: lock %s: %w", lock.Name(), err)
	}
	a, err := s.load()
	if err != nil {
		return err
	}
	if err := change(a); err != nil {
		return err
	}
	if err := s.save(a); err != nil {
		return fmt.Errorf("keep the access grants: %w", err)
	}
	return nil
}

// save replaces the file so that a crash leaves the old or the new one.
func (s store) save(a *accesses) error {
	data, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	file, err := createPartial(s.dir, filepath.Base(s.file()), 0o600, true)
	if err != nil {
		return err
	}
	defer file.discard()
	if _, err := file.Write(append(data, '\n')); err != nil {
		return err
	}
	return file.keep()
}

// find returns the text of a grant: the value itself when it is one, else what
// is kept under this name, or with no name under the current one.
func (s store) find(value string) (string, error) {
	if isGrant(value) {
		return value, nil
	}
	a, err := s.load()
	if err != nil {
		return "", err
	}
	name := value
	if name == "" {
		name = a.Current
	}
	if name == "" {
		return "", usagef("no access grant: keep one with `uplink access import NAME`, or set CAIRN_ACCESS")
	}
	text, found := a.Grants[name]
	if !found {
		return "", fmt.Errorf("%w: %q", errAccessNotFound, name)
	}
	return text, nil
}

// isGrant tells the text of a grant, even a mistyped one, from an access name.
func isGrant(value string) bool {
	return strings.HasPrefix(strings.TrimSpace(value), "cairn1") || len(value) > maxAccessName
}

const maxAccessName = 64

// checkAccessName keeps names apart from grants and easy to type.
func checkAccessName(name string) error {
	ok := name != "" && len(name) <= maxAccessName && !isGrant(name) && name[0] != '-'
	for _, c := range name {
		ok = ok && (isWord(string(c)) || strings.ContainsRune("-_.", c))
	}
	if !ok {
		return usagef("access name %q: use 1 to %d letters, digits, dots, hyphens and underscores, not beginning with a hyphen or with cairn1", clip(name), maxAccessName)
	}
	return nil
}

func clip(s string) string {
	if len(s) > maxAccessName {
		return s[:maxAccessName] + "…"
	}
	return s
}

// parseGrant checks a grant's text and brings it into its one written form.
func parseGrant(text string) (grant.Grant, error) {
	g, err := grant.Parse(text)
	if err != nil {
		return grant.Grant{}, err
	}
	return g, nil
}
