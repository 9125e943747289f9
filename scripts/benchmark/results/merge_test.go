package results

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// write puts reports into a directory, as files of these names.
func write(t *testing.T, reports map[string]*Report) string {
	t.Helper()
	dir := t.TempDir()
	for name, r := range reports {
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoadMerges(t *testing.T) {
	dir := write(t, map[string]*Report{
		"1.json": {
			Tree: "a", Day: "2026-01-01", Cores: 2, Seconds: 10,
			Transfers: []Transfer{{Scheme: "s", Direction: "upload", Rate: 1}, {Scheme: "s", Direction: "download", Rate: 2}},
			Ranges:    []Range{{Place: OnDisk, P50: 1}}, Trips: &Trips{Warm: 2},
		},
		"2.json": {
			Tree: "b", Day: "2026-01-02", Cores: 2, Seconds: 20, Others: 0.5,
			Transfers: []Transfer{{Scheme: "s", Direction: "upload", Rate: 3}, {Scheme: "s", Direction: "upload", Bytes: 1, Rate: 4}},
			Metadata:  []Metadata{{Objects: 5}},
		},
		"notes.txt": {},
	})
	r, runs, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	var rates []float64
	for _, row := range r.Transfers {
		rates = append(rates, row.Rate)
	}
	if len(rates) != 3 || rates[0] != 3 || rates[1] != 2 || rates[2] != 4 {
		t.Errorf("transfers at %v", rates)
	}
	if len(r.Ranges) != 1 || r.Trips == nil || len(r.Metadata) != 1 || r.Cores != 2 || r.Seconds != 30 {
		t.Errorf("merged into %+v", r)
	}
	if len(runs) != 2 || runs[0].Name != "1" || runs[1].Tree != "b" || runs[1].Others != 0.5 {
		t.Errorf("runs %+v", runs)
	}
}

func TestLoadRefuses(t *testing.T) {
	if r, runs, err := Load(filepath.Join(t.TempDir(), "none")); err != nil || len(runs) != 0 || len(r.Transfers) != 0 {
		t.Errorf("no directory gives %+v, %v, %v", r, runs, err)
	}
	dir := write(t, map[string]*Report{"a.json": {Cores: 2}, "b.json": {Cores: 4}})
	if _, _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "b.json") {
		t.Errorf("two machines in one: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "b.json"), []byte("scheme  nodes on"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(dir); err == nil {
		t.Error("a text is taken for a report")
	}
}

// TestAddBound: what is measured place by place is shown scheme by scheme.
func TestAddBound(t *testing.T) {
	r := new(Report)
	for _, scheme := range []string{"a", "b"} {
		for _, place := range []string{OnDisk, OnTmpfs} {
			r.AddBound(Bound{Scheme: scheme, Cores: 2, Places: []PlaceBound{{Place: place}}})
		}
	}
	want := []Bound{
		{Scheme: "a", Cores: 2, Places: []PlaceBound{{Place: OnDisk}, {Place: OnTmpfs}}},
		{Scheme: "b", Cores: 2, Places: []PlaceBound{{Place: OnDisk}, {Place: OnTmpfs}}},
	}
	if !reflect.DeepEqual(r.Bounds, want) {
		t.Errorf("%+v", r.Bounds)
	}
}
