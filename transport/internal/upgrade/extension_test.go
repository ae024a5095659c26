package upgrade

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzExtensions: whatever a peer offers or answers, the parser ends, what it accepts has
// its canonical form in the line, and so has what is understood of permessage-deflate.
func FuzzExtensions(f *testing.F) {
	for _, s := range []string{
		"", "permessage-deflate", "permessage-deflate; server_no_context_takeover; client_no_context_takeover", "a;b=\"c\",d", "a;b==", "a,,b", "\"a\"",
		"permessage-deflate; client_max_window_bits=10, x", "permessage-deflate; server_max_window_bits=\"9\"; client_max_window_bits",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		list, err := parseExtensions([]string{line})
		if err != nil {
			require.Empty(t, Offers([]string{line}))
			return
		}
		var canonical []string
		for _, e := range list {
			s := e.name
			require.True(t, IsToken(e.name))
			for _, p := range e.params {
				require.True(t, IsToken(p.name))
				s += ";" + p.name
				if p.hasValue {
					require.True(t, IsToken(p.value))
					s += "=" + p.value
				}
			}
			canonical = append(canonical, s)
		}
		again, err := parseExtensions([]string{strings.Join(canonical, ",")})
		require.NoError(t, err)
		require.Equal(t, list, again)
		for _, d := range Offers([]string{line}) {
			require.Equal(t, []Deflate{d}, Offers([]string{d.String()}))
		}
		if d, err := Answer([]string{line}); err == nil && d != nil {
			again, err := Answer([]string{d.String()})
			require.NoError(t, err)
			require.Equal(t, d, again)
		}
	})
}
