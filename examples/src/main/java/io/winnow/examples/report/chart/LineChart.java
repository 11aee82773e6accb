package io.winnow.examples.report.chart;

import java.util.Arrays;
import java.util.List;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.internal.chartpart.Chart;
import org.knowm.xchart.style.AxesChartStyler;
import org.knowm.xchart.style.markers.SeriesMarkers;

/**
 * Numbers over numbers, as lines or points.
 *
 * @param xTitle the x axis
 * @param yTitle the y axis
 * @param lines drawn in this order, the last on top
 */
public record LineChart(String title, String xTitle, String yTitle, List<Line> lines)
    implements Drawing {
  private static final int HEIGHT = 270;
  private static final int MOST_TICKS = 16;

  /** How a line is drawn. */
  public enum Style {
    /** A line with a marker on each point. */
    MARKED,
    /** A line without markers, for many points. */
    PLAIN,
    /** A line that stays level up to the next point. */
    STEPS,
    /** Small points without a line. */
    POINTS,
    /** Points that stand out. */
    HIGHLIGHT
  }

  /** A line of the chart, its x ascending if points are joined. */
  public record Line(String name, double[] x, double[] y, Style style) {}

  @Override
  public Chart<?, ?> draw(Theme theme) {
    List<String> names = lines.stream().map(Line::name).toList();
    XYChart chart = new XYChart(WIDTH, HEIGHT + Legend.height(names));
    Drawing.dress(chart, theme, names, title, xTitle, yTitle);
    chart.getStyler().setXAxisTickMarkSpacingHint(55).setYAxisTickMarkSpacingHint(32);
    if (lines.stream().anyMatch(line -> line.style() == Style.POINTS)) {
      chart.getStyler().setMarkerSize(4);
    }
    setRange(chart.getStyler());
    for (Line line : lines) {
      XYSeries series = chart.addSeries(line.name(), line.x(), line.y());
      switch (line.style()) {
        case MARKED -> {}
        case PLAIN -> series.setMarker(SeriesMarkers.NONE);
        case STEPS ->
            series
                .setXYSeriesRenderStyle(XYSeries.XYSeriesRenderStyle.Step)
                .setMarker(SeriesMarkers.NONE);
        case POINTS -> series.setXYSeriesRenderStyle(XYSeries.XYSeriesRenderStyle.Scatter);
        case HIGHLIGHT ->
            series
                .setXYSeriesRenderStyle(XYSeries.XYSeriesRenderStyle.Scatter)
                .setMarker(SeriesMarkers.DIAMOND)
                .setMarkerColor(theme.mark());
      }
    }
    return chart;
  }

  /**
   * Leaves a margin beside many points. Where x is equally spaced from end to end, XChart would put
   * its labels on the points, in any distance from each other.
   */
  private void setRange(AxesChartStyler styler) {
    double[] x = lines.stream().flatMapToDouble(line -> Arrays.stream(line.x())).sorted().toArray();
    double first = x[0];
    double last = x[x.length - 1];
    if (Arrays.stream(x).distinct().count() > MOST_TICKS) {
      double margin = (last - first) / 50;
      styler.setXAxisMin(first - margin).setXAxisMax(last + margin);
    }
  }
}
