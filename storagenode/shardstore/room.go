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

	// largeShard is from how much room for a shard on, in bytes, a record begins at
	// a multiple of unit, unless zeros were written there ahead. Shards come in
	// pieces of that size, and one that begins there can be one page of memory.
	largeShard = 512 << 10
	unit       = 256 << 10

	// blocksAhead is how far ext4 is told what is going to be written of a large
	// shard, in bytes. Else it plans for each block by itself.
	blocksAhead = 1 << 20
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

// beginning is where the next record of a volume begins. The caller holds mu.
func (d *dir) beginning(v *volume, reserved int64) int64 {
	if reserved < largeShard || v.room > v.end {
		return v.end
	}
	return roundUp(v.end, unit)
}

// makeBlocks has the file system make blocks for n bytes of a large shard, which
// are going to be written from offset on, and for some more. Up to made it has done
// so already. It returns how far that now is, and whether any were made. Where they
// could not be it is not tried again: writing then does without, or fails as well.
func (d *dir) makeBlocks(v *volume, p place, offset, n, made int64) (int64, bool) {
	if !d.allocates || p.reserved < largeShard || offset+n <= made {
		return made, false
	}
	from := max(offset, made)
	to := min(max(from+blocksAhead, offset+n), p.offset+p.length())
	return to, allocate(v.file, from, to-from) == nil
}

// giveUpBlocks punches blocks that were made and are not needed, if there are any.
func (d *dir) giveUpBlocks(f *os.File, from, to int64) {
	if from < to {
		_ = d.punchFile(f, from, to-from)
	}
}

// giveUpRoom punches what room is left of a volume that takes no more records.
func (d *dir) giveUpRoom(v *volume) {
	if v.room > v.end && d.punchFile(v.file, v.end, v.room-v.end) == nil {
		v.room = 0
	}
}

// dropZeros punches what is behind the last record of a volume up to the end of
// the file, if that is all zeros: room of a process that was killed, or blocks it
// had made. What cannot be punched is only not free.
func (d *dir) dropZeros(f *os.File, from int64) error {
	st, err := f.Stat()
	if err != nil || st.Size() <= from {
		return err
	}
	to := roundUp(st.Size(), pageSize)
	_, data, err := nextData(f, from)
	switch {
	case err != nil:
		return err
	case !data:
		d.dropBlocks(f, from, to)
	case verifyZero(f, from, to) == nil:
		_ = d.punchFile(f, from, to-from)
	}
	return nil
}

// dropBlocks punches what lies between two records, where a scan has found
// nothing: there may be blocks of a process that was killed. That cannot be asked
// for, as what someone has read of them looks like data.
func (d *dir) dropBlocks(f *os.File, from, to int64) {
	if d.allocates || d.foresees {
		d.giveUpBlocks(f, from, to)
	}
}
