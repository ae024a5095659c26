package main

import (
	"html/template"
	"strings"
)

// writeHTML writes a page that needs nothing besides itself.
func writeHTML(w *strings.Builder, r *Result) error {
	type page struct {
		*Result
		Method []string
		Legend string
		Cases  []caseView
		About  [][]string
	}
	p := page{Result: r, Method: method, Legend: legend, About: rowTable(r.Rows)}
	last := ""
	for _, c := range r.Cases {
		svg, err := chart(c, r.Base)
		if err != nil {
			return err
		}
		v := caseView{Case: c, Chart: template.HTML(svg), Table: c.table(r.Base)} //nolint:gosec // chart escapes what it writes
		if c.Scenario != last {
			last = c.Scenario
			if s := scenarioOf(last); s != nil {
				v.What, v.How = upper(s.what), s.how
			}
			v.First = true
		}
		p.Cases = append(p.Cases, v)
	}
	return pageTemplate.Execute(w, p)
}

// caseView is a case as the page shows it.
type caseView struct {
	*Case
	First     bool // of its scenario
	What, How string
	Chart     template.HTML
	Table     [][]string
}

// Failed are the rows that have something to explain.
func (c caseView) Failed() (failed []*RowResult) {
	for _, r := range c.Rows {
		if r.Error != "" {
			failed = append(failed, r)
		}
	}
	return failed
}

var pageTemplate = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>weftbench, {{.Time.Format "2006-01-02"}}</title>
<style>
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430; background: #fff; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 3rem; border-bottom: 1px solid #d5dae1; padding-bottom: .3rem; }
.note { background: #fff4d6; border-left: 4px solid #e0a100; padding: .4rem .8rem; margin: .5rem 0; }
.failed { color: #a11; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #e6e9ee; }
th { vertical-align: bottom; }
td:first-child, th:first-child, .about td, .about th { text-align: left; white-space: nowrap; }
.about td:last-child { white-space: normal; min-width: 16rem; }
svg { max-width: 100%; height: auto; display: block; margin: .5rem 0; }
</style>
</head>
<body>
<h1>weftbench</h1>
<p>{{.Time.Format "2006-01-02 15:04 MST"}}: {{.Machine.CPU}}, {{.Machine.Cores}} cores, {{.Machine.System}}, {{.Machine.Go}};
{{.Machine.Placed}}. {{.Rounds}} rounds, base {{.Base}}.</p>
{{range .Notes}}<p class="note">{{.}}</p>
{{end}}<h2>Method and bias</h2>
<ul>
{{range .Method}}<li>{{.}}</li>
{{end}}</ul>
<p>{{.Legend}} In the charts shorter is better; the line is the base, the whiskers are the smallest and the largest round; weft's own rows are dark.</p>
{{range .Cases}}{{if .First}}<h2>{{.Scenario}}</h2>
<p>{{.What}}. {{.How}}</p>
{{end}}<h3>{{.Name}}</h3>
{{.Chart}}
<div class="wide"><table>
{{range $i, $line := .Table}}<tr>{{range $line}}{{if eq $i 0}}<th>{{.}}</th>{{else}}<td>{{.}}</td>{{end}}{{end}}</tr>
{{end}}</table></div>
{{range .Failed}}<p class="failed">{{.Row}} {{if .Blocked}}blocked{{else}}failed{{end}}: {{.Error}}</p>
{{end}}{{end}}<h2>Rows</h2>
<div class="wide"><table class="about">
{{range $i, $line := .About}}<tr>{{range $line}}{{if eq $i 0}}<th>{{.}}</th>{{else}}<td>{{.}}</td>{{end}}{{end}}</tr>
{{end}}</table></div>
</body>
</html>
`))
