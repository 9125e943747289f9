package meta

// CommitRequest makes an object visible. It has extents, or inline ciphertext,
// or neither (an empty object). Size is the sum of the extents' lengths,
// including those of the upload, or the plaintext size of the inline bytes.
type CommitRequest struct {
	Project ProjectNumber
	Bucket  string
	Key     []byte // encrypted
	// Upload is the upload whose segments come first; zero when there is none.
	Upload UploadID
	// Segments are new; each is referred to by an extent. Extents may also
	// refer to live segments of the same project.
	Segments       []NewSegment
	Extents        []Extent
	Inline         []byte
	Size           uint64
	SealedMetadata []byte
	IfAbsent       bool // ErrObjectExists when the key exists
	// Nonce (16 bytes, or none) makes a repeat of this very commit return the
	// result of the first.
	Nonce []byte
}

// CommitManyRequest makes several objects visible in one transaction, each
// unless something stands against it that concerns it alone.
type CommitManyRequest struct {
	Project ProjectNumber
	// Segments are new; each is referred to by an extent of an object. Extents
	// may also refer to live segments of the same project.
	Segments []NewSegment
	Objects  []NewObject // at most MaxCommit, in the order in which they take effect
	Nonce    []byte      // as in CommitRequest
}

// NewObject is an object to be made. It has extents, whose lengths add up to
// Size, or inline ciphertext, or neither.
type NewObject struct {
	Bucket         string
	Key            []byte // encrypted
	Extents        []Extent
	Inline         []byte
	Size           uint64 // plaintext bytes
	SealedMetadata []byte
	IfAbsent       bool    // ErrObjectExists when the key exists
	IfVersion      Version // unless 0, ErrChanged or ErrObjectNotFound when the key has not this one
}

// Outcome is an object that was made, or why it was not: ErrBucketNotFound,
// ErrObjectExists, ErrObjectNotFound, ErrChanged, ErrTooMuch.
type Outcome struct {
	Object
	Err error
}

// AddRequest adds segments to an upload.
type AddRequest struct {
	Project ProjectNumber
	Upload  UploadID
	// First is the index in the upload of Extents[0]: the number of extents
	// added before. A repeat of an earlier call does nothing.
	First    uint64
	Segments []NewSegment
	Extents  []Extent
}

// GetRequest asks for an object and the extents of a range of it.
type GetRequest struct {
	Project  ProjectNumber
	Bucket   string
	Key      []byte
	Version  Version // 0: the newest
	StatOnly bool    // no extents, no places
	Offset   uint64  // plaintext bytes
	Length   uint64  // 0: to the end
	Limit    int     // extents at most; 0 stands for 64
}

// Got is an object with extents that cover the beginning of the range asked
// for, or all of it.
type Got struct {
	Object
	FirstOffset uint64 // object offset at which Extents[0] begins
	FirstIndex  int    // index of Extents[0] in the object
	Extents     []Extent
	Places      []Place // of the extents' segments, each once
}

// ListRequest asks for one page of objects in the order of encrypted keys.
type ListRequest struct {
	Project ProjectNumber
	Bucket  string
	Prefix  []byte // whole components
	// After continues where an earlier page ended: its Next.
	After        []byte
	Limit        int  // items; 0 stands for MaxList
	Recursive    bool // otherwise keys deeper than one component show as prefixes
	WithMetadata bool
	WithExtents  bool // fill in Extent, and Places
	WithInline   bool // fill in Inline
}

// Item is an object, or the common prefix of those a level below. An object
// key may also be a prefix; the object comes first.
type Item struct {
	Object        // Key is whole
	Prefix []byte // set instead of Object
	// Extent is that of an object that has one.
	Extent *Extent
}

// ListPage is one page of a listing.
type ListPage struct {
	Items []Item
	More  bool
	Next  []byte // give it as After
	// Places are those of the segments that the extents are in, each once.
	Places []Place
}

// DeleteRequest deletes objects.
type DeleteRequest struct {
	Project  ProjectNumber
	Bucket   string
	Keys     [][]byte  // at most MaxDelete
	Versions []Version // by key, to be deleted only if they are the present ones; 0, or none at all: whichever there is
}

// CopyRequest makes another object of the same segments.
type CopyRequest struct {
	Project        ProjectNumber
	Bucket         string
	Key            []byte
	Version        Version // must be the present one, else ErrChanged; 0: whatever it is
	ToBucket       string
	ToKey          []byte
	SealedMetadata []byte
	Move           bool // delete the source in the same transaction
	IfAbsent       bool // ErrObjectExists when ToKey exists
}

// Expired counts what one call of Expire removed.
type Expired struct {
	Uploads, Nonces int
	More            bool // call again
}
