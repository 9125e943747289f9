package storagenode

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// departure is a satellite's word that a node may go.
func (f *fakeSatellite) signDeparture(node ident.ID, slots uint32) *pb.Signed {
	f.t.Helper()
	signed, err := order.SignDeparture(f.key, &order.Departure{
		Satellite: f.key.ID(), Node: node, Slots: slots, Completed: time.Unix(1e9, 0),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return signed
}

func TestExit(t *testing.T) {
	satellite := newFakeSatellite(t)
	c := Config{Dir: shortDir(t), Satellite: satellite.serve(), Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Reserve: 1 << 20, Logger: testLogger(t)}
	if err := AskExit(t.Context(), c.Dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("before it runs: %v", err)
	}
	if _, err := ReadDeparture(c.Dir); !errors.Is(err, ErrNotDeparted) {
		t.Errorf("before it runs: %v", err)
	}
	n, stop := runNode(t, c)
	satellite.change(func() { satellite.exitErr = satclient.ToStatus(satclient.ErrTooFewNodes) })
	if err := AskExit(t.Context(), c.Dir); err == nil || !strings.Contains(err.Error(), "too few storage nodes") {
		t.Errorf("the satellite refuses: %v", err)
	}
	satellite.change(func() { satellite.exitErr = nil })
	for range 2 {
		if err := AskExit(t.Context(), c.Dir); err != nil {
			t.Error(err)
		}
	}
	if _, err := ReadDeparture(c.Dir); !errors.Is(err, ErrNotDeparted) {
		t.Errorf("before the satellite says so: %v", err)
	}
	departed := func() bool {
		info, err := AskInfo(t.Context(), c.Dir)
		return err == nil && info.Departure == filepath.Join(c.Dir, "departure.json")
	}
	satellite.change(func() { satellite.departure = satellite.signDeparture(n.ID(), 5) })
	await(t, "the node to have departed", departed)
	checkDeparture := func(slots uint32) {
		t.Helper()
		d, err := ReadDeparture(c.Dir)
		if err != nil || d.Node != n.ID() || d.Satellite != satellite.key.ID() || d.Slots != slots || d.Completed.Unix() != 1e9 {
			t.Errorf("departure %+v, %v", d, err)
		}
	}
	checkDeparture(5)
	if err := AskExit(t.Context(), c.Dir); err != nil || satellite.exits != 3 {
		t.Errorf("once it has departed: %v, %d calls", err, satellite.exits)
	}
	stop()
	checkDeparture(5)

	// It is known after a restart, and said again after damage.
	satellite.change(func() { satellite.departure = nil })
	_, stop = runNode(t, c)
	if !departed() {
		t.Error("the departure is forgotten")
	}
	stop()
	if err := os.WriteFile(departurePath(c.Dir), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadDeparture(c.Dir); err == nil || errors.Is(err, ErrNotDeparted) || !strings.Contains(err.Error(), "departure.json") {
		t.Errorf("damaged: %v", err)
	}
	runNode(t, c)
	if departed() {
		t.Error("a damaged file counts")
	}
	satellite.change(func() { satellite.departure = satellite.signDeparture(n.ID(), 6) })
	await(t, "the node to have departed again", departed)
	checkDeparture(6)
}

// What does not let this node go is not kept.
func TestBadDepartures(t *testing.T) {
	satellite, other := newFakeSatellite(t), newFakeSatellite(t)
	c := Config{Dir: shortDir(t), Satellite: satellite.serve(), Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Reserve: 1 << 20}
	n, _ := runNode(t, c)
	forged := satellite.signDeparture(n.ID(), 5)
	forged.Signature[7] ^= 1
	for name, departure := range map[string]*pb.Signed{
		"another node":      satellite.signDeparture(testKey(t).ID(), 5),
		"another satellite": other.signDeparture(n.ID(), 5),
		"forged":            forged,
		"nothing":           {},
	} {
		if err := n.depart(departure); err == nil || n.departed() != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(departurePath(c.Dir)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the file is there: %v", name, err)
		}
	}
	satellite.change(func() { satellite.departure = forged })
	await(t, "the trouble to be told", func() bool { return n.troubles()[troubleDeparture] != "" })
	satellite.change(func() { satellite.departure = satellite.signDeparture(n.ID(), 5) })
	await(t, "the trouble to go", func() bool { return n.troubles()[troubleDeparture] == "" && n.departed() != nil })
}
