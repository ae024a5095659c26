package cborcodec_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/codec/codectest"
	"github.com/weftws/weft/examples/custom/cborcodec"
)

func TestContract(t *testing.T) {
	t.Parallel()
	codectest.Run(t, cborcodec.New(), nil)
}

func BenchmarkContract(b *testing.B) { codectest.Benchmark(b, cborcodec.New(), nil) }

// An example of RFC 8949, appendix A.
func TestGolden(t *testing.T) {
	t.Parallel()
	c := cborcodec.New()
	var v any
	require.NoError(t, c.Unmarshal([]byte("\xa2\x61a\x01\x61b\x82\x02\x03"), &v))
	require.Equal(t, map[string]any{"a": uint64(1), "b": []any{uint64(2), uint64(3)}}, v)
	data, err := c.Append(nil, struct {
		A int   `json:"a"`
		B []int `cbor:"b"`
	}{1, []int{2, 3}})
	require.NoError(t, err)
	require.Equal(t, "\xa2\x61a\x01\x61b\x82\x02\x03", string(data))
}
