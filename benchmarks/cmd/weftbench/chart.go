package main

import (
	"bytes"
	"fmt"
	"html"
	"image/color"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

var (
	weftColor = color.RGBA{R: 0x1f, G: 0x5f, B: 0x8b, A: 0xff}
	peerColor = color.RGBA{R: 0xa9, G: 0xc4, B: 0xd8, A: 0xff}
	lineColor = color.RGBA{R: 0x60, G: 0x68, B: 0x72, A: 0xff}
)

// chart draws the first figure of a case as bars, one below the other: an svg element.
func chart(c *Case, baseName string) (string, error) {
	var rows []*RowResult
	for _, r := range slices.Backward(c.Rows) { // the axis begins at the bottom
		if len(r.Rounds[0]) > 0 {
			rows = append(rows, r)
		}
	}
	if len(rows) == 0 {
		return "", nil
	}
	p := plot.New()
	p.X.Label.Text = c.Columns[0]
	p.X.Min = 0
	var names []string
	var points errorPoints
	for i, r := range rows {
		v := r.Rounds[0]
		m := v.median()
		bar, err := plotter.NewBarChart(plotter.Values{m}, vg.Points(11))
		if err != nil {
			return "", fmt.Errorf("%s, %s: %w", c.Name, r.Row, err)
		}
		bar.Horizontal, bar.XMin, bar.LineStyle.Width = true, float64(i), 0
		bar.Color = peerColor
		if strings.Contains(r.Row, "/") { // the peers' names have none
			bar.Color = weftColor
		}
		p.Add(bar)
		names = append(names, r.Row)
		points.XYs = append(points.XYs, plotter.XY{X: m, Y: float64(i)})
		points.XErrors = append(points.XErrors, struct{ Low, High float64 }{m - slices.Min(v), slices.Max(v) - m})
	}
	whiskers, err := plotter.NewXErrorBars(points)
	if err != nil {
		return "", err
	}
	m := c.base(baseName).Rounds[0].median()
	line, err := plotter.NewLine(plotter.XYs{{X: m, Y: -0.5}, {X: m, Y: float64(len(rows)) - 0.5}})
	if err != nil {
		return "", err
	}
	whiskers.Color, line.Color = lineColor, lineColor
	p.Add(whiskers, line)
	p.NominalY(names...)
	sans := font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Points(9)}
	p.X.Tick.Label.Font, p.Y.Tick.Label.Font, p.X.Label.TextStyle.Font = sans, sans, sans
	canvas := vgsvg.New(vg.Points(620), vg.Points(45+17*float64(len(rows))))
	p.Draw(draw.New(canvas))
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return "", err
	}
	_, svg, _ := strings.Cut(b.String(), "<svg ") // the head is for files
	svg = strings.Replace(svg, `xmlns:xlink="http://www.w3.org/1999/xlink"`, "", 1)
	label := html.EscapeString(fmt.Sprintf("%s, %s: %s of %d rows", c.Scenario, c.Name, c.Columns[0], len(rows)))
	return `<svg role="img" aria-label="` + label + `" ` + svg, nil
}

// errorPoints is what plotter.NewXErrorBars asks for.
type errorPoints struct {
	plotter.XYs
	plotter.XErrors
}
