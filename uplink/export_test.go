package uplink

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/grant"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// LimitSegments makes segments of at most so many stripes, so that objects of
// many segments need not be large.
func (p *Project) LimitSegments(stripes int) { p.transfers.maxStripes = stripes }

// PauseAfter makes a segment end when its source has yielded nothing for so
// long.
func (p *Project) PauseAfter(d time.Duration) { p.transfers.idlePause = d }

// Tolerate has transfers put up with nodes that keep them waiting for as long
// as ever, or at least so long: on a busy machine the good ones do, too.
func (p *Project) Tolerate(d time.Duration) {
	t := defaultTolerances()
	for _, tolerance := range []*time.Duration{
		&t.open, &t.offline, &t.patience, &t.shortage, &t.overdue, &t.straggle, &t.late,
		&t.hedge, &t.firstHedge, &t.stall, &t.proof,
	} {
		*tolerance = max(*tolerance, d)
	}
	p.transfers.tolerate = t
}

// LeaveBehind has uploads go on without a slot that is behind after they have
// waited for so long.
func (p *Project) LeaveBehind(patience time.Duration) { p.transfers.tolerate.patience = patience }

// HedgeAfter has downloads ask others after so long.
func (p *Project) HedgeAfter(d time.Duration) {
	p.transfers.tolerate.hedge, p.transfers.tolerate.firstHedge = d, d
}

// Sending tells whether there is a node that is still to take a shard.
func (p *Project) Sending() bool {
	t := p.transfers
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.putting {
		for _, slot := range s.slots {
			if slot.owes() {
				return true
			}
		}
	}
	return false
}

func (s *slotSender) owes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.given, func(sh *shard) bool { return !sh.delivery.done(s.slot) })
}

// Open tells whether the segment written last takes more.
func (u *Upload) Open() bool {
	u.opening.Lock()
	defer u.opening.Unlock()
	return u.open != nil
}

// Held is how many buffers of payload are in use, of uploads and of downloads.
func (p *Project) Held() (put, get int) {
	t := p.transfers
	t.put.mu.Lock()
	defer t.put.mu.Unlock()
	t.get.mu.Lock()
	defer t.get.mu.Unlock()
	return t.put.used, t.get.used
}

// Limit makes packs of at most so many bytes and objects.
func (k *Packer) Limit(bytes, objects int) { k.limits.bytes, k.limits.objects = bytes, objects }

// Interpose has before and after called around each call to the satellite, with
// its name. An error of theirs is what the caller gets.
func (p *Project) Interpose(accessGrant string, before, after func(call string) error) error {
	access, err := grant.Parse(accessGrant)
	if err != nil {
		return err
	}
	conn, err := p.host.DialGRPC(p.satellite, transport.SatelliteProtocol)
	if err != nil {
		return err
	}
	p.sat = satclient.NewClient(&interposed{conn, before, after}, satclient.Options{APIKey: access.APIKey})
	p.leases.sat = p.sat
	return nil
}

type interposed struct {
	grpc.ClientConnInterface
	before, after func(call string) error
}

func (i *interposed) Invoke(ctx context.Context, method string, req, res any, options ...grpc.CallOption) error {
	call := method[strings.LastIndexByte(method, '/')+1:]
	if err := i.before(call); err != nil {
		return satclient.ToStatus(err)
	}
	if err := i.ClientConnInterface.Invoke(ctx, method, req, res, options...); err != nil {
		return err
	}
	return satclient.ToStatus(i.after(call))
}

// Misplace has what a list told of where the object is be something else, if it
// told. It reports whether it did.
func (o *Object) Misplace(how func(place *pb.SegmentPlace, offset *int64)) bool {
	if o.listed == nil {
		return false
	}
	l := *o.listed
	l.place = proto.CloneOf(l.place)
	how(l.place, &l.offset)
	o.listed = &l
	return true
}

// SpoilInline has what a list told of an inline object be something else.
func (o *Object) SpoilInline(how func([]byte) []byte) bool {
	if o.listed == nil || o.listed.inline == nil {
		return false
	}
	l := *o.listed
	l.inline = how(slices.Clone(l.inline))
	o.listed = &l
	return true
}
