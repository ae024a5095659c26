package dashboard

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/promql"
)

const (
	cellWidth, cellHeight = 60, 32 // pixels of a unit of the grid
	padding               = 6
)

var colours = []string{
	"#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#b877d9", "#f2495c", "#8ab8ff", "#fade2a", "#96d98d", "#ca95e5", "#ffa6b0", "#c0d8ff",
}

// draw makes a page of the panels, laid out as Grafana does, with the results of their targets.
func draw(p *page, results map[int][]promql.Matrix) []byte {
	var b bytes.Buffer
	height := 0
	for _, pan := range p.Panels {
		height = max(height, (pan.GridPos.Y+pan.GridPos.H)*cellHeight)
	}
	fmt.Fprintf(&b, `<!doctype html><meta charset="utf-8"><title>weft</title>
<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11" fill="#ccccdc">
<rect width="100%%" height="100%%" fill="#111217"/>
`, 24*cellWidth, height)
	for _, pan := range p.Panels {
		drawPanel(&b, &pan, results[pan.ID])
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// line is one curve with its name.
type line struct {
	name   string
	points []promql.FPoint
}

func drawPanel(b *bytes.Buffer, pan *panel, results []promql.Matrix) {
	g := pan.GridPos
	x, y, w, h := g.X*cellWidth, g.Y*cellHeight, g.W*cellWidth-padding, g.H*cellHeight-padding
	if pan.Type == "row" {
		fmt.Fprintf(b, `<text x="%d" y="%d" font-size="15">%s</text>`+"\n", x+4, y+20, html.EscapeString(pan.Title))
		return
	}
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="#181b1f" stroke="#2c3235"/><text x="%d" y="%d" font-weight="bold">%s</text>`+"\n",
		x, y, w, h, x+8, y+17, html.EscapeString(pan.Title))
	var lines []line
	for i, m := range results {
		for _, s := range m {
			name := legend.ReplaceAllStringFunc(pan.Targets[i].LegendFormat, func(l string) string {
				return s.Metric.Get(legend.FindStringSubmatch(l)[1])
			})
			lines = append(lines, line{name, s.Floats})
		}
	}
	unit := pan.FieldConfig.Defaults.Unit
	box := box{float64(x + 56), float64(y + 28), float64(w - 66), float64(h - 28 - 16 - 12*((len(lines)+2)/3))}
	switch pan.Type {
	case "stat":
		if len(lines) > 0 && len(lines[0].points) > 0 {
			last := lines[0].points[len(lines[0].points)-1].F
			fmt.Fprintf(b, `<text x="%d" y="%d" font-size="30" fill="%s">%s</text>`+"\n", x+16, y+h/2+20, colours[0], show(last, unit))
		}
	case "heatmap":
		box.h = float64(h - 28 - 20)
		heatmap(b, box, results)
	default:
		box.chart(b, lines, unit)
		for i, l := range lines {
			fmt.Fprintf(b, `<text x="%d" y="%d" font-size="9" fill="%s">%s</text>`+"\n", x+8+i%3*(w/3), y+h-6-12*((len(lines)+2)/3-1-i/3),
				colours[i%len(colours)], html.EscapeString(l.name))
		}
	}
}

// box is where a chart lies.
type box struct{ x, y, w, h float64 }

func (x box) chart(b *bytes.Buffer, lines []line, unit string) {
	top, from, to := 0.0, int64(math.MaxInt64), int64(0)
	for _, l := range lines {
		for _, p := range l.points {
			if !math.IsNaN(p.F) && !math.IsInf(p.F, 0) {
				top = max(top, p.F)
			}
			from, to = min(from, p.T), max(to, p.T)
		}
	}
	if top == 0 {
		top = 1
	}
	for i := range 4 {
		y := x.y + x.h*float64(i)/3
		fmt.Fprintf(b, `<path d="M%.0f %.1fh%.0f" stroke="#2c3235"/><text x="%.0f" y="%.0f" font-size="9" text-anchor="end">%s</text>`+"\n",
			x.x, y, x.w, x.x-4, y+3, show(top*float64(3-i)/3, unit))
	}
	for i, l := range lines {
		var path strings.Builder
		pen := "M"
		for _, p := range l.points {
			if math.IsNaN(p.F) || math.IsInf(p.F, 0) {
				pen = "M"
				continue
			}
			fmt.Fprintf(&path, "%s%.1f %.1f", pen, x.x+x.w*float64(p.T-from)/float64(max(to-from, 1)), x.y+x.h*(1-p.F/top))
			pen = "L"
		}
		fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", path.String(), colours[i%len(colours)])
	}
}

// heatmap draws how many are between two bounds, from series that count those up to one.
func heatmap(b *bytes.Buffer, x box, results []promql.Matrix) {
	if len(results) == 0 {
		return
	}
	bound := func(s promql.Series) float64 {
		f, err := strconv.ParseFloat(s.Metric.Get("le"), 64)
		if err != nil {
			return math.NaN()
		}
		return f
	}
	rows := slices.SortedFunc(slices.Values(results[0]), func(p, q promql.Series) int {
		if bound(p) < bound(q) {
			return -1
		}
		return 1
	})
	most := 0.0
	between := func(i, j int) float64 {
		n := rows[i].Floats[j].F
		if i > 0 && j < len(rows[i-1].Floats) {
			n -= rows[i-1].Floats[j].F
		}
		return n
	}
	for i := range rows {
		for j := range rows[i].Floats {
			most = max(most, between(i, j))
		}
	}
	for i := range rows {
		h := x.h / float64(len(rows))
		y := x.y + x.h - h*float64(i+1)
		fmt.Fprintf(b, `<text x="%.0f" y="%.0f" font-size="9" text-anchor="end">%s</text>`+"\n", x.x-4, y+h/2+3, show(bound(rows[i]), "s"))
		for j := range rows[i].Floats {
			w := x.w / float64(len(rows[i].Floats))
			fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="#ff780a" fill-opacity="%.2f"/>`,
				x.x+w*float64(j), y, w, h-1, math.Sqrt(max(0, between(i, j))/max(most, 1)))
		}
		b.WriteByte('\n')
	}
}

// show is a number with its unit.
func show(f float64, unit string) string {
	switch {
	case math.IsInf(f, 1):
		return "+Inf"
	case unit == "s" && f < 1e-3:
		return fmt.Sprintf("%.3g µs", f*1e6)
	case unit == "s" && f < 1:
		return fmt.Sprintf("%.3g ms", f*1e3)
	case unit == "s":
		return fmt.Sprintf("%.3g s", f)
	case (unit == "bytes" || unit == "Bps") && f >= 1024:
		f, unit = f/1024, "Ki"+unit
	}
	names := map[string]string{"bytes": " B", "Bps": " B/s", "Kibytes": " KiB", "KiBps": " KiB/s", "cps": "/s"}
	return fmt.Sprintf("%.3g%s", f, names[unit])
}
