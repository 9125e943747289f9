package keys

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
	"testing/iotest"
)

// vectors were made by another implementation (HKDF written out over HMAC).
type vectors struct {
	Root       string
	Bucket     pathVector
	Components []pathVector
	Content    string
	Inline     string
	Segments   []struct {
		ID       string
		Position uint64
		Key      string
	}
}

type pathVector struct {
	Name, Key   string
	NameKey     string `json:"name_key"`
	MetadataKey string `json:"metadata_key"`
}

func loadVectors(t *testing.T) (v vectors) {
	t.Helper()
	data, err := os.ReadFile("testdata/keys.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGolden(t *testing.T) {
	v := loadVectors(t)
	check := func(what string, got []byte, want string) {
		t.Helper()
		if hex.EncodeToString(got) != want {
			t.Errorf("%s: got %x, want %s", what, got, want)
		}
	}
	checkPath := func(p Path, want pathVector) {
		t.Helper()
		name, metadata := p.Name(), p.Metadata()
		check(want.Name+": key", p[:], want.Key)
		check(want.Name+": name key", name[:], want.NameKey)
		check(want.Name+": metadata key", metadata[:], want.MetadataKey)
	}
	p := Bucket([Size]byte(unhex(t, v.Root)), v.Bucket.Name)
	checkPath(p, v.Bucket)
	for _, component := range v.Components {
		p = p.Component(component.Name)
		checkPath(p, component)
	}
	c := Content(unhex(t, v.Content))
	inline := c.Inline()
	check("inline", inline[:], v.Inline)
	for _, s := range v.Segments {
		key := c.Segment([16]byte(unhex(t, s.ID)), s.Position)
		check("segment", key[:], s.Key)
	}
}

// No two derivations may give the same key, whatever the strings in them.
func TestDistinct(t *testing.T) {
	seen := make(map[[Size]byte]string)
	add := func(what string, key [Size]byte) {
		t.Helper()
		if other, found := seen[key]; found {
			t.Errorf("%s and %s have the same key", what, other)
		}
		seen[key] = what
	}
	for _, root := range [][Size]byte{{}, {1}} {
		for _, bucket := range []string{"abc", "abd", "abc\x00"} {
			b := Bucket(root, bucket)
			add("bucket", b)
			add("bucket metadata", b.Metadata())
			name := b.Name()
			add("bucket name", [Size]byte(name[:Size]))
			add("bucket name, second half", [Size]byte(name[Size:]))
			for _, component := range []string{"", "a", "b", "abc"} {
				add("component", b.Component(component))
				add("component metadata", b.Component(component).Metadata())
				add("twice", b.Component(component).Component(component))
			}
		}
	}
	for _, c := range []Content{{}, {1}} {
		add("inline", c.Inline())
		for _, id := range [][16]byte{{}, {1}, {15: 1}} {
			for _, position := range []uint64{0, 1, 1 << 32, 1 << 63} {
				add("segment", c.Segment(id, position))
				add("extent", c.Extent(id, position))
			}
		}
	}
}

func TestNewContent(t *testing.T) {
	want := bytes.Repeat([]byte{7}, Size)
	c, err := NewContent(bytes.NewReader(want))
	if err != nil || !bytes.Equal(c[:], want) {
		t.Errorf("got %x, %v", c, err)
	}
	if _, err := NewContent(bytes.NewReader(want[1:])); err == nil {
		t.Error("a key was made of too little randomness")
	}
	if _, err := NewContent(iotest.ErrReader(os.ErrClosed)); err == nil {
		t.Error("a key was made of no randomness")
	}
	a, _ := NewContent(rand.Reader)
	b, _ := NewContent(rand.Reader)
	if a == b {
		t.Error("two keys are the same")
	}
}

func BenchmarkComponent(b *testing.B) {
	p := Bucket([Size]byte{}, "bucket")
	b.ReportAllocs()
	for b.Loop() {
		p.Component("name")
	}
}

func BenchmarkSegment(b *testing.B) {
	var c Content
	b.ReportAllocs()
	for b.Loop() {
		c.Segment([16]byte{}, 1)
	}
}
