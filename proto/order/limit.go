package order

import (
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
)

// Limit is an order limit: a satellite's permission for one uplink to put
// shards to, or get them from, the nodes of one group.
type Limit struct {
	Satellite ident.ID
	Serial    Serial
	Uplink    ident.ID
	Group     uint32
	Epoch     uint64
	Action    Action
	MaxBytes  int64     // shard bytes, counted at each node on its own
	Issued    time.Time // whole seconds
	Expires   time.Time // whole seconds
}

// Use is what a peer wants to do by an order limit.
type Use struct {
	Peer   ident.ID // the other end of the connection
	Action Action
	Group  uint32
	Epoch  uint64
	Now    time.Time
}

// Check says whether the limit permits use. Errors wrap ErrPeer, ErrAction,
// ErrGroup, ErrEpoch or ErrExpired, in this order of precedence. How many
// bytes are left is for CheckAmount.
func (l *Limit) Check(use Use) error {
	switch {
	case l.Uplink != use.Peer:
		return refuse(ErrPeer, "order limit %s is for %s, not %s", l.Serial, l.Uplink, use.Peer)
	case l.Action != use.Action:
		return refuse(ErrAction, "order limit %s is for %s, not %s", l.Serial, l.Action, use.Action)
	case l.Group != use.Group:
		return refuse(ErrGroup, "order limit %s is for group %d, not %d", l.Serial, l.Group, use.Group)
	case l.Epoch != use.Epoch:
		return refuse(ErrEpoch, "order limit %s is for epoch %d of group %d, not %d",
			l.Serial, l.Epoch, l.Group, use.Epoch)
	case !use.Now.Before(l.Expires):
		return refuse(ErrExpired, "order limit %s expired at %s: ask the satellite for another",
			l.Serial, stamp(l.Expires))
	}
	return fresh(l.Issued, use.Now, "order limit")
}

// CheckAmount says whether more bytes may be used when used bytes were
// already. The error wraps ErrAmount.
func (l *Limit) CheckAmount(used, more int64) error {
	if used < 0 || more < 0 || used > l.MaxBytes || more > l.MaxBytes-used {
		return refuse(ErrAmount, "order limit %s has %d of %d bytes left, %d are wanted: ask the satellite for another",
			l.Serial, max(0, l.MaxBytes-used), l.MaxBytes, more)
	}
	return nil
}

// Validate returns an error wrapping ErrMalformed when l cannot be a limit.
func (l *Limit) Validate() error {
	switch {
	case l.Satellite.IsZero() || l.Uplink.IsZero():
		return refuse(ErrMalformed, "order limit lacks its satellite or uplink")
	case l.Serial == Serial{}:
		return refuse(ErrMalformed, "order limit has no serial")
	case l.Group == 0 || l.Epoch == 0:
		return refuse(ErrMalformed, "order limit for group %d epoch %d: both count from 1", l.Group, l.Epoch)
	case l.Action != ActionPut && l.Action != ActionGet:
		return refuse(ErrMalformed, "order limit for %s", l.Action)
	case l.MaxBytes <= 0:
		return refuse(ErrMalformed, "order limit for %d bytes", l.MaxBytes)
	}
	if _, err := timeField(l.Issued.Unix(), "issued"); err != nil {
		return err
	}
	if _, err := timeField(l.Expires.Unix(), "expires"); err != nil {
		return err
	}
	if life := l.Expires.Unix() - l.Issued.Unix(); life <= 0 || life > int64(MaxLimitLife/time.Second) {
		return refuse(ErrMalformed, "order limit lives %d seconds, not between 1 and %d",
			life, int64(MaxLimitLife/time.Second))
	}
	return nil
}

// SignLimit signs l with the satellite's key.
func SignLimit(key ident.Key, l *Limit) (*pb.Signed, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	if err := ownKey(key, l.Satellite, "satellite"); err != nil {
		return nil, err
	}
	return sign(key, contextLimit, &pb.OrderLimit{
		Satellite: l.Satellite[:],
		Serial:    l.Serial[:],
		Uplink:    l.Uplink[:],
		Group:     l.Group,
		Epoch:     l.Epoch,
		Action:    pb.Action(l.Action),
		MaxBytes:  uint64(l.MaxBytes),
		Issued:    l.Issued.Unix(),
		Expires:   l.Expires.Unix(),
	})
}

// OpenLimit returns the order limit that satellite signed. Errors wrap
// ErrMalformed, ErrSignature or, when the record names another satellite,
// ErrPeer. Whether it permits anything is for Check.
func OpenLimit(signed *pb.Signed, satellite ident.ID) (*Limit, error) {
	var m pb.OrderLimit
	if err := open(signed, satellite, contextLimit, &m); err != nil {
		return nil, err
	}
	l := &Limit{Group: m.Group, Epoch: m.Epoch, Action: Action(m.Action)}
	var err error
	if l.Satellite, err = signerField(m.Satellite, satellite, "satellite"); err != nil {
		return nil, err
	}
	if l.Serial, err = serialField(m.Serial); err != nil {
		return nil, err
	}
	if l.Uplink, err = idField(m.Uplink, "uplink"); err != nil {
		return nil, err
	}
	if l.MaxBytes, err = int64Field(m.MaxBytes, "max_bytes"); err != nil {
		return nil, err
	}
	if l.Issued, err = timeField(m.Issued, "issued"); err != nil {
		return nil, err
	}
	if l.Expires, err = timeField(m.Expires, "expires"); err != nil {
		return nil, err
	}
	if err := l.Validate(); err != nil {
		return nil, err
	}
	return l, nil
}
