//! Hit ratio against capacity, drawn.
//!
//! Text in a PNG needs a font, and what the machine has is not to be counted on: a few of the glyphs of DejaVu Sans are
//! in the program (`LICENSE-DEJAVU` beside this file). An SVG leaves the glyphs to whoever shows it.

use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::choice::Choice;
use super::report::{Report, Row};

const SIZE: (u32, u32) = (960, 600);
const FONT: &str = "sans-serif";
const GLYPHS: &[u8] = include_bytes!("dejavu-sans-ascii.ttf");

/// Colours that people tell apart whatever their eyes (Okabe and Ito, "Color universal design", 2008), then darker
/// ones.
const COLOURS: [RGBColor; 10] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 94, 240),
    RGBColor(136, 34, 85),
    RGBColor(102, 102, 0),
    RGBColor(90, 90, 90),
];

/// What kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines and text.
    Svg,
    /// Pixels.
    Png,
}

impl Format {
    /// By the ending of a file's name.
    ///
    /// # Errors
    /// Another ending.
    pub fn of(path: &Path) -> Result<Self, String> {
        match path.extension().and_then(OsStr::to_str) {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => Err(format!("--plot {}: the name must end in .svg or .png", path.display())),
        }
    }
}

/// Draws a report's rows into a file.
///
/// # Errors
/// The system's, with the path; what the drawing library complains about.
pub fn draw(path: &Path, format: Format, report: &Report) -> Result<(), Box<dyn Error>> {
    register_font(FONT, FontStyle::Normal, GLYPHS).map_err(|_| "the font in the program can't be read")?;
    let bytes = match format {
        Format::Svg => {
            let mut text = String::new();
            chart(&SVGBackend::with_string(&mut text, SIZE).into_drawing_area(), report)?;
            text.into_bytes()
        }
        Format::Png => {
            let mut pixels = vec![0; (SIZE.0 * SIZE.1 * 3) as usize];
            chart(
                &BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area(),
                report,
            )?;
            encoded(&pixels)?
        }
    };
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn encoded(pixels: &[u8]) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, SIZE.0, SIZE.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

/// Where a row stands: its capacity in percent where all rows have that, else in blocks, and its hit ratio.
fn point(row: &Row, percents: bool) -> (f64, f64) {
    let percent = row.capacity_percent.filter(|_| percents);
    (
        percent.unwrap_or(f64::from(row.capacity_blocks)),
        row.prefix_token_hit_ratio,
    )
}

/// From the smallest to the largest, with some room; never empty.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) = values.fold((f64::INFINITY, 0_f64), |(least, most), value| {
        (least.min(value), most.max(value))
    });
    (least / 1.2, most * 1.2)
}

fn chart<B: DrawingBackend>(area: &DrawingArea<B, Shift>, report: &Report) -> Result<(), Box<dyn Error>>
where
    B::ErrorType: 'static,
{
    let rows = report.rows();
    let percents = rows.iter().all(|row| row.capacity_percent.is_some());
    let (least, most) = span(rows.iter().map(|row| point(row, percents).0));
    let (_, highest) = span(rows.iter().map(|row| row.prefix_token_hit_ratio));
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption(&report.trace, (FONT, 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d((least..most).log_scale(), 0.0..highest.clamp(0.01, 1.0))?;
    let capacity = match percents {
        true => "capacity, % of the trace's unique blocks",
        false => "capacity, blocks",
    };
    chart
        .configure_mesh()
        .x_desc(capacity)
        .y_desc("prefix-token hit ratio")
        .x_label_formatter(&|value| short(*value))
        .y_label_formatter(&|value| format!("{value:.2}"))
        .label_style((FONT, 14))
        .light_line_style(WHITE)
        .draw()?;
    for (name, colour, width) in series(rows) {
        let style = colour.stroke_width(width);
        let mut points: Vec<(f64, f64)> = rows
            .iter()
            .filter(|row| row.policy == name)
            .map(|row| point(row, percents))
            .collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], style));
        chart.draw_series(points.iter().map(|&at| Circle::new(at, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font((FONT, 14))
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}

/// The policies, `min` first, each with a colour and the width of its line.
fn series(rows: &[Row]) -> Vec<(&str, RGBColor, u32)> {
    let min = Choice::Min.name();
    let mut colours = COLOURS.into_iter().cycle();
    let mut all: Vec<(&str, RGBColor, u32)> = Vec::new();
    for row in rows {
        if row.policy == min || all.iter().any(|(name, ..)| *name == row.policy) {
            continue;
        }
        all.extend(colours.next().map(|colour| (row.policy.as_str(), colour, 2)));
    }
    if let Some(row) = rows.iter().find(|row| row.policy == min) {
        all.insert(0, (&row.policy, BLACK, 3));
    }
    all
}

/// A capacity in few characters.
fn short(value: f64) -> String {
    match value {
        1e6.. => format!("{} M", value / 1e6),
        1e3.. => format!("{} k", value / 1e3),
        _ => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_says_what_it_is() {
        assert_eq!(Format::of(Path::new("a/b.svg")), Ok(Format::Svg));
        assert_eq!(Format::of(Path::new("b.png")), Ok(Format::Png));
        for name in ["b.pdf", "b", "svg", ".svg", "b.svg.gz"] {
            let error = Format::of(Path::new(name)).unwrap_err();
            assert!(error.contains(name) && error.contains(".svg or .png"), "{error}");
        }
    }

    #[test]
    fn capacities_are_told_shortly() {
        assert_eq!([0.25, 10.0, 2000.0, 5e6].map(short), ["0.25", "10", "2 k", "5 M"]);
    }
}
