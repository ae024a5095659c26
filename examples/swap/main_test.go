package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/codec"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Each row has its line, and every line says ok.
func TestRun(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, run(t.Context(), &out, rows()), "%v", &out)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, len(rows())+2, out.String())
	for i, r := range rows() {
		line := lines[i+1]
		if strings.Contains(r.name(), "/raw/") {
			require.Regexp(t, `^`+r.name()+` +ok +303 +[0-9.]+(µs|ms|s)$`, line)
		} else {
			require.Regexp(t, `^`+r.name()+` +ok +308 +[0-9.]+(µs|ms|s)$`, line)
		}
	}
	require.Contains(t, lines[len(lines)-1], "66 of 66 rows are ok")
	require.Contains(t, lines[len(lines)-1], "no benchmark")
}

// No row is missing of the table that weft's own tests range over, except those
// without a codec, which typed handlers need.
func TestRowsHaveTheTable(t *testing.T) {
	t.Parallel()
	var got, want []string
	for _, r := range rows() {
		got = append(got, r.name())
	}
	for _, s := range handlertest.Stacks() {
		if s.Codecs != nil {
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
	all := rows()
	wrong := all[2]
	wrong.format.codec = broken{wrong.format.codec}
	nowhere := all[3]
	nowhere.carrier.mount = func(ep *handler.Endpoint, _ *certificate) (string, func() error, error) {
		return "", nil, errors.Join(ep.Shutdown(context.Background()), errors.New("no place"), errors.New("nowhere"))
	}
	var out strings.Builder
	err := run(t.Context(), &out, slices.Concat([]row{wrong, nowhere}, all[4:5]))
	require.EqualError(t, err, "2 of 3 rows have failed")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
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
	var out strings.Builder
	require.Error(t, run(ctx, &out, rows()[:7]))
	require.Equal(t, 7, strings.Count(out.String(), "FAILED"))
}
