package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"
)

const (
	passphraseEnv = "CAIRN_PASSPHRASE"
	maxPassphrase = 4096 // bytes
)

// passphrase gets the passphrase from the file, the environment or the
// terminal; a new one is asked for twice there.
func (a *app) passphrase(file string, isNew bool) ([]byte, error) {
	p, err := a.findPassphrase(file, isNew)
	switch {
	case err != nil:
		return nil, err
	case len(p) == 0:
		return nil, errors.New("the passphrase is empty")
	case len(p) > maxPassphrase:
		return nil, fmt.Errorf("the passphrase is longer than %d bytes", maxPassphrase)
	}
	return p, nil
}

func (a *app) findPassphrase(file string, isNew bool) ([]byte, error) {
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--passphrase-file: %w", err)
		}
		line, _, _ := bytes.Cut(data, []byte("\n"))
		return bytes.TrimSuffix(line, []byte("\r")), nil
	}
	if p := a.getenv(passphraseEnv); p != "" {
		return []byte(p), nil
	}
	first, ok, err := a.readSecret("Passphrase: ")
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	if !ok {
		return nil, fmt.Errorf("there is no terminal to ask for the passphrase: use --passphrase-file or %s", passphraseEnv)
	}
	if !isNew {
		return []byte(first), nil
	}
	again, _, err := a.readSecret("The same again: ")
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	if again != first {
		return nil, errors.New("the two passphrases differ")
	}
	return []byte(first), nil
}

// readSecret reads a line from the terminal without showing it.
func readSecret(prompt string) (line string, ok bool, err error) {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return "", false, nil
	}
	fmt.Fprint(os.Stderr, prompt)
	defer fmt.Fprintln(os.Stderr)
	b, err := term.ReadPassword(fd)
	return string(b), true, err
}
