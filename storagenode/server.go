package storagenode

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// betweenMessages is how long a peer may leave a stream without work.
const betweenMessages = 2 * time.Minute

// ServerConfig is what a Server works with. Learn, Claim, Lost, Logger and Buffers
// may be left out.
type ServerConfig struct {
	Store     *shardstore.Store
	Key       ident.Key // of this node
	Satellite ident.ID
	// Groups says which epoch of a group is the newest this node knows of.
	Groups func(group uint32) (epoch uint64, known bool)
	// Learn is told of group records of the satellite that streams open with.
	Learn  func(signed *pb.Signed, group *order.Group)
	Ledger *Ledger
	// Claim is the newest claim on a group. Before there is one that the satellite
	// has, audits on the group are not answered; nil: none ever are.
	Claim func(group uint32) (claim NamedClaim, ok bool)
	// Lost is told that a shard was found damaged by an audit.
	Lost    func()
	Now     func() time.Time
	Logger  *slog.Logger // nil logs nothing
	Buffers int          // of 256 KiB each that all streams share, 256; one peer gets an eighth
}

// A NamedClaim is a claim with its Digest.
type NamedClaim struct {
	order.Claim
	Digest merkle.Hash
}

// Server serves the shard protocol: it takes in shards from uplinks, gives them
// back and proves that it holds them, as far as order limits permit. To its
// satellite it proves leaves in audits.
type Server struct {
	c       ServerConfig
	buffers *bufferPool
	proofs  chan struct{} // a token for each being made
	audits  chan struct{} // a token for each stream of them
	counts  serverCounts

	lastUse atomic.Int64 // in Unix nanoseconds; see Quiet
}

// quiet is for how long a node may have served nobody to have nothing else to do
// than what can wait.
const quiet = 10 * time.Second

// Quiet tells whether for a while no shard data has come or been asked for, but by
// those who can wait.
func (v *Server) Quiet() bool { return v.c.Now().Sub(time.Unix(0, v.lastUse.Load())) >= quiet }

// NewServer makes a Server, which starts nothing by itself: Serve is to be given
// to the transport as the handler of wire.Protocol, ServeAudit as that of
// wire.AuditProtocol.
func NewServer(c ServerConfig) (*Server, error) {
	if c.Store == nil || c.Ledger == nil || c.Groups == nil || c.Now == nil || c.Key.IsZero() || c.Satellite.IsZero() {
		return nil, errors.New("storagenode: ServerConfig is incomplete")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Buffers == 0 {
		c.Buffers = 256
	}
	if c.Claim == nil {
		c.Claim = func(uint32) (NamedClaim, bool) { return NamedClaim{}, false }
	}
	if c.Lost == nil {
		c.Lost = func() {}
	}
	return &Server{
		c: c, buffers: newBufferPool(c.Buffers),
		proofs: make(chan struct{}, maxProofs), audits: make(chan struct{}, maxAudits),
	}, nil
}

// talk is one stream with the frames on it.
type talk struct {
	*Server
	s     *transport.Stream
	r     *wire.Reader
	w     *wire.Writer
	group *order.Group // that it is about; nil if it is about none, or not yet opened
}

func (v *Server) newTalk(s *transport.Stream) talk {
	return talk{Server: v, s: s, r: wire.NewReader(s), w: wire.NewWriter(s)}
}

// session is a shard stream after its Open.
type session struct {
	talk
	share   *share // of the buffers
	slot    int    // of this node in the group
	limit   *order.Limit
	patient bool // others are served first

	unanswered atomic.Int32 // shards that answerPuts has yet to answer
}

// use says that the node serves somebody, unless that is one who can wait.
func (c *session) use() {
	if !c.patient {
		c.lastUse.Store(c.c.Now().UnixNano())
	}
}

// Serve serves one shard stream until it ends.
func (v *Server) Serve(ctx context.Context, s *transport.Stream) {
	c := &session{talk: v.newTalk(s), share: v.buffers.join(s.Remote())}
	defer v.buffers.leave(s.Remote())
	err := c.open()
	switch {
	case err != nil:
		c.refuse(c.answered(requestOpen, err))
	case c.limit.Action == order.ActionPut:
		c.servePut(ctx)
	default:
		c.serveGet(ctx)
	}
}

// open reads by what right the peer asks and checks it.
func (c *session) open() error {
	h, err := c.r.Next()
	if err != nil {
		return err
	}
	if h.Type != wire.TypeOpen {
		return wire.Unexpected(h, "before Open")
	}
	var open pb.Open
	if err := c.r.ReadControl(&open); err != nil {
		return err
	}
	if c.group, err = order.OpenGroup(open.Group, c.c.Satellite); err != nil {
		return err
	}
	if c.limit, err = order.OpenLimit(open.Limit, c.c.Satellite); err != nil {
		return err
	}
	if err := c.permitted(); err != nil {
		return err
	}
	slot, ok := c.group.SlotOf(c.c.Key.ID())
	if !ok {
		return wire.Errorf(pb.Code_CODE_DENIED, "this node holds no slot of group %d at epoch %d", c.group.ID, c.group.Epoch)
	}
	c.slot, c.patient = slot, open.Patient && c.limit.Action == order.ActionGet
	if c.c.Learn != nil {
		c.c.Learn(open.Group, c.group)
	}
	c.s.NextMessage(betweenMessages)
	return nil
}

// permitted checks the order limit against the stream, at its start and, as time
// goes by and groups change, before every shard.
func (c *session) permitted() error {
	// The action is that of the limit: it decides what the stream is for.
	use := order.Use{
		Peer: c.s.Remote(), Action: c.limit.Action,
		Group: c.group.ID, Epoch: c.group.Epoch, Now: c.c.Now(),
	}
	if err := c.limit.Check(use); err != nil {
		return err
	}
	// What a node holds may be read by those who knew it at an earlier epoch, but
	// new shards are only for the nodes of the newest.
	newest, known := c.c.Groups(c.group.ID)
	if c.limit.Action == order.ActionPut && known && c.group.Epoch < newest {
		return wire.Errorf(pb.Code_CODE_STALE_EPOCH, "group %d is at epoch %d: ask the satellite for another lease", c.group.ID, newest)
	}
	return nil
}

// refuse says why and ends the stream. A stream that broke by itself is cut.
func (c *talk) refuse(err error) {
	if streamBroke(err) {
		c.c.Logger.Debug("stream ended", "peer", c.s.Remote().Short(), "error", err)
		c.s.Reset()
		return
	}
	c.log(err)
	if c.w.WriteControl(wire.TypeFail, wire.ToFail(c.tell(err))) != nil {
		c.s.Reset()
		return
	}
	c.s.Refuse()
}

// streamBroke tells a peer that left, or stalls, from one that is to be told of an error.
func streamBroke(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, transport.ErrReset) ||
		errors.Is(err, transport.ErrStalled) || errors.Is(err, context.Canceled)
}

// tell turns what the store and the ledger say into what may be told.
func (c *talk) tell(err error) error {
	switch {
	case errors.Is(err, shardstore.ErrFull):
		return wire.ErrFull
	case errors.Is(err, shardstore.ErrBusy), errors.Is(err, shardstore.ErrClosed), errors.Is(err, errLedgerFull):
		return wire.ErrBusy
	case errors.Is(err, shardstore.ErrMismatch):
		return wire.ErrMismatch
	case errors.Is(err, shardstore.ErrTooLong):
		return wire.Errorf(pb.Code_CODE_BAD_REQUEST, "shard is longer than PutBegin said")
	case errors.Is(err, shardstore.ErrNotFound):
		return wire.ErrNotFound
	case errors.Is(err, shardstore.ErrCorrupt):
		return wire.ErrCorrupt
	default:
		return err
	}
}

// log notes an error that the operator should know of; those of peers are many.
func (c *talk) log(err error) {
	level := slog.LevelDebug
	switch wire.ToFail(c.tell(err)).Code {
	case pb.Code_CODE_INTERNAL, pb.Code_CODE_CORRUPT:
		level = slog.LevelError
	case pb.Code_CODE_FULL, pb.Code_CODE_BUSY:
		if !errors.Is(err, errYields) {
			level = slog.LevelWarn
		}
	}
	c.c.Logger.Log(context.Background(), level, "request refused",
		"peer", c.s.Remote().Short(), "group", c.groupID(), "error", err)
}

func (c *talk) groupID() uint32 {
	if c.group == nil {
		return 0
	}
	return c.group.ID
}

// segmentID reads the id of a segment in a request.
func segmentID(raw []byte) (order.SegmentID, error) {
	id, err := order.SegmentIDFromBytes(raw)
	if err != nil {
		return id, wire.Errorf(pb.Code_CODE_BAD_REQUEST, "that is not a segment id")
	}
	return id, nil
}
