package bound

import (
	"context"
	"encoding/binary"
	"errors"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
)

// What a far end does with a stream when all parts are done together: keep what
// comes, as a node keeps shards, or supply what it has kept. The stream begins with
// an order.
const (
	keepProtocol   = "/cairn/bound/keep/1"
	supplyProtocol = "/cairn/bound/supply/1"
)

// An order says in which of its directories a far end keeps shards, and how many
// bytes they have.
type order struct {
	Dir   uint8
	Shard uint32
}

// A keeper is a far end's files, one in each directory. One stream at a time uses a
// file.
type keeper struct{ files []*shardFile }

func newKeeper(dirs []string) (*keeper, error) {
	k := new(keeper)
	for _, dir := range dirs {
		file, err := newShardFile(dir)
		if err != nil {
			return nil, errors.Join(err, k.close())
		}
		k.files = append(k.files, file)
	}
	return k, nil
}

func (k *keeper) close() error { return closeAll(k.files) }

// keep answers with a byte once there is room, and with another when all that came
// until the stream's end is hashed and durable.
func (k *keeper) keep(_ context.Context, s *transport.Stream) {
	file, ordered, err := k.read(s)
	if err == nil {
		err = file.empty()
	}
	if err == nil {
		_, err = s.Write([]byte{1})
	}
	if err == nil {
		err = keepShards(file, s, int64(ordered.Shard))
	}
	if err == nil {
		_, err = s.Write([]byte{1})
	}
	if err != nil {
		s.Reset()
		return
	}
	s.Close()
}

// keepShards goes on reading while a shard is synced, as nodes do.
func keepShards(file *shardFile, s *transport.Stream, size int64) error {
	buffer, hasher := make([]byte, wire.MaxData), merkle.NewHasher(size)
	var syncing errgroup.Group
	syncing.SetLimit(1)
	for {
		n, err := io.ReadFull(s, buffer)
		if err == io.EOF {
			hasher.Root()
			return errors.Join(syncing.Wait(), file.Sync())
		}
		if err == nil {
			err = file.append(buffer[:n])
		}
		if err != nil {
			return errors.Join(err, syncing.Wait())
		}
		if hasher.Write(buffer[:n]); hasher.Size() >= size {
			hasher.Root()
			hasher.Reset()
			syncing.Go(file.Sync)
		}
	}
}

// supply writes what was kept.
func (k *keeper) supply(_ context.Context, s *transport.Stream) {
	file, _, err := k.read(s)
	if err == nil {
		_, err = file.copyTo(s, make([]byte, wire.MaxData))
	}
	if err != nil {
		s.Reset()
		return
	}
	s.Close()
}

// read reads an order and finds the file that it is about.
func (k *keeper) read(s *transport.Stream) (*shardFile, order, error) {
	var o order
	if err := binary.Read(s, binary.BigEndian, &o); err != nil {
		return nil, o, err
	}
	if int(o.Dir) >= len(k.files) {
		return nil, o, errors.New("no such directory")
	}
	return k.files[o.Dir], o, nil
}
