package transport

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/protocol"
)

// moved finds the traffic of one protocol.
func moved(s Stats, proto string) Traffic {
	i := slices.IndexFunc(s.Traffic, func(t Traffic) bool { return t.Protocol == proto })
	if i < 0 {
		return Traffic{}
	}
	return s.Traffic[i]
}

func TestStats(t *testing.T) {
	const other = echo + "/other"
	for name, listen := range map[string]string{"TCP": loopback, "QUIC": loopbackQUIC} {
		t.Run(name, func(t *testing.T) {
			server := newHost(t, func(c *Config) { c.Listen, c.QUIC = []string{listen}, true })
			server.Handle(echo, serveEcho)
			server.Handle(other, serveEcho)
			client := newHost(t, func(c *Config) { c.QUIC = true })
			if s := client.Stats(); s.Connections != 0 || s.Streams != 0 || len(s.Traffic) != 0 {
				t.Errorf("before anything: %+v", s)
			}
			sizes := map[string]int{echo: 300_000, other: 70_000}
			for proto, size := range sizes {
				if err := roundTrip(open(t, client, addressOf(t, server), proto), make([]byte, size)); err != nil {
					t.Fatal(err)
				}
			}
			if s := server.Stats(); s.Connections != 1 || s.Streams != 2 {
				t.Errorf("the server has %d connections and %d streams, want 1 and 2", s.Connections, s.Streams)
			}
			// Agreeing on a protocol takes some bytes, too.
			const most = 200
			for proto, size := range sizes {
				for party, h := range map[string]*Host{"client": client, "server": server} {
					// What is sent counts when the writer is told, which may be after it has arrived.
					for end := time.Now().Add(time.Minute); moved(h.Stats(), proto).Out < uint64(size) && time.Now().Before(end); {
						time.Sleep(time.Millisecond)
					}
					got := moved(h.Stats(), proto)
					for _, n := range []uint64{got.In, got.Out} {
						if n < uint64(size) || n > uint64(size)+most {
							t.Errorf("%s, %s: %+v, want %d each way", party, proto, got, size)
						}
					}
				}
			}
			byProtocol, total := client.traffic.GetBandwidthByProtocol(), client.traffic.GetBandwidthTotals()
			if got := byProtocol[echo].TotalOut; uint64(got) != moved(client.Stats(), echo).Out || total.TotalOut <= got {
				t.Errorf("libp2p is told of %d bytes of %d", got, total.TotalOut)
			}
		})
	}
}

// Bytes are counted exactly while protocols are met at the same time.
func TestTrafficIsExact(t *testing.T) {
	const each, rounds = 8, 500
	protocols := []protocol.ID{"", "/a", "/b", "/c"}
	counted := newTraffic()
	var counting sync.WaitGroup
	for range each {
		counting.Go(func() {
			for i := range rounds {
				for j, proto := range protocols {
					counted.LogRecvMessageStream(int64(i), proto, "")
					counted.LogSentMessageStream(int64(j), proto, "")
				}
			}
		})
	}
	counting.Wait()
	for j, got := range counted.all() {
		want := Traffic{Protocol: string(protocols[j]), In: each * rounds * (rounds - 1) / 2, Out: uint64(each * rounds * j)}
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func BenchmarkTraffic(b *testing.B) {
	counted := newTraffic()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			counted.LogRecvMessageStream(1<<17, echo, "peer")
		}
	})
}
