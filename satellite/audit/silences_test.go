package audit

import (
	"strings"
	"testing"
	"time"
)

// TestSilences: a node that was suspended while it owed answers is not back
// before it owes nothing, has answered something, and has waited.
func TestSilences(t *testing.T) {
	const grace = 4 * time.Hour
	at := func(d time.Duration) Facts {
		return Facts{Now: start.Add(d), FirstSeen: start, LastPresent: start.Add(d), Listening: start}
	}
	online := Standing{State: Online, Score: enough, Since: start}
	silence := func(s Standing, when time.Duration) Standing {
		f := at(when)
		f.Owed = f.Now.Add(-grace - time.Second)
		f.Listening = start.Add(-time.Hour * 24)
		next, changed := s.Next(rule, f)
		if !changed || next.State != Suspended || !next.MustAnswer() {
			t.Fatalf("%+v owes for too long and is %+v", s, next)
		}
		return next
	}
	answered := func(d time.Duration) Facts {
		f := at(d)
		f.Answered = true
		return f
	}

	first := silence(online, 0)
	owes := answered(time.Hour)
	owes.Owed = owes.Now.Add(-time.Second)
	restarted := at(time.Hour)
	restarted.Listening = restarted.Now
	for name, facts := range map[string]Facts{
		"it has lost its slots, and owes nothing":  at(time.Hour),
		"it owes nothing, a long time after":       at(1000 * time.Hour),
		"it has answered, but not all":             owes,
		"the satellite has forgotten what it owes": restarted,
	} {
		if s, changed := first.Next(rule, facts); changed || s != first {
			t.Errorf("%s: %+v", name, s)
		}
	}
	back, changed := first.Next(rule, answered(time.Second))
	if !changed || back.State != Online || back.MustAnswer() || back.Score != enough {
		t.Errorf("it has answered: %+v", back)
	}

	// Who does it again and again has to wait, each time longer.
	s, now := back, time.Second
	for i, pause := range []time.Duration{grace, 3 * grace, 7 * grace, 15 * grace, 31 * grace, 63 * grace, 127 * grace, LossWindow, LossWindow} {
		now += 5 * time.Hour
		s = silence(s, now)
		if !strings.Contains(s.Reason, pause.String()) {
			t.Errorf("silence %d, to wait for %v: %q", i+2, pause, s.Reason)
		}
		if early, changed := s.Next(rule, answered(now+pause-1)); changed {
			t.Errorf("silence %d: back before %v: %+v", i+2, pause, early)
		}
		now += pause
		if s, changed = s.Next(rule, answered(now)); !changed || s.State != Online {
			t.Errorf("silence %d: not back after %v: %+v", i+2, pause, s)
		}
	}
	if s = silence(s, now+LossWindow); s.Silences.Count != 11 {
		t.Errorf("a silence %v after the last: %+v", LossWindow, s.Silences)
	}
	s, _ = s.Next(rule, answered(now+3*LossWindow))
	if s = silence(s, now+4*LossWindow+time.Second); s.Silences.Count != 1 {
		t.Errorf("a silence long after the last: %+v", s.Silences)
	}

	// To be away does not free from owing.
	left := at(5 * time.Hour)
	left.LastPresent, left.Owed = start, start.Add(-time.Minute)
	if s, _ := online.Next(rule, left); s.State != Suspended || !s.MustAnswer() {
		t.Errorf("a node that went away while it owed: %+v", s)
	}
	left.Owed = time.Time{}
	s, _ = online.Next(rule, left)
	if s.State != Suspended || s.MustAnswer() {
		t.Errorf("a node that went away and owed nothing: %+v", s)
	}
	if s, _ = s.Next(rule, at(6*time.Hour)); s.State != Online {
		t.Errorf("and is back: %+v", s)
	}

	leaving := at(time.Hour)
	leaving.ExitAsked = true
	if s, _ := first.Next(rule, leaving); s.State != Exiting || s.MustAnswer() {
		t.Errorf("a silent node asked to leave: %+v", s)
	}
	lost := first
	lost.Score = guilty
	if s, _ := lost.Next(rule, at(time.Hour)); s.State != Disqualified {
		t.Errorf("a silent node has lost data: %+v", s)
	}
}
