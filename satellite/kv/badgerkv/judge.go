package badgerkv

import (
	"fmt"

	"github.com/cairnstorage/cairn/satellite/kv"
)

// evidence is what the witnesses of a store's state say at start.
type evidence struct {
	log    *logSurvey   // nil: there is no log
	tables *tableSurvey // nil: Badger has no manifest

	anchor   bool // it is there and readable
	acked    uint64
	anchorID storeID
}

// judge decides from which record on the log must be replayed into Badger, or
// why the store must not be used. fresh means that there is no store yet.
func judge(e evidence) (from uint64, fresh bool, err error) {
	if e.log == nil {
		if e.tables != nil || e.anchor {
			return 0, false, damaged("its log is missing")
		}
		return firstSequence, true, nil
	}
	if e.anchor && e.anchorID != e.log.id {
		return 0, false, damaged("the anchor and the log belong to different stores")
	}
	var newest uint64
	if e.tables != nil {
		newest = e.tables.newest
		for id := range e.tables.owners {
			if id != e.log.id {
				return 0, false, damaged("Badger's tables and the log belong to different stores")
			}
		}
	}
	// Tables hold every record before the newest number in them, and perhaps
	// only a part of that one.
	from = max(newest, firstSequence)
	begin, end := e.log.files[0], e.log.next-1
	if begin > from {
		return 0, false, damaged("Badger's tables end with record %d and the log begins with %d: "+
			"the badger directory is older than the log, or lost files", newest, begin)
	}
	for _, g := range e.log.gaps {
		if g.to >= from {
			return 0, false, damaged("records %d to %d are missing or damaged in the log (%s)", g.from, g.to, g.where)
		}
	}
	if end < newest {
		return 0, false, damaged("the log ends with record %d and Badger's tables with %d: "+
			"the log is older than the badger directory, or lost its end", end, newest)
	}
	if e.anchor && end < e.acked {
		return 0, false, damaged("the log ends with record %d and %d was acknowledged: "+
			"the log lost its end, or is an older copy", end, e.acked)
	}
	return from, false, nil
}

// damaged returns kv.ErrDamaged with the reason and what to do.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s; nothing was changed, restore the whole directory from a backup", kv.ErrDamaged,
		fmt.Sprintf(format, args...))
}
