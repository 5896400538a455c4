//! Plots as inline SVG. Shapes stretch with the page; words stand beside them as HTML, so that they
//! stay readable on the narrowest screen.

use super::markup::Markup;

/// The box that shapes are drawn in, in its own units.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 200.0;

/// One line over time.
pub(super) struct Series<'a> {
    /// The class of its colour.
    pub(super) class: &'static str,
    /// What it is, for the legend.
    pub(super) name: &'static str,
    /// One value for each span.
    pub(super) values: &'a [f64],
    /// Whether what lies below is filled.
    pub(super) is_filled: bool,
}

/// A plot of lines over the same spans.
pub(super) struct Plot<'a> {
    /// What is plotted.
    pub(super) title: &'static str,
    /// The highest value, in words.
    pub(super) peak: String,
    /// When each span ends, ascending.
    pub(super) ends: &'a [f64],
    /// The lines.
    pub(super) series: &'a [Series<'a>],
}

impl Plot<'_> {
    /// Draws it; nothing where there is nothing to draw.
    pub(super) fn draw(&self, page: &mut Markup) {
        let Some(end) = self.ends.last().copied().filter(|end| *end > 0.0) else {
            return;
        };
        let values = self.series.iter().flat_map(|series| series.values);
        let top = values.fold(0.0, |top: f64, value| top.max(*value));
        // Nothing was seen: work that was over before anybody looked.
        if top <= 0.0 {
            return;
        }
        page.raw("<figure class=\"plot\"><figcaption><b>")
            .text(self.title);
        page.raw("</b> <span class=\"dim\">")
            .text(&self.peak)
            .raw("</span>");
        if self.series.len() > 1 {
            for series in self.series {
                page.raw(" <span class=\"key\"><i class=\"")
                    .raw(series.class)
                    .raw("\"></i>");
                page.text(series.name).raw("</span>");
            }
        }
        page.raw("</figcaption>");
        svg(
            page,
            (WIDTH, HEIGHT),
            &format!("{}: {}", self.title, self.peak),
        );
        page.raw("<path class=\"grid\" d=\"M0 1H1000M0 100H1000M0 199H1000\"/>");
        let scale = (HEIGHT - 6.0) / top;
        for series in self.series {
            self.line(page, series, (end, scale));
        }
        page.raw("</svg><div class=\"axis\"><span>0 s</span><span>");
        page.number(end, if end < 10.0 { 2 } else { 0 })
            .raw(" s</span></div></figure>");
    }

    /// Steps: a value holds for its whole span.
    fn line(&self, page: &mut Markup, series: &Series<'_>, (end, scale): (f64, f64)) {
        let class = if series.is_filled { "area " } else { "line " };
        page.raw("<path class=\"")
            .raw(class)
            .raw(series.class)
            .raw("\" d=\"M0 ");
        let height = |value: f64| HEIGHT - 1.0 - value * scale;
        let first = series.values.first().copied().unwrap_or(0.0);
        page.number(
            if series.is_filled {
                HEIGHT
            } else {
                height(first)
            },
            1,
        );
        for (value, until) in series.values.iter().zip(self.ends) {
            page.raw("V").number(height(*value), 1);
            page.raw("H").number(until / end * WIDTH, 1);
        }
        if series.is_filled {
            page.raw("V").number(HEIGHT, 1).raw("Z");
        }
        page.raw("\"/>");
    }
}

/// Opens a drawing that fills the width of its place.
fn svg(page: &mut Markup, (width, height): (f64, f64), label: &str) {
    page.raw("<svg role=\"img\" preserveAspectRatio=\"none\" viewBox=\"0 0 ");
    page.number(width, 0).raw(" ").number(height, 0);
    page.raw("\" aria-label=\"").text(label).raw("\">");
}

/// A bar from one share of the width to another, each 0 to 1.
pub(super) struct Bar {
    pub(super) class: &'static str,
    pub(super) from: f64,
    pub(super) to: f64,
}

/// Draws bars in one row.
pub(super) fn bars(page: &mut Markup, label: &str, bars: &[Bar]) {
    svg(page, (WIDTH, 10.0), label);
    for bar in bars {
        let (from, to) = (bar.from.clamp(0.0, 1.0), bar.to.clamp(0.0, 1.0));
        // What is there at all can be seen.
        let width = ((to - from) * WIDTH).max(2.0);
        page.raw("<rect class=\"")
            .raw(bar.class)
            .raw("\" y=\"0\" height=\"10\" x=\"");
        page.number(from * WIDTH, 1)
            .raw("\" width=\"")
            .number(width, 1)
            .raw("\"/>");
    }
    page.raw("</svg>");
}

/// Past values as points in their order, with the level of every stretch and the band in which the
/// next value is no surprise.
pub(super) struct Past<'a> {
    /// The values, the newest last.
    pub(super) values: &'a [f64],
    /// First value, one behind the last value, and level of every stretch.
    pub(super) levels: &'a [(usize, usize, f64)],
    /// From, to.
    pub(super) band: Option<(f64, f64)>,
    /// The values from here on are of this run.
    pub(super) now_from: usize,
    /// For who does not see it.
    pub(super) label: String,
}

impl Past<'_> {
    /// Draws it; nothing without values.
    pub(super) fn draw(&self, page: &mut Markup) {
        if self.values.is_empty() {
            return;
        }
        let band = self.band.map_or(Vec::new(), |(low, high)| vec![low, high]);
        let all = || self.values.iter().chain(&band).copied();
        let (low, high) = all().fold((f64::MAX, f64::MIN), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let room = (high - low).max(high.abs() * 0.01).max(f64::MIN_POSITIVE);
        let y = |value: f64| HEIGHT - 10.0 - (value - low) / room * (HEIGHT - 20.0);
        let step = WIDTH / self.values.len() as f64;
        let x = |at: usize| at as f64 * step;
        svg(page, (WIDTH, HEIGHT), &self.label);
        if let Some((low, high)) = self.band {
            page.raw("<rect class=\"band\" x=\"0\" width=\"1000\" y=\"")
                .number(y(high), 1);
            page.raw("\" height=\"")
                .number((y(low) - y(high)).max(1.0), 1)
                .raw("\"/>");
        }
        for (from, to, level) in self.levels {
            page.raw("<path class=\"level\" d=\"M")
                .number(x(*from), 1)
                .raw(" ")
                .number(y(*level), 1);
            page.raw("H").number(x(*to), 1).raw("\"/>");
        }
        // A line of no length with round ends is a point, and stays one when the drawing is stretched.
        for (at, value) in self.values.iter().enumerate() {
            let class = if at >= self.now_from {
                "dot now"
            } else {
                "dot"
            };
            page.raw("<path class=\"").raw(class).raw("\" d=\"M");
            page.number(x(at) + step / 2.0, 1)
                .raw(" ")
                .number(y(*value), 1)
                .raw("h0\"/>");
        }
        page.raw("</svg>");
    }
}
