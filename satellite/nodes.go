package satellite

import (
	"context"
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// maxJournalPage bounds one answer of Journal, in entries.
const maxJournalPage = 1000

// peersBurst and peersRate (a second) bound the leases of one node. One serves
// for an hour or until its group changes.
const (
	peersBurst = 256
	peersRate  = 4
)

// nodesServer is the Nodes service.
type nodesServer struct {
	pb.UnimplementedNodesServer
	*Satellite
}

// caller returns which node is calling.
func caller(ctx context.Context) (ident.ID, error) {
	id, ok := transport.PeerFromContext(ctx)
	if !ok {
		return id, fmt.Errorf("%w: the connection has no peer identity", satclient.ErrDenied)
	}
	return id, nil
}

// CheckIn implements pb.NodesServer.
func (s *nodesServer) CheckIn(ctx context.Context, m *pb.CheckInRequest) (*pb.CheckInResponse, error) {
	id, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	if len(m.Cursors) > maxCursors {
		return nil, fmt.Errorf("%w: %d cursors, at most %d", satclient.ErrBadRequest, len(m.Cursors), maxCursors)
	}
	mine := s.groups.of(id)
	journals, err := s.meta.Journals(ctx, groupsOf(mine, m.Cursors))
	if err != nil {
		return nil, err
	}
	ahead := s.ahead(id, m.Cursors, journals)
	if err := s.registry.checkIn(ctx, id, m, !ahead); err != nil {
		return nil, err
	}
	if len(mine) > 0 {
		s.host.Protect(id)
	}
	if !ahead {
		s.settling.came(id)
	}
	news, behind := s.tell(id, mine, m.Cursors, journals)
	s.registry.note(id, behind, s.lossOf(id, mine, journals))
	return &pb.CheckInResponse{
		IntervalMs: uint32(s.config.CheckIn / time.Millisecond),
		Groups:     news,
		Now:        s.now().Unix(),
		Staging:    int64(s.config.Staging / time.Second),
		Standing:   s.standingOf(id, mine),
		Departure:  s.registry.standing(id).Exit.Departure,
	}, nil
}

// Journal implements pb.NodesServer. The head is signed after what it counts
// became durable, so a node that shows it later is right.
func (s *nodesServer) Journal(ctx context.Context, m *pb.JournalRequest) (*pb.JournalResponse, error) {
	id, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	g, err := s.groups.get(m.Group)
	if err != nil {
		return nil, err
	}
	if !g.concerns(id) {
		return nil, fmt.Errorf("%w: %d has no slot held by %s", satclient.ErrGroupNotFound, m.Group, id)
	}
	limit := int(min(m.Limit, maxJournalPage))
	page, err := s.meta.Entries(ctx, m.Group, m.After, limit)
	if err != nil {
		return nil, err
	}
	head := order.Head{Satellite: s.key.ID(), Group: m.Group, Seq: page.Head, Issued: s.now().Truncate(time.Second)}
	answer := &pb.JournalResponse{Through: page.Through, Sparse: page.Sparse, Base: page.Base}
	if answer.Head, err = order.SignHead(s.key, &head); err != nil {
		return nil, err
	}
	for i := range page.Entries {
		answer.Entries = append(answer.Entries, entryMessage(&page.Entries[i]))
	}
	return answer, nil
}

// Peers implements pb.NodesServer. What a node may read by it is metered by the
// nodes it reads from, as with any lease.
func (s *nodesServer) Peers(ctx context.Context, m *pb.PeersRequest) (*pb.PeersResponse, error) {
	id, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.registry.spend(id, callPeers, 1); err != nil {
		return nil, err
	}
	if standing := s.registry.standing(id); !standing.State.Counts() {
		return nil, fmt.Errorf("%w: this node is %v: %s", satclient.ErrDenied, standing.State, standing.Reason)
	}
	g, err := s.groups.get(m.Group)
	if err != nil {
		return nil, err
	}
	if !g.concerns(id) {
		return nil, fmt.Errorf("%w: %d has no slot held by %s", satclient.ErrGroupNotFound, m.Group, id)
	}
	lease, err := s.leases.lease(ctx, nobody, g, order.ActionGet)
	if err != nil {
		return nil, err
	}
	return &pb.PeersResponse{Lease: lease}, nil
}

// Exit implements pb.NodesServer.
func (s *nodesServer) Exit(ctx context.Context, _ *pb.ExitRequest) (*pb.ExitResponse, error) {
	id, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	return &pb.ExitResponse{}, s.registry.exit(ctx, id)
}

func entryMessage(e *meta.Entry) *pb.Entry {
	m := &pb.Entry{Seq: e.Seq, Kind: e.Kind, Segment: e.Segment[:]}
	if e.Kind == pb.EntryKind_ENTRY_KIND_LIVE {
		m.Root, m.Size, m.Held = e.Root[:], uint64(e.Size), e.Held
	}
	return m
}

// Contest implements pb.NodesServer. A head signed by this satellite that is
// ahead of the journal proves that the store was rolled back: writing on would
// give sequence numbers out twice and split the nodes' views for good.
func (s *nodesServer) Contest(ctx context.Context, m *pb.ContestRequest) (*pb.ContestResponse, error) {
	id, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	head, err := order.OpenHead(m.Head, s.key.ID())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", satclient.ErrBadRequest, err)
	}
	journals, err := s.meta.Journals(ctx, []uint32{head.Group})
	if err != nil {
		return nil, err
	}
	if have := journals[head.Group].Head; head.Seq > have {
		return &pb.ContestResponse{}, s.lost(ctx, id, head, have)
	}
	return &pb.ContestResponse{}, nil
}

// lost notes that journal entries are missing.
func (s *Satellite) lost(ctx context.Context, witness ident.ID, head *order.Head, have uint64) error {
	text := fmt.Sprintf("the metadata was rolled back: node %s holds this satellite's signed word from %s that the journal of group %d has %d entries, but it has %d",
		witness, head.Issued.UTC().Format(time.RFC3339), head.Group, head.Seq, have)
	if s.trouble.Load() == nil {
		s.log.Error("refusing writes", "trouble", text)
	}
	// Refuse at once, whether or not it can be noted.
	s.trouble.CompareAndSwap(nil, &meta.Trouble{Text: text, Since: s.now(), Heads: map[uint32]uint64{head.Group: head.Seq}})
	all, err := s.meta.AddTrouble(ctx, head.Group, head.Seq, text)
	if err != nil {
		return fmt.Errorf("note the trouble: %w", err)
	}
	s.trouble.Store(&all)
	return nil
}

// refusing returns why no writes are taken (satclient.ErrRefusing), or nil.
func (s *Satellite) refusing() error {
	if s.trouble.Load() != nil {
		return fmt.Errorf("%w: its metadata was rolled back, and its operator has to decide", satclient.ErrRefusing)
	}
	return nil
}

// acceptLoss ends the trouble, at the operator's word.
func (s *Satellite) acceptLoss(ctx context.Context) error {
	if s.trouble.Load() == nil {
		return fmt.Errorf("%w: there is no trouble to accept the loss of", satclient.ErrBadRequest)
	}
	if err := s.meta.ClearTrouble(ctx); err != nil {
		return err
	}
	for group := range s.trouble.Load().Heads { // nobody knows what their numbers meant
		if err := s.claims.dropGroup(ctx, group); err != nil {
			return err
		}
	}
	s.log.Warn("the operator accepted the loss of metadata; taking writes again")
	s.trouble.Store(nil)
	return nil
}
