// Package codec has the contract between the body of a message and a Go value.
//
// A [Codec] touches bodies only; how a body travels is a sub-protocol's matter. An
// endpoint is given its codecs and chooses for each message by content type, the
// first where a message names none. The package codectest holds the rules of this
// contract as tests.
package codec

// A Codec turns Go values into bytes and back. It is immutable once made and safe
// for concurrent use.
type Codec interface {
	// Name is the short, constant name by which statistics and messages call this
	// codec: "json".
	Name() string

	// ContentType is the media type of what Append writes, in lower case and
	// without blanks: "application/json". It is constant.
	ContentType() string

	// Append encodes v behind dst and returns the longer slice. It changes neither
	// v nor the first len(dst) bytes, and keeps nothing of either. A value that
	// can't be encoded is an error, and dst is returned as it was.
	Append(dst []byte, v any) ([]byte, error)

	// Unmarshal decodes data into the value that v points to. It does not change
	// data and copies what it keeps: data is the caller's again when it returns. It takes the whole of
	// data: what is behind the value is an error. A v that is no pointer, or nil,
	// is an error. It never panics, whatever data is.
	Unmarshal(data []byte, v any) error
}
