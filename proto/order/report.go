package order

import (
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/pb"
)

// Report is a node's word on all its answers to one audit.
type Report struct {
	Node      ident.ID
	Satellite ident.ID
	Request   merkle.Hash // see RequestHash
	Answers   merkle.Hash // see AnswersHash
	Answered  time.Time   // whole seconds
}

// Validate returns an error wrapping ErrMalformed when r cannot be a report.
func (r *Report) Validate() error {
	switch {
	case r.Node.IsZero():
		return refuse(ErrMalformed, "audit report has no node")
	case r.Satellite.IsZero():
		return refuse(ErrMalformed, "audit report has no satellite")
	}
	_, err := timeField(r.Answered.Unix(), "answered")
	return err
}

// SignReport signs r with the node's key.
func SignReport(key ident.Key, r *Report) (*pb.Signed, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	if err := ownKey(key, r.Node, "node"); err != nil {
		return nil, err
	}
	return sign(key, contextReport, &pb.AuditReport{
		Node: r.Node[:], Satellite: r.Satellite[:], Request: r.Request[:], Answers: r.Answers[:], Answered: r.Answered.Unix(),
	})
}

// OpenReport returns the report that node signed. Errors wrap ErrMalformed,
// ErrSignature or, when the record names another node, ErrPeer.
func OpenReport(signed *pb.Signed, node ident.ID) (*Report, error) {
	var m pb.AuditReport
	if err := open(signed, node, contextReport, &m); err != nil {
		return nil, err
	}
	r := &Report{}
	var err error
	if r.Node, err = signerField(m.Node, node, "node"); err != nil {
		return nil, err
	}
	if r.Satellite, err = idField(m.Satellite, "satellite"); err != nil {
		return nil, err
	}
	if r.Request, err = hashField(m.Request, "request"); err != nil {
		return nil, err
	}
	if r.Answers, err = hashField(m.Answers, "answers"); err != nil {
		return nil, err
	}
	if r.Answered, err = timeField(m.Answered, "answered"); err != nil {
		return nil, err
	}
	return r, r.Validate()
}
