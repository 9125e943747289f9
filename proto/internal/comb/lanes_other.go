//go:build !amd64

package comb

// canLanes tells whether this machine adds four points at once.
const canLanes = false

// sumLanes is Sum, four points at a time.
func sumLanes(*Table, *[32]byte, *[32]byte) Sum {
	panic("comb: sumLanes where it is not to be had")
}

// lanes is how many points would be added at once.
const lanes = 4

// sumTogether is Sums of as many terms as there are lanes.
func sumTogether([]Sum, []Term) {
	panic("comb: sumTogether where it is not to be had")
}
