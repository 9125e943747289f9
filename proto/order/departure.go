package order

import (
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
)

// Departure is a satellite's word that a node has handed over all its slots and
// owes it nothing.
type Departure struct {
	Satellite ident.ID
	Node      ident.ID
	Slots     uint32    // handed over
	Completed time.Time // whole seconds
}

// Validate returns an error wrapping ErrMalformed when d cannot be a departure.
func (d *Departure) Validate() error {
	switch {
	case d.Satellite.IsZero():
		return refuse(ErrMalformed, "departure has no satellite")
	case d.Node.IsZero():
		return refuse(ErrMalformed, "departure has no node")
	}
	_, err := timeField(d.Completed.Unix(), "completed")
	return err
}

// SignDeparture signs d with the satellite's key.
func SignDeparture(key ident.Key, d *Departure) (*pb.Signed, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	if err := ownKey(key, d.Satellite, "satellite"); err != nil {
		return nil, err
	}
	return sign(key, contextDeparture, &pb.Departure{
		Satellite: d.Satellite[:],
		Node:      d.Node[:],
		Slots:     d.Slots,
		Completed: d.Completed.Unix(),
	})
}

// OpenDeparture returns the departure that satellite signed. Errors wrap
// ErrMalformed, ErrSignature or, when the record names another satellite,
// ErrPeer.
func OpenDeparture(signed *pb.Signed, satellite ident.ID) (*Departure, error) {
	var m pb.Departure
	if err := open(signed, satellite, contextDeparture, &m); err != nil {
		return nil, err
	}
	d := &Departure{Slots: m.Slots}
	var err error
	if d.Satellite, err = signerField(m.Satellite, satellite, "satellite"); err != nil {
		return nil, err
	}
	if d.Node, err = idField(m.Node, "node"); err != nil {
		return nil, err
	}
	if d.Completed, err = timeField(m.Completed, "completed"); err != nil {
		return nil, err
	}
	if err := d.Validate(); err != nil {
		return nil, err
	}
	return d, nil
}
