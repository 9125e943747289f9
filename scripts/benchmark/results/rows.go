package results

// Bound is the best this machine could do for a scheme, with its parts, by
// where nodes keep their shards. `uplink speed` measures it, for only the
// uplink has the sealing code.
type Bound struct {
	Scheme string       `json:"scheme"`
	Cores  int          `json:"cores"`
	Places []PlaceBound `json:"places"`
}

// PlaceBound is what transfers to and from nodes in one place take at least.
type PlaceBound struct {
	Place    string `json:"place"`
	Upload   Work   `json:"upload"`
	Download Work   `json:"download"`
	Degraded Work   `json:"degraded"` // with as many data shards lost as can be
}

// Work is what a byte takes in one direction. Limit is all processors at the sum
// of the parts, or the disk's own rate if that is lower. Together is what one bare
// program came to that does all parts and nothing else; not known of Degraded.
type Work struct {
	Parts []Part  `json:"parts"`
	CPU   float64 `json:"cpu_s_per_gib"`
	Disk  float64 `json:"disk_mb_s,omitempty"`
	Limit float64 `json:"limit_mb_s"`

	TogetherCPU float64 `json:"together_cpu_s_per_gib,omitempty"`
	Together    float64 `json:"together_mb_s,omitempty"`
}

// Part is one step.
type Part struct {
	Name  string  `json:"name"`
	CPU   float64 `json:"cpu_s_per_gib"`
	Alone float64 `json:"alone_mb_s"` // by the clock, with nothing else to do
}

// Transfer is one direction of a large object, the median of its rounds.
type Transfer struct {
	Scheme    string  `json:"scheme"`
	Place     string  `json:"place"`
	Direction string  `json:"direction"`
	Bytes     int64   `json:"bytes"`
	Rate      float64 `json:"mb_s"`
	Slowest   float64 `json:"slowest_mb_s"`
	OfBound   float64 `json:"of_bound"` // ratio to the bound's rate
	OfWork    float64 `json:"of_work"`  // share of the CPU seconds that the bound has, too
	// OfTogether is the ratio to the rate of the program that does all parts together.
	OfTogether float64 `json:"of_together,omitempty"`
	CPU        float64 `json:"cpu_s"` // of all processes, per transfer
	CPUPerGiB  float64 `json:"cpu_s_per_gib"`
	Others     float64 `json:"others"` // share of the processors that other programs took meanwhile
	UplinkRSS  int64   `json:"uplink_peak_rss"`
	NodeRSS    int64   `json:"node_peak_rss"` // of the largest node
	Satellite  int64   `json:"satellite_peak_rss"`
}

// Hold says how much of a bound the transfer has reached.
func (t *Transfer) Hold(against PlaceBound) {
	work := against.Degraded
	switch t.Direction {
	case "upload":
		work = against.Upload
	case "download":
		work = against.Download
	}
	t.OfBound, t.OfWork = t.Rate/work.Limit, work.CPU/t.CPUPerGiB
	if work.Together > 0 {
		t.OfTogether = t.Rate / work.Together
	}
}

// Range is reads of 4 KiB out of a large object through one open project.
type Range struct {
	Place  string  `json:"place"`
	Object int64   `json:"object_bytes"`
	Count  int     `json:"count"`
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	CPU    float64 `json:"cpu_ms_each"`
}

// Trips is what one such read asks of the network, found out by making the
// lines to the satellite and to all nodes long.
type Trips struct {
	RTT   float64 `json:"rtt_ms"`
	First float64 `json:"first_round_trips"` // of a project that has no connections yet
	Warm  float64 `json:"round_trips"`       // of one that has
	Nodes float64 `json:"nodes_touched"`     // on average
}

// Objects is one operation on many small objects.
type Objects struct {
	Place     string  `json:"place"`
	Operation string  `json:"operation"`
	Size      int     `json:"size"`
	Clients   int     `json:"clients"`
	Count     int     `json:"count"`
	Rate      float64 `json:"per_s"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	CPU       float64 `json:"cpu_ms_each"` // of all processes
}

// Files is a tree of small files, one direction of it; the median of its rounds.
type Files struct {
	Place     string  `json:"place"`
	Direction string  `json:"direction"`
	Count     int     `json:"count"`
	Bytes     int64   `json:"bytes"`
	Rate      float64 `json:"files_per_s"`
	Slowest   float64 `json:"slowest_files_per_s"`
	CPU       float64 `json:"cpu_ms_each"` // of all processes
	RSS       int64   `json:"uplink_peak_rss"`
	// Stored is the ciphertext that nodes hold data shards of, over the bytes of
	// the files: what is stored beyond n/k.
	Stored float64 `json:"stored,omitempty"`
}

// Listing is a recursive list of many names by a command of its own.
type Listing struct {
	Place   string  `json:"place"`
	Keys    int     `json:"keys"`
	Order   string  `json:"order"` // "by name", or "unsorted": as pages come
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"keys_per_s"`
	RSS     int64   `json:"uplink_peak_rss"`
	PutRate float64 `json:"put_per_s"` // while they were made, in packs
}

// Commits is a satellite that takes in objects from 8 clients' connections.
// Those with a segment come with receipts, signed with the keys of nodes that
// are stopped meanwhile: nothing is stored, and the satellite cannot tell.
type Commits struct {
	Place    string  `json:"place"`
	Segments int     `json:"segments"` // of each object; 0: they are inline
	Clients  int     `json:"clients"`
	Each     int     `json:"under_way_at_each"`
	Count    int     `json:"count"`
	Rate     float64 `json:"per_s"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	CPU      float64 `json:"satellite_cpu_ms_each"`
	AllCPU   float64 `json:"cpu_ms_each"` // with the clients'
}

// Metadata is a satellite with many objects of one segment each. They are put
// into its store, while it does not run, through the domain layer that it uses
// itself: no network, no receipts, no nodes that follow. Then it is started on
// them, with its nodes down.
type Metadata struct {
	Place    string  `json:"place"`
	Objects  int     `json:"objects"`
	Load     float64 `json:"loaded_per_s"`
	Logical  float64 `json:"bytes_each"`      // of keys and values, in the store
	OnDisk   float64 `json:"disk_bytes_each"` // of all its files
	LoadRSS  int64   `json:"load_peak_rss"`   // of this process while loading
	Restart  float64 `json:"restart_s"`       // until it answers
	List     float64 `json:"listed_per_s"`    // by one client, in pages
	Listed   int     `json:"listed"`
	RSS      int64   `json:"satellite_rss"` // once started
	ListRSS  int64   `json:"satellite_peak_rss"`
	KeyBytes int     `json:"key_bytes"` // of each object's encrypted name
}

// Memory is what a process takes while it does something.
type Memory struct {
	Place  string  `json:"place"`
	Scheme string  `json:"scheme"`
	What   string  `json:"what"`
	Bytes  int64   `json:"bytes"`          // resident
	Rate   float64 `json:"mb_s,omitempty"` // of what was moved meanwhile
}

// Shaped is one direction of a large object over lines as thin and as long as
// they were told to be. Capacity is what the lines of as many nodes carry as a
// segment has data shards: an upload has to give each node that part of it, and
// a download gets that part from each.
type Shaped struct {
	Scheme    string  `json:"scheme"`
	Place     string  `json:"place"`
	Line      float64 `json:"line_mbit_s"`
	RTT       float64 `json:"rtt_ms"`
	Lines     string  `json:"lines"`
	Direction string  `json:"direction"`
	Bytes     int64   `json:"bytes"`
	Seconds   float64 `json:"seconds"`
	Rate      float64 `json:"mb_s"`
	Capacity  float64 `json:"capacity_mb_s"`
	Share     float64 `json:"share"`
	Change    float64 `json:"change"`  // of the time, against lines that are all alike
	Carried   float64 `json:"carried"` // bytes over the lines, to those needed: all shards, or k of n
	Cores     float64 `json:"cores"`   // that all processes together, and the relays, kept busy
	Others    float64 `json:"others"`  // share of the processors that other programs took meanwhile
}

// Compared is one row, measured with a revision and with the working tree in
// turn on the same machine. Ratios are of medians, the working tree's to the
// revision's: more is better for rates, less for costs.
type Compared struct {
	Place     string  `json:"place"`
	Row       string  `json:"row"`
	Rounds    int     `json:"rounds"`
	Unit      string  `json:"unit"` // of the rates
	Before    float64 `json:"rate_before"`
	After     float64 `json:"rate_after"`
	Ratio     float64 `json:"rate_ratio"`
	Lowest    float64 `json:"lowest_rate_ratio"` // of one round
	Highest   float64 `json:"highest_rate_ratio"`
	CPUBefore float64 `json:"cpu_s_before"`
	CPUAfter  float64 `json:"cpu_s_after"`
	CPURatio  float64 `json:"cpu_ratio"`
}
