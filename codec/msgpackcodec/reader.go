package msgpackcodec

import (
	"errors"
	"io"
)

// extent is where the data of an extension lies.
type extent struct{ start, end int }

var errInExt = errors.New("an extension where another value is wanted")

// reader hands data to the library. Where the library wants a map and finds an
// extension, it steps over the header and takes the extension's data for a map:
// bytes that were never checked. It reads the beginning of a value by ReadByte, so
// that is refused there.
type reader struct {
	data []byte
	pos  int
	exts []extent // those that begin behind pos or have not ended
}

func (r *reader) reset(data []byte, exts []extent) { *r = reader{data: data, exts: exts} }

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.pos >= len(r.data) {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, r.data[r.pos:])
	r.pos += n
	return n, nil
}

// ReadByte implements [io.ByteReader].
func (r *reader) ReadByte() (byte, error) {
	if r.pos >= len(r.data) {
		return 0, io.ErrUnexpectedEOF
	}
	for len(r.exts) > 0 && r.pos >= r.exts[0].end {
		r.exts = r.exts[1:]
	}
	if len(r.exts) > 0 && r.pos >= r.exts[0].start {
		return 0, errInExt
	}
	r.pos++
	return r.data[r.pos-1], nil
}

// UnreadByte implements [io.ByteScanner].
func (r *reader) UnreadByte() error {
	if r.pos == 0 {
		return errors.New("nothing to unread")
	}
	r.pos--
	return nil
}
