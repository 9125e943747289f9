package ident

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestLoadOrCreate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	key, created, err := LoadOrCreate(path)
	if err != nil || !created {
		t.Fatal(created, err)
	}
	again, created, err := LoadOrCreate(path)
	if err != nil || created || again.ID() != key.ID() {
		t.Errorf("second time: %v, created %v, %v", again.ID(), created, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestCreateAtTheSameTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	var group sync.WaitGroup
	keys := make([]Key, 8)
	made := make([]bool, len(keys))
	for i := range keys {
		group.Go(func() {
			var err error
			if keys[i], made[i], err = LoadOrCreate(path); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	creators := 0
	for i, key := range keys {
		if key.ID() != keys[0].ID() {
			t.Errorf("%d got another key", i)
		}
		if made[i] {
			creators++
		}
	}
	if creators != 1 {
		t.Errorf("%d created the key", creators)
	}
}

func TestLoadRefuses(t *testing.T) {
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(foreign)
	if err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(t.TempDir(), "good")
	if _, _, err := LoadOrCreate(good); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"readable by all":   {string(text), 0o644, "chmod 600"},
		"readable by group": {string(text), 0o640, "chmod 600"},
		"empty":             {"", 0o600, "damaged"},
		"cut off":           {string(text[:len(text)/2]), 0o600, "damaged"},
		"changed":           {strings.Replace(string(text), "M", "N", 1), 0o600, "damaged"},
		"not a key":         {"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n", 0o600, "damaged"},
		"public":            {strings.ReplaceAll(string(text), "PRIVATE", "PUBLIC"), 0o600, "PRIVATE KEY"},
		"of another kind":   {string(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})), 0o600, "not an Ed25519 key"},
		"huge":              {strings.Repeat(" ", 1<<20) + string(text), 0o600, "damaged"},
	} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		key, created, err := LoadOrCreate(path)
		if err == nil || created || !key.IsZero() || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: created %v, %v", name, created, err)
		}
		if left, err := os.ReadFile(path); err != nil || string(left) != c.text {
			t.Errorf("%s: the file was changed: %v", name, err)
		}
	}
}

func TestCreateWhereItCannot(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "none", "key"), filepath.Join(file, "key"), dir} {
		if key, created, err := LoadOrCreate(path); err == nil || created || !key.IsZero() {
			t.Errorf("%s: created %v, %v", path, created, err)
		}
	}
}
