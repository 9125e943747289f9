package order

import (
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
)

// Head is a satellite's word on how long a group's journal is.
type Head struct {
	Satellite ident.ID
	Group     uint32
	Seq       uint64    // of the newest entry; 0 while there is none
	Issued    time.Time // whole seconds
}

// Validate returns an error wrapping ErrMalformed when h cannot be a head.
func (h *Head) Validate() error {
	switch {
	case h.Satellite.IsZero():
		return refuse(ErrMalformed, "journal head has no satellite")
	case h.Group == 0:
		return refuse(ErrMalformed, "journal head for group 0: groups count from 1")
	}
	_, err := timeField(h.Issued.Unix(), "issued")
	return err
}

// SignHead signs h with the satellite's key.
func SignHead(key ident.Key, h *Head) (*pb.Signed, error) {
	if err := h.Validate(); err != nil {
		return nil, err
	}
	if err := ownKey(key, h.Satellite, "satellite"); err != nil {
		return nil, err
	}
	return sign(key, contextHead, &pb.JournalHead{
		Satellite: h.Satellite[:],
		Group:     h.Group,
		Head:      h.Seq,
		Issued:    h.Issued.Unix(),
	})
}

// OpenHead returns the journal head that satellite signed. Errors wrap
// ErrMalformed, ErrSignature or, when the record names another satellite,
// ErrPeer.
func OpenHead(signed *pb.Signed, satellite ident.ID) (*Head, error) {
	var m pb.JournalHead
	if err := open(signed, satellite, contextHead, &m); err != nil {
		return nil, err
	}
	h := &Head{Group: m.Group, Seq: m.Head}
	var err error
	if h.Satellite, err = signerField(m.Satellite, satellite, "satellite"); err != nil {
		return nil, err
	}
	if h.Issued, err = timeField(m.Issued, "issued"); err != nil {
		return nil, err
	}
	if err := h.Validate(); err != nil {
		return nil, err
	}
	return h, nil
}
