package satellite

import (
	"fmt"
	"testing"
)

// TestDrawEnds draws where hardly anything is left of all that there has been.
func TestDrawEnds(t *testing.T) {
	for name, live := range map[string]int{"nothing": 0, "little": 2} {
		t.Run(name, func(t *testing.T) {
			a := newAudits(t)
			var gone []*object
			for i := range 4 {
				gone = append(gone, a.node.put(1, fmt.Sprint("gone ", i), 100, allOfThem))
			}
			if live > 0 {
				a.node.put(1, "left", live, allOfThem)
			}
			a.node.claim(1)
			a.node.put(1, "not claimed yet", 1, allOfThem)
			for _, o := range gone {
				a.deleteObject(o)
			}
			a.makeDue()
			q := &inquiry{auditor: a.auditor, node: a.auditor.nodes[a.node.key.ID()], random: a.auditor.newRand()}
			must(t, q.draw(t.Context()))
			if len(q.asked) < live {
				t.Errorf("%d challenges", len(q.asked))
			}
			if most := maxNumbers*a.auditor.batch + 512; q.numbers == 0 || q.numbers > most {
				t.Errorf("%d numbers were drawn, at most %d are to be", q.numbers, most)
			}
		})
	}
}
