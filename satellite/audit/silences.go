package audit

import (
	"fmt"
	"time"
)

// Silences is how often a node was suspended while it owed answers. A node that
// keeps silent loses its slots, and with them all that it could be asked for. If
// that were the end of it, it would be given new ones at once, and keep silent on
// those. So it has to answer something before it is back, and wait longer each
// time: those that answer only what leads to new slots get them ever more rarely.
type Silences struct {
	Count int       // suspensions with less than a LossWindow between them
	Last  time.Time // when the last of them began, or was over
	Open  bool      // it is not over
}

// begin is s after another suspension.
func (s Silences) begin(now time.Time) Silences {
	if now.Sub(s.Last) > LossWindow {
		s.Count = 0
	}
	return Silences{Count: s.Count + 1, Last: now, Open: true}
}

// end is s once the node is back.
func (s Silences) end(now time.Time) Silences {
	s.Open, s.Last = false, now
	return s
}

// pause is how long a suspension lasts at least: nothing the first time, grace
// the second, and each time twice as long as before, and grace more. No node is
// kept away for longer than a LossWindow.
func (s Silences) pause(grace time.Duration) time.Duration {
	pause := time.Duration(0)
	for range s.Count - 1 {
		if pause = 2*pause + grace; pause >= LossWindow {
			return LossWindow
		}
	}
	return pause
}

// lasts says whether the node has not done yet what is asked of it.
func (s Silences) lasts(rule Rule, facts Facts) bool {
	return s.Open && (!facts.Owed.IsZero() || !facts.Answered || facts.Now.Sub(s.Last) < s.pause(rule.Grace))
}

// terms says in words what is asked of the node.
func (s Silences) terms(rule Rule) string {
	if pause := s.pause(rule.Grace); pause > 0 {
		return fmt.Sprintf("; it has to answer first, and to wait for %v", pause)
	}
	return "; it has to answer first"
}
