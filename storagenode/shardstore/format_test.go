package shardstore

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/merkle"
)

var update = flag.Bool("update", false, "write the golden record anew instead of checking against it")

// goldenParts are the headers and the footer of one record with fixed content.
func goldenParts() (d identity, p place, m *Meta, parts map[string][]byte) {
	copy(d.id[:], "golden directory")
	copy(d.secret[:], "the secret of a golden directory")
	data := make([]byte, 70_016)
	rand.NewChaCha8([32]byte{7: 7}).Read(data)
	one := sampleOf(7, data, 4, 10)
	one.meta.Created = time.Unix(1_800_000_000, 0)
	p = place{volume: 3, offset: 5 * pageSize, reserved: 80_000, slots: 12}
	h := merkle.NewHasher(0)
	h.Write(one.data)
	return d, p, &one.meta, map[string][]byte{
		"volume header": encodeVolumeHeader(d, p.volume),
		"record header": encodeRecordHeader(d, p, one.meta.Key),
		"footer":        encodeFooter(d, p, &one.meta, h.Subtrees()),
	}
}

func TestGoldenFormat(t *testing.T) {
	d, p, m, parts := goldenParts()
	var text strings.Builder
	for _, name := range []string{"volume header", "record header", "footer"} {
		fmt.Fprintf(&text, "%s\n%s", name, hex.Dump(parts[name]))
	}
	fmt.Fprintf(&text, "data at %d, footer at %d, length %d, on disk %d\n", p.dataOffset(), p.footerOffset(), p.length(), p.onDisk(70_016))
	path := filepath.Join("testdata", "record.txt")
	if *update {
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("the format has changed; old volumes could not be read:\n%s", text.String())
	}

	if id, n, err := decodeVolumeHeader(parts["volume header"]); err != nil || id != d || n != p.volume {
		t.Errorf("volume header: %v, %d, %v", id, n, err)
	}
	if got, key, err := decodeRecordHeader(d, p.volume, p.offset, parts["record header"]); err != nil || got != p || key != m.Key {
		t.Errorf("record header: %+v, %+v, %v", got, key, err)
	}
	got, subtrees, err := decodeFooter(d, p, append(parts["footer"], 1, 2, 3))
	if err != nil || got.Root != m.Root || got.Key != m.Key || got.Layout != m.Layout || !got.Created.Equal(m.Created) ||
		got.Slot != m.Slot || len(got.ShardRoots) != 10 || got.ShardRoots[9] != m.ShardRoots[9] || len(subtrees) != 2 {
		t.Errorf("footer: %+v, %v", got, err)
	}
}

// TestFormatDetectsChanges: no bit of a header or footer can change unnoticed,
// and none can be read at another place or with another secret.
func TestFormatDetectsChanges(t *testing.T) {
	d, p, _, parts := goldenParts()
	decode := map[string]func(d identity, p place, b []byte) error{
		"volume header": func(_ identity, _ place, b []byte) error { _, _, err := decodeVolumeHeader(b); return err },
		"record header": func(d identity, p place, b []byte) error {
			_, _, err := decodeRecordHeader(d, p.volume, p.offset, b)
			return err
		},
		"footer": func(d identity, p place, b []byte) error { _, _, err := decodeFooter(d, p, b); return err },
	}
	for name, part := range parts {
		for bit := range 8 * len(part) {
			changed := bytes.Clone(part)
			changed[bit/8] ^= 1 << (bit % 8)
			if err := decode[name](d, p, changed); !errors.Is(err, errFormat) {
				t.Fatalf("%s with bit %d changed: %v", name, bit, err)
			}
		}
		for n := range part {
			if err := decode[name](d, p, part[:n]); !errors.Is(err, errFormat) {
				t.Fatalf("%s cut off to %d bytes: %v", name, n, err)
			}
		}
		if name == "volume header" {
			continue
		}
		otherSecret, otherVolume, otherOffset := d, p, p
		otherSecret.secret[0] ^= 1
		otherVolume.volume++
		otherOffset.offset += pageSize
		for i, err := range []error{decode[name](otherSecret, p, part), decode[name](d, otherVolume, part), decode[name](d, otherOffset, part)} {
			if !errors.Is(err, errFormat) {
				t.Errorf("%s elsewhere (%d): %v", name, i, err)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	d, p, _, parts := goldenParts()
	for _, part := range parts {
		f.Add(part)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		// With a right checksum, so that the fields are looked at.
		if body := len(b) - checksumSize; body >= 0 {
			sum := d.checksum(p.volume, p.footerOffset(), b[:body])
			signed := append(bytes.Clone(b[:body]), sum[:]...)
			if m, subtrees, err := decodeFooter(d, p, signed); err == nil {
				if again := encodeFooter(d, p, m, subtrees); len(again) != len(signed) {
					t.Errorf("footer of %d bytes is written as %d", len(signed), len(again))
				}
			}
			sum = d.checksum(p.volume, p.offset, b[:body])
			signed = append(bytes.Clone(b[:body]), sum[:]...)
			if q, _, err := decodeRecordHeader(d, p.volume, p.offset, signed); err == nil && q.length() < pageSize {
				t.Errorf("record of %d bytes", q.length())
			}
		}
		if _, _, err := decodeVolumeHeader(b); err == nil && len(b) < volumeHeaderSize {
			t.Error("a short volume header was read")
		}
		var e entry
		if err := e.decode(Key{}, b); err == nil && !bytes.Equal(e.encode()[8:], b[8:]) {
			t.Error("an entry is written otherwise than it was read")
		}
	})
}

// TestHostileShard stores a shard full of what could pass for records, damages
// the header before it, and scans: nothing of it may be found.
func TestHostileShard(t *testing.T) {
	cfg := testConfig(t)
	s := openStore(t, cfg)
	d := s.dirs[0]
	victim := newSample(3, 4096)
	data := make([]byte, 40*pageSize)
	for offset := 0; offset+pageSize <= len(data); offset += 64 {
		forged := encodeRecordHeader(identity{}, place{volume: 1, offset: int64(offset), reserved: 64, slots: 10}, victim.meta.Key)
		copy(data[offset:], forged)
	}
	hostile := sampleOf(1, data, 4, 10)
	mustPut(t, s, hostile, victim)
	_, e, err := s.lookup(hostile.meta.Key)
	if err != nil {
		t.Fatal(err)
	}
	path := volumePath(d.path, e.volume)
	s.Close()
	flip(t, path, e.offset+3)
	var found []Damage
	report, err := RebuildIndex(t.Context(), cfg.Dirs[0], func(d Damage) { found = append(found, d) })
	if err != nil || report.Shards != 1 || len(found) != 1 || found[0].Fault != FaultJunk {
		t.Errorf("rebuild: %+v, %v, %v", report, found, err)
	}
	s = openStore(t, cfg)
	if err := victim.check(s); err != nil {
		t.Error(err)
	}
}
