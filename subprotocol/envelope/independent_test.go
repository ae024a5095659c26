package envelope

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/weftws/weft/transport"
)

// Other people's decoders see the same fields in both forms, and what their
// encoders write is read.
func TestIndependentCodecs(t *testing.T) {
	t.Parallel()
	for _, x := range exchanges() {
		data, err := os.ReadFile(x.file())
		require.NoError(t, err)
		lines := strings.Split(strings.TrimSpace(string(data)), "\n")[1:]
		for i := 0; i < len(lines); i += 2 {
			one, two := parseLine(lines[i]), parseLine(lines[i+1])
			var fromJSON, fromMsgpack map[string]any
			require.NoError(t, json.Unmarshal(one.wire.Data, &fromJSON))
			require.NoError(t, msgpack.Unmarshal(two.wire.Data, &fromMsgpack))

			want := one.check(t)
			for _, l := range []struct {
				line
				encode func(any) ([]byte, error)
				fields map[string]any
			}{{one, json.Marshal, fromJSON}, {two, msgpack.Marshal, fromMsgpack}} {
				again, err := l.encode(l.fields) // the fields in another order
				require.NoError(t, err)
				_, reader := l.ends()
				var got last
				require.NoError(t, reader.Decode(transport.Message{Type: l.wire.Type, Data: again}, &got), "%q", again)
				if _, ok := fromJSON[asJSON]; ok {
					got.m.Body = want.Body // encoding/json writes values its own way
				}
				got.m.Type = want.Type
				require.Equal(t, want, got.m)
			}

			// Bodies differ, and a deliver has nil for what JSON leaves out.
			for _, name := range []string{"body", asText, asBase64} {
				delete(fromJSON, name)
				delete(fromMsgpack, name)
			}
			for name, v := range fromMsgpack {
				if v == nil {
					delete(fromMsgpack, name)
				}
			}
			require.Equal(t, fmt.Sprint(fromJSON), fmt.Sprint(fromMsgpack))
		}
	}
}
