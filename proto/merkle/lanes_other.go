//go:build !amd64

package merkle

func detectMethods() []method { return nil }

func (m method) supported() bool { return m == single }

func (method) begin([]uint32) { panic("merkle: no lanes on this machine") }

func (method) take([]uint32, *[maxLanes]*byte, int) {}

func (method) sum([]uint32, int, *Hash) {}

func (method) hashSubtree(*[subtreeLeaves]Hash, *[SubtreeSize]byte) bool { return false }
