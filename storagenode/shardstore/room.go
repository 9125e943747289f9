package shardstore

import "os"

const (
	// roomAhead is how far a volume is filled with zeros ahead of its small
	// records, in bytes. To sync what lies in such room is to write it; to sync
	// what makes a file longer is to have the file system find a place for it and
	// write that down, which costs more than a small record itself.
	roomAhead = 256 << 10

	// smallRecord is the length in bytes up to which that is worth writing twice.
	smallRecord = 48 << 10
)

var zeros [roomAhead]byte

// makeRoom makes room behind a small record for which a place was just found,
// as long as plenty of the disk is free and its file system does not find a new
// place for what is overwritten. Nothing has a place there yet. The caller holds mu.
func (d *dir) makeRoom(v *volume, p place) {
	to := min(roundUp(v.end, roomAhead), d.volumeSize)
	if !d.inPlace || p.length() > smallRecord || v.end <= v.room || v.end >= to || !d.isAmple() {
		return
	}
	if _, err := v.file.WriteAt(zeros[:to-v.end], v.end); err == nil {
		v.room = to
	}
}

// giveUpRoom punches what room is left of a volume that takes no more records.
func (d *dir) giveUpRoom(v *volume) {
	if v.room > v.end && d.punchFile(v.file, v.end, v.room-v.end) == nil {
		v.room = 0
	}
}

// dropZeros punches what is behind the last record of a volume up to the end of
// the file, if that is all zeros: room of a process that was killed. What cannot
// be punched is only not free.
func (d *dir) dropZeros(f *os.File, from int64) error {
	st, err := f.Stat()
	if err != nil || st.Size() <= from {
		return err
	}
	if _, data, err := nextData(f, from); err != nil || !data {
		return err
	}
	if verifyZero(f, from, roundUp(st.Size(), pageSize)) == nil {
		_ = d.punchFile(f, from, roundUp(st.Size(), pageSize)-from)
	}
	return nil
}
