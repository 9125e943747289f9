package main

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEvidenceCheck reads the golden files, with no satellite anywhere.
func TestEvidenceCheck(t *testing.T) {
	text, err := os.ReadFile("../../../proto/testdata/evidence.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct{ File, Node, Guilt string }
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	c := &console{t: t}
	path := filepath.Join(t.TempDir(), "evidence")
	for _, v := range vectors {
		file, err := hex.DecodeString(v.File)
		if err != nil {
			t.Fatal(err)
		}
		write := func(content []byte) {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(file)
		if out := c.ok("evidence", "check", path); !strings.Contains(out, v.Node) || !strings.Contains(out, v.Guilt) {
			t.Errorf("%s is told as %q", v.Guilt, out)
		}
		var f findingOut
		if err := json.Unmarshal([]byte(c.ok("evidence", "check", "-o", "json", path)), &f); err != nil || f.Node != v.Node || f.Guilt != v.Guilt {
			t.Errorf("%s as json: %+v, %v", v.Guilt, f, err)
		}
		file[len(file)/2] ^= 1
		write(file)
		c.fails("proves nothing", "evidence", "check", path)
		write(file[:len(file)/2])
		c.fails("not a file of evidence", "evidence", "check", path)
	}
	list, err := findings([][]byte{mustDecode(t, vectors[0].File), mustDecode(t, vectors[1].File)}, filepath.Join(t.TempDir(), "new"))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range list {
		if out := c.ok("evidence", "check", f.File); !strings.Contains(out, vectors[i].Guilt) {
			t.Errorf("written to a file: %q", out)
		}
	}
	var listing strings.Builder
	if printFindings(&listing, list); strings.Count(listing.String(), "\n") != 3 {
		t.Errorf("listed as %q", listing.String())
	}
	c.fails("no such file", "evidence", "check", path+"x")
	c.fails("arg", "evidence", "check")
	c.fails("use text or json", "evidence", "check", path, "-o", "yaml")
}

func mustDecode(t *testing.T, digits string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestNodeEvidence(t *testing.T) {
	dir := serve(t)
	c := &console{t: t}
	c.fails("not a peer id", "node", "evidence", "nonsense", "--dir", dir)
	var vectors []struct{ Node string }
	text, err := os.ReadFile("../../../proto/testdata/evidence.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	if out := c.ok("node", "evidence", vectors[0].Node, "--dir", dir, "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("evidence against a stranger: %q", out)
	}
	c.fails("must be above 0", "run", "--dir", dir, "--audit-batch", "0")
	c.fails("at most 256", "run", "--dir", t.TempDir(), "--audit-batch", "257")
}
