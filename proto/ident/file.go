package ident

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

const (
	pemType    = "PRIVATE KEY" // PKCS #8, as openssl genpkey -algorithm ed25519 writes it
	maxKeyFile = 4 << 10
)

// LoadOrCreate reads the Key in the file at path, or makes a new one there if
// there is no such file. A new file can be read by its owner alone and is
// durable when LoadOrCreate returns; of several processes creating it at the
// same time all get the same Key. A file that others may read, or that holds
// something else, is an error and is left as it is.
func LoadOrCreate(path string) (key Key, created bool, err error) {
	key, err = Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	key, err = Generate(rand.Reader)
	if err != nil {
		return Key{}, false, err
	}
	err = create(path, key)
	if errors.Is(err, fs.ErrExist) { // another process was faster
		key, err = Load(path)
		return key, false, err
	}
	if err != nil {
		return Key{}, false, fmt.Errorf("create key file %s: %w", path, err)
	}
	return key, true, nil
}

// Load reads the Key in the file at path, as LoadOrCreate does. The error wraps
// fs.ErrNotExist if there is no such file.
func Load(path string) (Key, error) {
	file, err := os.Open(path)
	if err != nil {
		return Key{}, fmt.Errorf("open key file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return Key{}, fmt.Errorf("open key file: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return Key{}, fmt.Errorf("key file %s can be read by others (mode %04o): run chmod 600 on it, "+
			"and replace it if someone may have copied it", path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(file, maxKeyFile))
	if err != nil {
		return Key{}, fmt.Errorf("read key file %s: %w", path, err)
	}
	key, err := parseKey(text)
	if err != nil {
		return Key{}, fmt.Errorf("key file %s is damaged, restore it from a backup: %w", path, err)
	}
	return key, nil
}

func parseKey(text []byte) (Key, error) {
	section, _ := pem.Decode(text)
	if section == nil || section.Type != pemType {
		return Key{}, fmt.Errorf("it is not a PEM file with a %s section", pemType)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(section.Bytes)
	if err != nil {
		return Key{}, err
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return Key{}, fmt.Errorf("it holds a %T, not an Ed25519 key", parsed)
	}
	return Key{private: private}, nil
}

// create writes the file beside its place first, so that it is there whole or
// not at all, and never takes the place of another.
func create(path string, key Key) error {
	der, err := x509.MarshalPKCS8PrivateKey(key.private)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	temp, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}))
	if err == nil {
		err = temp.Sync()
	}
	if err := errors.Join(err, temp.Close()); err != nil {
		return err
	}
	if err := os.Link(temp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
