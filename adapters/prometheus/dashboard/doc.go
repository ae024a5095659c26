// Package dashboard has the Grafana dashboard of adapters/prometheus, weft.json, which is to be
// imported as it is, and the test that keeps both in step. It is a module of its own
// because that test has Prometheus's parser and engine in it.
//
// The test parses every expression, scrapes a server under load over loopback, requires each
// metric and label that the dashboard names in what it got, and each metric that there is on
// the dashboard, and evaluates all panels over a series of scrapes. With WEFT_DASHBOARD=page.html
// it also draws them, as no Grafana comes with it:
//
//	WEFT_DASHBOARD=page.html go test -run Dashboard ./adapters/prometheus/dashboard
package dashboard

import _ "embed"

// JSON is the dashboard.
//
//go:embed weft.json
var JSON []byte
