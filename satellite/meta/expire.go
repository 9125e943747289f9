package meta

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/satellite/kv"
)

// expireUploads and expireNonces bound what one call of Expire deals with.
const (
	expireUploads = 64
	expireNonces  = 4096
)

// Expire removes a bounded number of uploads and nonces past their time.
func (s *Store) Expire(ctx context.Context) (Expired, error) {
	now := s.now()
	uploads, moreUploads, err := s.expireUploads(ctx, now)
	if err != nil {
		return Expired{}, fmt.Errorf("expire uploads: %w", err)
	}
	nonces, moreNonces, err := s.expireNonces(ctx)
	if err != nil {
		return Expired{}, fmt.Errorf("expire nonces: %w", err)
	}
	return Expired{Uploads: uploads, Nonces: nonces, More: moreUploads || moreNonces}, nil
}

func (s *Store) expireUploads(ctx context.Context, now time.Time) (n int, more bool, err error) {
	type dated struct {
		unix int64
		id   UploadID
	}
	var list []dated
	err = s.kv.View(ctx, func(r kv.Reader) error {
		for pair, err := range r.Scan([]byte{kindExpiry}, u64([]byte{kindExpiry}, uint64(now.Unix()))) {
			if err != nil {
				return err
			}
			if len(list) == expireUploads {
				more = true
				return nil
			}
			unix, id, err := parseExpiryKey(pair.Key)
			if err != nil {
				return err
			}
			list = append(list, dated{unix, id})
		}
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	due := func(u *upload) bool { return u.expires.Unix() < now.Unix() } // as for the notes above
	for _, d := range list {
		gone, err := s.takeApart(ctx, d.id, due, expiryKey(d.unix, d.id))
		if err != nil {
			return n, false, err
		}
		if gone {
			n++
		}
	}
	return n, more, nil
}

// expireNonces removes those of windows that no commit looks at any more.
func (s *Store) expireNonces(ctx context.Context) (n int, more bool, err error) {
	window := s.window()
	if window < 2 {
		return 0, false, nil
	}
	var keys [][]byte
	end := binary.BigEndian.AppendUint32([]byte{kindNonce}, window-1)
	err = s.kv.View(ctx, func(r kv.Reader) error {
		for pair, err := range r.Scan([]byte{kindNonce}, end) {
			if err != nil {
				return err
			}
			if len(keys) == expireNonces {
				more = true
				return nil
			}
			keys = append(keys, bytes.Clone(pair.Key))
		}
		return nil
	})
	if err != nil || len(keys) == 0 {
		return 0, false, err
	}
	err = s.kv.Update(ctx, func(tx kv.Tx) error {
		for _, k := range keys {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
	return len(keys), more, err
}
