package prometheus

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
)

func TestFirstSegment(t *testing.T) {
	t.Parallel()
	for destination, want := range map[string]string{
		"": "", "/": "/", ".": ".", "a": "a", "/topic": "/topic", "/topic/": "/topic", "/topic/a/b": "/topic", "//a": "/",
		"orders.eu.1": "orders", "orders/eu": "orders", "/exchange.a/b": "/exchange", "\xff/a": "\xff",
	} {
		require.Equal(t, want, FirstSegment(destination), "%q", destination)
	}
}

func TestByPrefix(t *testing.T) {
	t.Parallel()
	prefixes := []string{"/topic/", "/topic/rooms/", "/app"}
	class := ByPrefix(prefixes...)
	prefixes[0] = "changed"
	for destination, want := range map[string]string{
		"/topic/a": "/topic/", "/topic/rooms/1": "/topic/rooms/", "/application": "/app", "/queue/a": "", "": "",
	} {
		require.Equal(t, want, class(destination), "%q", destination)
	}
}

// TestManyDestinations: a million classes that clients, handlers or publishers come up with are
// as many series as there are places, and each message is counted.
func TestManyDestinations(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const places, clients = 8, 4
		each := 1_000_000 / clients
		if raceEnabled {
			each /= 10
		}
		s := serve(t, &Options{MaxClasses: places, Class: func(d string) string { return d }})
		c := s.dial(envelope.NewJSON(nil))
		send(t, c, "/topic/first", "1")
		synctest.Wait()
		e := s.metrics.endpoints[0]
		p := e.protocol("v1.json.weft")
		before := testutil.CollectAndCount(s.metrics)
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				for j := range each {
					// Half of them are refused, and can't take a place.
					destination := "/topic/" + strconv.Itoa(i*each+j)
					in := incoming{
						endpoint: e, protocol: p, shard: j % shards,
						kind: subprotocol.KindSend, bytes: 1, class: s.metrics.classes.class(destination),
					}
					in.cell = p.find(in.shard, in.class)
					if j%2 == 0 {
						in.end(&subprotocol.Error{Code: "not-found"})
					} else {
						in.end(nil)
					}
				}
			})
		}
		wg.Wait()
		const js = "subprotocol=v1.json.weft"
		got := s.scrape()
		count, handled := 0.0, 0.0
		for name, n := range got {
			if strings.HasPrefix(name, "weft_received_messages_total{") && strings.Contains(name, "kind=SEND") {
				count += n
			}
			if strings.HasPrefix(name, "weft_handler_duration_seconds_count{") && !strings.Contains(name, "class=none") {
				handled += n
			}
		}
		require.Equal(t, clients*each+1, int(count))
		require.Equal(t, clients*each+1, int(handled))
		requireValues(t, map[string]float64{
			"weft_classes": places,
			"weft_received_messages_total{class=other,kind=SEND,result=refused," + js + "}": float64(clients * each / 2),
			"weft_unclassified_messages_total{reason=too_many}":                             float64(clients*each/2 - (places - 1)),
		}, got)
		after := testutil.CollectAndCount(s.metrics)
		require.LessOrEqual(t, after-before, places*8)

		// What is published counts in the same classes.
		for i := range 1000 {
			send(t, c, fmt.Sprintf("/topic/published/%d", i), "1")
		}
		synctest.Wait()
		require.LessOrEqual(t, testutil.CollectAndCount(s.metrics)-before, places*8)
		require.Equal(t, places, int(s.scrape()["weft_classes"]))
	})
}

// TestBadClasses: what can't be a label, and a function that panics, cost their message its
// class and nothing else.
func TestBadClasses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, &Options{Class: func(d string) string {
			switch d {
			case "/topic/panic":
				panic("no")
			case "/topic/bytes":
				return "\xff"
			case "/topic/long":
				return strings.Repeat("x", 65)
			case "/topic/empty":
				return ""
			case "/topic/own":
				return `a "label" with \ and` + "\n"
			}
			return d
		}})
		c := s.dial(envelope.NewJSON(nil))
		for _, name := range []string{"panic", "bytes", "long", "empty", "own"} {
			_, err := c.Subscribe(t.Context(), "/topic/"+name, nil, nil)
			require.NoError(t, err)
			send(t, c, "/topic/"+name, "1")
		}
		synctest.Wait()
		const js = "subprotocol=v1.json.weft"
		got := s.scrape()
		requireValues(t, map[string]float64{
			"weft_received_messages_total{class=other,kind=SEND,result=ok," + js + "}":                     4,
			"weft_received_messages_total{class=a \"label\" with \\ and\n,kind=SEND,result=ok," + js + "}": 1,
			"weft_sent_messages_total{class=other,kind=DELIVER,status=queued," + js + "}":                  4,
			"weft_unclassified_messages_total{reason=invalid}":                                             2 * 3,
			"weft_subscriptions{class=other," + js + "}":                                                   4,
			"weft_subscriptions{class=a \"label\" with \\ and\n," + js + "}":                               1,
		}, got)
		require.GreaterOrEqual(t, got["weft_unclassified_messages_total{reason=panic}"], 3.0)
		problems, err := testutil.GatherAndLint(s.registry)
		require.NoError(t, err)
		require.Empty(t, problems)
	})
}

// TestNamesOfSubProtocols: names that make no label, or the same one, stay apart.
func TestNamesOfSubProtocols(t *testing.T) {
	t.Parallel()
	e := newEndpoint(New(nil), "chat", "pipe")
	long := strings.Repeat("x", 100)
	labels := make(map[string]string)
	for range 2 {
		for _, name := range []string{"", "none", "a\xff", "a\xfe", "a?", long + "1", long + "2", long[:64]} {
			p := e.protocol(name)
			if owner, ok := labels[p.label]; ok {
				require.Equal(t, owner, name, "%q", p.label)
			}
			labels[p.label] = name
			require.True(t, isLabel(p.label), "%q", p.label)
		}
	}
	require.Len(t, labels, 8)
}

func FuzzLabels(f *testing.F) {
	for _, s := range []string{"", "/topic/a", "a.b", strings.Repeat("é", 40), strings.Repeat("x", 63) + "é", "\xff\xfe", "/\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l := label(s)
		if !utf8.ValidString(l) || len(l) > maxLabel {
			t.Errorf("%q is no label", l)
		}
		if isLabel(s) && l != s {
			t.Errorf("%q became %q", s, l)
		}
		if class := FirstSegment(s); !strings.HasPrefix(s, class) {
			t.Errorf("%q does not begin with %q", s, class)
		}
		c := newClasses(nil, 1)
		if own := c.admit(c.class(s)); !isLabel(own) {
			t.Errorf("%q is no label", own)
		}
	})
}
