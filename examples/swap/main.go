// Command swap runs one application on every stack that there is, and prints a line
// for each. The handlers below know nothing of engines and wire formats; what
// differs from row to row stands in rows.go, one line each.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broadcast"
	"github.com/weftws/weft/middleware"
)

const (
	requests = 50               // of each row
	rowTime  = 20 * time.Second // after which a row has failed

	maxNumber = 1_000_000
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("swap: ")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := newCertificate()
	if err != nil {
		log.Fatal(err)
	}
	if err := run(ctx, c, rows(c), func(format string, args ...any) { fmt.Printf(format, args...) }); err != nil {
		log.Fatal(err)
	}
}

// application is the same for all rows: a request with an answer, which is also
// published to those who have subscribed.
func application() handler.Handler {
	topics := broadcast.New(nil)
	sums := handler.Func(add, handler.WithSendTo(topics, "/topic/sums"), handler.WithReply())

	mux := handler.NewMux()
	mux.Use(middleware.Recover)
	mux.Route("SEND /app/add", sums)
	mux.Route("SUBSCRIBE /topic/", topics)

	// raw has neither destinations nor subscriptions: there is one thing to ask for,
	// and who wants to listen says so by the path.
	mux.Route("SEND", sums)
	mux.Route("CONNECT", handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		if r.Session.Features().Subscriptions || r.Session.Path() != "/listen" {
			return nil
		}
		return topics.Subscribe(r.Session, "", "/topic/sums")
	}))
	return mux
}

type numbers struct {
	A int64 `json:"a"`
	B int64 `json:"b"`
}

func (n numbers) Validate() error {
	if max(n.A, n.B) > maxNumber || min(n.A, n.B) < -maxNumber {
		return fmt.Errorf("a number is at most %d", maxNumber)
	}
	return nil
}

type sum struct {
	Sum int64 `json:"sum"`
}

func add(_ context.Context, _ handler.Request, in numbers) (sum, error) {
	return sum{in.A + in.B}, nil
}

// run tries all rows, one after the other, and prints a line for each.
func run(ctx context.Context, c *certificate, rows []row, printf func(format string, args ...any)) error {
	printf("%-32s %-6s %8s  %s\n", "transport/sub-protocol/codec", "result", "messages", "round trip (median)")
	failed := 0
	for _, r := range rows {
		res, err := r.try(ctx, c)
		if err != nil {
			failed++
			printf("%-32s FAILED %s\n", r.name(), strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		slices.Sort(res.times)
		median := res.times[len(res.times)/2]
		printf("%-32s ok     %8d  %v\n", r.name(), res.messages, median.Round(time.Microsecond))
	}
	printf("%d of %d rows are ok. The times are those of one client that waits for each answer: this is no benchmark.\n",
		len(rows)-failed, len(rows))
	if failed > 0 {
		return fmt.Errorf("%d of %d rows have failed", failed, len(rows))
	}
	return nil
}

// try serves the application on a stack and has two clients use it.
func (r row) try(ctx context.Context, c *certificate) (res result, err error) {
	ctx, cancel := context.WithTimeout(ctx, rowTime)
	defer cancel()
	ep := handler.NewEndpoint(r.carrier.transport, application(),
		handler.WithSubProtocols(r.format.subProtocol),
		handler.WithCodecs(r.format.codec),
		handler.WithShutdownSpread(0),
	)
	url, stop, err := r.carrier.mount(ep, c)
	if err != nil {
		return res, err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), rowTime)
		defer cancel()
		err = errors.Join(err, ep.Shutdown(end), stop())
	}()
	return r.use(ctx, url, c)
}
