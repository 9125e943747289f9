// Package results is what scripts/bench measures: the rows of its parts, how
// they are read again and brought together, and how a reader sees them.
package results

// Report is all that a run measured, as -o json prints it. MB are 10⁶ bytes, MiB
// and GiB are 2²⁰ and 2³⁰.
type Report struct {
	Tree      string     `json:"tree,omitempty"` // the commit that was measured; with a + if the tree differs from it
	Day       string     `json:"day"`            // year-month-day, UTC
	Cores     int        `json:"cores"`
	Seconds   float64    `json:"seconds"`
	Others    float64    `json:"others"` // share of the processors that other programs took in all
	Failures  []string   `json:"failures,omitempty"`
	Bounds    []Bound    `json:"bounds,omitempty"`
	Transfers []Transfer `json:"transfers,omitempty"`
	Ranges    []Range    `json:"ranges,omitempty"`
	Trips     *Trips     `json:"trips,omitempty"`
	Objects   []Objects  `json:"objects,omitempty"`
	Files     []Files    `json:"files,omitempty"`
	Listings  []Listing  `json:"listings,omitempty"`
	Commits   []Commits  `json:"commits,omitempty"`
	Metadata  []Metadata `json:"metadata,omitempty"`
	Memory    []Memory   `json:"memory,omitempty"`
	Shaped    []Shaped   `json:"shaped,omitempty"`
	Revision  string     `json:"revision,omitempty"` // that Compared is with
	Compared  []Compared `json:"compared,omitempty"`
}

// Where nodes keep what they store.
const (
	OnDisk  = "disk"
	OnTmpfs = "tmpfs"
)

// AllAlike are lines none of which was made slower.
const AllAlike = "all alike"
