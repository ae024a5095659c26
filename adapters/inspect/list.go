package inspect

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/transport"
)

// What a listing may cost.
const (
	maxRows = 100                    // that it has
	maxTime = 250 * time.Millisecond // that it looks at sessions for
)

// row is what is shown of a session.
type row struct {
	Endpoint      string  `json:"endpoint"`
	ID            string  `json:"id"`
	User          string  `json:"user"`
	Transport     string  `json:"transport"`
	SubProtocol   string  `json:"subProtocol"`
	Path          string  `json:"path"`
	Remote        string  `json:"remote"`
	Queued        int     `json:"queued"`
	QueuedBytes   int     `json:"queuedBytes"`
	RoundTrip     float64 `json:"roundTrip"` // in milliseconds, 0 if it is not known
	Subscriptions int     `json:"subscriptions"`
	Frames        bool    `json:"frames"` // they can be watched
}

func (i *Inspector) row(endpoint string, s *handler.Session) row {
	q := s.Queued()
	r := row{
		Endpoint: endpoint, ID: s.ID(), User: i.masker.clean(s.User()), Transport: s.Transport(), SubProtocol: s.SubProtocol(),
		Path: i.masker.clean(s.Path()), Remote: i.masker.clean(remoteAddr(s)),
		Queued: q.Messages, QueuedBytes: q.Bytes, RoundTrip: roundTrip(s).Seconds() * 1000, Subscriptions: len(s.Subscriptions()),
	}
	_, r.Frames = transport.As[*conn](s.Conn())
	return r
}

func remoteAddr(s *handler.Session) string {
	if a := s.RemoteAddr(); a != nil {
		return a.String()
	}
	return ""
}

func roundTrip(s *handler.Session) time.Duration {
	if t, ok := transport.As[transport.RoundTripTimer](s.Conn()); ok {
		return t.RoundTrip()
	}
	return 0
}

// orders are what sessions can be sorted by: a number or a text of each.
var orders = map[string]func(endpoint string, s *handler.Session) (int64, string){
	"user":          func(_ string, s *handler.Session) (int64, string) { return 0, s.User() },
	"endpoint":      func(endpoint string, s *handler.Session) (int64, string) { return 0, endpoint },
	"subProtocol":   func(_ string, s *handler.Session) (int64, string) { return 0, s.SubProtocol() },
	"path":          func(_ string, s *handler.Session) (int64, string) { return 0, s.Path() },
	"remote":        func(_ string, s *handler.Session) (int64, string) { return 0, remoteAddr(s) },
	"queued":        func(_ string, s *handler.Session) (int64, string) { return int64(s.Queued().Bytes), "" },
	"roundTrip":     func(_ string, s *handler.Session) (int64, string) { return int64(roundTrip(s)), "" },
	"subscriptions": func(_ string, s *handler.Session) (int64, string) { return int64(len(s.Subscriptions())), "" },
}

// listed is the answer to sessions: the first of those that match, in the order asked for.
type listed struct {
	Rows    []row `json:"rows"`
	Matches int   `json:"matches"`
	Total   int   `json:"total"`
	Partial bool  `json:"partial"` // time was up: there may be more, also before these
}

// candidate is a session that may become a row.
type candidate struct {
	endpoint string
	*handler.Session
	number int64
	text   string
}

// list looks at sessions for a limited time and keeps the first maxRows of them.
func (i *Inspector) list(endpoint, query, order string, descending bool) listed {
	key := orders[order]
	query = strings.ToLower(query)
	compare := func(a, b candidate) int {
		c := cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.text, b.text))
		if descending {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.ID(), b.ID()))
	}
	var out listed
	top := make([]candidate, 0, maxRows+1)
	end := time.Now().Add(maxTime)
	for _, n := range i.all() {
		out.Total += n.Sessions().Len()
		if endpoint != "" && n.name != endpoint || out.Partial {
			continue
		}
		seen := 0
		for s := range n.Sessions().All() {
			if seen++; seen%256 == 0 && time.Now().After(end) {
				out.Partial = true
				break
			}
			if query != "" && !i.masker.matches(s, query) {
				continue
			}
			out.Matches++
			c := candidate{endpoint: n.name, Session: s}
			c.number, c.text = key(n.name, s)
			c.text, _ = prefix(c.text, maxName)
			if len(top) == maxRows && compare(c, top[maxRows-1]) >= 0 {
				continue
			}
			at, _ := slices.BinarySearchFunc(top, c, compare)
			top = slices.Insert(top, at, c)
			top = top[:min(len(top), maxRows)]
		}
	}
	out.Rows = make([]row, 0, len(top))
	for _, c := range top {
		out.Rows = append(out.Rows, i.row(c.endpoint, c.Session))
	}
	return out
}

// matches looks for query, which is in lower case, where it is quick to find. What is masked
// is not found, or it could be guessed letter by letter.
func (m *masker) matches(s *handler.Session, query string) bool {
	has := func(text string) bool { return strings.Contains(strings.ToLower(text), query) }
	for _, text := range []string{s.ID(), s.User(), s.Path(), s.SubProtocol(), remoteAddr(s)} {
		text, _ = prefix(text, maxName)
		if has(text) && has(m.clean(text)) {
			return true
		}
	}
	return false
}

func (i *Inspector) serveSessions(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	order := cmp.Or(q.Get("sort"), "queued")
	if orders[order] == nil {
		http.Error(w, "sessions can't be sorted by that", http.StatusBadRequest)
		return
	}
	select { // one after the other, however many ask
	case i.listing <- struct{}{}:
	case <-r.Context().Done():
		return
	case <-i.done:
		return
	}
	l := func() listed {
		defer func() { <-i.listing }()
		return i.list(q.Get("endpoint"), q.Get("q"), order, q.Get("desc") != "")
	}()
	writeJSON(w, l)
}

// detail is what is shown of a session that was chosen.
type detail struct {
	row
	Subscribed []subscribed `json:"subscribed"` // the first ones
}

type subscribed struct {
	ID          string `json:"id"`
	Destination string `json:"destination"`
	Ack         string `json:"ack"`
}

func (i *Inspector) serveSession(w http.ResponseWriter, r *http.Request) {
	n, s := i.find(r.URL.Query().Get("endpoint"), r.URL.Query().Get("id"))
	if s == nil {
		http.Error(w, "this session has ended", http.StatusNotFound)
		return
	}
	d := detail{row: i.row(n.name, s), Subscribed: []subscribed{}}
	subs := s.Subscriptions()
	for _, sub := range subs[:min(len(subs), maxRows)] {
		d.Subscribed = append(d.Subscribed, subscribed{i.masker.clean(sub.ID), i.masker.clean(sub.Destination), sub.AckMode.String()})
	}
	writeJSON(w, d)
}

// closing is what the page sends to close a session.
type closing struct {
	Endpoint string               `json:"endpoint"`
	ID       string               `json:"id"`
	Code     transport.StatusCode `json:"code"`
	Reason   string               `json:"reason"`
}

func (i *Inspector) serveClose(w http.ResponseWriter, r *http.Request) {
	var c closing
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil || r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "this needs JSON with endpoint, id, code and reason", http.StatusBadRequest)
		return
	}
	_, s := i.find(c.Endpoint, c.ID)
	if s == nil {
		http.Error(w, "this session has ended", http.StatusNotFound)
		return
	}
	if err := transport.CheckClose(c.Code, c.Reason); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := s.Close(c.Code, c.Reason); err != nil {
		http.Error(w, "this session is ending already", http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
