package meta

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/kv"
)

// Standing is what the satellite thinks of a node, and has agreed with it.
type Standing struct {
	Node ident.ID
	audit.Standing
	Owed time.Time // since when the node owes the answer to a challenge; zero: it owes none
	Exit Exit
}

// Exit is how far a node has come that wants to leave; the zero value is that of
// one that does not.
type Exit struct {
	Asked     time.Time  // to the second
	Slots     uint32     // handed over so far
	Departure *pb.Signed // once all are handed over
}

// PutStandings stores standings, many of them in several transactions.
func (s *Store) PutStandings(ctx context.Context, standings []Standing) error {
	return s.putAll(ctx, len(standings), func(i int) (key, value []byte, err error) {
		if standings[i].Node.IsZero() {
			return nil, nil, fmt.Errorf("%w: standing without node", ErrInvalid)
		}
		return standingKey(standings[i].Node), standings[i].encode(), nil
	})
}

// Standings returns those of all nodes, by the bytes of their ids.
func (s *Store) Standings(ctx context.Context) (standings []Standing, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		standings = nil
		prefix := []byte{kindStanding}
		for pair, err := range r.Scan(prefix, kv.PrefixEnd(prefix)) {
			if err != nil {
				return err
			}
			id, err := ident.IDFromBytes(pair.Key[1:])
			if err != nil {
				return fmt.Errorf("%w: standing under key %x", ErrDamaged, pair.Key)
			}
			n, err := decodeStanding(id, pair.Value)
			if err != nil {
				return err
			}
			standings = append(standings, n)
		}
		return nil
	})
	return standings, err
}

func (n *Standing) encode() []byte {
	b := []byte{formatVersion, byte(n.State)}
	b = putString(b, n.Reason)
	b = putSeconds(b, n.Since)
	b = putFloat(b, n.Score.LLR)
	for _, count := range [...]uint64{n.Score.Proved, n.Score.Missing, n.Score.Wrong} {
		b = putUvarint(b, count)
	}
	for _, share := range [...]audit.Share{n.Presence.Time, n.Presence.Answers} {
		b = putFloat(putFloat(b, share.Kept), share.Due)
		b = putSeconds(b, share.At)
	}
	b = putSeconds(b, n.Owed)
	b = putSeconds(b, n.Exit.Asked)
	b = putUvarint(b, uint64(n.Exit.Slots))
	b = putBytes(b, n.Exit.Departure.GetBody())
	b = putBytes(b, n.Exit.Departure.GetSignature())
	if n.Silences == (audit.Silences{}) { // as most are; records were written so before there were any
		return b
	}
	b = putSeconds(putUvarint(b, uint64(n.Silences.Count)), n.Silences.Last)
	return putBool(b, n.Silences.Open)
}

func putBool(b []byte, set bool) []byte {
	if set {
		return append(b, 1)
	}
	return append(b, 0)
}

// decodeStanding returns a standing that shares no memory with v.
func decodeStanding(id ident.ID, v []byte) (Standing, error) {
	d := decoder{b: append([]byte(nil), v...)}
	d.bad = d.byte() != formatVersion
	n := Standing{Node: id}
	n.State = audit.State(d.byte())
	n.Reason, n.Since = d.string(), d.seconds()
	n.Score = audit.Score{LLR: d.float(), Proved: d.uvarint(), Missing: d.uvarint(), Wrong: d.uvarint()}
	for _, share := range [...]*audit.Share{&n.Presence.Time, &n.Presence.Answers} {
		*share = audit.Share{Kept: d.float(), Due: d.float(), At: d.seconds()}
	}
	n.Owed = d.seconds()
	n.Exit = Exit{Asked: d.seconds(), Slots: d.u32()}
	if body, signature := d.bytes(), d.bytes(); body != nil || signature != nil {
		n.Exit.Departure = &pb.Signed{Body: body, Signature: signature}
	}
	if len(d.b) > 0 {
		open := byte(0)
		n.Silences.Count, n.Silences.Last, open = int(d.u32()), d.seconds(), d.byte()
		n.Silences.Open = open == 1
		d.bad = d.bad || open > 1 || n.Silences == (audit.Silences{})
	}
	return n, d.done("standing of node " + id.String())
}

// A float is the 8 bytes of IEEE 754, big-endian. What is no number is not
// stored.
func putFloat(b []byte, f float64) []byte { return u64(b, math.Float64bits(f)) }

func (d *decoder) float() float64 {
	var raw [8]byte
	d.into(raw[:])
	f := math.Float64frombits(binary.BigEndian.Uint64(raw[:]))
	d.bad = d.bad || math.IsNaN(f) || math.IsInf(f, 0)
	return f
}
