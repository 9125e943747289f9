package uplink

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
)

// leaser is a satellite that hands out leases of groups 1, 2, 3 ….
type leaser struct {
	*memSatellite
	key    ident.Key
	uplink ident.ID
	issued time.Time // by the satellite's clock

	mu    sync.Mutex
	asked []*pb.LeaseRequest
	spoil func(*pb.GroupLease)
}

func (s *leaser) lease(req *pb.LeaseRequest) (*pb.LeaseResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, req)
	groups := req.Groups
	if order.Action(req.Action) == order.ActionPut {
		group := uint32(1)
		for slices.Contains(req.Exclude, group) {
			group++
		}
		groups = []uint32{group}
	}
	res := new(pb.LeaseResponse)
	for _, group := range groups {
		signed, err := s.sign(group, order.Action(req.Action))
		if err != nil {
			return nil, err
		}
		res.Leases = append(res.Leases, signed)
	}
	return res, nil
}

func (s *leaser) sign(group uint32, action order.Action) (*pb.GroupLease, error) {
	scheme := erasure.Scheme{Required: 1, RepairBelow: 1, Success: 2, Total: 2}
	g := &order.Group{Satellite: s.key.ID(), ID: group, Epoch: 1, Scheme: scheme, Issued: s.issued}
	l := &pb.GroupLease{}
	for i := range scheme.Total {
		node := ident.FromSeed([32]byte{byte(group), byte(i)}).ID()
		g.Nodes = append(g.Nodes, node)
		l.Nodes = append(l.Nodes, &pb.NodeAddress{Node: node[:], Addresses: []string{"/ip4/127.0.0.1/tcp/1"}, Online: i == 0})
	}
	var err error
	if l.Group, err = order.SignGroup(s.key, g); err != nil {
		return nil, err
	}
	serial, err := order.NewSerial(rand.Reader)
	if err != nil {
		return nil, err
	}
	l.Limit, err = order.SignLimit(s.key, &order.Limit{
		Satellite: s.key.ID(), Serial: serial, Uplink: s.uplink, Group: group, Epoch: 1, Action: action,
		MaxBytes: 1000, Issued: s.issued, Expires: s.issued.Add(order.LimitLife),
	})
	if s.spoil != nil {
		s.spoil(l)
	}
	return l, err
}

func (s *leaser) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func newLeaser(t *testing.T, clock *time.Time) (*leases, *leaser) {
	t.Helper()
	mem, client := newMemSatellite(t)
	s := &leaser{
		memSatellite: mem, key: ident.FromSeed([32]byte{1}), uplink: ident.FromSeed([32]byte{2}).ID(),
		issued: time.Unix(1_700_000_000, 0),
	}
	mem.lease = s.lease
	return newLeases(client, s.key.ID(), s.uplink, func() time.Time { return *clock }), s
}

func TestPutLeaseIsShared(t *testing.T) {
	clock := time.Unix(1_900_000_000, 0) // years ahead of the satellite's
	ls, s := newLeaser(t, &clock)
	ctx := t.Context()
	got := make([]*lease, 8)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = ls.forPut(ctx, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if s.requests() != 1 {
		t.Errorf("%d requests", s.requests())
	}
	first := got[0]
	for _, l := range got {
		if l != first {
			t.Error("not shared")
		}
	}
	if first.group.ID != 1 || len(first.nodes) != 2 || !first.nodes[0].online || first.nodes[1].online || len(first.nodes[1].address.Addrs) != 1 {
		t.Errorf("got %+v", first)
	}
	other, err := ls.forPut(ctx, []uint32{1})
	if err != nil || other.group.ID != 2 {
		t.Errorf("excluded: %+v, %v", other, err)
	}
	if l, err := ls.forPut(ctx, nil); err != nil || l != other {
		t.Errorf("not the newest: %+v, %v", l, err)
	}
	ls.drop(first) // not in use any more
	if l, _ := ls.forPut(ctx, nil); l != other {
		t.Error("the wrong lease was dropped")
	}
	ls.drop(other)
	if l, err := ls.forPut(ctx, nil); err != nil || l == other || l == first {
		t.Errorf("dropped: %+v, %v", l, err)
	}
}

// A lease ends with its time and with its bytes.
func TestLeaseEnds(t *testing.T) {
	clock := time.Unix(1_600_000_000, 0)
	ls, s := newLeaser(t, &clock)
	first, err := ls.forPut(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(order.LimitLife - leaseMargin - time.Second)
	if l, _ := ls.forPut(t.Context(), nil); l != first {
		t.Error("ended early")
	}
	clock = clock.Add(2 * time.Second)
	second, err := ls.forPut(t.Context(), nil)
	if err != nil || second == first {
		t.Errorf("lives on: %v", err)
	}
	second.used.Store(second.limit.MaxBytes)
	if l, err := ls.forPut(t.Context(), nil); err != nil || l == second {
		t.Errorf("used up: %v", err)
	}
	if s.requests() != 3 {
		t.Errorf("%d requests", s.requests())
	}
}

func TestGetLeases(t *testing.T) {
	clock := time.Unix(1_700_000_000, 0)
	ls, s := newLeaser(t, &clock)
	l, err := ls.forGet(t.Context(), 7)
	if err != nil || l.group.ID != 7 || l.limit.Action != order.ActionGet {
		t.Fatalf("%+v, %v", l, err)
	}
	if again, _ := ls.forGet(t.Context(), 7); again != l || s.requests() != 1 {
		t.Error("not remembered")
	}
	ls.drop(l)
	if again, err := ls.forGet(t.Context(), 7); err != nil || again == l {
		t.Errorf("dropped: %v", err)
	}
	signed, err := s.sign(9, order.ActionGet)
	if err != nil {
		t.Fatal(err)
	}
	learnt, err := ls.learn([]*pb.GroupLease{signed})
	if err != nil {
		t.Fatal(err)
	}
	asked := s.requests()
	if l, err := ls.forGet(t.Context(), 9); err != nil || l != learnt[0] || l.group.ID != 9 || s.requests() != asked {
		t.Errorf("learnt: %+v, %v", l, err)
	}
	for group := range uint32(2 * maxGetLeases) {
		ls.remember([]*lease{{group: &order.Group{ID: group}}})
	}
	if len(ls.get) > maxGetLeases {
		t.Errorf("%d are remembered", len(ls.get))
	}
}

// A lease that says nothing new is not taken for another, unless the one known
// has ended.
func TestLearnAgain(t *testing.T) {
	clock := time.Unix(1_700_000_000, 0)
	ls, s := newLeaser(t, &clock)
	learn := func(change func(*pb.GroupLease)) *lease {
		t.Helper()
		signed, err := s.sign(5, order.ActionGet)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(signed)
		}
		got, err := ls.learn([]*pb.GroupLease{signed})
		if err != nil {
			t.Fatal(err)
		}
		return got[0]
	}
	first := learn(nil)
	if learn(nil) != first {
		t.Error("the same lease was opened again")
	}
	moved := learn(func(l *pb.GroupLease) { l.Nodes[1].Addresses = []string{"/ip4/127.0.0.1/tcp/2"} })
	if moved == first || moved.nodes[1].address.Addrs[0] != "/ip4/127.0.0.1/tcp/2" {
		t.Errorf("a node that moved was not noticed: %+v", moved.nodes)
	}
	clock = clock.Add(order.LimitLife)
	if l := learn(func(l *pb.GroupLease) { l.Nodes[1].Addresses = []string{"/ip4/127.0.0.1/tcp/2"} }); l == moved {
		t.Error("a lease that has ended was given")
	}
	signed, err := s.sign(5, order.ActionGet)
	if err != nil {
		t.Fatal(err)
	}
	signed.Group.Signature[3]++
	if _, err := ls.learn([]*pb.GroupLease{signed}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("forged: %v", err)
	}
}

// What the satellite signed for others, or did not sign, is refused.
func TestLeaseRefused(t *testing.T) {
	clock := time.Unix(1_700_000_000, 0)
	ls, s := newLeaser(t, &clock)
	other, err := s.sign(2, order.ActionPut)
	if err != nil {
		t.Fatal(err)
	}
	read, err := s.sign(1, order.ActionGet)
	if err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(*pb.GroupLease){
		"no group":          func(l *pb.GroupLease) { l.Group = nil },
		"no limit":          func(l *pb.GroupLease) { l.Limit = nil },
		"changed group":     func(l *pb.GroupLease) { l.Group.Body[40]++ },
		"changed limit":     func(l *pb.GroupLease) { l.Limit.Signature[0]++ },
		"of another group":  func(l *pb.GroupLease) { l.Limit = other.Limit },
		"of another action": func(l *pb.GroupLease) { l.Limit = read.Limit },
	} {
		s.spoil = spoil
		if l, err := ls.forPut(t.Context(), nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %+v, %v", what, l, err)
		}
	}
	s.spoil = nil
	s.uplink = ident.FromSeed([32]byte{3}).ID()
	if l, err := ls.forPut(t.Context(), nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("for another uplink: %+v, %v", l, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ls.forPut(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
