package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/codec"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func theCertificate(t *testing.T) *certificate {
	t.Helper()
	c, err := newCertificate()
	require.NoError(t, err)
	return c
}

// try runs the program and returns its lines.
func try(ctx context.Context, c *certificate, rows []row) ([]string, error) {
	var out strings.Builder
	err := run(ctx, c, rows, func(format string, args ...any) { fmt.Fprintf(&out, format, args...) })
	return strings.Split(strings.TrimSpace(out.String()), "\n"), err
}

// Each row has its line, and every line says ok.
func TestRun(t *testing.T) {
	t.Parallel()
	c := theCertificate(t)
	all := rows(c)
	lines, err := try(t.Context(), c, all)
	require.NoError(t, err, "%q", lines)
	require.Len(t, lines, len(all)+2)
	for i, r := range all {
		line := lines[i+1]
		if strings.Contains(r.name(), "/raw/") {
			require.Regexp(t, `^`+r.name()+` +ok +153 +[0-9.]+(µs|ms|s)$`, line)
		} else {
			require.Regexp(t, `^`+r.name()+` +ok +158 +[0-9.]+(µs|ms|s)$`, line)
		}
	}
	require.Contains(t, lines[len(lines)-1], "75 of 75 rows are ok")
	require.Contains(t, lines[len(lines)-1], "no benchmark")
}

// No row is missing of the table that weft's own tests range over, except those
// without a codec, which typed handlers need, and STOMP's, which has no replies.
func TestRowsHaveTheTable(t *testing.T) {
	t.Parallel()
	var got, want []string
	for _, r := range rows(theCertificate(t)) {
		got = append(got, r.name())
	}
	for _, s := range handlertest.Stacks() {
		if s.Codecs != nil && !strings.HasPrefix(s.Format, "stomp/") {
			want = append(want, s.Name)
		}
	}
	require.NotEmpty(t, want)
	require.Subset(t, got, want)
}

// broken is a codec that computes wrong.
type broken struct{ codec.Codec }

func (b broken) Unmarshal(data []byte, v any) error {
	err := b.Codec.Unmarshal(data, v)
	if s, ok := v.(*sum); ok {
		s.Sum++
	}
	return err
}

// A row that fails has one line that says why, the others go on, and the end is an
// error.
func TestRowFails(t *testing.T) {
	t.Parallel()
	c := theCertificate(t)
	all := rows(c)
	wrong := all[25] // pipe/json/json
	wrong.format.codec = broken{wrong.format.codec}
	nowhere := all[1]
	nowhere.carrier.mount = func(ep *handler.Endpoint, _ *certificate) (string, func() error, error) {
		return "", nil, errors.Join(ep.Shutdown(context.Background()), errors.New("no place"), errors.New("nowhere"))
	}
	lines, err := try(t.Context(), c, []row{wrong, nowhere, all[2]})
	require.EqualError(t, err, "2 of 3 rows have failed")
	require.Len(t, lines, 5)
	require.Contains(t, lines[1], "FAILED 0 and 0 are not 1")
	require.Contains(t, lines[2], "FAILED no place; nowhere")
	require.Contains(t, lines[3], " ok ")
	require.Contains(t, lines[4], "1 of 3 rows are ok")
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := theCertificate(t)
	lines, err := try(ctx, c, rows(c)[:7])
	require.Error(t, err)
	for _, line := range lines[1:8] {
		require.Contains(t, line, "FAILED")
	}
}
