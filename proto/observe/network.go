package observe

import "github.com/cairnstorage/cairn/proto/transport"

// Network is the metrics of a party's transport. Their names begin with prefix.
func Network(prefix string, read func() transport.Stats) *Collector {
	return Of(Always(read),
		Gauge(prefix+"_connections", "Connections to peers.", func(s transport.Stats) int { return s.Connections }),
		Gauge(prefix+"_streams", "Streams opened by peers that are being served.", func(s transport.Stats) int { return s.Streams }),
		Counters(prefix+"_network_bytes_total", "Bytes moved in streams, before encryption; `negotiation` is what agreeing on protocols takes.",
			[]string{"protocol", "direction"}, func(s transport.Stats, emit func(uint64, ...string)) {
				for _, t := range s.Traffic {
					protocol := t.Protocol
					if protocol == "" {
						protocol = "negotiation"
					}
					emit(t.In, protocol, "in")
					emit(t.Out, protocol, "out")
				}
			}),
	)
}
