package stomp

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// An input of a fuzz target about streams begins with a setting: the version, 0 for what
// comes before it is agreed, whether the client reads, and whether the options are
// lenient.
type setting struct {
	version           version
	atClient, lenient bool
}

func settingOf(b byte) setting {
	return setting{version(b & 3), b&4 != 0, b&8 != 0}
}

// ends makes both ends of a connection.
func (s setting) ends(t testing.TB) (reader, writer *framer) {
	opts := &Options{Lenient: s.lenient, MaxFrame: 4 << 10, MaxLine: 256, MaxHeaders: 16}
	p := New(opts)
	c, _ := p.NewFramer("", subprotocol.FramerConfig{Client: true}).(*framer)
	srv, _ := p.NewFramer("", subprotocol.FramerConfig{}).(*framer)
	if s.version != 0 {
		c, srv = ends(t, p, s.version)
	}
	if s.atClient {
		return c, srv
	}
	return srv, c
}

func addStreams(f *testing.F, add func(setting byte, data []byte)) {
	for v := range byte(numVersions) {
		for _, b := range malformedTable(max(version(v), v10)) {
			if len(b.input) < 1<<10 {
				s := v
				if b.atClient {
					s |= 4
				}
				add(s, []byte(b.input))
			}
		}
	}
	for _, x := range exchanges() {
		for _, v := range x.versions {
			var toServer, toClient []byte
			p := New(x.opts)
			c, s := ends(f, p, v)
			for _, st := range x.steps(v) {
				w := []byte(st.wire)
				if st.m != nil && st.from == client {
					w, _, _ = c.Append(nil, st.m)
				} else if st.m != nil {
					w, _, _ = s.Append(nil, st.m)
				}
				if st.from == client {
					toServer = append(toServer, w...)
				} else {
					toClient = append(toClient, w...)
				}
			}
			for _, b := range []byte{byte(v), byte(v) | 8, 0} {
				add(b, toServer)
				add(b|4, toClient)
			}
		}
	}
}

// read decodes pieces until one is refused. Heartbeats are left out: how many there are depends
// on the pieces.
func read(f *framer, pieces ...[]byte) ([]*neutral, error) {
	var got list
	for _, b := range pieces {
		if err := f.Decode(transport.Message{Type: transport.MessageBinary, Data: bytes.Clone(b)}, &got); err != nil {
			return got.messages(), err
		}
	}
	return got.messages(), nil
}

func (l list) messages() []*neutral {
	ms := slices.DeleteFunc([]*neutral(l), func(m *neutral) bool { return m.Kind == subprotocol.KindHeartbeat })
	for _, m := range ms {
		if len(m.Header) == 0 {
			m.Header = nil
		}
		if len(m.Body) == 0 {
			m.Body = nil
		}
	}
	return ms
}

func show(ms []*neutral) string {
	var b strings.Builder
	for _, m := range ms {
		b.WriteString(describe(m) + "\n")
	}
	return b.String()
}

// FuzzDecode reads a stream whole and cut at random places, which must be the same.
func FuzzDecode(f *testing.F) {
	seed := uint64(0)
	addStreams(f, func(setting byte, data []byte) { seed++; f.Add(setting, data, seed) })
	f.Fuzz(func(t *testing.T, s byte, data []byte, seed uint64) {
		set := settingOf(s)
		one, _ := set.ends(t)
		whole, werr := read(one, data)
		checkError(t, werr)

		random := rand.New(rand.NewPCG(seed, seed))
		var pieces [][]byte
		for rest := data; len(rest) > 0; {
			n := min(len(rest), 1+random.IntN(1+random.IntN(40)))
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		two, _ := set.ends(t)
		cut, cerr := read(two, pieces...)
		checkError(t, cerr)
		if (werr == nil) != (cerr == nil) || !reflect.DeepEqual(whole, cut) {
			t.Fatalf("%+v %q whole: error %v\n%scut in %q: error %v\n%s", set, data, werr, show(whole), pieces, cerr, show(cut))
		}
		if werr == nil && one.Partial() != two.Partial() {
			t.Fatalf("%q: Partial is %d for the whole, %d if it is cut", data, one.Partial(), two.Partial())
		}
	})
}

func checkError(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	e, ok := errors.AsType[*subprotocol.Error](err)
	if !ok || !e.Fatal || e.Code == "" || !utf8.ValidString(e.Text+e.Receipt) || e.Text == "" {
		t.Fatalf("the error is %#v", err)
	}
}

// FuzzRoundTrip writes again what was read, and reads it again as the same.
func FuzzRoundTrip(f *testing.F) {
	addStreams(f, func(setting byte, data []byte) { f.Add(setting, data) })
	f.Fuzz(func(t *testing.T, s byte, data []byte) {
		set := settingOf(s)
		one, _ := set.ends(t)
		got, _ := read(one, data)
		for _, m := range got {
			if err := again(t, set, one.version, m); err != nil {
				t.Fatalf("%+v: %q was read as\n%s%v", set, data, show(got), err)
			}
		}
	})
}

// again writes m, which was read in version v, and reads it.
func again(t *testing.T, set setting, v version, m *neutral) error {
	said, want := m.Clone(), m.Clone()
	set.version = v
	switch m.Kind {
	case subprotocol.KindConnect:
		set.version = 0
	case subprotocol.KindConnected:
		set.version = 0
		if m.Header.Get("server") == "" {
			want.Header = slices.Insert(want.Header, 0, subprotocol.Field{Name: "server", Value: "weft"})
		}
	case subprotocol.KindAck, subprotocol.KindNack:
		dest, noID := byDestination(m.Subscription)
		if v != v11 || noID {
			said.ID = fmt.Sprintf("%d.%s%s", len(m.ID), m.ID, m.Subscription)
			if noID {
				said.ID = fmt.Sprintf("%d-%s%s", len(m.ID), m.ID, dest)
			}
		}
	case subprotocol.KindError:
		if v == 0 {
			return nil // what a writer needs to know of the connection is not there
		}
	case subprotocol.KindDeliver:
		// A client's ID is what its server made of the ID.
		if _, noID := byDestination(m.Subscription); v != v11 || noID {
			said.ID = "i"
			prefix := "1.i" + m.Subscription
			if noID {
				prefix = "1-i" + m.Subscription[1:]
			}
			want.ID = prefix
			if v == v12 {
				want.Header.Del("message-id")
			}
		}
	}
	reader, writer := set.ends(t)
	switch m.Kind {
	case subprotocol.KindConnected: // the server has read CONNECT
		writer.version = v
	default:
	}
	reader.max, writer.max = 1<<20, 1<<20 // what is written may be longer
	reader.sub.opts.MaxLine, reader.sub.opts.MaxHeaders = 1<<20, 1<<10
	wire, typ, err := writer.Append(nil, said)
	if err != nil {
		return fmt.Errorf("%s can't be written: %w", describe(m), err)
	}
	if typ == transport.MessageText && !utf8.Valid(wire) {
		return fmt.Errorf("%q is no text", wire)
	}
	got, err := read(reader, wire)
	if err != nil || len(got) != 1 {
		return fmt.Errorf("%q has %d messages: error %w", wire, len(got), err)
	}
	if m.Kind == subprotocol.KindDeliver && v == v12 {
		got[0].Header.Del("message-id")
	}
	for _, m := range []*neutral{got[0], want} {
		m.Type = transport.MessageBinary
		if len(m.Header) == 0 {
			m.Header = nil
		}
	}
	if !reflect.DeepEqual(got[0], want) {
		return fmt.Errorf("it was written as %q, and read as\n%s, not as\n%s", wire, describe(got[0]), describe(want))
	}
	return nil
}

// FuzzUnescape resolves the escapes of a header and escapes it again.
func FuzzUnescape(f *testing.F) {
	for _, s := range []string{"", "plain", `\n\c\\\r`, `\`, `\t`, `a\`, `\\n`, "\n:\r\\", "grüße", "\x00", "\xff"} {
		for v := range byte(numVersions) {
			f.Add(v, s)
		}
	}
	f.Fuzz(func(t *testing.T, b byte, s string) {
		fr := &framer{version: version(b & 3)}
		plain, ok := fr.unescape([]byte("prefix"), []byte(s))
		if !bytes.HasPrefix(plain, []byte("prefix")) || len(plain) > len(s)+len("prefix") {
			t.Fatalf("%q became %q", s, plain)
		}
		plain = plain[len("prefix"):]
		if fr.version > v10 && ok == badEscape(s, fr.version) {
			t.Fatalf("%v: %q is read as right: %t", fr.version, s, ok)
		}
		values := []string{s}
		if ok {
			values = append(values, string(plain))
		}
		for _, s := range values {
			w := writer{version: fr.version}
			w.escaped(s)
			if w.err != nil {
				if utf8.ValidString(s) && !strings.ContainsAny(s, "\x00\n\r") {
					t.Fatalf("%v: %q: %v", fr.version, s, w.err)
				}
				continue
			}
			if bytes.ContainsAny(w.b, "\x00\n") || fr.version == v12 && bytes.ContainsAny(w.b, "\r:") {
				t.Fatalf("%v: %q was written as %q", fr.version, s, w.b)
			}
			if again, ok := fr.unescape(nil, w.b); !ok || string(again) != s {
				t.Fatalf("%v: %q was written as %q and read as %q, %t", fr.version, s, w.b, again, ok)
			}
		}
	})
}

// badEscape is the rule in another form.
func badEscape(s string, v version) bool {
	left := strings.NewReplacer(`\\`, "", `\n`, "", `\c`, "")
	if v == v12 {
		left = strings.NewReplacer(`\\`, "", `\n`, "", `\c`, "", `\r`, "")
	}
	return strings.Contains(left.Replace(s), `\`)
}
