package inspect_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/weftws/weft/adapters/inspect"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport/pipe"
)

func Example() {
	ins := inspect.New(nil)
	ep := handler.NewEndpoint(
		ins.Transport(pipe.New(nil)),
		handler.HandlerFunc(func(context.Context, handler.Request) error { return nil }),
		handler.WithSubProtocols(raw.New(nil)),
	)
	ins.Add("chat", ep)
	mux := http.NewServeMux()
	mux.Handle("/inspect/", http.StripPrefix("/inspect", ins))
	srv := httptest.NewServer(mux)
	defer srv.Close()

	page, err := http.Get(srv.URL + "/inspect/")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer page.Body.Close()
	b, err := io.ReadAll(page.Body)
	fmt.Println(page.StatusCode, strings.Contains(string(b), "<title>weft inspect</title>"), err)

	// A name that somebody points at this machine is not answered to.
	r, _ := http.NewRequest(http.MethodGet, srv.URL+"/inspect/", nil)
	r.Host = "evil.example"
	refused, err := http.DefaultClient.Do(r)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer refused.Body.Close()
	fmt.Println(refused.StatusCode)
	// Output:
	// 200 true <nil>
	// 403
}
