package mux

// maxDropped is how many bytes that are for nobody are received at a time: no memory
// is accounted for them.
const maxDropped = 8 << 10

// incoming is what is being received.
type incoming struct {
	raw    [headerSize]byte // the next header
	filled int              // bytes of it that have come
	header header           // of the frame whose data comes
	left   uint32           // bytes of data that are neither in a piece nor with a reader
	to     *Stream          // which the data is for; nil: nobody
	piece  *[]byte          // takes data that no reader has room for
	size   int              // bytes of it that are going to be used
	have   int              // and that have come
	news   bool             // something has come that somebody waits for
}

// space is where to put what comes next: what is for the stream right into p, if there
// is room.
func (in *incoming) space(st *Stream, p []byte) (into []byte, direct bool) {
	switch {
	case in.left == 0:
		return in.raw[in.filled:], false
	case in.piece == nil && st != nil && in.to == st && len(p) > 0:
		return p[:min(uint64(len(p)), uint64(in.left))], true
	case in.piece == nil:
		most := uint32(maxPiece)
		if in.to == nil {
			most = maxDropped
		}
		in.size, in.have = int(min(in.left, most)), 0
		in.piece = takePiece(in.size)
	}
	return (*in.piece)[in.have:in.size], false
}

// arrived takes note of data in a piece, and delivers that when it is full.
func (in *incoming) arrived(bytes int) {
	if in.have += bytes; in.have < in.size {
		return
	}
	piece := in.piece
	in.piece = nil
	in.left -= uint32(in.size)
	if in.to == nil {
		givePiece(piece)
		return
	}
	in.tell(in.to)
	in.to.deliver(piece, in.size)
}

// tell takes note of news for a stream.
func (in *incoming) tell(st *Stream) { in.news = in.news || st.waiting.Load() > 0 }

// within tells whether a frame has begun to come and not ended.
func (in *incoming) within() bool { return in.filled > 0 || in.left > 0 }

// drop gives back what the rest of a frame would have needed.
func (in *incoming) drop() {
	if in.piece != nil {
		givePiece(in.piece)
		in.piece = nil
	}
}
