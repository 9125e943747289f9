package results

import "fmt"

// A Peer is what another network does on the same kind of machine: measured by
// us with its own programs, all processes' CPU counted. Where runs or set-ups
// differed it is the best.
type Peer struct {
	Name             string
	Upload, Download float64 // MB/s of 256 MiB, 10 nodes, any 4 of which suffice
}

// Peers are those Cairn is held against.
var Peers = []Peer{{"Storj", 37, 60}, {"Sia", 31, 77}}

// peersTable has Cairn beside them, as far as the same was measured.
func (r *Report) peersTable() []string {
	transfer := func(scheme, direction string, show func(Transfer) string) string {
		for _, t := range r.Transfers {
			if t.Scheme == scheme && t.Place == OnDisk && t.Direction == direction && t.Bytes == 256<<20 {
				return show(t)
			}
		}
		return ""
	}
	rate := func(t Transfer) string { return mbs(t.Rate) }
	cpu := func(t Transfer) string { return fmt.Sprintf("%.1f", t.CPUPerGiB) }
	memory := func(t Transfer) string { return mib(t.UplinkRSS) }
	objects := func(size int, operation string) string {
		for _, o := range r.Objects {
			if o.Size == size && o.Operation == operation && o.Clients == 8 && o.Place == OnDisk {
				return thousands(o.Rate)
			}
		}
		return ""
	}
	list := ""
	for _, l := range r.Listings {
		if l.Keys == 10_000 && l.Place == OnDisk && list == "" {
			list = fmt.Sprintf("%.2f", l.Seconds)
		}
	}
	if len(r.Transfers)+len(r.Objects)+len(r.Listings) == 0 {
		return table(nil, nil)
	}
	const four, ten = "4/6/8/10", "10/14/16/20"
	return table([]string{"10 nodes, any 4 suffice, unless said otherwise", " Cairn", " Storj", " Sia"}, [][]string{
		{"upload of 256 MiB, MB/s", transfer(four, "upload", rate), "32–37", "31"},
		{"… CPU s per GiB", transfer(four, "upload", cpu), "41–57", "60"},
		{"… memory of the uplink, MiB", transfer(four, "upload", memory), "160–200", "1,400"},
		{"download of 256 MiB, MB/s", transfer(four, "download", rate), "48–60", "77"},
		{"… CPU s per GiB", transfer(four, "download", cpu), "25–28", "20"},
		{"20 nodes, any 10 suffice: upload, MB/s (the others: 64 MiB)", transfer(ten, "upload", rate), "30", "28"},
		{"… download, MB/s", transfer(ten, "download", rate), "73", "63"},
		{"64 KiB objects, 8 at a time: puts/s", objects(64<<10, "put"), "33", "79, into a local buffer"},
		{"… gets/s", objects(64<<10, "get"), "90", "150"},
		{"4 KiB objects, 8 at a time: puts/s", objects(4<<10, "put"), "243", "102, into a local buffer"},
		{"… gets/s", objects(4<<10, "get"), "440", "112"},
		{"list of 10,000 names, s", list, "0.58", "0.15–0.19"},
	})
}
