package meta

import (
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
)

// The values, as sequences of uvarints, length-prefixed bytes and fixed
// fields. testdata/values.txt pins them; one byte at the beginning of the
// larger kinds leaves room for other forms.

const formatVersion = 1

const versionRandomBits = 12

func (p *Project) encode() []byte {
	b := []byte{formatVersion}
	b = putUvarint(b, uint64(p.Number))
	b = putString(b, p.Name)
	b = putMicros(b, p.Created)
	b = append(b, p.Secret[:]...)
	b = append(b, p.Salt[:]...)
	return append(b, p.KeyCheck[:]...)
}

func decodeProject(id ProjectID, v []byte) (Project, error) {
	d := decoder{b: v}
	d.bad = d.byte() != formatVersion
	p := Project{ID: id, Number: ProjectNumber(d.u32()), Name: d.string(), Created: d.micros()}
	d.into(p.Secret[:])
	d.into(p.Salt[:])
	d.into(p.KeyCheck[:])
	return p, d.done("project " + id.String())
}

// bucketRecord is a bucket as stored.
type bucketRecord struct {
	number  uint32
	created time.Time
	usage   Usage
}

func (r *bucketRecord) encode() []byte {
	b := putUvarint(nil, uint64(r.number))
	b = putMicros(b, r.created)
	b = putUvarint(b, r.usage.Objects)
	return putUvarint(b, r.usage.Bytes)
}

func decodeBucket(v []byte) (bucketRecord, error) {
	d := decoder{b: v}
	r := bucketRecord{number: d.u32(), created: d.micros()}
	r.usage = Usage{Objects: d.uvarint(), Bytes: d.uvarint()}
	return r, d.done("bucket")
}

// Forms of an object's content.
const (
	formExtents = 0 // in the value
	formList    = 1 // in a list of pages
	formInline  = 2 // ciphertext in the value
)

// content is an object as stored, without key and version.
type content struct {
	size    uint64
	sealed  []byte
	form    byte
	extents []Extent // formExtents
	list    UploadID // formList, count extents in all
	count   uint64
	inline  []byte // formInline
}

// segments is the number of extents.
func (c *content) segments() int {
	if c.form == formList {
		return int(c.count)
	}
	return len(c.extents)
}

func (c *content) encode() []byte {
	b := make([]byte, 0, 16+len(c.sealed)+len(c.inline)+26*len(c.extents))
	b = append(b, c.form)
	b = putUvarint(b, c.size)
	b = putBytes(b, c.sealed)
	switch c.form {
	case formExtents:
		b = putExtents(b, c.extents)
	case formList:
		b = append(b, c.list[:]...)
		b = putUvarint(b, c.count)
	case formInline:
		b = putBytes(b, c.inline)
	}
	return b
}

// decodeContent returns a content that shares v's memory.
func decodeContent(v []byte) (content, error) {
	d := decoder{b: v}
	c := content{form: d.byte(), size: d.uvarint(), sealed: d.bytes()}
	switch c.form {
	case formExtents:
		c.extents = d.extents()
	case formList:
		d.into(c.list[:])
		c.count = d.number(MaxExtents)
	case formInline:
		c.inline = d.bytes()
	default:
		d.bad = true
	}
	return c, d.done("object")
}

const minExtent = len(order.SegmentID{}) + 2

func putExtents(b []byte, extents []Extent) []byte {
	b = putUvarint(b, uint64(len(extents)))
	for i := range extents {
		b = append(b, extents[i].Segment[:]...)
		b = putUvarint(b, extents[i].Offset)
		b = putUvarint(b, extents[i].Length)
	}
	return b
}

func (d *decoder) extents() []Extent {
	n := d.count(minExtent)
	if n == 0 {
		return nil
	}
	extents := make([]Extent, n)
	for i := range extents {
		d.into(extents[i].Segment[:])
		extents[i].Offset = d.uvarint()
		extents[i].Length = d.uvarint()
	}
	return extents
}

// list is what objects share that have the same, long sequence of extents.
type list struct {
	refs uint64 // objects
}

func (l *list) encode() []byte { return putUvarint(nil, l.refs) }

func decodeList(v []byte) (list, error) {
	d := decoder{b: v}
	l := list{refs: d.uvarint()}
	return l, d.done("list")
}

// page is a run of a list's extents.
type page struct {
	first   uint64 // index of extents[0]
	extents []Extent
}

func (p *page) encode() []byte { return putExtents(putUvarint(nil, p.first), p.extents) }

func decodePage(v []byte) (page, error) {
	d := decoder{b: v}
	p := page{first: d.number(MaxExtents), extents: d.extents()}
	return p, d.done("page of extents")
}

// upload is an upload in progress as stored.
type upload struct {
	bucket   bucketRef
	key      []byte
	expires  time.Time
	count    uint64 // extents added
	size     uint64 // plaintext bytes added
	aborting bool   // being taken apart
}

func (u *upload) encode() []byte {
	b := []byte{0}
	if u.aborting {
		b[0] = 1
	}
	b = putUvarint(b, uint64(u.bucket.project))
	b = putUvarint(b, uint64(u.bucket.number))
	b = putBytes(b, u.key)
	b = putSeconds(b, u.expires)
	b = putUvarint(b, u.count)
	return putUvarint(b, u.size)
}

func decodeUpload(v []byte) (upload, error) {
	d := decoder{b: v}
	flag := d.byte()
	u := upload{aborting: flag == 1}
	d.bad = d.bad || flag > 1
	u.bucket = bucketRef{ProjectNumber(d.u32()), d.u32()}
	u.key = d.bytes()
	u.expires = d.seconds()
	u.count = d.number(MaxExtents)
	u.size = d.uvarint()
	return u, d.done("upload")
}

// segment is a segment as stored: where its live entry is, who owns it and how
// many extents refer to it. Without any it is buried, seq is that of its newest
// tombstone, and its id is not to be used again.
type segment struct {
	group   uint32
	seq     uint64
	project ProjectNumber
	refs    uint64
}

func (s *segment) encode() []byte {
	b := putUvarint(make([]byte, 0, 12), uint64(s.group))
	b = putUvarint(b, s.seq)
	b = putUvarint(b, uint64(s.project))
	return putUvarint(b, s.refs)
}

func decodeSegment(v []byte) (segment, error) {
	d := decoder{b: v}
	s := segment{group: d.u32(), seq: d.uvarint(), project: ProjectNumber(d.u32()), refs: d.uvarint()}
	return s, d.done("segment")
}

// head is the state of a group: its newest epoch and its journal.
type head struct {
	epoch uint64
	Journal
}

func (h *head) encode() []byte {
	b := putUvarint(nil, h.epoch)
	b = putUvarint(b, h.Head)
	b = putUvarint(b, h.Segments)
	b = putUvarint(b, h.Bytes)
	if h.Base > 0 {
		b = putUvarint(b, h.Base)
	}
	return b
}

func decodeHead(v []byte) (head, error) {
	d := decoder{b: v}
	h := head{epoch: d.uvarint()}
	h.Journal = Journal{Head: d.uvarint(), Segments: d.uvarint(), Bytes: d.uvarint()}
	if len(d.b) > 0 {
		h.Base = d.uvarint()
		d.bad = d.bad || h.Base == 0 || h.Base > h.Head
	}
	return h, d.done("journal head")
}

func (m moments) encode() []byte {
	b := putUvarint(nil, uint64(len(m)))
	for i := range m {
		b = putUvarint(putMicros(b, m[i].at), m[i].head)
	}
	return b
}

func decodeMoments(v []byte) (moments, error) {
	d := decoder{b: v}
	m := make(moments, d.count(2))
	for i := range m {
		m[i] = moment{at: d.micros(), head: d.uvarint()}
		d.bad = d.bad || m[i].at.IsZero() || i > 0 && (!m[i].at.After(m[i-1].at) || m[i].head <= m[i-1].head)
	}
	return m, d.done("moments of a journal")
}

func (e *Entry) encode() []byte {
	b := append(make([]byte, 0, 64), byte(e.Kind))
	b = append(b, e.Segment[:]...)
	if e.Kind == pb.EntryKind_ENTRY_KIND_LIVE {
		b = append(b, e.Root[:]...)
		b = putUvarint(b, uint64(e.Size))
		b = append(b, e.Held...)
	}
	return b
}

// decodeEntry returns an entry that shares v's memory.
func decodeEntry(seq uint64, v []byte) (Entry, error) {
	d := decoder{b: v}
	e := Entry{Seq: seq, Kind: pb.EntryKind(d.byte())}
	d.into(e.Segment[:])
	switch e.Kind {
	case pb.EntryKind_ENTRY_KIND_LIVE:
		d.into(e.Root[:])
		e.Size = d.size()
		if e.Held = d.rest(); len(e.Held) == 0 {
			e.Held = nil
		}
	case pb.EntryKind_ENTRY_KIND_TOMBSTONE:
	default:
		d.bad = true
	}
	return e, d.done(fmt.Sprintf("journal entry %d", seq))
}

func encodeSigned(s *pb.Signed) []byte {
	return append(putBytes(nil, s.GetBody()), s.GetSignature()...)
}

func decodeSigned(v []byte) (*pb.Signed, error) {
	d := decoder{b: v}
	s := &pb.Signed{Body: d.bytes(), Signature: d.rest()}
	return s, d.done("group record")
}

func (n *Node) encode() []byte {
	b := []byte{formatVersion}
	b = putSeconds(b, n.FirstSeen)
	b = putSeconds(b, n.LastSeen)
	for _, v := range [...]uint64{n.Capacity, n.Used, n.Free} {
		b = putUvarint(b, v)
	}
	b = putString(b, n.Version)
	b = putString(b, n.Operator)
	b = putUvarint(b, uint64(len(n.Addresses)))
	for _, a := range n.Addresses {
		b = putString(b, a)
	}
	remote, _ := n.Remote.WithZone("").MarshalBinary() // no address makes no bytes
	return putString(b, string(remote))
}

func decodeNode(id ident.ID, v []byte) (Node, error) {
	d := decoder{b: v}
	d.bad = d.byte() != formatVersion
	n := Node{ID: id, FirstSeen: d.seconds(), LastSeen: d.seconds()}
	n.Capacity, n.Used, n.Free = d.uvarint(), d.uvarint(), d.uvarint()
	n.Version, n.Operator = d.string(), d.string()
	for range d.count(1) {
		n.Addresses = append(n.Addresses, d.string())
	}
	d.bad = n.Remote.UnmarshalBinary([]byte(d.string())) != nil || d.bad
	return n, d.done("node " + id.String())
}

func (c *Claim) encode() []byte {
	b := []byte{formatVersion}
	b = putSeconds(b, c.LostAt)
	b = putBytes(b, c.Lost.Encode(nil))
	b = putBytes(b, c.Signed.GetBody())
	return putBytes(b, c.Signed.GetSignature())
}

// decodeClaim returns a claim that shares v's memory.
func decodeClaim(k ClaimKey, v []byte) (Claim, error) {
	d := decoder{b: v}
	d.bad = d.byte() != formatVersion
	c := Claim{ClaimKey: k, LostAt: d.seconds()}
	lost, err := seqset.Decode(d.bytes(), order.MaxClaimRuns)
	d.bad = d.bad || err != nil
	c.Lost, c.Signed = lost, &pb.Signed{Body: d.bytes(), Signature: d.bytes()}
	return c, d.done(fmt.Sprintf("claim on slot %d of group %d", k.Slot, k.Group))
}

func (t *Trouble) encode() []byte {
	b := []byte{formatVersion}
	b = putSeconds(b, t.Since)
	b = putString(b, t.Text)
	b = putUvarint(b, uint64(len(t.Heads)))
	for _, id := range sortedKeys(t.Heads) {
		b = putUvarint(putUvarint(b, uint64(id)), t.Heads[id])
	}
	return b
}

func decodeTrouble(v []byte) (Trouble, error) {
	d := decoder{b: v}
	d.bad = d.byte() != formatVersion
	t := Trouble{Since: d.seconds(), Text: d.string(), Heads: map[uint32]uint64{}}
	last := int64(-1)
	for range d.count(2) {
		id := d.u32()
		d.bad = d.bad || int64(id) <= last
		last = int64(id)
		t.Heads[id] = d.uvarint()
	}
	return t, d.done("trouble")
}
